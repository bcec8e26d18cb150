"""`scalpscope analyse` and `scalpscope stage` with classifiers: every key, and what stands where there is no grade."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict

from device_app.analyse import PictureAnalyser, open_overview_judge
from device_app.analysis_files import SUMMARY_COLUMNS, save_analysis
from device_app.bundle import Task
from device_app.cli import call
from device_app.images import read_image, write_png_atomically
from device_app.vision.conditions import Condition, Severity
from tests.support.colour_classifier import GREY, add_classes, add_conditions, graded_picture, make_classifier_bundle
from tests.support.command import problems, scalpscope
from tests.support.tiny_sam import make_sam_bundle

_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
GRADED = {"good": (0, 0, 0), "mixed": (1, 2, 3), "worst": (3, 3, 3)}
HEAT = [f"_heat_{condition.value}.png" for condition in Condition]


class SharesSchema(BaseModel):
    """`severity_probabilities`."""

    model_config = _STRICT
    good: float
    mild: float
    moderate: float
    severe: float


class GradeSchema(BaseModel):
    """One condition of NAME.json. A change here is a change of `schema_version`."""

    model_config = _STRICT
    present_probability: float | None
    severity: str | None
    severity_probabilities: SharesSchema | None
    certainty: float | None
    refused: str | None


class ConditionsSchema(BaseModel):
    """`conditions`."""

    model_config = _STRICT
    dandruff: GradeSchema
    excess_sebum: GradeSchema
    erythema: GradeSchema


class ModelSchema(BaseModel):
    """`conditions_model`."""

    model_config = _STRICT
    backend: str
    bundle: str
    demonstration_only: bool
    rule: str


def record_of(path: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record


def rows_of(out: Path) -> dict[str, dict[str, str]]:
    with (out / "summary.csv").open(encoding="utf-8", newline="") as file:
        return {row["image"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_classifier_bundle(
        tmp_path_factory.mktemp("graded") / "b", 320, 240, overview=True, mask=True, claimed=(True, True, False)
    )
    return add_classes(folder, Task.SCALP_CONDITION, ("dull", "fair", "bright"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of known grades, and one that is out of focus."""
    folder = tmp_path_factory.mktemp("pictures")
    for name, severities in GRADED.items():
        write_png_atomically(folder / f"{name}.png", graded_picture(severities, 320, 240))
    write_png_atomically(folder / "soft.png", np.full((240, 320, 3), GREY, np.uint8))
    return folder


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory, bundle: Path, pictures: Path) -> Path:
    """The results of one run over all of them, heat maps drawn."""
    out = tmp_path_factory.mktemp("graded") / "out"
    run = scalpscope("analyse", pictures, "--out", out, "--bundle", bundle, "--heat-maps")
    assert run.returncode == 0, run.stderr
    assert problems(run.stderr) == []
    return out


@pytest.mark.parametrize("name", GRADED)
def test_the_json_holds_the_grades(graded: Path, name: str) -> None:
    record = record_of(graded / f"{name}.json")
    said = ConditionsSchema.model_validate_json(json.dumps(record["conditions"]))
    assert record["schema_version"] == 3 and record["conditions_missing"] is None
    for own, severity in zip((said.dandruff, said.excess_sebum), GRADED[name]):
        assert own.severity == Severity(severity).word and own.refused is None
        assert own.severity_probabilities is not None and own.present_probability is not None
        shares = own.severity_probabilities.model_dump()
        assert sum(shares.values()) == pytest.approx(1, abs=1e-3)
        assert own.certainty == shares[own.severity]
        assert own.present_probability == pytest.approx(1 - shares["good"], abs=1e-3)
        assert (own.severity == "good") == (own.present_probability < 0.5)
    assert said.erythema == GradeSchema(
        present_probability=None, severity=None, severity_probabilities=None, certainty=None, refused="not_claimed"
    )
    model = ModelSchema.model_validate_json(json.dumps(record["conditions_model"]))
    assert (model.backend, model.bundle, model.demonstration_only) == ("onnxruntime-cpu fp32", "tiny 1", True)
    assert "median" in model.rule
    assert any(reason.startswith("conditions: ") for reason in record["engine_reasons"])


def test_a_picture_that_must_not_be_graded_has_the_reason_and_is_measured(graded: Path) -> None:
    record = record_of(graded / "soft.json")
    said = ConditionsSchema.model_validate_json(json.dumps(record["conditions"]))
    for own in (said.dandruff, said.excess_sebum, said.erythema):
        assert own.refused == "out_of_focus"
        assert own.severity is own.certainty is own.present_probability is own.severity_probabilities is None
    assert record["conditions_missing"] is None and record["hair_count"] == 0


