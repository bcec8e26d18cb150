"""Which cameras Linux knows and which formats they offer, asked from Video4Linux2 without opening a stream."""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

SYSFS = Path("/sys/class/video4linux")
DEV = Path("/dev")

# linux/videodev2.h: requests carry the size of their structure, so they are as fixed as the structures are.
VIDIOC_QUERYCAP = 0x80685600
VIDIOC_ENUM_FMT = 0xC0405602
VIDIOC_ENUM_FRAMESIZES = 0xC02C564A
VIDIOC_ENUM_FRAMEINTERVALS = 0xC034564B
_CAPABILITY = struct.Struct("=16s32s32s3I12x")
_FORMAT = struct.Struct("=3I32sI16x")
_FRAME_SIZE = struct.Struct("=3I6I8x")
_FRAME_INTERVAL = struct.Struct("=5I6I8x")
_BUFFER_TYPE_CAPTURE = 1
_CAN_CAPTURE = 0x1
_DISCRETE = 1
_MOST = 64  # of anything that is listed: a driver that never ends its list must not hold the app

Ioctl = Callable[[int, bytearray], None]
"""Fills the buffer for a request as the kernel does; raises OSError at the end of a list."""


@dataclass(frozen=True)
class CameraFormat:
    """A format that a camera offers: four-character code, size in pixels, and its highest rate (0 = not told)."""

    pixel_format: str
    width: int
    height: int
    fps: float

    def __str__(self) -> str:
        rate = f" at {self.fps:g} fps" if self.fps else ""
        return f"{self.pixel_format} {self.width}x{self.height}{rate}"


@dataclass(frozen=True)
class CameraInfo:
    """A camera that Linux knows.

    Attributes:
        index: N of ``camera:N`` and of ``/dev/videoN``.
        path: its device file.
        name: what it calls itself.
        formats: what it offers; empty when it may not be opened.
    """

    index: int
    path: Path
    name: str
    formats: tuple[CameraFormat, ...]


def list_cameras(sysfs: Path = SYSFS, dev: Path = DEV) -> list[CameraInfo]:
    """The cameras of this machine, lowest index first. Devices that deliver no pictures are left out."""
    found = []
    for entry in sysfs.glob("video*"):
        number = entry.name.removeprefix("video")
        # One camera has several nodes; pictures come from the first, the others carry metadata.
        if not number.isdigit() or _text(entry / "index", "0") != "0":
            continue
        path = dev / entry.name
        name = _text(entry / "name", "camera")
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        except OSError:  # there, but not for us: the doctor says why
            found.append(CameraInfo(int(number), path, name, ()))
            continue
        try:
            ioctl = _ioctl_of(descriptor)
            if can_capture(ioctl):
                found.append(CameraInfo(int(number), path, name, tuple(formats(ioctl))))
        finally:
            os.close(descriptor)
    return sorted(found, key=lambda camera: camera.index)


def can_capture(ioctl: Ioctl) -> bool:
    """Whether a device delivers pictures at all."""
    buffer = bytearray(_CAPABILITY.size)
    try:
        ioctl(VIDIOC_QUERYCAP, buffer)
    except OSError:
        return False
    *_, device_capabilities = _CAPABILITY.unpack(buffer)
    return bool(device_capabilities & _CAN_CAPTURE)


def formats(ioctl: Ioctl) -> Iterator[CameraFormat]:
    """Every format a device offers; of a range of sizes, the smallest and the largest."""
    for index in range(_MOST):
        buffer = bytearray(_FORMAT.pack(index, _BUFFER_TYPE_CAPTURE, 0, b"", 0))
        try:
            ioctl(VIDIOC_ENUM_FMT, buffer)
        except OSError:
            return
        code = _FORMAT.unpack(buffer)[4]
        name = code.to_bytes(4, "little").decode("latin-1").strip()
        for width, height in _sizes(ioctl, code):
            yield CameraFormat(name, width, height, _highest_rate(ioctl, code, width, height))


def _sizes(ioctl: Ioctl, code: int) -> Iterator[tuple[int, int]]:
    for index in range(_MOST):
        buffer = bytearray(_FRAME_SIZE.pack(index, code, *[0] * 7))
        try:
            ioctl(VIDIOC_ENUM_FRAMESIZES, buffer)
        except OSError:
            return
        _, _, kind, *sides = _FRAME_SIZE.unpack(buffer)
        if kind == _DISCRETE:
            yield sides[0], sides[1]
            continue
        yield sides[0], sides[3]  # smallest width, largest width, step, and the same of the height
        yield sides[1], sides[4]
        return


def _highest_rate(ioctl: Ioctl, code: int, width: int, height: int) -> float:
    highest = 0.0
    for index in range(_MOST):
        buffer = bytearray(_FRAME_INTERVAL.pack(index, code, width, height, *[0] * 7))
        try:
            ioctl(VIDIOC_ENUM_FRAMEINTERVALS, buffer)
        except OSError:
            break
        _, _, _, _, kind, numerator, denominator, *_ = _FRAME_INTERVAL.unpack(buffer)
        if numerator:
            highest = max(highest, denominator / numerator)
        if kind != _DISCRETE:  # a range begins with its shortest interval
            break
    return highest


def _ioctl_of(descriptor: int) -> Ioctl:
    def call(request: int, buffer: bytearray) -> None:
        fcntl.ioctl(descriptor, request, buffer, True)

    return call


def _text(path: Path, default: str) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return default
