"""Grading and judging single pictures, by networks whose answer can be told from the picture."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.errors import ScalpScopeError
from device_app.bundle import Task, load_bundle
from device_app.camera.source import Frame
from device_app.engines.engine import Precision
from device_app.live.classifier import ConditionGrader, PhotoJudge
from device_app.live.pipeline import Pipeline
from device_app.live.settings import PipelineSettings
from device_app.vision.conditions import Condition, Refusal, Severity
from tests.support.colour_classifier import (
    BLUE,
    FLAKE,
    GREY,
    GRID,
    LIMITS,
    add_classes,
    graded_picture,
    make_classifier_bundle,
)
from tests.support.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a mask and the hair-loss stage."""
    return make_classifier_bundle(tmp_path_factory.mktemp("graded") / "b", overview=True, mask=True)


@pytest.fixture(scope="module")
def grader(folder: Path) -> ConditionGrader:
    return ConditionGrader(load_bundle(folder))


def bare(image: np.ndarray) -> np.ndarray:
    """The mask of a picture without hair."""
    return np.zeros(image.shape[:2], np.uint8)


@pytest.mark.parametrize("size", [(160, 120), (640, 480), (100, 300)])
@pytest.mark.parametrize("severities", [(0, 0, 0), (1, 2, 3), (3, 0, 1), (2, 3, 0)])
def test_the_grades_are_the_pictures(
    grader: ConditionGrader, size: tuple[int, int], severities: tuple[int, int, int]
) -> None:
    image = graded_picture(severities, *size)
    found = grader.grade(image, bare(image), frame_id=7)
    assert [int(grade.severity or 0) for grade in found.grades.values()] == list(severities)
    assert list(found.grades) == list(Condition) and found.frame_id == 7 and found.refused is None
    assert all(grade.certainty is not None and grade.certainty > 0.9 for grade in found.grades.values())
    assert found.probabilities is not None and found.probabilities.shape == (3, 4)
    assert set(found.timings_ms) == {"preprocess", "network", "grade", "total"}
    assert (found.bundle, found.backend, found.demonstration) == ("tiny 1", "onnxruntime-cpu fp32", True)


