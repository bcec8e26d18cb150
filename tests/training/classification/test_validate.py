"""The score by which a run's best weights are chosen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from calibration.errors import ScalpScopeError
from device_app.manifest_parts import Task
from device_app.vision.conditions import Quality
from tests.support.tiny_classifier import CONFIG, make_classifier, write_conditions_table
from training.classification.losses import UNKNOWN, LossWeights
from training.classification.network import ClassifierConfig
from training.classification.recipe import DataSection
from training.classification.table3 import macro_f1, twelve_f1
from training.classification.validate import Answers, HeldOut, mean_macro_f1, scores_of, validate
from training.data.backgrounds import BackgroundPool
from training.data.examples import read_examples


def _answers(severity: np.ndarray, presence: np.ndarray, said: np.ndarray, sure: float = 20.0) -> Answers:
    """Truths (N, 3), and logits of a network that says the severities ``said`` (N, 3)."""
    count = len(said)
    return Answers(
        truth_presence=presence,
        truth_severity=severity,
        truth_label=np.full(count, UNKNOWN),
        truth_quality=np.full(count, int(Quality.GRADABLE)),
        presence=np.where(said > 0, sure, -sure).astype(np.float32),
        severity=(sure * np.eye(4)[said]).astype(np.float32),
        classes=np.zeros((count, 0)),
        quality=np.tile([sure, 0, 0], (count, 1)),
    )


def test_with_all_severities_known_the_score_is_the_papers_mean_of_twelve_columns() -> None:
    rng = np.random.default_rng(0)
    truth, said = rng.integers(0, 4, (2, 200, 3))
    said = np.where(rng.random(said.shape) < 0.6, truth, said)
    answers = _answers(truth, (truth > 0).astype(int), said)
    assert mean_macro_f1(answers) == pytest.approx(float(macro_f1(truth, said)))
    assert mean_macro_f1(answers) == pytest.approx(float(twelve_f1(truth, said).mean()))


def test_a_condition_without_severities_counts_by_its_presence_and_one_without_labels_not_at_all() -> None:
    presence = np.array([[1, -1, 0], [0, -1, 0], [1, -1, 0], [0, -1, 0]])  # erythema: one class, nothing to tell apart
    said = np.array([[2, 0, 0], [0, 1, 0], [0, 2, 0], [0, 3, 1]])
    answers = _answers(np.full((4, 3), UNKNOWN), presence, said)
    assert mean_macro_f1(answers) == pytest.approx((2 / 3 + 4 / 5) / 2)  # of present and of absent


def test_real_drawn_and_ungradable_pictures_count_alike_however_many_there_are() -> None:
    truth = np.array([[0, 0, 0], [1, 1, 1], [2, 2, 2], [3, 3, 3]] * 5)
    answers = _answers(truth, (truth > 0).astype(int), np.concatenate([truth[:4], 0 * truth[4:]]))
    found = scores_of(answers, real=4, with_quality=False)
    assert found["real_macro_f1"] == 1
    assert found["macro_f1"] == pytest.approx((found["real_macro_f1"] + found["drawn_macro_f1"]) / 2)
    assert found["auroc"] == 1  # of real pictures
    blurred = answers.truth_quality.copy()
    blurred[::2] = Quality.OUT_OF_FOCUS
    changed = Answers(**{**{n: getattr(answers, n) for n in answers.__dataclass_fields__}, "truth_quality": blurred})
    with_quality = scores_of(changed, real=4, with_quality=True)
    assert with_quality["quality_f1"] == pytest.approx((2 / 3 + 0) / 2)  # everything was taken for gradable
    assert with_quality["macro_f1"] < found["macro_f1"]
    nothing = scores_of(_answers(np.full((2, 3), -1), np.full((2, 3), -1), np.zeros((2, 3), int)), 2, False)
    assert nothing == {"macro_f1": 0.0}


def test_held_out_pictures_are_the_same_every_time_and_hold_every_kind(tmp_path: Path) -> None:
    examples = read_examples(write_conditions_table(tmp_path / "set"), Task.CONDITIONS).examples
    config = ClassifierConfig(Task.CONDITIONS, CONFIG.backbone, CONFIG.height, CONFIG.width)
    data = DataSection(ungradable_share=0.2, validation_images=8)

    def held_out() -> HeldOut:
        return HeldOut(data, config, examples, None, BackgroundPool(), drawn=True)

    one, two = held_out(), held_out()
    assert len(one) == 20 + 8 + 2 * 2 and one.real == 20
    samples = [one[index] for index in range(len(one))]
    assert all(torch.equal(sample.picture, two[index].picture) for index, sample in enumerate(samples))
    assert [sample.truth.quality for sample in samples[28:]] == [1, 2, 1, 2]
    network = make_classifier(config)
    found = validate(network, one, LossWeights(quality=1.0), 4, 0, Accelerator(cpu=True))
    again = validate(network, two, LossWeights(quality=1.0), 7, 0, Accelerator(cpu=True))
    assert found == pytest.approx(again, abs=1e-5)
    assert set(found) == {"validation_loss", "macro_f1", "auroc", "real_macro_f1", "drawn_macro_f1", "quality_f1"}
    examples[3].path.write_bytes(b"")
    with pytest.raises(ScalpScopeError, match=examples[3].path.name):
        validate(network, one, LossWeights(), 4, 0, Accelerator(cpu=True))