def test_the_summary_says_the_same(graded: Path) -> None:
    rows = rows_of(graded)
    assert list(rows["good.png"]) == list(SUMMARY_COLUMNS)
    mixed = rows["mixed.png"]
    assert (mixed["dandruff_severity"], mixed["excess_sebum_severity"]) == ("mild", "moderate")
    record = record_of(graded / "mixed.json")["conditions"]["dandruff"]
    assert float(mixed["dandruff_present_probability"]) == record["present_probability"]
    assert float(mixed["dandruff_certainty"]) == record["certainty"]
    assert mixed["dandruff_refused"] == "" and mixed["erythema_refused"] == "not_claimed"
    assert mixed["erythema_severity"] == ""
    assert mixed["conditions_backend"] == "onnxruntime-cpu fp32"
    assert rows["soft.png"]["dandruff_refused"] == "out_of_focus" and rows["soft.png"]["dandruff_severity"] == ""


def test_the_scalp_condition_of_a_bundle_that_has_it(graded: Path) -> None:
    record = record_of(graded / "good.json")["scalp_condition"]
    assert record["label"] in ("fair", "bright") and record["refused"] is None
    assert set(record["probabilities"]) == {"dull", "fair", "bright"}
    assert record["certainty"] == max(record["probabilities"].values())
    assert rows_of(graded)["good.png"]["scalp_condition"] == record["label"]


def test_heat_maps_show_where_it_looked_of_what_is_graded(graded: Path, pictures: Path) -> None:
    names = {path.name for path in graded.iterdir()}
    for name in GRADED:
        assert {f"{name}{HEAT[0]}", f"{name}{HEAT[1]}"} <= names and f"{name}{HEAT[2]}" not in names
    assert not {f"soft{ending}" for ending in HEAT} & names
    picture, drawn = read_image(pictures / "worst.png"), read_image(graded / f"worst{HEAT[0]}")
    assert drawn.shape == picture.shape
    lit = drawn.astype(int)[..., 0] - drawn.astype(int)[..., 2]  # yellow, on grey
    assert lit[60, 40] > 80 and abs(lit[60, 280]) < 5


def test_a_second_run_takes_no_heat_map_for_a_picture(tmp_path: Path, bundle: Path, pictures: Path) -> None:
    folder = Path(shutil.copytree(pictures, tmp_path / "here"))
    words = ["analyse", str(folder), "--out", str(folder), "--bundle", str(bundle), "--heat-maps"]
    assert call(words) == 0
    assert call(words) == 0
    assert set(rows_of(folder)) == {*(f"{name}.png" for name in GRADED), "soft.png"}


def test_a_heat_map_is_never_written_over_a_picture(tmp_path: Path, bundle: Path, capfd: Any) -> None:
    for name in ("a.png", f"a{HEAT[0]}"):
        write_png_atomically(tmp_path / name, graded_picture())
    names = [str(tmp_path / name) for name in ("a.png", f"a{HEAT[0]}")]
    assert call(["analyse", *names, "--out", str(tmp_path), "--bundle", str(bundle), "--heat-maps"]) == 2
    assert "written over the picture" in capfd.readouterr().err


