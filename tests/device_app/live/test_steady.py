"""Steady grades: what holds for any run of pictures, and a few runs written out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_app.live.analysis import Conditions
from device_app.live.steady import HOLD_S, MARGIN, PICTURES_TO_LOOK_AT, TIME_CONSTANT_S, SteadyGrades
from device_app.vision.conditions import Condition, Grade, Refusal, Severity, grade, severity_of

EVERY_S = 0.5
CLAIMED = dict.fromkeys(Condition, True)
Odds = tuple[float, float, float, float]


def conditions(
    odds: Odds | None, number: int = 0, refused: Refusal | None = None, claimed: dict[Condition, bool] = CLAIMED
) -> Conditions:
    """Of one picture, all three conditions alike; without odds it is refused."""
    joint = np.tile(np.array(odds or (1, 0, 0, 0), np.float64), (3, 1))
    reason = refused or (None if odds is not None else Refusal.OUT_OF_FOCUS)
    return Conditions(
        frame_id=number,
        grades=grade(joint, reason, claimed),
        probabilities=None if reason else joint,
        heat_maps=np.zeros((3, 2, 2), np.float32),
        refused=reason,
        timings_ms={"total": 1.0},
        bundle="tiny 1",
        backend="onnxruntime-cpu fp32",
        demonstration=True,
    )


def run(pictures: list[Odds | Refusal], places: list[int] | None = None, every_s: float = EVERY_S) -> list[Grade]:
    """The dandruff that is shown after each picture."""
    steady, shown = SteadyGrades(), []
    for number, (picture, place) in enumerate(zip(pictures, places or [1] * len(pictures))):
        own = conditions(None, number, picture) if isinstance(picture, Refusal) else conditions(picture, number)
        shown.append(steady.see(own, number * every_s, place).grades[Condition.DANDRUFF])
    return shown


def odds_of(values: list[float]) -> Odds:
    total = sum(values)
    return tuple(value / total for value in values)  # type: ignore[return-value]


ODDS = st.lists(st.floats(0.001, 1), min_size=4, max_size=4).map(odds_of)
RUNS = st.lists(ODDS, min_size=1, max_size=20)
SURE_GOOD: Odds = (0.9, 0.1, 0.0, 0.0)
SURE_SEVERE: Odds = (0.0, 0.0, 0.1, 0.9)
TORN: Odds = (0.45, 0.55, 0.0, 0.0)  # within the margin: good or mild
TORN_THE_OTHER_WAY: Odds = (0.55, 0.45, 0.0, 0.0)


@settings(deadline=None)
@given(odds=ODDS, count=st.integers(1, 12), every_s=st.floats(0.05, 3))
def test_the_same_picture_again_and_again_says_the_same(odds: Odds, count: int, every_s: float) -> None:
    shown = run([odds] * count, every_s=every_s)
    expected = Grade.of(np.array(odds))
    for own in shown[PICTURES_TO_LOOK_AT - 1 :]:
        assert own.severity == severity_of(np.array(odds))
        assert own.certainty == pytest.approx(expected.certainty)
        assert own.severity_probabilities == pytest.approx(expected.severity_probabilities)
        assert own.present_probability == pytest.approx(expected.present_probability)
    assert all(own == Grade.looking() or own.severity == expected.severity for own in shown)


@settings(deadline=None)
@given(pictures=RUNS)
def test_a_severity_is_settled_by_the_third_picture_and_stands_within_the_margin(pictures: list[Odds]) -> None:
    shown = run(pictures)
    for own in shown[PICTURES_TO_LOOK_AT - 1 :]:
        assert own.severity is not None
    for own in shown:
        if own.severity is None:
            assert own == Grade.looking()
            continue
        assert own.severity_probabilities is not None
        reached = np.cumsum(own.severity_probabilities)
        assert reached[own.severity] >= 0.5 - MARGIN - 1e-9
        assert own.severity == 0 or reached[own.severity - 1] <= 0.5 + MARGIN + 1e-9
        assert own.certainty == pytest.approx(own.severity_probabilities[own.severity])
        assert sum(own.severity_probabilities) == pytest.approx(1)


@settings(deadline=None)
@given(
    odds=st.lists(st.floats(0.5 - MARGIN + 0.001, 0.5 + MARGIN - 0.001), min_size=4, max_size=40),
    every_s=st.floats(0.05, 3),
)
def test_pictures_on_the_border_never_flicker(odds: list[float], every_s: float) -> None:
    shown = run([(good, 1 - good, 0.0, 0.0) for good in odds], every_s=every_s)
    said = [own.severity for own in shown if own.severity is not None]
    assert len(set(said)) == 1


@settings(deadline=None)
@given(first=st.booleans(), pairs=st.integers(4, 12))
def test_two_pictures_by_turns_never_flicker(first: bool, pairs: int) -> None:
    """Not even sure ones: what is between them changes less and less."""
    pictures = [SURE_GOOD, SURE_SEVERE] * pairs
    shown = run(pictures if first else pictures[::-1])
    late = [own.severity for own in shown[6:]]
    assert sum(a != b for a, b in itertools.pairwise(late)) <= 1


@settings(max_examples=50, deadline=None)
@given(before=RUNS, after=ODDS)
def test_at_another_place_nothing_is_left_of_the_old_one(before: list[Odds], after: Odds) -> None:
    shown = run([*before, *[after] * 3], [1] * len(before) + [2] * 3)
    assert shown[len(before) :] == run([after] * 3)


def test_a_sure_picture_of_another_place_is_shown_at_once_and_a_torn_one_after_three() -> None:
    shown = run([SURE_GOOD] * 4 + [SURE_SEVERE], [1] * 4 + [2])
    assert [own.severity for own in shown] == [Severity.GOOD] * 4 + [Severity.SEVERE]
    torn = run([SURE_GOOD] * 2 + [TORN] * 3, [1] * 2 + [2] * 3)
    assert [own.severity for own in torn[2:]] == [None, None, Severity.MILD]
    assert torn[2] == Grade.looking()


def test_a_change_at_the_same_place_takes_about_the_time_constant() -> None:
    shown = run([SURE_GOOD] * 12 + [SURE_SEVERE] * 12)
    changed = next(number for number, own in enumerate(shown[12:]) if own.severity is Severity.SEVERE)
    assert 0.4 * TIME_CONSTANT_S <= (changed + 1) * EVERY_S <= 1.6 * TIME_CONSTANT_S
    severities = [own.severity for own in shown]
    assert severities == sorted(severities)


def test_the_border_must_be_passed_by_the_margin() -> None:
    shown = run([TORN_THE_OTHER_WAY] * 4 + [TORN] * 20)
    assert {own.severity for own in shown[2:]} == {Severity.GOOD}
    beyond = (0.5 - MARGIN - 0.02, 0.5 + MARGIN + 0.02, 0.0, 0.0)
    assert run([TORN_THE_OTHER_WAY] * 4 + [beyond] * 20)[-1].severity is Severity.MILD


def test_a_refused_picture_holds_the_last_grades_for_a_second_and_is_said_then() -> None:
    blurred = [Refusal.OUT_OF_FOCUS] * 5
    shown = run([SURE_GOOD, SURE_GOOD, *blurred, SURE_SEVERE])
    held = round(HOLD_S / EVERY_S)
    assert [own.severity for own in shown[: 2 + held]] == [Severity.GOOD] * (2 + held)
    assert set(shown[2 + held : 7]) == {Grade.refusal(Refusal.OUT_OF_FOCUS)}
    assert shown[7].severity is Severity.SEVERE  # nothing of before counts any more


def test_while_grades_are_held_they_belong_to_the_picture_that_they_are_of() -> None:
    steady = SteadyGrades()
    good = steady.see(conditions(SURE_GOOD, 7), 0.0, 1)
    held = steady.see(conditions(None, 8), 0.5, 1)
    assert held == good and held.frame_id == 7 and held.refused is None
    refused = steady.see(conditions(None, 9), 1.5, 1)
    assert refused.frame_id == 9 and refused.refused is Refusal.OUT_OF_FOCUS and refused.probabilities is None


def test_a_picture_refused_at_a_new_place_is_said_at_once() -> None:
    assert run([Refusal.TOO_DARK])[0] == Grade.refusal(Refusal.TOO_DARK)
    assert run([SURE_GOOD, Refusal.NO_SCALP], [1, 2])[1] == Grade.refusal(Refusal.NO_SCALP)


def test_the_reason_does_not_flicker_either() -> None:
    blurred, empty = Refusal.OUT_OF_FOCUS, Refusal.NO_SCALP
    shown = [own.refused for own in run([blurred, empty] * 4)]
    assert set(shown) == {blurred}
    assert [own.refused for own in run([blurred, empty, empty, empty])] == [blurred, blurred, empty, empty]


def test_what_is_not_claimed_is_said_in_every_picture() -> None:
    claimed = {**CLAIMED, Condition.ERYTHEMA: False}
    steady = SteadyGrades()
    for number in range(3):
        shown = steady.see(conditions(SURE_SEVERE, number, claimed=claimed), number * EVERY_S, 1)
        assert shown.grades[Condition.ERYTHEMA] == Grade.refusal(Refusal.NOT_CLAIMED)
        assert shown.grades[Condition.DANDRUFF].severity is Severity.SEVERE
    late = steady.see(conditions(None, claimed=claimed), 9.0, 1)
    assert late.grades[Condition.ERYTHEMA] == Grade.refusal(Refusal.OUT_OF_FOCUS)
