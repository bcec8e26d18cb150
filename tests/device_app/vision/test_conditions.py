"""What a classifier's answer means: one rule for presence and severity, and when there is no grade at all."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from device_app.manifest_classifiers import Calibration, Limits
from device_app.vision.conditions import (
    Condition,
    Grade,
    Quality,
    Refusal,
    Severity,
    class_probabilities,
    grade,
    joint_probabilities,
    joint_severity,
    median_severity,
    present_probability,
    refusal_of,
    severity_of,
)

LOGITS = st.floats(-30, 30, width=32)
PLAIN = Calibration(presence_temperature=(1, 1, 1), presence_bias=(0, 0, 0), severity_temperature=(1, 1, 1))
LIMITS = Limits(
    darkest=30, brightest=220, most_out_of_focus=0.5, most_no_scalp=0.4, farthest=2.0, rule="written by hand"
)
SKIN = np.full((60, 80, 3), (190, 150, 130), np.uint8)
GOOD = np.array([5.0, 0.0, 0.0])


def test_the_words_are_the_papers() -> None:
    assert [condition.value for condition in Condition] == ["dandruff", "excess_sebum", "erythema"]
    assert [severity.word for severity in Severity] == ["good", "mild", "moderate", "severe"]


def test_probabilities_of_known_logits() -> None:
    assert float(present_probability(math.log(3), 1.0, 0.0)) == pytest.approx(0.75)
    assert float(present_probability(2 * math.log(3), 2.0, math.log(3))) == pytest.approx(0.9)
    np.testing.assert_allclose(class_probabilities(np.log([1, 2, 3, 4]), 1.0), [0.1, 0.2, 0.3, 0.4])
    np.testing.assert_allclose(class_probabilities(np.array([0, 1e4]), 1.0), [0, 1])


@pytest.mark.parametrize(
    ("present", "shares", "severity"),
    [
        (0.49, [0.0, 0.0, 0.0, 1.0], Severity.GOOD),  # the presence head alone says whether it is there
        (0.51, [1.0, 0.0, 0.0, 0.0], None),  # and the severity head cannot say that it is not
        (1.0, [0.0, 0.6, 0.4, 0.0], Severity.MILD),
        (1.0, [0.0, 0.4, 0.3, 0.3], Severity.MODERATE),  # the median, not the most probable
        (1.0, [0.9, 0.02, 0.02, 0.06], Severity.SEVERE),  # what it says of 'good' does not count
        (0.5, [0.0, 1.0, 0.0, 0.0], Severity.GOOD),  # even odds are reached
    ],
)
def test_presence_and_severity_are_one_distribution(
    present: float, shares: list[float], severity: Severity | None
) -> None:
    joint = joint_severity(present, np.array(shares))
    assert joint.sum() == pytest.approx(1.0) and joint[0] == pytest.approx(1 - present)
    found = severity_of(joint)
    assert found is severity if severity is not None else found > Severity.GOOD


@settings(deadline=None)
@given(presence=arrays(np.float32, (5, 3), elements=LOGITS), severity=arrays(np.float32, (5, 3, 4), elements=LOGITS))
def test_the_two_heads_never_contradict_each_other(presence: np.ndarray, severity: np.ndarray) -> None:
    joint = joint_probabilities(presence, severity, PLAIN)
    assert joint.shape == (5, 3, 4) and (joint >= 0).all()
    np.testing.assert_allclose(joint.sum(axis=-1), 1)
    present = joint[..., 1:].sum(axis=-1)
    medians = median_severity(joint)
    assert ((medians > 0) == (present > 0.5 + 1e-9))[np.abs(present - 0.5) > 1e-6].all()
    for row, median in zip(joint.reshape(-1, 4), medians.reshape(-1)):
        own = Grade.of(row)
        assert own.severity == median and own.certainty == row[median]
        assert own.present_probability == pytest.approx(1 - row[0])


@settings(deadline=None)
@given(logit=LOGITS, temperature=st.floats(0.2, 5))
def test_a_temperature_changes_how_sure_it_is_not_which_side_it_is_on(logit: float, temperature: float) -> None:
    cooled = float(present_probability(logit, temperature, 0.0))
    assert (cooled > 0.5) == (logit > 0) or abs(logit) < 1e-6


@pytest.mark.parametrize(
    ("image", "quality", "distance", "reason"),
    [
        (SKIN, GOOD, 1.0, None),
        (np.full_like(SKIN, 29), GOOD, 1.0, Refusal.TOO_DARK),
        (np.full_like(SKIN, 221), GOOD, 1.0, Refusal.TOO_BRIGHT),
        (SKIN, np.array([0.0, 1.0, 0.0]), 1.0, Refusal.OUT_OF_FOCUS),
        (SKIN, np.array([0.0, 0.0, 1.0]), 1.0, Refusal.NO_SCALP),
        (SKIN, GOOD, 2.1, Refusal.UNLIKE_TRAINING),
        (np.zeros_like(SKIN), np.array([0.0, 9.0, 0.0]), 99.0, Refusal.TOO_DARK),  # the first that applies
        (SKIN, np.array([0.0, 0.0, 9.0]), 99.0, Refusal.NO_SCALP),
    ],
)
def test_why_a_picture_is_not_judged(
    image: np.ndarray, quality: np.ndarray, distance: float, reason: Refusal | None
) -> None:
    assert refusal_of(image, quality, distance, LIMITS) is reason


def test_a_refused_picture_has_no_grade_and_one_that_is_not_claimed_has_none_of_that() -> None:
    joint = np.array([[0.1, 0.6, 0.2, 0.1]] * 3)
    claimed = {Condition.DANDRUFF: True, Condition.EXCESS_SEBUM: True, Condition.ERYTHEMA: False}
    grades = grade(joint, None, claimed)
    assert grades[Condition.DANDRUFF].severity is Severity.MILD
    assert grades[Condition.ERYTHEMA] == Grade.refusal(Refusal.NOT_CLAIMED)
    refused = grade(joint, Refusal.OUT_OF_FOCUS, claimed)
    assert set(refused.values()) == {Grade.refusal(Refusal.OUT_OF_FOCUS)}
    assert refused[Condition.DANDRUFF].present_probability is None
    assert Grade.looking() not in (*grades.values(), *refused.values())


def test_quality_is_in_the_order_of_the_networks_output() -> None:
    assert [int(quality) for quality in (Quality.GRADABLE, Quality.OUT_OF_FOCUS, Quality.NO_SCALP)] == [0, 1, 2]
