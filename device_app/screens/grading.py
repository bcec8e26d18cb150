"""The grades of the picture that is shown: what each row of the panel may say, and which heat map is drawn.

Live, the rows say the newest steady grades, and give way to a dash when those grow old. Frozen, they say the grades of
that very frame, and nothing until those are there. A heat map is drawn on a frozen picture only, on the frame that the
network looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

from device_app.camera.source import Frame
from device_app.live.analysis import Conditions
from device_app.screens.choosing import INSET_GONE_S, LookedAt
from device_app.screens.readings import DASH, Doubt
from device_app.screens.texts import text
from device_app.vision.conditions import Condition, Grade, Severity

Graded = tuple[Frame, Conditions]
_TO_COME = (Doubt.NO_ANALYSIS, Doubt.GRADING)


@dataclass(frozen=True)
class GradeReading:
    """One condition as it is written.

    Attributes:
        condition: which.
        label: its name.
        severity: how many bars are filled; None: none are drawn.
        word: the severity, or that there is none.
        beside: how certain it is, or why there is none.
        lookable: whether there is a heat map of it, or may be one of the picture that a press freezes.
    """

    condition: Condition
    label: str
    severity: Severity | None
    word: str
    beside: str = ""
    lookable: bool = False


def grade_readings(conditions: Conditions | None, doubt: Doubt | None = None) -> tuple[GradeReading, ...]:
    """What the rows say.

    Args:
        conditions: of the picture; None: there are none yet.
        doubt: why none may be stated now, whatever there is.
    """
    return tuple(_reading(condition, conditions, doubt) for condition in Condition)


def _reading(condition: Condition, conditions: Conditions | None, doubt: Doubt | None) -> GradeReading:
    label = text(f"condition_{condition.value}")
    if doubt in (Doubt.TOO_DARK, Doubt.TOO_BRIGHT):
        return GradeReading(condition, label, None, text("cannot_grade"), text(doubt.value))
    if doubt is not None:
        return GradeReading(condition, label, None, DASH, text(doubt.value), doubt in _TO_COME)
    grade = Grade.looking() if conditions is None else conditions.grades[condition]
    if grade.refused is not None:
        return GradeReading(condition, label, None, text("cannot_grade"), text(f"refusal_{grade.refused.value}"))
    if grade.severity is None or grade.certainty is None:
        return GradeReading(condition, label, None, text("looking"), lookable=True)
    sure = certainty_words(grade.certainty)
    return GradeReading(condition, label, grade.severity, text(f"severity_{grade.severity.word}"), sure, True)


def certainty_words(certainty: float) -> str:
    """How sure, 0..1, in whole percent; no network is ever sure."""
    percent = round(100 * certainty)
    return text("certainty_most") if percent > 99 else text("certainty", percent=percent)


class Grading:
    """What the screen knows about the conditions of its picture. Used by the screen's thread only.

    Attributes:
        possible: whether the bundle can grade; False before that is known.
        newest: the newest grades of the live picture, with their frame.
        of_frozen: those of the frozen picture; None: not yet, or there is none.
        failed: the frozen picture could not be graded, for a fault and not for what it shows.
        chosen: whose heat map is wanted.
    """

    def __init__(self) -> None:
        self.possible = False
        self.newest: Graded | None = None
        self._frozen_id: int | None = None
        self.leave()

    def leave(self) -> None:
        """The picture moves again."""
        self._frozen_id = None
        self.of_frozen: Conditions | None = None
        self.failed = False
        self.chosen: Condition | None = None
        self._looked: LookedAt | None = None

    def freeze(self, frame: Frame) -> None:
        """This frame stands still now; grades are taken for it alone."""
        if frame.id != self._frozen_id:
            self.leave()
            self._frozen_id = frame.id

    def take(self, conditions: Conditions | None, failed: bool) -> None:
        """What became of the frozen frame so far. Grades of another frame are passed over."""
        if conditions is not None and conditions.frame_id == self._frozen_id:
            self.of_frozen = conditions
        self.failed = failed and self.of_frozen is None

    @property
    def waiting(self) -> bool:
        """Whether the frozen picture's grades are still to come."""
        return self.possible and self._frozen_id is not None and self.of_frozen is None and not self.failed

    def conditions(self) -> Conditions | None:
        """What the rows are about."""
        if self._frozen_id is not None:
            return self.of_frozen
        return None if self.newest is None else self.newest[1]

    def doubt(self, now_ns: int, working: bool, ended: bool) -> Doubt | None:
        """Why no grade may be stated now, as far as grading itself knows.

        Args:
            now_ns: `time.monotonic_ns()`.
            working: whether there is a worker to grade with.
            ended: whether the source came to its end, so that its last picture may be old.
        """
        if self._frozen_id is not None:
            return Doubt.GRADING if self.waiting else (Doubt.FAILED if self.failed else None)
        if self.newest is None:
            return None  # "looking", until the first
        old = (now_ns - self.newest[0].captured_ns) / 1e9 > INSET_GONE_S
        return Doubt.NO_ANALYSIS if not ended and (old or not working) else None

    # The heat map.
    def toggle(self, condition: Condition) -> None:
        """Draw this condition's heat map, or none if it is drawn already."""
        self.chosen = None if self.chosen is condition else condition

    def looked(self) -> LookedAt | None:
        """The heat map to draw on the frozen picture; None: none is wanted, or it is not there."""
        conditions, chosen = self.of_frozen, self.chosen
        if conditions is None or chosen is None or conditions.grades[chosen].severity is None:
            return None
        name = f"condition_{chosen.value}"
        if self._looked is None or self._looked.name != name:
            self._looked = LookedAt(conditions.frame_id, name, conditions.heat_map(chosen))
        return self._looked
