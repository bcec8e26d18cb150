"""A recorded video as a source, at its own pace."""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path

import cv2
import numpy as np

from calibration.errors import ScalpScopeError
from device_app.camera.pacing import Pacer
from device_app.camera.source import ReadTimes, SourceEnded, SourceLost

log = logging.getLogger(__name__)
_USUAL_FPS = 30.0
_SHORT = 0.9  # a file that ends before this part of its announced pictures is damaged


class VideoFile:
    """A video file.

    Args:
        path: the file.
        loop: begin again at its end instead of ending.
        paced: deliver at the file's own rate; False: as fast as it is read.

    Attributes:
        read_times: see `TellsReads`. ``capture`` is to read and uncompress the next picture, ``decode`` to make RGB of
            it; that of the first picture after `open` tells of its colours alone.
    """

    def __init__(self, path: Path, loop: bool = True, paced: bool = True) -> None:
        self._path = Path(path)
        self._loop = loop
        self._paced = paced
        self._capture: cv2.VideoCapture | None = None
        self._first: np.ndarray | None = None
        self._pacer = Pacer(_USUAL_FPS)
        self._read_count = 0
        self.read_times: ReadTimes | None = None

    @property
    def name(self) -> str:
        return self._path.name

    def open(self) -> None:
        """Open the file and read its first picture, so that a file without one is refused here.

        Raises:
            ScalpScopeError: there is no such file, or no picture can be read from it.
        """
        if not self._path.is_file():
            raise ScalpScopeError(f"There is no file '{self._path}'.", "Check the name and the folder.")
        if self._path.stat().st_size == 0:
            raise ScalpScopeError(f"The file '{self._path}' is empty.", "Record or copy it again.")
        capture = cv2.VideoCapture(str(self._path), cv2.CAP_FFMPEG)
        good, first = capture.read() if capture.isOpened() else (False, None)
        if not good:
            raise ScalpScopeError(
                f"The file '{self._path}' cannot be played: it is no video, truncated or damaged.",
                "Copy it again, or convert it to MP4.",
            )
        fps = capture.get(cv2.CAP_PROP_FPS)
        self._pacer = Pacer(fps if math.isfinite(fps) and 1.0 <= fps <= 240.0 else _USUAL_FPS)
        self._read_count = 0
        self._first = first
        self._capture = capture

    def read(self) -> np.ndarray:
        """The next picture, (H, W, 3) uint8 RGB.

        Raises:
            SourceEnded: the file is over and does not loop.
            SourceLost: the file breaks off well before its announced end, or was closed.
        """
        capture, pacer = self._capture, self._pacer
        if capture is None or (self._paced and not pacer.wait()):
            raise SourceLost(f"The video '{self.name}' is closed.", "Open it again.")
        began_ns = decode_ns = time.monotonic_ns()
        bgr: np.ndarray | None = None
        if self._first is not None:
            bgr, self._first = self._first, None
        elif capture.grab():
            decode_ns = time.monotonic_ns()
            good, bgr = capture.retrieve()
            bgr = bgr if good else None
        if bgr is not None:
            self._read_count += 1
            picture = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
            self.read_times = ReadTimes(began_ns, decode_ns)
            return picture
        announced = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        if self._read_count < _SHORT * announced:
            raise SourceLost(
                f"The video '{self.name}' breaks off after {self._read_count} of {announced:.0f} pictures: it is "
                "truncated or damaged.",
                "Copy it again.",
            )
        if not self._loop:
            raise SourceEnded(f"The video '{self.name}' is over.")
        self._capture = None
        self.open()
        return self.read()

    def close(self) -> None:
        """Let go of the file and wake a waiting reader."""
        # Only the reference: the file is closed when a read that is still under way in another thread lets go, too.
        self._capture = None
        self._first = None
        self._pacer.close()
