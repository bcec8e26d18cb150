"""What a camera is to the rest of the app: something that is opened, read frame by frame, and may be lost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from calibration.errors import ScalpScopeError


@dataclass(frozen=True)
class Frame:
    """One picture from a source.

    Attributes:
        id: counts up by one for every frame captured in this session, across reconnections.
        image: (H, W, 3) uint8, RGB. Never written to after the frame is made.
        captured_ns: ``time.monotonic_ns()`` when the frame left the source.
        timings_ms: what came before `captured_ns`, as far as the source tells (`TellsReads`): ``capture``, getting the
            picture, and ``decode``, making RGB of it. Empty for a source that does not tell.
    """

    id: int
    image: np.ndarray
    captured_ns: int
    timings_ms: Mapping[str, float] = field(default_factory=dict, compare=False)


class SourceLost(ScalpScopeError):
    """The source was there and is gone (unplugged, stalled, ended with an error). Opening it again may help."""


class SourceEnded(Exception):
    """A file or folder has no more frames and does not loop."""


@dataclass(frozen=True)
class ReadTimes:
    """When the picture of one `FrameSource.read` came to be, by ``time.monotonic_ns()``.

    Attributes:
        began_ns: the picture began to be got. For a camera whose driver says so, the moment that the driver stamped on
            the picture; for a source that paces itself, the moment that the picture was due; else the call of `read`.
        decode_ns: the picture was there, in the source's own format, and RGB began to be made of it. None: it came as
            RGB.
    """

    began_ns: int
    decode_ns: int | None = None

    def until(self, done_ns: int) -> dict[str, float]:
        """``capture`` and ``decode`` in milliseconds, the last of them ending at `done_ns`.

        Empty where the stamps are out of order: a read that was given up may still write them, late.
        """
        middle_ns = done_ns if self.decode_ns is None else self.decode_ns
        if not self.began_ns <= middle_ns <= done_ns:
            return {}
        timings_ms = {"capture": (middle_ns - self.began_ns) / 1e6}
        if self.decode_ns is not None:
            timings_ms["decode"] = (done_ns - middle_ns) / 1e6
        return timings_ms


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


@runtime_checkable
class TellsReads(Protocol):
    """A source that also tells what a read takes; every source of this package does."""

    @property
    def read_times(self) -> ReadTimes | None:
        """Of the last `FrameSource.read` that gave a picture; None before the first."""
