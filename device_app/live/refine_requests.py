"""The one picture that is wanted refined, and what became of it. The newest wish wins."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

from device_app.camera.source import Frame
from device_app.live.health import SpreadMeter

if TYPE_CHECKING:
    from device_app.live.refinement import Correction, Refinement

ATTEMPTS = 3
GIVEN_UP = "The refinement ended every time it tried this picture."


class RefineState(str, Enum):
    """Where a request for a refinement stands."""

    WAITING = "waiting"  # for the refine process, or for an earlier request to let go of it
    WORKING = "working"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


REFINE_TRANSITIONS: Mapping[RefineState, frozenset[RefineState]] = {
    RefineState.WAITING: frozenset({RefineState.WORKING, RefineState.FAILED, RefineState.CANCELLED}),
    RefineState.WORKING: frozenset(
        {RefineState.WAITING, RefineState.DONE, RefineState.FAILED, RefineState.CANCELLED}  # WAITING: its process died
    ),
    RefineState.DONE: frozenset(),
    RefineState.FAILED: frozenset(),
    RefineState.CANCELLED: frozenset(),
}


@dataclass(frozen=True)
class RefineStatus:
    """What became of the picture that was asked for last.

    Attributes:
        frame: the very frame. The result belongs to it and to no other.
        corrections: the clinician's taps that came with the request.
        state: where it stands.
        result: the refinement; None until it is done.
        problem: why there is none yet or will be none; empty otherwise.
        latency_ms: from the request to the result; None until it is done.
        by_itself: the session asked, because the picture stood still.
        request: number of the request, from 1.
        asked_s: ``time.monotonic()`` when it was asked for.
        attempts: how often the refine process took it up. One that ends process after process is given up.
    """

    frame: Frame
    corrections: tuple[Correction, ...] = ()
    state: RefineState = RefineState.WAITING
    result: Refinement | None = None
    problem: str = ""
    latency_ms: float | None = None
    by_itself: bool = False
    request: int = 0
    asked_s: float = 0.0
    attempts: int = 0

    @property
    def pending(self) -> bool:
        """Whether there is still something to come."""
        return bool(REFINE_TRANSITIONS[self.state])

    def moved(self, to: RefineState, **changes: Any) -> RefineStatus:
        """This status in another state.

        Raises:
            ValueError: `to` may not follow the present state.
        """
        if to not in REFINE_TRANSITIONS[self.state]:
            raise ValueError(f"{self.state} cannot become {to}")
        return replace(self, state=to, **changes)


@dataclass(frozen=True)
class RefineCounts:
    """What became of all requests of a session: asked = done + cancelled + failed + pending.

    Attributes:
        by_itself: those among `asked` that came from still moments.
    """

    asked: int = 0
    done: int = 0
    cancelled: int = 0
    failed: int = 0
    pending: int = 0
    by_itself: int = 0


class RefineRequests:
    """The slot for the request. Thread-safe.

    Somebody's request holds the slot, finished or not, until the next one or until it is cancelled: a still moment
    takes nobody's result away.

    Attributes:
        latency: meter of the requests that were done.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._status: RefineStatus | None = None
        self._held = False
        self._counts = RefineCounts()
        self.latency = SpreadMeter()

    def ask(self, frame: Frame, corrections: tuple[Correction, ...] = (), missing: str = "") -> RefineStatus:
        """Want this frame refined; a request that is still pending is cancelled.

        Args:
            frame: what to refine.
            corrections: points that somebody added by hand.
            missing: why it is known already that it cannot be; the request has failed with it at once.
        """
        with self._changed:
            return self._ask(frame, corrections, missing, by_itself=False)

    @property
    def free(self) -> bool:
        """Whether a still moment may ask: nobody holds the slot, and nothing is pending."""
        return not self._held and (self._status is None or not self._status.pending)

    def ask_by_itself(self, frame: Frame) -> bool:
        """The same for a still moment, unless somebody's request is there. Returns whether it was taken."""
        with self._changed:
            if not self.free:
                return False
            self._ask(frame, (), "", by_itself=True)
            return True

    def _ask(self, frame: Frame, corrections: tuple[Correction, ...], missing: str, by_itself: bool) -> RefineStatus:
        self._cancel("Another picture was asked for.")
        number = self._counts.asked + 1
        status = RefineStatus(frame, corrections, by_itself=by_itself, request=number, asked_s=time.monotonic())
        self._counts = replace(self._counts, asked=number, by_itself=self._counts.by_itself + by_itself)
        self._status, self._held = status, not by_itself
        if missing:
            self._end(RefineState.FAILED, problem=missing)
        self._changed.notify_all()
        return self._status

    def cancel(self, problem: str = "It was cancelled.") -> None:
        """End the pending request, whoever made it, and give the slot free. What is done stays to be looked at."""
        with self._changed:
            self._cancel(problem)
            self._held = False

    def drop_still(self) -> None:
        """The picture moved: what was refined because it stood still is cancelled or forgotten."""
        with self._changed:
            if self._status is not None and self._status.by_itself:
                self._cancel("The picture moved.")
                self._status = None

    def get(self) -> RefineStatus | None:
        """The request that was made last, and what became of it; None when there is none."""
        return self._status

    def counts(self) -> RefineCounts:
        """What became of all of them."""
        with self._changed:
            pending = self._status is not None and self._status.pending
            return replace(self._counts, pending=int(pending))

    def take(self, timeout_s: float) -> RefineStatus | None:
        """Wait for a request to work on; None when none came in time. Counts as an attempt.

        A request that has used up its attempts is failed here, with what went wrong the last time.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._waiting() is not None, timeout_s)
            status = self._waiting()
            if status is None:
                return None
            if status.attempts >= ATTEMPTS:
                self._end(RefineState.FAILED, problem=f"{GIVEN_UP} {status.problem}".rstrip())
                return None
            self._status = status.moved(RefineState.WORKING, attempts=status.attempts + 1)
            return self._status

    def wanted(self, request: int) -> bool:
        """Whether this request is still the one to work on."""
        status = self._status
        return status is not None and status.request == request and status.pending

    def again(self, request: int, problem: str, afresh: bool = False) -> None:
        """The process that worked on it is gone: it waits for the next one.

        Args:
            request: its number.
            problem: how the process ended.
            afresh: what ended it is left out from now on: the attempts so far do not count.
        """
        with self._changed:
            if self.wanted(request) and self._status is not None:
                attempts = 0 if afresh else self._status.attempts
                self._status = self._status.moved(RefineState.WAITING, problem=problem, attempts=attempts)

    def settle(self, request: int, result: Refinement | None, problem: str = "") -> None:
        """Book the outcome, unless the request is no longer wanted."""
        with self._changed:
            if not self.wanted(request) or self._status is None:
                return
            if result is None:
                self._end(RefineState.FAILED, problem=problem)
                return
            latency_ms = (time.monotonic() - self._status.asked_s) * 1000
            self.latency.add({"latency": latency_ms})
            self._end(RefineState.DONE, result=result, problem="", latency_ms=latency_ms)

    def _waiting(self) -> RefineStatus | None:
        return self._status if self._status is not None and self._status.state is RefineState.WAITING else None

    def _cancel(self, problem: str) -> None:
        if self._status is not None and self._status.pending:
            self._end(RefineState.CANCELLED, problem=problem)

    def _end(self, state: RefineState, **changes: Any) -> None:
        assert self._status is not None
        self._status = self._status.moved(state, **changes)
        self._counts = replace(self._counts, **{state.value: getattr(self._counts, state.value) + 1})
