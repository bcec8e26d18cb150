"""The USB camera, the hardware replaced at its edge: a kernel that answers ioctls, a recording instead of a stream."""

from __future__ import annotations

import math
import struct
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.sources import numbered_picture

from calibration.errors import ScalpScopeError
from device_app.camera import v4l2
from device_app.camera.source import SourceLost
from device_app.camera.uvc import CameraSettings, PixelFormat, UsbCamera, best_pixel_format, list_cameras, stamped_ns
from device_app.camera.v4l2 import CameraFormat

YUYV, MJPG = (int.from_bytes(code, "little") for code in (b"YUYV", b"MJPG"))


class Kernel:
    """Answers what a microscope with YUYV in two sizes and MJPEG in a range of sizes answers (linux/videodev2.h)."""

    def __call__(self, request: int, buffer: bytearray) -> None:
        index = struct.unpack_from("=I", buffer)[0]
        if request == v4l2.VIDIOC_QUERYCAP:
            assert len(buffer) == 104
            struct.pack_into("=I", buffer, 88, 0x1)
        elif request == v4l2.VIDIOC_ENUM_FMT:
            assert len(buffer) == 64
            struct.pack_into("=I", buffer, 44, self._nth([YUYV, MJPG], index))
        elif request == v4l2.VIDIOC_ENUM_FRAMESIZES:
            assert len(buffer) == 44
            if struct.unpack_from("=I", buffer, 4)[0] == YUYV:
                struct.pack_into("=3I", buffer, 8, 1, *self._nth([(640, 480), (1280, 1024)], index))
            else:
                struct.pack_into("=7I", buffer, 8, 3, *self._nth([(320, 1920, 2, 240, 1080, 2)], index))
        elif request == v4l2.VIDIOC_ENUM_FRAMEINTERVALS:
            assert len(buffer) == 52
            width = struct.unpack_from("=I", buffer, 8)[0]
            rates = [(1, 30), (1, 15)] if width == 640 else [(2, 15)]
            struct.pack_into("=3I", buffer, 16, 1, *self._nth(rates, index))
        else:
            raise AssertionError(f"unknown request {request:#x}")

    @staticmethod
    def _nth(items, index):
        if index >= len(items):
            raise OSError(22, "Invalid argument")
        return items[index]


def test_formats_are_listed_with_sizes_and_highest_rates():
    assert v4l2.can_capture(Kernel())
    assert [str(offered) for offered in v4l2.formats(Kernel())] == [
        "YUYV 640x480 at 30 fps",
        "YUYV 1280x1024 at 7.5 fps",
        "MJPG 320x240 at 7.5 fps",
        "MJPG 1920x1080 at 7.5 fps",
    ]


def test_raw_is_chosen_where_raw_is_fast_enough():
    formats = (CameraFormat("YUYV", 640, 480, 30.0), CameraFormat("YUYV", 1280, 1024, 7.5))
    assert best_pixel_format(formats, CameraSettings(640, 480)) is PixelFormat.YUYV
    assert best_pixel_format(formats, CameraSettings(1280, 1024)) is PixelFormat.MJPEG
    assert best_pixel_format((), CameraSettings(640, 480)) is PixelFormat.MJPEG
    asked = CameraSettings(640, 480, pixel_format=PixelFormat.MJPEG)
    assert best_pixel_format(formats, asked) is PixelFormat.MJPEG


class Stamping:
    """A capture whose driver stamped every picture so long before it was handed over."""

    def __init__(self, capture: cv2.VideoCapture, age_ms: float) -> None:
        self._capture, self._age_ms = capture, age_ms
        self._stamp_ms = 0.0

    def grab(self) -> bool:
        good = self._capture.grab()
        self._stamp_ms = time.monotonic_ns() / 1e6 - self._age_ms
        return good

    def get(self, what: int) -> float:
        return self._stamp_ms if what == cv2.CAP_PROP_POS_MSEC else self._capture.get(what)

    def __getattr__(self, name):
        return getattr(self._capture, name)


class Machine:
    """A machine's /sys and /dev in a folder, with microscopes that can be plugged in under any number."""

    def __init__(self, root: Path) -> None:
        self.sysfs, self.dev = root / "sys", root / "dev"
        self.sysfs.mkdir()
        self.dev.mkdir()
        self.opened: list[int] = []
        self.stamp_age_ms: float | None = None  # what the driver stamps on a picture; None: nothing of use
        self._recording = root / "recording.avi"
        writer = cv2.VideoWriter(str(self._recording), cv2.VideoWriter.fourcc(*"MJPG"), 30.0, (160, 120))
        for number in range(4):
            writer.write(np.ascontiguousarray(numbered_picture(number)[..., ::-1]))
        writer.release()

    def plug(self, number: int, name: str, node: int = 0) -> None:
        entry = self.sysfs / f"video{number}"
        entry.mkdir()
        (entry / "name").write_text(name + "\n")
        (entry / "index").write_text(f"{node}\n")

    def unplug(self, number: int) -> None:
        entry = self.sysfs / f"video{number}"
        for file in entry.iterdir():
            file.unlink()
        entry.rmdir()
        (self.dev / f"video{number}").unlink(missing_ok=True)

    def camera(self, index: int, settings: CameraSettings | None = None) -> UsbCamera:
        return UsbCamera(index, settings or CameraSettings(160, 120), self.sysfs, self.dev, self._stream)

    def _stream(self, index: int) -> cv2.VideoCapture:
        self.opened.append(index)
        capture = cv2.VideoCapture(str(self._recording))
        return capture if self.stamp_age_ms is None else Stamping(capture, self.stamp_age_ms)


