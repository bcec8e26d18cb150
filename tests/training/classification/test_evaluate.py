"""The figures of a whole evaluation, against answers whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from device_app.manifest_classifiers import Calibration, Limits
from device_app.vision.conditions import Condition, Grade, Quality, Refusal, grade, joint_probabilities
from tests.support.made_up_predictions import made_up_predictions
from training.classification import scores
from training.classification.evaluate import (
    Verdicts,
    judge,
    mistake_sizes,
    score_attributes,
    score_group,
    score_refusals,
)
from training.classification.predictions import Predictions, together

CALIBRATION = Calibration(
    presence_temperature=(0.5, 1, 2), presence_bias=(0, 0.3, -0.3), severity_temperature=(1, 2, 0.5)
)
LIMITS = Limits(darkest=20, brightest=240, most_out_of_focus=0.5, most_no_scalp=0.5, farthest=2.0, rule="by hand")


def judged(predictions: Predictions) -> Verdicts:
    return judge(predictions, LIMITS, CALIBRATION, None)


def with_classes(count: int, seed: int = 0) -> Predictions:
    """Of a task with three classes, two thirds of the answers right."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, count)
    told = np.where(rng.random(count) < 2 / 3, truth, (truth + 1) % 3)
    return replace(
        made_up_predictions(count, seed),
        label=truth.astype(np.int16),
        class_logits=(2.0 * np.eye(3)[told] + rng.normal(0, 0.1, (count, 3))).astype(np.float32),
        presence_logits=np.zeros((count, 0), np.float32),
        severity_logits=np.zeros((count, 0, 4), np.float32),
    )


def test_verdicts_are_the_devices_grades() -> None:
    found = made_up_predictions(40, skill=0.6)
    verdicts = judged(found)
    claimed = dict.fromkeys(Condition, True)
    for place in range(40):
        joint = joint_probabilities(found.presence_logits[place], found.severity_logits[place], CALIBRATION)
        grades: dict[Condition, Grade] = grade(joint, None, claimed)
        assert [int(own.severity or 0) for own in grades.values()] == verdicts.severity[place].tolist()
        assert verdicts.conditions[place] == pytest.approx(joint)


def test_every_figure_is_its_definition() -> None:
    found = made_up_predictions(120, skill=0.8)
    verdicts = judged(found)
    group = score_group(found, verdicts)
    assert (group.pictures, group.groups, group.classes) == (120, 120, None)
    for index, condition in enumerate(Condition):
        presence, severity = group.presence[condition], group.severity[condition]
        assert presence is not None and severity is not None
        present = 1 - verdicts.conditions[:, index, 0]
        table = scores.confusion(found.presence[:, index], (present > 0.5).astype(int), 2)
        assert presence.confusion == tuple(tuple(int(cell) for cell in row) for row in table)
        assert presence.f1[1] is not None and presence.f1[1].value == pytest.approx(scores.f1(table)[1])
        assert presence.kappa is None and presence.counts[1] == (found.presence[:, index] == 1).sum()
        auroc, error = presence.auroc["present"], presence.calibration.error
        assert auroc is not None and auroc.value == float(scores.auroc(found.presence[:, index], present))
        assert error is not None
        assert error.value == pytest.approx(float(scores.calibration_error(found.presence[:, index], present)))
        graded = scores.confusion(found.severity[:, index], verdicts.severity[:, index], 4)
        assert severity.kappa is not None
        assert severity.kappa.value == pytest.approx(float(scores.quadratic_kappa(graded)))
        certain = np.take_along_axis(verdicts.conditions[:, index], verdicts.severity[:, index, None], axis=1)[:, 0]
        right = (verdicts.severity[:, index] == found.severity[:, index]).astype(int)
        assert severity.calibration.error is not None
        assert severity.calibration.error.value == pytest.approx(float(scores.calibration_error(right, certain)))
        for figure in (auroc, severity.kappa, presence.f1[1], severity.macro_f1):
            assert figure is not None and figure.low is not None and figure.high is not None
            assert figure.low <= figure.value <= figure.high and figure.high - figure.low < 0.5
    assert group.table_3 is not None and len(group.table_3) == 13
    macro, *twelve = group.table_3
    assert macro is not None
    assert macro.value == pytest.approx(np.mean([one.value for one in twelve if one is not None]))


def test_copies_of_originals_make_no_figure_surer() -> None:
    once, thrice = made_up_predictions(60, skill=0.8), made_up_predictions(60, skill=0.8, copies=3)
    alone = replace(thrice, groups=tuple(f"{number}" for number in range(180)))
    heads = [score_group(one, judged(one)).presence[Condition.DANDRUFF] for one in (once, thrice, alone)]
    figures = [head.auroc["present"] for head in heads if head is not None]
    assert figures[0] is not None and figures[0] == figures[1]
    assert figures[2] is not None and figures[2].value == figures[0].value
    assert figures[2].low is not None and figures[0].low is not None and figures[2].low > figures[0].low


