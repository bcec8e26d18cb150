"""What is fitted on validation pictures, from made-up answers whose faults are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from device_app.manifest_parts import Task
from device_app.vision.conditions import Quality
from tests.support.made_up_predictions import made_up_predictions
from training.classification.calibrate import claimed_conditions, fit, fit_conditions, measured
from training.classification.network import Unlikeness
from training.classification.predictions import together
from training.data.example_set import Example, ExampleSet


def test_overconfident_answers_are_cooled_and_true_ones_left() -> None:
    # With means of +-s and unit noise the true log-odds are 2 s z, plus those of 3 of 4 pictures having the condition.
    true = made_up_predictions(3000, skill=0.5)
    true = replace(true, presence_logits=true.presence_logits + np.float32(np.log(3)))
    loud = replace(true, presence_logits=4 * true.presence_logits)
    first, second = fit_conditions({"real": true}), fit_conditions({"real": loud})
    assert second.presence_temperature == pytest.approx([4 * one for one in first.presence_temperature], rel=0.1)
    assert first.presence_temperature == pytest.approx([1.0] * 3, rel=0.2)


def test_presence_is_fitted_on_real_pictures_where_they_have_labels() -> None:
    real, drawn = made_up_predictions(400, 1, 1.0), made_up_predictions(400, 2, 1.0, kind="drawn")
    drawn = replace(drawn, presence_logits=9 * drawn.presence_logits)
    presence = real.presence.copy()
    presence[:, 2] = -1
    both = fit_conditions({"real": replace(real, presence=presence), "drawn": drawn})
    alone, other = fit_conditions({"real": real}), fit_conditions({"drawn": drawn})
    assert both.presence_temperature[:2] == alone.presence_temperature[:2]
    assert both.presence_temperature[2] == other.presence_temperature[2]
    assert both.presence_temperature[2] > 3 * both.presence_temperature[0]


def test_the_whole_fit_separates_and_says_what_it_found() -> None:
    training = made_up_predictions(200, 3)
    good = {"real": made_up_predictions(100, 4), "drawn": made_up_predictions(100, 5, kind="drawn")}
    blurred = made_up_predictions(60, 6, quality=Quality.OUT_OF_FOCUS, kind="blurred", doubt=5.0)
    far = made_up_predictions(40, 7, quality=Quality.NO_SCALP, kind="far")
    far = replace(far, features=far.features + 12)
    fitted = fit(Task.CONDITIONS, training, good, together([blurred, far]))
    assert fitted.calibration is not None and fitted.temperature is None
    for one in good.values():
        refused = [reason is not None for reason in measured(one, fitted.unlikeness).refusals(fitted.limits)]
        assert sum(refused) <= 1
    for one in (blurred, far):
        assert all(measured(one, fitted.unlikeness).refusals(fitted.limits))
    assert fitted.quality["validation_ungradable_refused"] == 1.0
    assert fitted.quality["validation_real_refused"] <= 0.01
    assert fitted.quality["validation_drawn_auroc_dandruff"] > 0.9
    assert 0 <= fitted.quality["validation_real_macro_f1"] <= 1


def test_a_task_with_classes_has_one_temperature() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 600)
    logits = 6 * (np.eye(3)[truth] + rng.normal(0, 0.8, (600, 3)))
    one = replace(
        made_up_predictions(600),
        label=truth.astype(np.int16),
        class_logits=logits.astype(np.float32),
        presence_logits=np.zeros((600, 0), np.float32),
        severity_logits=np.zeros((600, 0, 4), np.float32),
    )
    bad = replace(
        made_up_predictions(20, 9, quality=Quality.NO_SCALP, doubt=5.0),
        class_logits=np.zeros((20, 3), np.float32),
        presence_logits=np.zeros((20, 0), np.float32),
        severity_logits=np.zeros((20, 0, 4), np.float32),
    )
    fitted = fit(Task.SCALP_CONDITION, one, {"real": one}, bad, ("a", "b", "c"))
    assert fitted.calibration is None and fitted.temperature is not None and fitted.temperature > 2
    assert 0.3 < fitted.quality["validation_real_macro_f1"] < 1


def test_typical_pictures_have_a_distance_of_about_1() -> None:
    one = made_up_predictions(500)
    unlikeness = Unlikeness(one.features.shape[1])
    unlikeness.fit(torch.from_numpy(one.features))
    distance = measured(one, unlikeness).distance
    assert 0.5 < np.median(distance) < 1.5
    assert measured(replace(one, features=one.features + 20), unlikeness).distance.min() > distance.max()


def examples(*presence: tuple[int | None, int | None, int | None]) -> ExampleSet:
    return ExampleSet(
        Task.CONDITIONS,
        "made up",
        tuple(Example(Path(f"{place}.png"), f"g{place}", presence=own) for place, own in enumerate(presence)),
    )


def test_what_is_rare_is_not_claimed() -> None:
    found = examples(*[(1, 1, 0)] * 30, *[(0, 0, None)] * 29, (0, 1, 1))
    assert claimed_conditions(found, 30) == (True, False, False)
    assert claimed_conditions(found, 29) == (True, True, False)


def test_copies_of_an_original_do_not_make_a_claim() -> None:
    copies = [Example(Path(f"{n}.png"), f"g{n % 12}", presence=(n % 2, n % 2, n % 2)) for n in range(60)]
    assert claimed_conditions(ExampleSet(Task.CONDITIONS, "copies", tuple(copies)), 30) == (False,) * 3
    assert claimed_conditions(ExampleSet(Task.CONDITIONS, "copies", tuple(copies)), 6) == (True,) * 3


@pytest.mark.parametrize("drawn", [True, False])
def test_drawings_alone_are_claimed_only_where_that_is_asked_for(drawn: bool) -> None:
    assert claimed_conditions(None, drawn=drawn) == (drawn,) * 3
