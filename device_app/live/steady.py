"""Grades of a live picture that do not flicker. Pure: it knows no clock but the times it is given.

The joint probabilities of the pictures of one place are averaged, those of the past counting less and less. The
severity that is shown is the median of the mean (`vision.conditions.severity_of`), with hysteresis: it changes only
when the cumulative probability of a severity is further than a margin beyond even odds. A picture that must not be
judged is passed over for a moment, then said. At another place everything begins anew.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from device_app.live.analysis import Conditions
from device_app.vision.conditions import Condition, Grade, Refusal, Severity

TIME_CONSTANT_S = 1.5
"""After so long a picture counts 1/e of what it did."""

MARGIN = 0.1
"""How far beyond even odds the mean must be before another severity is shown."""

HOLD_S = 1.0
"""For how long the last grades are held while pictures are refused."""

PICTURES_TO_LOOK_AT = 3
"""So many pictures of a place are looked at before a severity within the margin of another one is shown."""


class SteadyGrades:
    """Turns the grades of picture after picture into steady ones."""

    def __init__(self) -> None:
        self._place: int | None = None
        self._mean = np.zeros((len(Condition), len(Severity)))
        self._weight = 0.0
        self._count = 0
        self._last_s = 0.0
        self._last: Conditions | None = None
        self._shown: dict[Condition, Severity] = {}
        self._reason: Refusal | None = None
        self._before: Refusal | None = None

    def see(self, conditions: Conditions, at_s: float, place: int) -> Conditions:
        """Take in the next picture's conditions.

        Args:
            conditions: of that picture alone.
            at_s: when it was captured, in seconds on any clock.
            place: which place of the scalp it shows; the mean is of one place.

        Returns:
            The same with steady grades and the mean probabilities. A condition whose severity is not settled yet has
            `Grade.looking`. While pictures are refused, and not yet said to be, the last conditions that were not:
            their `frame_id` tells.
        """
        if place != self._place:
            self._place = place
            self._begin_anew()
        if conditions.refused is not None or conditions.probabilities is None:
            return self._refused(conditions, at_s)
        self._weigh(conditions.probabilities, at_s)
        grades = {}
        for row, (condition, own) in enumerate(conditions.grades.items()):
            # Not claimed to be gradable: that is so in every picture.
            grades[condition] = own if own.refused is not None else self._grade(condition, row)
        self._last = replace(conditions, grades=grades, probabilities=self._mean.copy())
        self._last_s = at_s
        self._reason = self._before = None
        return self._last

    def _begin_anew(self) -> None:
        self._mean = np.zeros_like(self._mean)
        self._weight, self._count, self._last = 0.0, 0, None
        self._shown = {}
        self._reason = self._before = None

    def _weigh(self, probabilities: np.ndarray, at_s: float) -> None:
        """The mean of all pictures, each weighing less the older it is."""
        past = self._weight * np.exp(-max(0.0, at_s - self._last_s) / TIME_CONSTANT_S) if self._count else 0.0
        self._weight = past + 1.0
        self._mean += (probabilities - self._mean) / self._weight
        self._count += 1

    def _grade(self, condition: Condition, row: int) -> Grade:
        mean = self._mean[row]
        reached = np.cumsum(mean)
        # The least severity that is reached with these odds: the median, were the odds even.
        low, median, high = (int(np.argmax(reached >= odds)) for odds in _ODDS)
        if condition in self._shown:
            severity = Severity(min(max(self._shown[condition], low), high))
        elif low == high or self._count >= PICTURES_TO_LOOK_AT:
            severity = Severity(median)
        else:
            return Grade.looking()
        self._shown[condition] = severity
        good, mild, moderate, severe = (float(p) for p in mean)
        return Grade(1.0 - good, severity, (good, mild, moderate, severe), float(mean[severity]))

    def _refused(self, conditions: Conditions, at_s: float) -> Conditions:
        if self._last is not None and at_s - self._last_s <= HOLD_S:
            return self._last
        if self._last is not None:  # held for long enough: what comes after the refusal is looked at afresh
            self._begin_anew()
        # A reason is said until another one comes twice in a row.
        new = conditions.refused
        if self._reason is None or new is self._reason or new is self._before:
            self._reason = new
        self._before = new
        assert self._reason is not None
        grades = {condition: Grade.refusal(self._reason) for condition in conditions.grades}
        return replace(conditions, grades=grades, probabilities=None, refused=self._reason)


_ODDS = (0.5 - MARGIN, 0.5 - 1e-9, 0.5 + MARGIN)
