"""One frame that somebody wants analysed and graded, whatever newer ones come: a frozen picture."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

from device_app.camera.source import Frame
from device_app.live.analysis import Analysis, Conditions

_ATTEMPTS = 3


@dataclass(frozen=True)
class Asked:
    """What became of the frame that was asked for.

    Attributes:
        frame: the very frame.
        analysis: of it; None until it is there.
        problem: why there will be none; empty otherwise.
        attempts: how often a worker took it up. One that ends worker after worker is given up.
        conditions: of it, of this picture alone; None until they are there, which is after the analysis.
        conditions_problem: why there will be none; empty otherwise.
        grading_attempts: how often a worker took up the grading.
    """

    frame: Frame
    analysis: Analysis | None = None
    problem: str = ""
    attempts: int = 0
    conditions: Conditions | None = None
    conditions_problem: str = ""
    grading_attempts: int = 0


class AskedFrame:
    """The slot for it. The newest question wins. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: Asked | None = None

    def ask(self, frame: Frame | None) -> None:
        """Want this frame analysed, and forget the one before; None: want none."""
        with self._lock:
            self._asked = None if frame is None else Asked(frame)

    def get(self) -> Asked | None:
        """What is asked for, and what became of it."""
        return self._asked

    def take(self) -> Frame | None:
        """The frame to analyse now; None when none waits. Counts as an attempt."""
        with self._lock:
            asked = self._asked
            if asked is None or asked.analysis is not None or asked.problem:
                return None
            if asked.attempts >= _ATTEMPTS:
                self._asked = replace(asked, problem="The analysis ended every time it tried this picture.")
                return None
            self._asked = replace(asked, attempts=asked.attempts + 1)
            return asked.frame

    def afresh(self) -> None:
        """What ended the workers is left out from now on: the attempts so far do not count."""
        with self._lock:
            if self._asked is not None:
                self._asked = replace(self._asked, attempts=0, grading_attempts=0)

    def settle(self, frame: Frame, analysis: Analysis | None, problem: str = "") -> None:
        """Book the outcome, unless something else is asked for by now."""
        with self._lock:
            if self._asked is not None and self._asked.frame is frame:
                self._asked = replace(self._asked, analysis=analysis, problem=problem)

    def take_ungraded(self) -> tuple[Frame, Analysis] | None:
        """The frame to grade now, with its analysis; None when none waits. Counts as an attempt."""
        with self._lock:
            asked = self._asked
            if asked is None or asked.analysis is None or asked.conditions is not None or asked.conditions_problem:
                return None
            if asked.grading_attempts >= _ATTEMPTS:
                problem = "The analysis ended every time it tried to grade this picture."
                self._asked = replace(asked, conditions_problem=problem)
                return None
            self._asked = replace(asked, grading_attempts=asked.grading_attempts + 1)
            return asked.frame, asked.analysis

    def settle_grading(self, frame: Frame, conditions: Conditions | None, problem: str = "") -> None:
        """Book the outcome of the grading, unless something else is asked for by now."""
        with self._lock:
            if self._asked is not None and self._asked.frame is frame:
                self._asked = replace(self._asked, conditions=conditions, conditions_problem=problem)

    def give_up_grading(self, problem: str) -> None:
        """Whatever is asked for will not be graded, unless it was already."""
        with self._lock:
            if self._asked is not None and self._asked.conditions is None and not self._asked.conditions_problem:
                self._asked = replace(self._asked, conditions_problem=problem)
