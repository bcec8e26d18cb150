"""A calibrated classifier all the way into a bundle: what ships is proved, what was there before stays as it was."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from calibration.errors import ScalpScopeError
from device_app.bench.precision import measure_precisions
from device_app.bundle import Bundle, load_bundle
from device_app.engines.engine import Precision
from device_app.engines.select import open_engine
from device_app.manifest_classifiers import ClassEntry, ConditionsEntry
from device_app.manifest_parts import STAGES, Task
from device_app.vision.preprocess import to_classifier_input
from export.bundle_writer import NetworkFacts, hair_network, write_bundle
from export.cli import app
from export.conditions import ClassifierBuildSettings, build_classifier
from export.grading import LEAST_AGREEMENT, MOST_F1_LOSS
from export.quantise import Flavour
from tests.support.mobile_classifier import (
    HEIGHT,
    LIMITS,
    WIDTH,
    make_classifier,
    mobile_config,
    save_calibrated_run,
    stage_picture,
    train_on_stages,
    write_stages,
)
from tests.support.tiny_bundle import MEAN, STD, golden_picture, make_darkness_network
from tests.support.tiny_sam import make_sam_bundle


def settings(checkpoint: Path, bundle: Path, out: Path) -> ClassifierBuildSettings:
    return ClassifierBuildSettings(
        checkpoint=checkpoint, bundle=bundle, out=out, frames=None, version="3", licence="Apache-2.0", credit="nobody",
        demonstration_only=True, calibration=2, held_out=2, judged=8, quick=True,
    )  # fmt: skip


# --- stages of hair loss, from a folder of labelled pictures, beside SAM ---


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of everything: the pictures, the run, the old bundle and, by the command itself, the new one."""
    folder = tmp_path_factory.mktemp("stages")
    write_stages(folder / "pictures")
    make_sam_bundle(folder / "old", 64, 48)
    save_calibrated_run(train_on_stages(), folder / "calibrated.pt")
    words = ["--checkpoint", folder / "calibrated.pt", "--bundle", folder / "old", "--out", folder / "new"]
    words += ["--labelled", folder / "pictures", "--calibration", "8", "--held-out", "2", "--quick"]
    result = CliRunner().invoke(app, ["classifier", *map(str, words)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "| int8_u8s8 |" in result.output and "| kept |" in result.output
    return folder


@pytest.fixture(scope="module")
def with_stages(stages: Path) -> Bundle:
    return load_bundle(stages / "new")


def test_both_kinds_of_int8_ship_and_nothing_else(with_stages: Bundle, stages: Path) -> None:
    model = with_stages.model(Task.HAIR_LOSS_STAGE)
    assert set(model.files) == {flavour.value for flavour in Flavour}
    report = json.loads((stages / "new-parity" / "hair_loss_stage.json").read_text())
    rows = {row["precision"]: row for row in report["parities"]}
    assert rows["fp32"]["macro_f1"] == 1 and set(rows) == {precision.value for precision in Precision}
    for precision in model.files:
        row = rows[precision.value]
        assert row["kept"] and row["macro_f1_loss"] <= MOST_F1_LOSS and row["agreement"] >= LEAST_AGREEMENT
        assert model.quality[f"{precision.value}_grade_agreement"] == pytest.approx(row["agreement"], abs=1e-5)
    assert set(report["shipped"]) == {precision.value for precision in model.files}
    assert report["pictures"] == {"drawn": 0, "real": 20, "unlabelled": 2}  # the validation half of forty


def test_the_manifest_says_how_stages_are_told(with_stages: Bundle) -> None:
    model = with_stages.model(Task.HAIR_LOSS_STAGE)
    assert isinstance(model, ClassEntry)
    assert (model.labels, model.ordered, model.temperature) == (STAGES, True, 1.5)
    assert (model.input_size, model.map_size, model.limits) == ((WIDTH, HEIGHT), (2, 3), LIMITS)
    assert model.mean == model.std == (0.5, 0.5, 0.5)
    assert model.trained_on == "nothing: a test" and model.demonstration_only
    assert model.quality["validation_macro_f1"] == 0.5


def test_the_engine_of_the_bundle_tells_stages(with_stages: Bundle) -> None:
    model = with_stages.model(Task.HAIR_LOSS_STAGE)
    engine = open_engine(with_stages, Task.HAIR_LOSS_STAGE)
    assert engine.precision is Precision.INT8_U8S8
    for stage in range(len(STAGES)):
        image = stage_picture(stage, 777)
        answer = engine.run({"image": to_classifier_input(image, model)})
        assert int(answer["classes"].argmax()) == stage
        assert np.allclose(answer["heat_map"].sum(axis=1), 1, atol=1e-4)


def test_the_other_networks_are_taken_over_byte_for_byte(with_stages: Bundle, stages: Path) -> None:
    old = load_bundle(stages / "old")
    for model in old.manifest.models:
        assert with_stages.model(model.task) == model
        for file in (*model.files.values(), model.goldens):
            assert (stages / "new" / file.path).read_bytes() == (stages / "old" / file.path).read_bytes()
    assert with_stages.tasks == (*old.tasks, Task.HAIR_LOSS_STAGE)


def test_verify_proves_it_and_refuses_another(stages: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["verify", str(stages / "new")], catch_exceptions=False)
    assert "hair_loss_stage int8_u8s8: good" in result.output and "sam_decoder" in result.output
    copy = Path(shutil.copytree(stages / "new", tmp_path / "copy"))
    (copy / "hair_loss_stage_int8_u8s8.onnx").write_bytes(
        (copy / "hair_loss_stage_int8_symmetric.onnx").read_bytes() + b" "
    )
    result = CliRunner().invoke(app, ["verify", str(copy)])
    assert isinstance(result.exception, ScalpScopeError) and "was changed" in str(result.exception)


def test_what_a_user_may_get_wrong(stages: Path, tmp_path: Path) -> None:
    right = replace(settings(stages / "calibrated.pt", stages / "old", tmp_path / "out"), labelled=stages / "pictures")
    strange = tmp_path / "strange"
    shutil.copytree(stages / "pictures" / "0", strange / "7")
    for wrong, said in (
        (replace(right, out=stages / "new"), "already there"),
        (replace(right, labelled=None), "none can be drawn for this task.*--labelled"),
        (replace(right, labelled=strange), "7|layout"),
        (replace(right, bundle=stages / "pictures"), "is no bundle"),
        (replace(right, leave_out=("hair_int8_u8s8",)), "no file 'hair_int8_u8s8'.*hair_fp32"),
        (replace(right, leave_out=("hair_fp32",)), "would have no network for 'hair'"),
        (replace(right, checkpoint=stages / "pictures" / "0" / "p00.png"), "p00.png"),
    ):
        with pytest.raises(ScalpScopeError, match=said):
            build_classifier(wrong)
    assert not (tmp_path / "out").exists()


# --- conditions with a hair mask as a fourth plane, into a bundle that sheds its FP32 ---


@pytest.fixture(scope="module")
def hair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hair")
    network = make_darkness_network(folder / "fp32.onnx", 64, 48)
    facts = NetworkFacts((1, 3, 48, 64), MEAN, STD, "a test", "Apache-2.0", "a test", demonstration_only=False)
    files = {Precision.FP32: network, Precision.FP16: network, Precision.INT8_U8S8: network}
    write_bundle(folder / "old", "hair", "1", [hair_network(facts, files, [golden_picture(1)])])
    return folder


@pytest.fixture(scope="module")
def graded(hair: Path) -> Path:
    """A network that has learnt nothing: what it ships is decided by the same measures."""
    run = hair / "run"
    run.mkdir()
    network = make_classifier(mobile_config(mask=True))
    save_calibrated_run(network, run / "calibrated.pt")
    build_classifier(replace(settings(run, hair / "old", hair / "new"), leave_out=("hair_fp32",), with_fp32=True))
    return hair / "new"


def test_what_ships_is_what_held(graded: Path) -> None:
    report = json.loads((graded.parent / "new-parity" / "conditions.json").read_text())
    kept = {row["precision"] for row in report["parities"] if row["kept"]}
    files = {precision.value for precision in load_bundle(graded).model(Task.CONDITIONS).files}
    assert {"int8_u8s8", "int8_symmetric"} & kept == {"int8_u8s8", "int8_symmetric"} & files
    assert "fp32" in files and "fp32" in kept
    assert ("fp16" in files) == (not {"int8_u8s8", "int8_symmetric"} <= kept and "fp16" in kept)
    assert report["pictures"] == {"drawn": 8, "real": 0, "unlabelled": 2}
    text = (graded.parent / "new-parity" / "conditions.md").read_text()
    assert all(f"| {row['precision']} |" in text for row in report["parities"])


def test_the_manifest_says_how_conditions_are_graded(graded: Path) -> None:
    bundle = load_bundle(graded)
    model = bundle.model(Task.CONDITIONS)
    assert isinstance(model, ConditionsEntry)
    assert model.claimed == (True, True, False)
    assert model.calibration.presence_bias == (0.0, 0.1, 0.2)
    assert model.mask and not model.hsv and model.input_shape == (1, 4, HEIGHT, WIDTH)
    with np.load(graded / model.goldens.path) as goldens:
        assert goldens["hair_masks"].shape == (2, HEIGHT, WIDTH) and goldens["hair_masks"].any()
        assert np.ptp(goldens["presence"], axis=0).max() > 0.01  # the goldens ask for more than one answer
    for precision in model.files:
        engine = open_engine(bundle, Task.CONDITIONS, precision)
        assert engine.precision is precision
        engine.close()


def test_fp32_is_left_out_and_can_still_be_proved(graded: Path, hair: Path) -> None:
    bundle = load_bundle(graded)
    model = bundle.model(Task.HAIR)
    assert set(model.files) == {Precision.FP16, Precision.INT8_U8S8}
    assert not (graded / "hair_fp32.onnx").exists()
    assert open_engine(bundle, Task.HAIR).precision is Precision.INT8_U8S8
    pictures = [("a", golden_picture(5))]
    with pytest.raises(ScalpScopeError, match=r"no FP32 file.*--fp32"):
        measure_precisions(bundle, pictures)
    report = measure_precisions(bundle, pictures, fp32=hair / "fp32.onnx")
    assert {row.precision for row in report.results} == {"fp32", "fp16", "int8_u8s8"}
    other = make_darkness_network(hair / "other.onnx", 64, 48, dark_below=0.6)
    with pytest.raises(ScalpScopeError, match="computes something else"):
        measure_precisions(bundle, pictures, fp32=other)
    with pytest.raises(ScalpScopeError, match=r"fp32 not used.*no such file"):
        open_engine(bundle, Task.HAIR, Precision.FP32)
