"""The quality gate: engines that are right pass, and each way of being wrong is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.errors import ScalpScopeError
from device_app.bench.latency.quality import MOST_FRAMES, measure_quality
from device_app.bench.latency.report import Model
from device_app.bundle import Bundle, Task, default_bundle_path, load_bundle
from device_app.engines.engine import Engine, Precision
from device_app.engines.onnxruntime_engine import OnnxRuntimeEngine
from device_app.engines.select import open_engine
from tests.support.colour_classifier import add_conditions, graded_picture, make_classifier_bundle
from tests.support.tiny_bundle import golden_picture, make_darkness_network
from tests.support.tiny_sam import make_sam_bundle

WIDTH, HEIGHT = 160, 128


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Bundle:
    return load_bundle(make_classifier_bundle(tmp_path_factory.mktemp("quality") / "b", 320, 240))


@pytest.fixture(scope="module")
def sam(tmp_path_factory) -> Bundle:
    return load_bundle(make_sam_bundle(tmp_path_factory.mktemp("quality") / "sam", WIDTH, HEIGHT))


def opened(bundle: Bundle, *tasks: Task) -> dict[Task, Engine]:
    return {task: open_engine(bundle, task, threads=1) for task in tasks}


class Bent:
    """An engine whose answers a compiler bent on the way."""

    def __init__(self, engine: Engine, bend: Callable[[dict[str, np.ndarray]], Mapping[str, np.ndarray]]) -> None:
        self._engine, self._bend = engine, bend
        self.backend, self.precision = engine.backend, engine.precision

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        outputs = self._engine.run(inputs)
        return {**outputs, **self._bend(outputs)}

    def close(self) -> None:
        self._engine.close()


def test_engines_that_compute_what_fp32_did_pass(bundle):
    found = measure_quality(bundle, Model.PIPELINE, opened(bundle, Task.HAIR, Task.CONDITIONS))
    assert found.passed and found.misses == ()
    assert found.pictures == 2 + 3
    assert found.mask_dice_median == found.mask_dice_worst == pytest.approx(1, abs=0.002)
    assert found.diameter_shift_px == pytest.approx(0, abs=0.02)
    assert found.grade_agreement == 1 and found.feature_difference is None


def test_a_network_by_itself_is_measured_by_its_own_figures(bundle, sam):
    hair = measure_quality(bundle, Model.HAIR, opened(bundle, Task.HAIR)[Task.HAIR])
    assert hair.mask_dice_median is not None and hair.grade_agreement is None
    alone = measure_quality(bundle, Model.PIPELINE, opened(bundle, Task.HAIR))
    assert alone == hair
    conditions = measure_quality(bundle, Model.CONDITIONS, opened(bundle, Task.CONDITIONS))
    assert conditions.mask_dice_median is None and conditions.grade_agreement == 1
    encoder = measure_quality(sam, Model.SAM_ENCODER, opened(sam, Task.SAM_ENCODER))
    assert encoder.feature_difference == pytest.approx(0, abs=0.002) and encoder.mask_dice_worst is None
    decoder = measure_quality(sam, Model.SAM_DECODER, opened(sam, Task.SAM_DECODER))
    assert decoder.mask_dice_worst == 1 and decoder.pictures == 1
    assert all(found.passed for found in (hair, conditions, encoder, decoder))
    with pytest.raises(ValueError, match="no engine"):
        measure_quality(bundle, Model.HAIR, {})


def test_the_bundle_that_ships_passes():
    shipped = load_bundle(default_bundle_path())
    found = measure_quality(shipped, Model.PIPELINE, opened(shipped, Task.HAIR, Task.CONDITIONS))
    assert found.passed, found.misses
    assert found.mask_dice_worst > 0.98 and 0 < found.diameter_shift_px < 1 / 3


def test_masks_that_grew_are_named(bundle, tmp_path):
    network = make_darkness_network(tmp_path / "hair.onnx", 320, 240, dark_below=0.62)
    engine = OnnxRuntimeEngine(network, bundle.model(Task.HAIR), Precision.FP32, 1)
    found = measure_quality(bundle, Model.HAIR, engine)
    assert not found.passed and found.mask_dice_worst < found.mask_dice_median < 0.97
    told = " ".join(found.misses)
    assert "than when it was exported" in told  # the manifest's own tolerance
    assert f"worst mask Dice {found.mask_dice_worst:.4f} is under the house's goal of 0.97" in told
    # A diameter is measured in the picture, not in the mask.
    assert found.diameter_shift_px < 0.1 and "diameters" not in told


def test_diameters_that_moved_are_named(bundle):
    def run_together(out):
        return {name: cv2.dilate(own[0, 0], np.ones((17, 17)))[None, None] for name, own in out.items()}

    found = measure_quality(bundle, Model.HAIR, Bent(opened(bundle, Task.HAIR)[Task.HAIR], run_together))
    assert found.diameter_shift_px > 1 / 3
    assert f"diameters moved by {found.diameter_shift_px:.3f} px" in " ".join(found.misses)
    assert "µm at 3 µm/px: the house's goal is 1 µm" in " ".join(found.misses)


def test_hairs_that_are_not_found_again_are_a_miss_and_not_a_missing_figure(bundle):
    engine = opened(bundle, Task.HAIR)[Task.HAIR]
    found = measure_quality(bundle, Model.HAIR, Bent(engine, lambda out: {n: 0 * v for n, v in out.items()}))
    assert found.diameter_shift_px is None and found.mask_dice_worst == 0
    assert any("0 of the 12 hairs that FP32 finds were found again" in miss for miss in found.misses)


def test_grades_and_refusals_that_changed_count(bundle):
    def pushed(out):
        return {"presence": out["presence"] + np.array([[60, 0, 0]], np.float32)}

    def refused(out):
        return {"quality": np.array([[0, 0, 60]], np.float32)}

    grades = [
        measure_quality(bundle, Model.CONDITIONS, Bent(opened(bundle, Task.CONDITIONS)[Task.CONDITIONS], bend))
        for bend in (pushed, refused)
    ]
    # Dandruff is good in two of the three goldens, and they are mild or worse now; a refusal is no grade at all.
    assert [found.grade_agreement for found in grades] == [pytest.approx(7 / 9), 0]
    assert "7 of 9 grades are FP32's" in " ".join(grades[0].misses)


def test_a_condition_that_is_not_claimed_is_looked_at_too(bundle, tmp_path):
    folder = add_conditions(_hair_alone(bundle, tmp_path / "b"), claimed=(False, False, False))
    silent = load_bundle(folder)
    engine = Bent(opened(silent, Task.CONDITIONS)[Task.CONDITIONS], lambda out: {"presence": -out["presence"]})
    assert measure_quality(silent, Model.CONDITIONS, engine).grade_agreement < 1


def test_features_and_decoded_masks_that_moved_are_named(sam):
    encoder = Bent(opened(sam, Task.SAM_ENCODER)[Task.SAM_ENCODER], lambda out: {n: 1.3 * v for n, v in out.items()})
    found = measure_quality(sam, Model.SAM_ENCODER, encoder)
    assert found.feature_difference == pytest.approx(0.3, abs=0.01)
    assert any("the manifest allows" in miss for miss in found.misses)
    decoder = Bent(opened(sam, Task.SAM_DECODER)[Task.SAM_DECODER], lambda out: {"masks": -out["masks"]})
    turned = measure_quality(sam, Model.SAM_DECODER, decoder)
    assert turned.mask_dice_worst < 0.1 and not turned.passed


def test_fp32_answers_frames_of_the_run_too(bundle, sam):
    frames = [golden_picture(seed) for seed in range(5, 5 + 2 * MOST_FRAMES)]
    hair = measure_quality(bundle, Model.HAIR, opened(bundle, Task.HAIR), frames=frames)
    assert hair.pictures == 2 + MOST_FRAMES and hair.passed
    graded = [graded_picture((3, 0, 1)), graded_picture((0, 2, 0))]
    engine = Bent(
        opened(bundle, Task.CONDITIONS)[Task.CONDITIONS],
        # Wrong on very flaky pictures alone: one of the three goldens, one of the two frames.
        lambda out: {"presence": np.where(out["presence"] > 30, -60, out["presence"]).astype(np.float32)},
    )
    conditions = measure_quality(bundle, Model.CONDITIONS, engine, frames=graded)
    assert conditions.pictures == 3 + 2 and conditions.grade_agreement == pytest.approx(1 - 2 / 15)
    assert measure_quality(sam, Model.SAM_ENCODER, opened(sam, Task.SAM_ENCODER), frames=frames[:2]).pictures == 2 + 2
    # A decoder's golden is a question, not a picture.
    assert measure_quality(sam, Model.SAM_DECODER, opened(sam, Task.SAM_DECODER), frames=frames).pictures == 1


def test_an_fp32_file_from_elsewhere_is_used_when_it_is_proved_and_refused_when_not(bundle, tmp_path):
    folder = _without_fp32(_hair_alone(bundle, tmp_path / "b"))
    shipped = load_bundle(folder)
    engine = opened(shipped, Task.HAIR)
    right, frames = bundle.file(bundle.model(Task.HAIR).files[Precision.FP32]), [golden_picture(9)]
    assert measure_quality(shipped, Model.HAIR, engine, frames=frames).pictures == 2
    assert measure_quality(shipped, Model.HAIR, engine, right, frames).pictures == 3
    wrong = make_darkness_network(tmp_path / "wrong.onnx", 320, 240, dark_below=0.6)
    with pytest.raises(ScalpScopeError, match="computes something else"):
        measure_quality(shipped, Model.HAIR, engine, wrong, frames)
    with pytest.raises(ScalpScopeError, match="cannot load"):
        measure_quality(shipped, Model.HAIR, engine, tmp_path / "none.onnx", frames)
    unproved = load_bundle(_without_fp32(folder, tolerance=False))
    with pytest.raises(ScalpScopeError, match="nothing proves"):
        measure_quality(unproved, Model.HAIR, opened(unproved, Task.HAIR), right, frames)


def _hair_alone(bundle: Bundle, folder: Path) -> Path:
    """A copy of a bundle's hair network alone."""
    shutil.copytree(bundle.path, folder)
    content = json.loads((folder / "manifest.json").read_text())
    content["models"] = [model for model in content["models"] if model["task"] == "hair"]
    (folder / "manifest.json").write_text(json.dumps(content))
    return folder


def _without_fp32(folder: Path, tolerance: bool = True) -> Path:
    """Its file is called FP16 now; whether its goldens still say how near FP32 must come."""
    content = json.loads((folder / "manifest.json").read_text())
    (hair,) = content["models"]
    file = hair["files"].pop("fp32", None)
    if file is not None:
        hair["files"]["fp16"] = file
        hair["goldens"]["tolerance"]["fp16"] = hair["goldens"]["tolerance"]["fp32"]
    if not tolerance:
        del hair["goldens"]["tolerance"]["fp32"]
    (folder / "manifest.json").write_text(json.dumps(content))
    return folder
