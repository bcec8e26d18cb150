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
from enum import Enum

import numpy as np

from device_app.camera.source import Frame
from device_app.live.analysis import Analysis
from device_app.live.refinement import Refinement

TOO_LATE_S = 0.25
STEADY_S = 1.5
INSET_GONE_S = 3.0

Result = tuple[Frame, Analysis]


class Layer(str, Enum):
    """Which mask of a refined picture is drawn. The figures and the hair lines are those of `HAIR`, whatever is."""

    COARSE = "coarse"  # M̂, of the hair network
    SAM = "sam"  # M_AP
    HAIR = "hair"  # M, of both


@dataclass(frozen=True)
class LookedAt:
    """Where a network looked in one frame.

    Attributes:
        frame_id: `Frame.id` of the picture it belongs to.
        name: what it looked for; a key into the table of texts.
        heat: (h, w) float32, 0..1: the picture from edge to edge, coarse.
    """

    frame_id: int
    name: str
    heat: np.ndarray


@dataclass(frozen=True)
class Shown:
    """What the picture area shows.

    Attributes:
        frame: the picture.
        analysis: of that very frame; None: no overlay.
        inset: an older analysed frame shown small, with its age; None: nothing.
        refinement: of that very frame, `analysis` being its own; None: not refined.
        layer: which mask of a refined picture is drawn.
        looked: where a network looked in that very frame, drawn in place of mask and hair lines; None: not drawn.

    Raises:
        ValueError: an analysis, a refinement or a heat map of another frame.
    """

    frame: Frame
    analysis: Analysis | None = None
    inset: Result | None = None
    refinement: Refinement | None = None
    layer: Layer = Layer.HAIR
    looked: LookedAt | None = None

    @classmethod
    def refined(cls, frame: Frame, refinement: Refinement, layer: Layer = Layer.HAIR) -> Shown:
        """A refined picture."""
        return cls(frame, refinement.analysis, None, refinement, layer)

    @property
    def mask(self) -> np.ndarray | None:
        """(H, W) uint8, what is tinted; None: nothing."""
        if self.looked is not None:
            return None
        if self.refinement is not None and self.layer is Layer.COARSE:
            return self.refinement.coarse_mask
        if self.refinement is not None and self.layer is Layer.SAM:
            return self.refinement.refined_mask
        return None if self.analysis is None else self.analysis.mask

    @property
    def lined(self) -> Analysis | None:
        """Whose hair lines are drawn: none over a mask that they were not traced in."""
        return self.analysis if self.layer is Layer.HAIR and self.looked is None else None

    def __post_init__(self) -> None:
        self._check_refinement()
        if self.looked is not None and self.looked.frame_id != self.frame.id:
            raise ValueError(f"the heat map of frame {self.looked.frame_id} does not belong on frame {self.frame.id}")
        pairs = [(self.frame, self.analysis), self.inset or (self.frame, None)]
        for frame, analysis in pairs:
            if analysis is None:
                continue
            if analysis.frame_id != frame.id:
                raise ValueError(f"the analysis of frame {analysis.frame_id} does not belong on frame {frame.id}")
            if analysis.mask.shape != frame.image.shape[:2]:
                raise ValueError(f"a mask of {analysis.mask.shape} does not belong on a picture of {frame.image.shape}")

    def _check_refinement(self) -> None:
        refinement, frame = self.refinement, self.frame
        if refinement is None:
            return
        if refinement.frame_id != frame.id:
            raise ValueError(f"the refinement of frame {refinement.frame_id} does not belong on frame {frame.id}")
        if self.analysis is not refinement.analysis:
            raise ValueError("a refined picture has the figures of its refinement and no others")
        for mask in (refinement.coarse_mask, refinement.refined_mask, refinement.mask):
            if mask.shape != frame.image.shape[:2]:
                raise ValueError(f"a mask of {mask.shape} does not belong on a picture of {frame.image.shape}")


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