def test_the_heat_map_is_where_it_looked(grader: ConditionGrader) -> None:
    image = graded_picture((3, 0, 2))
    found = grader.grade(image, bare(image))
    assert found.heat_maps.shape == (3, GRID, GRID) and found.heat_maps.dtype == np.float32
    expected = (image == FLAKE).all(axis=2).astype(np.float32)
    cells = cv2.resize(expected, (GRID, GRID), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(found.heat_map(Condition.DANDRUFF), cells, atol=0.1)
    assert found.heat_map(Condition.EXCESS_SEBUM).max() < 0.05


@pytest.mark.parametrize(
    ("colour", "reason"),
    [
        (GREY, Refusal.OUT_OF_FOCUS),
        (BLUE, Refusal.NO_SCALP),
        ((0, 0, 0), Refusal.TOO_DARK),
        ((255, 255, 255), Refusal.TOO_BRIGHT),
    ],
)
def test_a_picture_that_must_not_be_judged_is_not(
    grader: ConditionGrader, colour: tuple[int, int, int], reason: Refusal
) -> None:
    image = np.full((120, 160, 3), colour, np.uint8)
    found = grader.grade(image, bare(image))
    assert found.refused is reason and found.probabilities is None
    assert all(grade.refused is reason and grade.severity is None for grade in found.grades.values())


def test_what_is_unlike_the_training_pictures_and_what_is_not_claimed(tmp_path: Path) -> None:
    folder = make_classifier_bundle(tmp_path / "b", claimed=(True, True, False), limits={**LIMITS, "farthest": 0.5})
    grader = ConditionGrader(load_bundle(folder))
    usual = grader.grade(graded_picture((1, 0, 3)))
    assert usual.refused is None
    assert usual.grades[Condition.DANDRUFF].severity is Severity.MILD
    assert usual.grades[Condition.ERYTHEMA].refused is Refusal.NOT_CLAIMED
    assert grader.grade(np.full((120, 160, 3), (252, 248, 248), np.uint8)).refused is Refusal.UNLIKE_TRAINING


def test_a_network_that_takes_a_mask_gets_one(grader: ConditionGrader) -> None:
    with pytest.raises(ValueError, match="takes the hair mask"):
        grader.grade(graded_picture())


def test_a_precision_that_is_not_there_and_a_bundle_without_the_network(folder: Path, tmp_path: Path) -> None:
    grader = ConditionGrader(load_bundle(folder), precision=Precision.FP16)
    assert grader.backend == "onnxruntime-cpu fp32"
    assert any("fp16 was asked for" in reason for reason in grader.reasons)
    with pytest.raises(ScalpScopeError, match="no network for the task 'conditions'"):
        ConditionGrader(load_bundle(make_tiny_bundle(tmp_path / "b", 64, 48)))


@pytest.mark.parametrize("stage", range(5))
def test_the_stage_is_the_photographs(folder: Path, stage: int) -> None:
    judge = PhotoJudge(load_bundle(folder), Task.HAIR_LOSS_STAGE)
    found = judge.judge(np.full((90, 70, 3), round(255 * (stage + 0.5) / 5), np.uint8))
    assert found.label == str(stage) and found.task is Task.HAIR_LOSS_STAGE
    assert found.probabilities is not None and list(found.probabilities) == ["0", "1", "2", "3", "4"]
    assert sum(found.probabilities.values()) == pytest.approx(1)
    assert found.certainty == max(found.probabilities.values())
    assert found.heat_map is not None and found.heat_map.shape == (GRID, GRID)


def test_a_photograph_that_must_not_be_judged_is_not(folder: Path) -> None:
    found = PhotoJudge(load_bundle(folder), Task.HAIR_LOSS_STAGE).judge(np.zeros((90, 70, 3), np.uint8))
    assert found.refused is Refusal.TOO_DARK
    assert found.label is None and found.probabilities is None and found.certainty is None and found.heat_map is None


def test_the_pipeline_grades_what_it_analysed(folder: Path) -> None:
    pipeline = Pipeline(PipelineSettings(folder, threads=1))
    frame = Frame(4, graded_picture((2, 0, 1)), 0)
    assert pipeline.conditions_missing is None and pipeline.overview_missing is None
    found = pipeline.classify(frame, pipeline.analyse(frame).mask)
    assert found.frame_id == 4 and found.grades[Condition.DANDRUFF].severity is Severity.MODERATE
    assert pipeline.judge_overview(np.full((60, 60, 3), 128, np.uint8)).label == "2"
    with pytest.raises(ScalpScopeError, match="no network that tells scalp conditions apart"):
        pipeline.judge_scalp(frame, bare(frame.image))
    pipeline.close()


def test_the_pipeline_tells_scalp_conditions_apart(folder: Path, tmp_path: Path) -> None:
    bundle = add_classes(make_tiny_bundle(tmp_path / "b", 160, 120), Task.SCALP_CONDITION, ("dull", "fair", "bright"))
    pipeline = Pipeline(PipelineSettings(bundle, threads=1))
    frame = Frame(1, np.full((120, 160, 3), 210, np.uint8), 0)
    found = pipeline.judge_scalp(frame, bare(frame.image))
    assert found.label == "bright" and found.task is Task.SCALP_CONDITION
    pipeline.close()


def test_a_bundle_without_classifiers_says_so_and_measures_on(tmp_path: Path) -> None:
    pipeline = Pipeline(PipelineSettings(make_tiny_bundle(tmp_path / "b", 160, 120), threads=1))
    assert pipeline.conditions_missing == (
        "Bundle 'tiny 1' has no network that grades dandruff, excess sebum and erythema."
    )
    assert pipeline.overview_missing is not None and "overview photographs" in pipeline.overview_missing
    frame = Frame(1, graded_picture(), 0)
    with pytest.raises(ScalpScopeError, match="Use a bundle that has one"):
        pipeline.classify(frame, pipeline.analyse(frame).mask)
    with pytest.raises(ScalpScopeError, match="overview photographs"):
        pipeline.judge_overview(frame.image)
    pipeline.close()


def test_an_engine_that_is_refused_is_a_reason_and_takes_nothing_else_away(tmp_path: Path) -> None:
    pipeline = Pipeline(PipelineSettings(make_classifier_bundle(tmp_path / "b", refused=True), threads=1))
    assert "computes something else" in (pipeline.conditions_missing or "")
    assert pipeline.classifiers.conditions_backend == ""
    assert pipeline.analyse(Frame(1, graded_picture(), 0)).frame_id == 1
    pipeline.close()