@pytest.fixture()
def machine(tmp_path, monkeypatch) -> Machine:
    machine = Machine(tmp_path)

    # A plain file stands for the device node; the kernel behind it says that it captures.
    def ioctl_of(descriptor: int) -> Kernel:
        return Kernel()

    monkeypatch.setattr(v4l2, "_ioctl_of", ioctl_of)
    return machine


def plug(machine: Machine, number: int, name: str, node: int = 0) -> None:
    machine.plug(number, name, node)
    (machine.dev / f"video{number}").touch()


def test_cameras_are_listed_once_each_in_order(machine):
    plug(machine, 10, "Scope B")
    plug(machine, 2, "Scope A")
    plug(machine, 3, "Scope A", node=1)  # the metadata node of the same microscope
    cameras = list_cameras(machine.sysfs, machine.dev)
    assert [(camera.index, camera.name) for camera in cameras] == [(2, "Scope A"), (10, "Scope B")]
    assert cameras[0].formats[0] == CameraFormat("YUYV", 640, 480, 30.0)


def test_a_camera_that_may_not_be_opened_is_listed_without_formats(machine):
    machine.plug(0, "Scope A")  # no device file that we may open
    assert [(camera.name, camera.formats) for camera in list_cameras(machine.sysfs, machine.dev)] == [("Scope A", ())]


def test_a_machine_without_cameras_has_none(tmp_path):
    assert list_cameras(tmp_path / "nothing", tmp_path) == []


def test_pictures_come_in_rgb_until_the_camera_is_gone(machine):
    plug(machine, 0, "Scope A")
    camera = machine.camera(0)
    camera.open()
    picture = camera.read()
    assert picture.shape == (120, 160, 3)
    assert int(picture[60, 80, 0]) - int(picture[60, 80, 2]) > 40
    for _ in range(3):
        camera.read()
    with pytest.raises(SourceLost, match="camera:0 is gone"):
        camera.read()
    camera.close()
    camera.close()


def test_capture_begins_at_the_drivers_own_stamp(machine):
    plug(machine, 0, "Scope A")
    machine.stamp_age_ms = 40.0
    camera = machine.camera(0)
    camera.open()
    camera.read()  # the one that `open` took
    asked_ns = time.monotonic_ns()
    camera.read()
    there_ns = time.monotonic_ns()
    times = camera.read_times
    assert asked_ns - 40_000_000 <= times.began_ns <= times.decode_ns - 39_999_000
    assert asked_ns <= times.decode_ns <= there_ns
    assert set(times.until(there_ns)) == {"capture", "decode"}


def test_without_a_stamp_of_this_clock_capture_begins_where_it_was_asked_for(machine):
    plug(machine, 0, "Scope A")
    for age_ms in (None, -1000.0, 10_000.0):  # a recording's position, a moment to come, another clock
        machine.stamp_age_ms = age_ms
        camera = machine.camera(0)
        camera.open()
        camera.read()
        asked_ns = time.monotonic_ns()
        camera.read()
        assert asked_ns <= camera.read_times.began_ns <= camera.read_times.decode_ns
        camera.close()


@given(now_ns=st.integers(10**10, 10**15), age_ns=st.integers(-(10**10), 10**10))
def test_a_stamp_is_taken_where_it_can_be_one(now_ns, age_ns):
    found = stamped_ns((now_ns - age_ns) / 1e6, now_ns)
    rounding_ns = 1000
    if rounding_ns <= age_ns <= 2 * 10**9 - rounding_ns:
        assert found == pytest.approx(now_ns - age_ns, abs=rounding_ns)
    if age_ns < -rounding_ns or age_ns > 2 * 10**9 + rounding_ns:
        assert found is None
    assert all(stamped_ns(nothing, now_ns) is None for nothing in (0.0, -1.0, math.nan, math.inf))


def test_a_missing_camera_is_refused_with_those_that_are_there(machine):
    plug(machine, 4, "Scope A")
    with pytest.raises(ScalpScopeError, match=r"no camera 0.*camera:4 \(Scope A\)"):
        machine.camera(0).open()


def test_a_camera_that_comes_back_under_another_number_is_found(machine):
    plug(machine, 0, "Scope A")
    camera = machine.camera(0)
    camera.open()
    camera.close()
    machine.unplug(0)
    plug(machine, 0, "Built-in webcam")
    plug(machine, 1, "Scope A")
    camera.open()
    assert machine.opened == [0, 1]
    machine.unplug(1)
    with pytest.raises(ScalpScopeError):  # rather none than somebody else's face
        camera.open()


def test_a_camera_without_a_device_file_of_ours_says_how_to_get_the_right(machine):
    machine.plug(0, "Scope A")
    with pytest.raises(ScalpScopeError, match="usermod"):
        machine.camera(0).open()


def test_what_the_camera_refuses_is_noted(machine):
    plug(machine, 0, "Scope A")
    camera = machine.camera(0, CameraSettings(1280, 1024, exposure=100, white_balance_k=5000))
    camera.open()  # a recording cannot be set at all
    assert any("160 x 120" in note for note in camera.notes)
    assert any("exposure" in note for note in camera.notes)
    assert any("white balance" in note for note in camera.notes)
