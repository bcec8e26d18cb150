"""A USB microscope as a source, through OpenCV and Video4Linux2. BGR ends in this file."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import cv2
import numpy as np

from calibration.errors import ScalpScopeError
from device_app.camera.source import ReadTimes, SourceLost
from device_app.camera.v4l2 import DEV, SYSFS, CameraFormat, CameraInfo, list_cameras

__all__ = ["CameraFormat", "CameraInfo", "CameraSettings", "PixelFormat", "UsbCamera", "list_cameras"]

log = logging.getLogger(__name__)
_MANUAL_EXPOSURE, _AUTO_EXPOSURE = 1, 3  # V4L2's own numbers
_OLDEST_S = 2.0  # a driver's stamp further back is none of this clock


class PixelFormat(str, Enum):
    """How pictures travel over USB."""

    MJPEG = "MJPG"  # compressed: large pictures at full rate over USB 2
    YUYV = "YUYV"  # raw: no JPEG blocks on thin hairs, but slow where the pictures are large


@dataclass(frozen=True)
class CameraSettings:
    """How a camera is to be set. What it refuses stands in `UsbCamera.notes`.

    Attributes:
        width, height: size of the picture.
        fps: pictures a second.
        pixel_format: None: YUYV where the camera offers it at this size and rate, else MJPEG.
        exposure: locks the exposure at this value, in the camera's units (0.1 ms for most); None: automatic.
        white_balance_k: locks the white balance at this colour temperature, in kelvin; None: automatic.
    """

    width: int = 640
    height: int = 480
    fps: float = 30.0
    pixel_format: PixelFormat | None = None
    exposure: float | None = None
    white_balance_k: float | None = None


def best_pixel_format(formats: tuple[CameraFormat, ...], settings: CameraSettings) -> PixelFormat:
    """The format to ask for: `settings.pixel_format`, or raw where raw is fast enough."""
    if settings.pixel_format is not None:
        return settings.pixel_format
    raw_will_do = any(
        offered.pixel_format == PixelFormat.YUYV.value
        and (offered.width, offered.height) == (settings.width, settings.height)
        and offered.fps >= settings.fps
        for offered in formats
    )
    return PixelFormat.YUYV if raw_will_do else PixelFormat.MJPEG


def stamped_ns(position_ms: float, now_ns: int) -> int | None:
    """When the driver stamped the picture, by ``time.monotonic_ns()``; None where it does not tell.

    OpenCV's Video4Linux2 capture answers the property POS_MSEC with the stamp of the last buffer, which UVC cameras
    take from the monotonic clock. Anything that cannot be a moment just past on that clock is left alone.

    Args:
        position_ms: what OpenCV answers.
        now_ns: ``time.monotonic_ns()`` when the picture was there.
    """
    if not math.isfinite(position_ms) or position_ms <= 0:
        return None
    at_ns = round(position_ms * 1e6)
    return at_ns if 0 <= now_ns - at_ns <= _OLDEST_S * 1e9 else None


class UsbCamera:
    """A USB camera. Found again under another number when it was unplugged and comes back as another device file.

    Args:
        index: N of ``/dev/videoN``.
        settings: how it is to be set.
        sysfs, dev: where Linux lists cameras and keeps their device files.
        open_capture: opens OpenCV's capture of a device; what tests put in the place of hardware.

    Attributes:
        notes: what the camera refused of its settings.
        read_times: see `TellsReads`. ``capture`` runs from the driver's own stamp on the picture where there is one, so
            that it holds the wait in the driver's queue; else it holds the wait for the picture. ``decode`` is JPEG or
            YUYV to RGB.
    """

    def __init__(
        self,
        index: int,
        settings: CameraSettings,
        sysfs: Path = SYSFS,
        dev: Path = DEV,
        open_capture: Callable[[int], cv2.VideoCapture] = lambda index: cv2.VideoCapture(index, cv2.CAP_V4L2),
    ) -> None:
        self._index = index
        self._settings = settings
        self._sysfs, self._dev = sysfs, dev
        self._open_capture = open_capture
        self._capture: cv2.VideoCapture | None = None
        self._first: np.ndarray | None = None
        self._known_as: str | None = None
        self.notes: tuple[str, ...] = ()
        self.read_times: ReadTimes | None = None

    @property
    def name(self) -> str:
        return f"camera:{self._index}"

    def open(self) -> None:
        """Open, set, and read one picture, so that a camera that delivers none is refused here.

        Raises:
            ScalpScopeError: there is no such camera, it may not be opened, is in use, or delivers nothing.
        """
        camera = self._find()
        if not os.access(camera.path, os.R_OK | os.W_OK):
            raise ScalpScopeError(
                f"The camera {camera.name} ({camera.path}) may not be opened by you.",
                "Run: sudo usermod -aG video $USER, then log out and in again.",
            )
        capture = self._open_capture(camera.index)
        if not capture.isOpened():
            raise ScalpScopeError(
                f"The camera {camera.name} ({camera.path}) does not open: another program may be using it.",
                "Close other camera programs, or unplug it and plug it in again.",
            )
        self._known_as = camera.name
        self.notes = self._set(capture, camera)
        for note in self.notes:
            log.warning("%s: %s", self.name, note)
        good, first = capture.read()
        if not good:
            raise ScalpScopeError(
                f"The camera {camera.name} ({camera.path}) opens but delivers no picture.",
                "Unplug it and plug it in again; use a USB port of its own, without a hub.",
            )
        self._first = first
        self._capture = capture

    def read(self) -> np.ndarray:
        """The next picture, (H, W, 3) uint8 RGB. Raises `SourceLost` when the camera is gone or was closed."""
        capture = self._capture
        if capture is None:
            raise SourceLost(f"The camera {self.name} is closed.", "Open it again.")
        began_ns = decode_ns = time.monotonic_ns()
        if self._first is not None:
            bgr, self._first = self._first, None
        else:
            good = capture.grab()
            decode_ns = time.monotonic_ns()
            if good:
                began_ns = stamped_ns(capture.get(cv2.CAP_PROP_POS_MSEC), decode_ns) or began_ns
                good, bgr = capture.retrieve()
            if not good:
                raise SourceLost(f"The camera {self.name} is gone.", "Plug it in again; it is found by itself.")
        if bgr is None or bgr.ndim != 3 or bgr.shape[2] != 3 or bgr.dtype != np.uint8:
            return bgr  # no picture; the session counts it as garbage
        picture = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
        self.read_times = ReadTimes(began_ns, decode_ns)
        return picture

    def close(self) -> None:
        """Release the camera. A read that is under way in another thread keeps it until it returns."""
        # Only the reference: releasing a capture while another thread reads from it crashes in some drivers.
        self._capture = None
        self._first = None

    def _find(self) -> CameraInfo:
        cameras = list_cameras(self._sysfs, self._dev)
        same_number = [camera for camera in cameras if camera.index == self._index]
        same_name = [camera for camera in cameras if camera.name == self._known_as]
        if self._known_as is None:
            candidates = same_number
        else:  # it was open before: the camera matters, not the number under which it came back
            candidates = [camera for camera in same_number if camera in same_name] + same_name
        if candidates:
            return candidates[0]
        others = ", ".join(f"camera:{camera.index} ({camera.name})" for camera in cameras)
        remedy = f"Use one of: {others}." if others else "Plug in the microscope; it is found by itself."
        raise ScalpScopeError(f"There is no camera {self._index}.", remedy)

    def _set(self, capture: cv2.VideoCapture, camera: CameraInfo) -> tuple[str, ...]:
        """Ask for everything, read it back, and return what was refused."""
        settings, notes = self._settings, []
        pixel_format = best_pixel_format(camera.formats, settings)
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*pixel_format.value))
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, settings.width)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, settings.height)
        capture.set(cv2.CAP_PROP_FPS, settings.fps)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 2)  # old pictures in a long queue would be latency
        width, height = capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
        if (width, height) != (settings.width, settings.height):
            notes.append(
                f"delivers {width:.0f} x {height:.0f} pixels; {settings.width} x {settings.height} were asked for"
            )
        if settings.exposure is None:
            capture.set(cv2.CAP_PROP_AUTO_EXPOSURE, _AUTO_EXPOSURE)
        elif not (
            capture.set(cv2.CAP_PROP_AUTO_EXPOSURE, _MANUAL_EXPOSURE)
            and capture.set(cv2.CAP_PROP_EXPOSURE, settings.exposure)
        ):
            notes.append("does not let its exposure be locked")
        if settings.white_balance_k is None:
            capture.set(cv2.CAP_PROP_AUTO_WB, 1)
        elif not (
            capture.set(cv2.CAP_PROP_AUTO_WB, 0) and capture.set(cv2.CAP_PROP_WB_TEMPERATURE, settings.white_balance_k)
        ):
            notes.append("does not let its white balance be locked")
        return tuple(notes)
