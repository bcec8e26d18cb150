"""The session's side of the classify lane: which picture is graded when, and what became of it.

The lane has its own pace, a few pictures a second. It grades what the live lane has just analysed, with its mask, on a
thread of the worker that stands back behind the analysis; a frozen picture goes before. What it says of the live
picture is steady (`live.steady`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from device_app.camera.source import Frame
from device_app.live.analysis import Analysis, Conditions
from device_app.live.asked import AskedFrame
from device_app.live.health import SpreadMeter
from device_app.live.messages import Classified, ClassifyFailed, Ready
from device_app.live.place import PlaceWatch
from device_app.live.settings import PipelineSettings
from device_app.live.steady import SteadyGrades

Graded = tuple[Frame, Conditions]

_MOST_LOST = 3  # workers in a row that ended while they graded


@dataclass(frozen=True)
class _Task:
    """What the worker is grading: the frame, whether it was asked for, since when, and which place it shows."""

    frame: Frame
    asked: bool
    since_s: float
    place: int


class ClassifyLane:
    """Used by the keeper's thread; the attributes are read by any.

    Args:
        asked: the one frame that is wanted whatever newer ones come.
        now: seconds on a clock that does not go back.

    Attributes:
        result: the newest steady grades of the live picture with the very frame their heat maps belong to; None before
            the first, and when grading fails.
        problem: why the last picture was not graded; empty while all is well.
        graded: pictures that were graded or refused; failed: those that were neither.
        latency: meter of the time from capture to the conditions at hand, ``latency``, and of the grading, ``grade``.
    """

    def __init__(self, asked: AskedFrame, now: Callable[[], float] = time.monotonic) -> None:
        self.result: Graded | None = None
        self.problem = ""
        self.graded = self.failed = 0
        self.latency = SpreadMeter()
        self._asked = asked
        self._now = now
        self._missing = ""
        self._settings: PipelineSettings | None = None
        self._lost = 0
        self._task: _Task | None = None
        self._due_s = 0.0
        self._last_id: int | None = None
        self._place = PlaceWatch()
        self._watched: int | None = None
        self._steady = SteadyGrades()
        self._last_graded: Frame | None = None

    def begin(self, ready: Ready, settings: PipelineSettings) -> None:
        """A worker is ready: forget what another one said and did.

        A network under which one worker after the other ends is given up until the settings change: the picture goes on
        without grades.
        """
        if settings is not self._settings:
            self._settings, self._lost = settings, 0
        self._missing = ready.conditions_missing
        self.problem = ""
        if self._lost >= _MOST_LOST:
            self._missing = self.problem = f"Grading ended the analysis {self._lost} times, and is left out."
        self._task, self._due_s, self._last_id = None, 0.0, None
        self._place, self._watched, self._steady = PlaceWatch(), None, SteadyGrades()
        self.result, self._last_graded = None, None

    @property
    def idle(self) -> bool:
        """Whether the worker owes no answer."""
        return self._task is None

    def hand_over(self, ready: Ready, settings: PipelineSettings) -> None:
        """Another worker goes on with the same picture: what is known of it stays. Only while `idle`."""
        self._settings, self._lost = settings, 0
        self._missing = ready.conditions_missing
        if self._missing:
            self.result, self._last_graded = None, None

    def end(self) -> None:
        """The worker is gone, and what it was grading with it."""
        if self._task is not None:
            self._task = None
            self._lost += 1

    def next(self, newest: tuple[Frame, Analysis] | None) -> tuple[Frame, Analysis] | None:
        """What to have graded now; None: nothing.

        Args:
            newest: the newest analysis of the live picture.
        """
        if self._missing:
            self._asked.give_up_grading(self._missing)
            return None
        if newest is not None:
            self._watch(newest[0])
        if self._task is not None:
            return None
        now = self._now()
        if (asked := self._asked.take_ungraded()) is not None:
            self._task = _Task(asked[0], True, now, self._place.place)
            return asked
        if newest is None or self._settings is None or newest[0].id == self._last_id or now < self._due_s:
            return None
        self._task = _Task(newest[0], False, now, self._place.place)
        self._due_s, self._last_id = now + self._settings.classify_every_s, newest[0].id
        return newest

    def waited_s(self) -> float:
        """For how long the worker has owed an answer; 0 while it owes none."""
        return 0.0 if self._task is None else self._now() - self._task.since_s

    def take(self, answer: Classified | ClassifyFailed) -> bool:
        """Book the worker's answer; False when it is none to what was asked."""
        frame_id = answer.frame_id if isinstance(answer, ClassifyFailed) else answer.conditions.frame_id
        task, self._task = self._task, None
        if task is None or task.frame.id != frame_id:
            return False
        # A network that is slow for this machine rests as long as it works, however short its turn is.
        now = self._now()
        self._due_s = max(self._due_s, now + (now - task.since_s))
        if isinstance(answer, ClassifyFailed):
            self.failed += 1
            self.problem = f"Frame {frame_id} could not be graded: {answer.problem}"
            if task.asked:
                self._asked.settle_grading(task.frame, None, self.problem)
            else:
                self.result = None  # older grades must not stand for newer pictures
            return True
        self.graded += 1
        self.problem, self._lost = "", 0
        ms = (time.monotonic_ns() - task.frame.captured_ns) / 1e6
        self.latency.add({"latency": ms, "grade": answer.conditions.timings_ms["total"]})
        if task.asked:
            self._asked.settle_grading(task.frame, answer.conditions)
        elif task.place == self._place.place:  # else the microscope has moved on meanwhile
            self.result = self._steadied(task.frame, answer.conditions, task.place)
        return True

    def _watch(self, frame: Frame) -> None:
        """Look at every analysed picture: at another place the grades of the one before are gone at once."""
        if frame.id == self._watched:
            return
        before, self._watched = self._place.place, frame.id
        if self._place.see(frame.image) != before:
            self.result, self._last_graded = None, None

    def _steadied(self, frame: Frame, conditions: Conditions, place: int) -> Graded:
        """The steady grades; while an earlier picture's are held, with that picture."""
        steady = self._steady.see(conditions, frame.captured_ns / 1e9, place)
        if steady.frame_id == frame.id or self._last_graded is None:
            self._last_graded = frame
            return frame, steady
        return self._last_graded, steady
