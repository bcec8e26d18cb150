"""What a camera is to the rest of the app: something that is opened, read frame by frame, and may be lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from calibration.errors import ScalpScopeError


@dataclass(frozen=True)
class Frame:
    """One picture from a source.

    Attributes:
        id: counts up by one for every frame captured in this session, across reconnections.
        image: (H, W, 3) uint8, RGB. Never written to after the frame is made.
        captured_ns: ``time.monotonic_ns()`` when the frame left the source.
    """

    id: int
    image: np.ndarray
    captured_ns: int


class SourceLost(ScalpScopeError):
    """The source was there and is gone (unplugged, stalled, ended with an error). Opening it again may help."""


class SourceEnded(Exception):
    """A file or folder has no more frames and does not loop."""


class FrameSource(Protocol):
    """A camera, a video file, a folder of images, or the demo scalp."""

    @property
    def name(self) -> str:
        """What the screen and the reports call this source, such as ``demo`` or ``camera:0``."""

    def open(self) -> None:
        """Start delivering. May be called again after `SourceLost` or `close`.

        Raises:
            ScalpScopeError: the source cannot be opened; says why and what to do.
        """

    def read(self) -> np.ndarray:
        """Wait for the next picture: (H, W, 3) uint8 RGB, a fresh array that the caller owns.

        Live sources pace themselves at their own rate. Raises `SourceLost` or `SourceEnded`.
        """

    def close(self) -> None:
        """Release the device. Safe to call twice and from another thread than the reader's."""
