"""What the rows of the conditions may say, and which heat map may be drawn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_app.screens.choosing import INSET_GONE_S, Shown
from device_app.screens.grading import Grading, certainty_words, grade_readings
from device_app.screens.readings import DASH, Doubt
from device_app.screens.texts import text
from device_app.vision.conditions import Condition, Grade, Refusal, Severity
from tests.support.analyses import make_conditions, make_frame

S = 1_000_000_000


def _grade(severity: Severity, certainty: float) -> Grade:
    shares = [(1 - certainty) / 3] * 4
    shares[severity] = certainty
    return Grade(1 - shares[0], severity, (shares[0], shares[1], shares[2], shares[3]), certainty)


@pytest.mark.parametrize("severity", list(Severity))
def test_a_grade_is_bars_a_word_and_how_sure(severity: Severity) -> None:
    graded = make_conditions(grades=dict.fromkeys(Condition, _grade(severity, 0.844)))
    for reading, label in zip(grade_readings(graded), ("Dandruff", "Sebum", "Redness"), strict=True):
        assert (reading.label, reading.severity, reading.word) == (label, severity, severity.word)
        assert reading.beside == "84 % sure"
        assert reading.lookable


@pytest.mark.parametrize("refusal", list(Refusal))
def test_a_refusal_is_no_grade_and_says_why_in_four_words(refusal: Refusal) -> None:
    refused = make_conditions(grades=dict.fromkeys(Condition, Grade.refusal(refusal)))
    for reading in grade_readings(refused):
        assert (reading.severity, reading.word) == (None, "cannot grade")
        assert 1 <= len(reading.beside.split()) <= 4
        assert not reading.lookable


def test_before_the_first_grade_it_is_looking() -> None:
    for conditions in (None, make_conditions(grades=dict.fromkeys(Condition, Grade.looking()))):
        assert {(row.severity, row.word, row.beside) for row in grade_readings(conditions)} == {(None, "looking …", "")}


@settings(deadline=None)
@given(st.sampled_from(list(Doubt)), st.booleans())
def test_no_grade_stands_beside_a_doubt(doubt: Doubt, graded: bool) -> None:
    for reading in grade_readings(make_conditions() if graded else None, doubt):
        assert reading.severity is None
        assert reading.word in (DASH, "cannot grade")
        assert reading.beside == text(doubt.value)
        assert reading.lookable == (doubt in (Doubt.NO_ANALYSIS, Doubt.GRADING))  # a press freezes and asks


@pytest.mark.parametrize(
    ("certainty", "said"), [(0.25, "25 % sure"), (0.994, "99 % sure"), (0.996, "> 99 % sure"), (1.0, "> 99 % sure")]
)
def test_nothing_is_ever_quite_sure(certainty: float, said: str) -> None:
    assert certainty_words(certainty) == said


@settings(deadline=None)
@given(
    age_s=st.floats(0, 10),
    working=st.booleans(),
    ended=st.booleans(),
)
def test_live_grades_give_way_to_a_dash_when_they_grow_old(age_s: float, working: bool, ended: bool) -> None:
    grading, frame = Grading(), make_frame(7, captured_ns=100 * S)
    grading.possible = True
    assert grading.doubt(0, working, ended) is None  # looking
    grading.newest = (frame, make_conditions(7))
    doubt = grading.doubt(frame.captured_ns + int(age_s * S), working, ended)
    stale = not ended and (age_s > INSET_GONE_S or not working)
    assert (doubt is Doubt.NO_ANALYSIS) == stale
    assert doubt in (None, Doubt.NO_ANALYSIS)


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("live"), st.integers(0, 3)),
        st.tuples(st.just("freeze"), st.integers(0, 3)),
        st.tuples(st.just("answer"), st.integers(0, 3)),
        st.tuples(st.just("fail"), st.just(0)),
        st.tuples(st.just("tap"), st.integers(0, 2)),
        st.tuples(st.just("leave"), st.just(0)),
    ),
    max_size=30,
)


@settings(deadline=None)
@given(EVENTS)
def test_whatever_happens_grades_and_heat_maps_are_of_the_frame_that_is_shown(events: list[tuple[str, int]]) -> None:
    grading, frozen = Grading(), None
    grading.possible = True
    for event, number in events:
        if event == "live":
            grading.newest = (make_frame(number), make_conditions(number))
        elif event == "freeze":
            frozen = make_frame(number)
            grading.freeze(frozen)
        elif event == "answer":
            grading.take(make_conditions(number), False)
        elif event == "fail":
            grading.take(None, True)
        elif event == "tap":
            grading.toggle(list(Condition)[number])
        else:
            frozen = None
            grading.leave()
        conditions, looked = grading.conditions(), grading.looked()
        if frozen is None:
            assert looked is None
            assert conditions is (None if grading.newest is None else grading.newest[1])
            continue
        assert conditions is None or conditions.frame_id == frozen.id
        assert grading.waiting == (conditions is None and not grading.failed)
        doubt = grading.doubt(0, True, False)
        assert doubt is (None if conditions else Doubt.FAILED if grading.failed else Doubt.GRADING)
        shown = Shown(frozen, looked=looked)  # refuses one of another frame
        if shown.looked is not None and conditions is not None:
            assert grading.chosen is not None
            np.testing.assert_array_equal(shown.looked.heat, conditions.heat_map(grading.chosen))
            assert conditions.grades[grading.chosen].severity is not None  # what is not graded has no map


def test_a_second_tap_takes_the_heat_map_away_and_another_row_changes_it() -> None:
    grading = Grading()
    grading.freeze(make_frame(1))
    grading.take(make_conditions(1), False)
    grading.toggle(Condition.DANDRUFF)
    first = grading.looked()
    assert first is not None and first.name == "condition_dandruff"
    assert grading.looked() is first  # the same picture is not uploaded again
    grading.toggle(Condition.EXCESS_SEBUM)
    second = grading.looked()
    assert second is not None and second.name == "condition_excess_sebum"
    grading.toggle(Condition.EXCESS_SEBUM)
    assert grading.looked() is None
    grading.toggle(Condition.ERYTHEMA)  # not claimed
    assert grading.looked() is None
