"""The refinement of the frozen picture: whether it works, what came of it, what is drawn of it, what was corrected.

Everything here belongs to one frozen frame and is forgotten when the picture moves again. A refinement that the
session made by itself, because the live picture stood still, is not drawn on the live picture: stillness is judged on
the picture as a whole, and something small that moves in it would be hidden. It is offered, and taken by freezing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from device_app.camera.source import Frame
from device_app.live.refine_requests import RefineState, RefineStatus
from device_app.live.refinement import Correction, Refinement
from device_app.screens.choosing import Layer
from device_app.screens.notices import RefineFacts
from device_app.screens.readings import Made


class Refiner(Protocol):
    """What a `LiveSession` offers for refining."""

    def refine(self, frame: Frame, corrections: Sequence[Correction] = ()) -> None:
        """Have this frame refined."""

    def cancel_refinement(self) -> None:
        """Take the request back."""

    def refinement(self) -> RefineStatus | None:
        """The request made last, and what became of it."""


class Refining:
    """What the screen knows about refining. Used by the screen's thread only; no method blocks.

    Args:
        session: refines.

    Attributes:
        missing: why the bundle cannot refine; empty when it can, and before that is known.
        result: the refinement of the frozen picture; None: it has none.
        latency_ms: from the request to that result.
        problem: why the last request came to nothing; empty otherwise.
        corrections: what was corrected by hand, in order; ahead of the result while that is under way.
        layer: which mask is drawn.
        points: whether the prompt points are drawn.
        correcting: whether fingers on the picture correct.
    """

    def __init__(self, session: Refiner) -> None:
        self._session = session
        self._outdated = 0
        self.missing = ""
        self._clear()

    def _clear(self) -> None:
        self._frame: Frame | None = None
        self._status: RefineStatus | None = None
        self.result: Refinement | None = None
        self.latency_ms: float | None = None
        self.problem = ""
        self.corrections: tuple[Correction, ...] = ()
        self.layer = Layer.HAIR
        self.points = self.correcting = False

    # The request.
    def start(self, frame: Frame) -> None:
        """Have the frozen picture refined, if the bundle can."""
        if not self.missing:
            self._frame = frame
            self._ask()

    def cancel(self) -> None:
        """Stop the work; what was there before stays."""
        self._session.cancel_refinement()
        self.take()

    def leave(self) -> None:
        """The picture moves again."""
        if self._frame is not None:
            self._session.cancel_refinement()
        self._clear()

    def take(self) -> None:
        """See what became of the request."""
        status = self._session.refinement()
        frame = self._frame
        if frame is None or status is None or status.by_itself or status.frame.id != frame.id:
            self._status = None
            return
        self._status = status
        if status.pending or (self.result is not None and self.result.corrections == status.corrections):
            return
        if status.result is not None:
            self.result, self.latency_ms = status.result, status.latency_ms
        else:
            # What is drawn has to be what the mask was made with.
            self.corrections = () if self.result is None else self.result.corrections
            self.problem = status.problem if status.state is RefineState.FAILED else ""

    @property
    def working(self) -> bool:
        """Whether a result is under way that differs from the one that is there."""
        return self._status is not None and self._status.pending and not self._answered

    @property
    def owes_correction(self) -> bool:
        """Whether the result does not yet hold what was corrected."""
        return self.result is not None and not self._answered

    @property
    def _answered(self) -> bool:
        return self.result is not None and self.result.corrections == self.corrections

    def _ask(self) -> None:
        assert self._frame is not None
        self.problem = ""
        self._session.refine(self._frame, self.corrections)
        self._status = self._session.refinement()

    # Still moments.
    def ready(self) -> RefineStatus | None:
        """The refinement of the still live picture, finished; None: there is none."""
        status = self._session.refinement()
        fresh = status is not None and status.by_itself and status.request > self._outdated
        return status if self._frame is None and fresh and status is not None and status.result is not None else None

    def adopt(self, ready: RefineStatus) -> None:
        """Freeze took this one."""
        self._frame, self.result, self.latency_ms = ready.frame, ready.result, ready.latency_ms
        # What a still moment gave is gone when the picture moves; asked for once more, which takes the decoder's time
        # only, it stays at hand for corrections.
        self._ask()

    def forget_still(self) -> None:
        """Pictures are measured in another way from now on: what a still moment gave before does not count."""
        status = self._session.refinement()
        if status is not None:
            self._outdated = status.request

    # What is drawn, and corrections.
    def choose(self, layer: Layer) -> None:
        """Draw this mask. Corrections have no effect on the coarse one: over it, fingers do not correct."""
        self.layer = layer
        self.correcting = self.correcting and layer is not Layer.COARSE

    def toggle_points(self) -> None:
        """Draw the prompt points, or do not."""
        self.points = not self.points

    def toggle_correcting(self) -> None:
        """Let fingers on the refined picture correct, or no longer."""
        self.correcting = not self.correcting and self.result is not None
        if self.correcting and self.layer is Layer.COARSE:
            self.layer = Layer.HAIR

    def correct(self, x: float, y: float, hair: bool) -> None:
        """A finger says: here is a hair, or here is none. Pixels of the picture."""
        if self.correcting and self.result is not None:
            self.corrections = (*self.corrections, Correction(float(x), float(y), hair))
            self._ask()

    def undo(self) -> None:
        """Take the last correction back."""
        if self.corrections:
            self.corrections = self.corrections[:-1]
            self._ask()

    # What is told.
    @property
    def made(self) -> Made:
        """How the mask was made that the figures are of."""
        if self.result is None:
            return Made.COARSE
        return Made.CORRECTED if self.result.corrections else Made.REFINED

    def facts(self, now_s: float) -> RefineFacts:
        """What the notices need to know. `now_s`: `time.monotonic()`."""
        status, working = self._status, self.working
        return RefineFacts(
            seconds=max(0.0, now_s - status.asked_s) if working and status is not None else None,
            again=working and status is not None and status.attempts > 1,
            refined=self.result is not None,
            corrections=0 if self.result is None else len(self.result.corrections),
            other_mask=self.result is not None and self.layer is not Layer.HAIR,
            correcting=self.correcting,
            problem="" if self.missing else self.problem,
            ready=self.ready() is not None,
        )
