"""Which picture is shown, and whether an overlay lies on it.

A mask drawn on another picture than its own is a hazard: hair is then outlined where there is none. So a picture and
its overlay travel as one `Shown`, which refuses any other pair, and there are two ways to show a live picture:

- **following**: while the analysis keeps up, the picture shown is the newest *analysed* frame with its own overlay. The
  whole picture is late by the latency (some tens of milliseconds), the overlay lies exactly.
- **ahead**: when the newest analysis is older than `TOO_LATE_S`, the picture shown is the newest frame at the camera's
  rate, bare; the analysed frame with its overlay becomes an inset with its age written on it.

The change to *ahead* comes at once; the way back only after the analysis has kept up for `STEADY_S`, so that the screen
does not flicker between the two. docs/hazards.md, "Stale overlay".
"""

from __future__ import annotations

from dataclasses import dataclass

from device_app.camera.source import Frame
from device_app.live.analysis import Analysis

TOO_LATE_S = 0.25
STEADY_S = 1.5
INSET_GONE_S = 3.0

Result = tuple[Frame, Analysis]


@dataclass(frozen=True)
class Shown:
    """What the picture area shows.

    Attributes:
        frame: the picture.
        analysis: of that very frame; None: no overlay.
        inset: an older analysed frame shown small, with its age; None: nothing.

    Raises:
        ValueError: an analysis of another frame.
    """

    frame: Frame
    analysis: Analysis | None = None
    inset: Result | None = None

    def __post_init__(self) -> None:
        pairs = [(self.frame, self.analysis), self.inset or (self.frame, None)]
        for frame, analysis in pairs:
            if analysis is None:
                continue
            if analysis.frame_id != frame.id:
                raise ValueError(f"the analysis of frame {analysis.frame_id} does not belong on frame {frame.id}")
            if analysis.mask.shape != frame.image.shape[:2]:
                raise ValueError(f"a mask of {analysis.mask.shape} does not belong on a picture of {frame.image.shape}")


class Chooser:
    """Decides what the live screen shows. Used by one thread."""

    def __init__(self) -> None:
        self._late_at_ns: int | None = None

    def choose(self, newest: Frame | None, result: Result | None, now_ns: int) -> Shown | None:
        """What to show now.

        Args:
            newest: the newest frame of the source.
            result: the newest analysis, with its frame.
            now_ns: `time.monotonic_ns()`.

        Returns:
            None while there is no frame at all.
        """
        if result is None:
            return None if newest is None else Shown(newest)
        frame, analysis = result
        age_s = (now_ns - frame.captured_ns) / 1e9
        if age_s > TOO_LATE_S:
            self._late_at_ns = now_ns
        steady = self._late_at_ns is None or (now_ns - self._late_at_ns) / 1e9 >= STEADY_S
        if steady or newest is None or newest.id == frame.id:
            return Shown(frame, analysis)
        return Shown(newest, inset=result if age_s <= INSET_GONE_S else None)