def test_what_nobody_knows_does_not_count() -> None:
    found = made_up_predictions(50)
    presence, severity = found.presence.copy(), found.severity.copy()
    presence[:, 2], severity[:, 2] = -1, -1
    presence[40:, 0] = -1
    group = score_group(replace(found, presence=presence, severity=severity), judged(found))
    assert group.presence[Condition.ERYTHEMA] is None and group.severity[Condition.ERYTHEMA] is None
    assert group.table_3 is None
    dandruff = group.presence[Condition.DANDRUFF]
    assert dandruff is not None and dandruff.pictures == 40
    few = found.only(np.arange(40))
    assert dandruff == score_group(few, judged(few)).presence[Condition.DANDRUFF]


def test_a_figure_that_is_not_defined_is_none() -> None:
    found = made_up_predictions(20)
    healthy = replace(found, presence=np.zeros_like(found.presence), severity=np.zeros_like(found.severity))
    head = score_group(healthy, judged(healthy)).presence[Condition.DANDRUFF]
    assert head is not None and head.auroc["present"] is None and head.recall[1] is None


def test_one_patient_has_no_intervals() -> None:
    found = replace(made_up_predictions(12), groups=("one",) * 12)
    head = score_group(found, judged(found)).severity[Condition.DANDRUFF]
    assert head is not None and head.macro_f1 is not None and head.macro_f1.low is None


def test_a_task_with_classes() -> None:
    found = with_classes(90)
    verdicts = judge(found, LIMITS, None, 1.0)
    plain = score_group(found, verdicts, ("a", "b", "c")).classes
    stages = score_group(found, verdicts, ("a", "b", "c"), ordered=True).classes
    assert plain is not None and stages is not None and plain.kappa is None and stages.kappa is not None
    told = verdicts.classes.argmax(axis=1)
    assert plain.accuracy is not None and plain.accuracy.value == pytest.approx(np.mean(told == found.label))
    for place, name in enumerate("abc"):
        figure = plain.auroc[name]
        expected = float(scores.auroc((found.label == place).astype(int), verdicts.classes[:, place]))
        assert figure is not None and figure.value == pytest.approx(expected)


def test_attributes_are_told_apart_where_there_are_enough_pictures() -> None:
    tones = [{"skin_tone": "II" if number < 30 else "V"} for number in range(56)]
    tones += [{"skin_tone": "VI", "microscope": "A"}] * 4
    found = made_up_predictions(60, attributes=tones)
    by = score_attributes(found, judged(found))
    assert list(by) == ["skin_tone"] and list(by["skin_tone"]) == ["II", "V"]
    part = found.only(np.arange(30))
    assert by["skin_tone"]["II"] == score_group(part, judged(part))


def test_refusals_by_kind_and_reason() -> None:
    good = made_up_predictions(30)
    far = made_up_predictions(10, 1, kind="cloth", quality=Quality.NO_SCALP, distance=5.0)
    blurred = made_up_predictions(20, 2, kind="blurred", quality=Quality.OUT_OF_FOCUS, doubt=5.0)
    dark = made_up_predictions(5, 3, kind="dark", quality=Quality.NO_SCALP)
    dark = replace(dark, thumbnails=np.zeros_like(dark.thumbnails))
    every = together([blurred, far, good, dark])
    found = {one.kind: one for one in score_refusals(every, judged(every))}
    assert list(found) == ["real", "blurred", "cloth", "dark"]
    assert not found["real"].should and found["real"].refused == 0 and found["real"].low == 0.0
    assert found["cloth"].should and found["cloth"].reasons == {Refusal.UNLIKE_TRAINING: 10}
    assert found["dark"].reasons == {Refusal.TOO_DARK: 5} and found["dark"].share == 1.0
    assert set(found["blurred"].reasons) == {Refusal.OUT_OF_FOCUS, Refusal.NO_SCALP}
    assert found["blurred"].low < 1.0 and found["blurred"].high == 1.0


def test_mistakes_are_0_where_the_answer_is_right_and_grow_with_how_far_off_it_is() -> None:
    joint = np.array([[0.9, 0.05, 0.03, 0.02], [0.1, 0.8, 0.05, 0.05], [0.05, 0.05, 0.1, 0.8]])[:, None].repeat(3, 1)
    verdicts = Verdicts(joint, np.zeros((3, 0)), (None,) * 3)
    found = made_up_predictions(3)
    severity = np.int8([[0, 1, 3], [1, 2, 3], [3, 0, -1]])
    presence = np.int8([[0, 1, 1], [1, 1, 1], [1, 0, 0]])
    sizes = mistake_sizes(replace(found, severity=severity, presence=presence), verdicts)
    assert sizes[0, 0] == sizes[1, 0] == sizes[2, 0] == 0.0
    assert 0 < sizes[0, 1] < sizes[0, 2] <= 1 and sizes[0, 2] == pytest.approx((2.7 + 0.1 + 0.03) / 3)
    assert sizes[2, 1] == pytest.approx((0.05 + 0.2 + 2.4) / 3)
    assert sizes[2, 2] == pytest.approx(0.95)  # only its presence is known: 0.95 was believed, and it is not there


def test_mistakes_of_classes_are_how_little_was_believed_of_the_true_one() -> None:
    chances = np.array([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    found = replace(made_up_predictions(3), label=np.int16([0, 2, -1]))
    sizes = mistake_sizes(found, Verdicts(np.zeros((3, 0, 4)), chances, (None,) * 3))
    assert sizes[:, 0] == pytest.approx([0, 0.9, 0])
