"""Pictures from files as a source: a folder shown one after the other, or a single picture that stays."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import numpy as np

from calibration.errors import ScalpScopeError
from device_app.camera.pacing import Pacer
from device_app.camera.source import ReadTimes, SourceEnded, SourceLost
from device_app.images import find_images, read_image

log = logging.getLogger(__name__)


class ImageFiles:
    """Pictures shown one after the other, in the order of their names.

    A picture that cannot be read is passed over with a warning; when none can be read, the source cannot be opened.

    Args:
        path: a folder of pictures, or one picture.
        seconds_each: how long each is shown.
        loop: begin again after the last instead of ending.
        fps: how often a picture that is being shown is delivered; it is a live source like any other.

    Attributes:
        read_times: see `TellsReads`. Reading and decoding a file is one step, ``capture``; between two files it is the
            copy of the picture that is being shown.
    """

    def __init__(self, path: Path, seconds_each: float = 2.0, loop: bool = True, fps: float = 10.0) -> None:
        self._path = Path(path)
        self._times_each = max(1, round(seconds_each * fps))
        self._loop = loop
        self._fps = fps
        self._files: list[Path] = []
        self._pacer: Pacer | None = None
        self._next_file = 0
        self._shown = 0
        self._image: np.ndarray | None = None
        self.read_times: ReadTimes | None = None

    @property
    def name(self) -> str:
        return self._path.name

    def open(self) -> None:
        """List the files and read the first good one. Raises `ScalpScopeError` when there is none."""
        self._files = find_images([self._path])
        self._next_file = 0
        self._pacer = Pacer(self._fps)
        self._image = self._next_image()
        if self._image is None:
            raise self._nothing_readable()

    def read(self) -> np.ndarray:
        """The picture that is being shown, (H, W, 3) uint8 RGB.

        Raises:
            SourceEnded: the last was shown and the source does not loop.
            SourceLost: the source is closed, or none of its files can be read any more.
        """
        pacer, image = self._pacer, self._image
        if pacer is None or image is None or not pacer.wait():
            raise SourceLost(f"The pictures of '{self.name}' are closed.", "Open them again.")
        began_ns = time.monotonic_ns()
        if self._shown >= self._times_each:
            image = self._next_image()
            if image is None:
                if not self._loop:
                    raise SourceEnded(f"The pictures of '{self.name}' are over.")
                self._next_file = 0
                image = self._next_image()
            if image is None:
                raise self._nothing_readable()
            self._image = image
        self._shown += 1
        picture = image.copy()
        self.read_times = ReadTimes(began_ns)
        return picture

    def close(self) -> None:
        """Let go of the pictures and wake a waiting reader."""
        pacer, self._pacer = self._pacer, None
        if pacer is not None:
            pacer.close()

    def _next_image(self) -> np.ndarray | None:
        """The next good picture, or None after the last file."""
        self._shown = 0
        while self._next_file < len(self._files):
            path = self._files[self._next_file]
            self._next_file += 1
            try:
                return read_image(path)
            except ScalpScopeError as error:
                log.warning("passed over: %s", error)
        return None

    def _nothing_readable(self) -> SourceLost:
        return SourceLost(
            f"None of the {len(self._files)} pictures of '{self._path}' can be read.",
            "Name a folder with good pictures, or a picture.",
        )