def test_without_a_network_there_is_null_and_a_reason(
    tmp_path: Path, tiny_bundle: Path, pictures: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["analyse", str(pictures / "good.png"), "--out", str(tmp_path / "out"), "--bundle", str(tiny_bundle)]
    assert call([*words, "--heat-maps"]) == 2
    assert "There are no heat maps" in capfd.readouterr().err and not (tmp_path / "out").exists()
    assert call(words) == 0
    record = record_of(tmp_path / "out" / "good.json")
    assert record["conditions"] is record["conditions_model"] is record["scalp_condition"] is None
    assert "has no network that grades" in record["conditions_missing"]
    row = rows_of(tmp_path / "out")["good.png"]
    assert row["dandruff_severity"] == row["dandruff_refused"] == row["conditions_backend"] == ""


def test_an_engine_that_is_refused_is_a_reason_and_the_pictures_are_measured(tmp_path: Path, pictures: Path) -> None:
    bundle = make_classifier_bundle(tmp_path / "b", 320, 240, refused=True)
    assert call(["analyse", str(pictures), "--out", str(tmp_path / "out"), "--bundle", str(bundle)]) == 0
    record = record_of(tmp_path / "out" / "good.json")
    assert record["conditions"] is None and "computes something else" in record["conditions_missing"]


def test_a_refined_picture_is_graded_too(tmp_path: Path, pictures: Path) -> None:
    bundle = add_conditions(make_sam_bundle(tmp_path / "b", 320, 240), mask=True)
    words = ["analyse", str(pictures / "mixed.png"), "--out", str(tmp_path / "out"), "--bundle", str(bundle)]
    assert call([*words, "--refine"]) == 0
    record = record_of(tmp_path / "out" / "mixed.json")
    assert record["refinement"] is not None
    assert [own["severity"] for own in record["conditions"].values()] == ["mild", "moderate", "severe"]


def test_a_program_gets_the_same(tmp_path: Path, bundle: Path, pictures: Path, graded: Path) -> None:
    analyser = PictureAnalyser(bundle_path=bundle)
    assert analyser.conditions_missing is None and analyser.scalp_condition_missing is None
    image = read_image(pictures / "mixed.png")
    analysis = analyser.analyse(image)
    conditions = analyser.grade(image, analysis.mask)
    saved = save_analysis(
        tmp_path, "mixed", image, analysis, analyser.provenance, conditions=conditions, with_heat_maps=True
    )
    assert saved.record["conditions"] == record_of(graded / "mixed.json")["conditions"]
    assert saved.heat_maps[Condition.DANDRUFF].read_bytes() == (graded / f"mixed{HEAT[0]}").read_bytes()
    assert analyser.judge_scalp(image, analysis.mask).task is Task.SCALP_CONDITION


# -- Overview photographs ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a stage each, by their brightness, and a black one."""
    folder = tmp_path_factory.mktemp("photographs")
    for stage in (0, 2, 4):
        write_png_atomically(folder / f"stage-{stage}.png", np.full((90, 120, 3), 26 + 51 * stage, np.uint8))
    write_png_atomically(folder / "black.png", np.zeros((90, 120, 3), np.uint8))
    return folder


def test_the_stages_are_said_and_written(tmp_path: Path, bundle: Path, photographs: Path) -> None:
    out = tmp_path / "out"
    run = scalpscope("stage", photographs, "--bundle", bundle, "--out", out, "--heat-maps")
    assert run.returncode == 0, run.stderr
    said = dict(line.split(": ", 1) for line in run.stdout.strip().splitlines())
    for stage in (0, 2, 4):
        assert said[f"stage-{stage}.png"].startswith(f"stage {stage} (")
        record = record_of(out / f"stage-{stage}_stage.json")
        assert record["hair_loss_stage"] == str(stage) and record["refused"] is None
        assert sum(record["probabilities"].values()) == pytest.approx(1, abs=1e-3)
        assert read_image(out / f"stage-{stage}_heat_stage.png").shape == (90, 120, 3)
    assert said["black.png"] == "cannot say: too dark"
    black = record_of(out / "black_stage.json")
    assert black["hair_loss_stage"] is black["certainty"] is black["probabilities"] is None
    assert black["refused"] == "too_dark" and not (out / "black_heat_stage.png").exists()
    assert "demonstration only" in run.stderr


def test_a_bundle_that_cannot_stage_and_options_that_miss_something(
    bundle: Path, tiny_bundle: Path, photographs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert call(["stage", str(photographs), "--bundle", str(tiny_bundle)]) == 2
    assert "no network that stages hair loss in overview photographs" in capfd.readouterr().err
    assert call(["stage", str(photographs), "--bundle", str(bundle), "--heat-maps"]) == 2
    assert "--out" in capfd.readouterr().err
    assert call(["stage", str(photographs / "none.png"), "--bundle", str(bundle)]) == 2
    assert "does not exist" in capfd.readouterr().err


def test_a_photograph_that_cannot_be_read_is_named_and_the_others_are_done(
    tmp_path: Path, bundle: Path, photographs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"nothing")
    assert call(["stage", str(broken), str(photographs / "stage-2.png"), "--bundle", str(bundle)]) == 1
    out, err = capfd.readouterr()
    assert "broken.png" in err and out.startswith("stage-2.png: stage 2")


def test_two_photographs_of_one_name_are_refused(
    tmp_path: Path, bundle: Path, photographs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    twin = tmp_path / "STAGE-2.png"
    shutil.copyfile(photographs / "stage-2.png", twin)
    words = ["stage", str(twin), str(photographs), "--bundle", str(bundle), "--out", str(tmp_path / "out")]
    assert call(words) == 2
    assert "Several photographs" in capfd.readouterr().err and not (tmp_path / "out").exists()


def test_a_program_stages_too(bundle: Path) -> None:
    assert open_overview_judge(bundle).judge(np.full((90, 120, 3), 179, np.uint8)).label == "3"
