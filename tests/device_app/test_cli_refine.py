"""`scalpscope analyse --refine` and `PictureAnalyser.refine`: real processes, real files, a tiny SAM that is real."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict

from calibration.errors import ScalpScopeError
from device_app.analyse import PictureAnalyser
from device_app.analysis_files import SUMMARY_COLUMNS, save_analysis
from device_app.cli import call
from device_app.images import read_image, write_png_atomically
from device_app.live.refinement import Correction
from tests.support.command import problems, scalpscope
from tests.support.tiny_sam import CHOICE, IOUS, make_sam_bundle

ENDINGS = (".json", "_mask.png", "_overlay.png", "_coarse_mask.png", "_refined_mask.png")


class CorrectionSchema(BaseModel):
    """A correction of NAME.json."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    x: float
    y: float
    hair: bool


class RefinementSchema(BaseModel):
    """`refinement` of NAME.json. A change here is a change of `schema_version`."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    combination: str
    predicted_iou: float | None
    positive_points: int
    negative_points: int
    coarse_mask_file: str
    refined_mask_file: str
    corrections: list[CorrectionSchema]


@pytest.fixture(scope="module")
def sam_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sam_bundle(tmp_path_factory.mktemp("sam") / "b", 320, 240)


@pytest.fixture(scope="module")
def refined(tmp_path_factory: pytest.TempPathFactory, sam_bundle: Path, hairy_pictures: list[Path]) -> Path:
    """The results of one run over three pictures with a scale."""
    out = tmp_path_factory.mktemp("refined") / "out"
    folder = hairy_pictures[0].parent
    run = scalpscope("analyse", folder, "--out", out, "--um-per-px", "4", "--bundle", sam_bundle, "--refine")
    assert run.returncode == 0, run.stderr
    assert problems(run.stderr) == []
    assert "3 of 3" in run.stdout
    return out


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "summary.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def mask_at(path: Path) -> np.ndarray:
    mask = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert mask is not None
    return mask


def test_every_picture_gets_its_masks(refined: Path) -> None:
    names = [f"scalp-{seed}" for seed in (1, 2, 3)]
    assert {path.name for path in refined.iterdir()} == {*(n + e for n in names for e in ENDINGS), "summary.csv"}
    for name in names:
        coarse, answer, mask = (mask_at(refined / f"{name}_{kind}mask.png") for kind in ("coarse_", "refined_", ""))
        assert coarse.shape == answer.shape == mask.shape == (240, 320)
        assert mask.any() and not (mask & ~(coarse & answer)).any()


def test_the_json_is_of_the_combined_mask(refined: Path, sam_bundle: Path, hairy_pictures: list[Path]) -> None:
    record = json.loads((refined / "scalp-1.json").read_text(encoding="utf-8"))
    said = RefinementSchema.model_validate_json(json.dumps(record["refinement"]))
    refinement = PictureAnalyser(bundle_path=sam_bundle, scale_um_per_px=4.0).refine(read_image(hairy_pictures[0]))
    assert said.combination == "product" and said.predicted_iou == pytest.approx(IOUS[CHOICE])
    assert said.positive_points == len(refinement.points.positive) > 0
    assert said.negative_points == len(refinement.points.negative) > 0
    assert said.corrections == []
    for name, mask in (
        (said.coarse_mask_file, refinement.coarse_mask),
        (said.refined_mask_file, refinement.refined_mask),
        ("scalp-1_mask.png", refinement.mask),
    ):
        assert np.array_equal(mask_at(refined / name), mask)
    assert record["schema_version"] == 3
    assert record["hair_count"] == refinement.analysis.measurements.hair_count > 3
    assert record["coverage_fraction"] == pytest.approx(
        np.count_nonzero(refinement.mask) / refinement.mask.size, abs=0.01
    )
    assert {"prompt", "embed", "decode", "combine"} <= record["timings_ms"].keys()
    assert "SAM encoder onnxruntime-cpu fp32, decoder onnxruntime-cpu fp16" in record["backend"]
    assert any(reason.startswith("sam_decoder: ") for reason in record["engine_reasons"])


def test_the_summary_says_that_it_was_refined(refined: Path, tmp_path: Path, sam_bundle: Path) -> None:
    rows = rows_of(refined)
    assert list(rows[0]) == list(SUMMARY_COLUMNS)
    assert [(row["refined"], row["combination"]) for row in rows] == [("true", "product")] * 3
    assert float(rows[0]["predicted_iou"]) == pytest.approx(IOUS[CHOICE])
    write_png_atomically(tmp_path / "skin.png", np.full((240, 320, 3), (205, 160, 140), np.uint8))
    call(["analyse", str(tmp_path / "skin.png"), "-o", str(tmp_path / "a"), "--bundle", str(sam_bundle), "--refine"])
    (row,) = rows_of(tmp_path / "a")
    assert (row["refined"], row["predicted_iou"], row["hair_count"]) == ("true", "", "0")  # SAM was not asked
    call(["analyse", str(tmp_path / "skin.png"), "-o", str(tmp_path / "b"), "--bundle", str(sam_bundle)])
    (row,) = rows_of(tmp_path / "b")
    assert (row["refined"], row["combination"], row["predicted_iou"]) == ("false", "", "")


def test_a_bundle_without_sam_is_one_error_before_anything_is_done(
    tmp_path: Path, tiny_bundle: Path, hairy_pictures: list[Path]
) -> None:
    run = scalpscope("analyse", *hairy_pictures, "--out", tmp_path / "out", "--bundle", tiny_bundle, "--refine")
    assert run.returncode == 2
    assert run.stderr.count("has no SAM") == 1 and "Traceback" not in run.stderr
    assert not (tmp_path / "out").exists()


def test_the_results_of_a_refined_run_are_no_pictures_of_the_next(
    tmp_path: Path, sam_bundle: Path, hairy_pictures: list[Path]
) -> None:
    write_png_atomically(tmp_path / "a.png", read_image(hairy_pictures[0]))
    for _ in range(2):
        assert call(["analyse", str(tmp_path), "-o", str(tmp_path), "--bundle", str(sam_bundle), "--refine"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "summary.csv", *(f"a{ending}" for ending in ENDINGS)}


def test_a_refined_mask_is_not_written_over_a_picture(
    tmp_path: Path, sam_bundle: Path, hairy_pictures: list[Path]
) -> None:
    for name in ("a.png", "a_refined_mask.png"):
        write_png_atomically(tmp_path / name, read_image(hairy_pictures[0]))
    run = scalpscope("analyse", tmp_path, "--out", tmp_path, "--bundle", sam_bundle, "--refine")
    assert run.returncode == 2 and "written over the picture" in run.stderr


def test_a_picture_that_cannot_be_read_does_not_stop_the_others(
    tmp_path: Path, sam_bundle: Path, hairy_pictures: list[Path]
) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    paths = [str(hairy_pictures[0]), str(tmp_path / "bad.png")]
    assert call(["analyse", *paths, "-o", str(tmp_path / "out"), "--bundle", str(sam_bundle), "--refine"]) == 1
    assert [(row["refined"], bool(row["error"])) for row in rows_of(tmp_path / "out")] == [("true", False), ("", True)]


def test_corrections_are_saved_with_the_record(tmp_path: Path, sam_bundle: Path, hairy_pictures: list[Path]) -> None:
    image = read_image(hairy_pictures[0])
    analyser = PictureAnalyser(bundle_path=sam_bundle, scale_um_per_px=4.0)
    first = analyser.refine(image)
    refinement = analyser.refine(image, [Correction(10.5, 20, True), Correction(300.0, 200.25, False)])
    assert "embed" in first.timings_ms and "embed" not in refinement.timings_ms
    saved = save_analysis(
        tmp_path, "eye", image, refinement.analysis, analyser.provenance, with_picture=True, refinement=refinement
    )
    record = json.loads(saved.json.read_text(encoding="utf-8"))
    assert record["refinement"]["corrections"] == [
        {"x": 10.5, "y": 20.0, "hair": True},
        {"x": 300.0, "y": 200.25, "hair": False},
    ]
    RefinementSchema.model_validate_json(json.dumps(record["refinement"]))
    for mask in (saved.coarse_mask, saved.refined_mask, saved.mask, saved.picture):
        assert mask is not None and mask.is_file()
    assert record["refinement"]["coarse_mask_file"] == saved.coarse_mask.name == "eye_coarse_mask.png"


def test_a_program_can_ask_whether_a_bundle_refines(tiny_bundle: Path, sam_bundle: Path) -> None:
    assert PictureAnalyser(bundle_path=sam_bundle).refinement_missing is None
    without = PictureAnalyser(bundle_path=tiny_bundle)
    assert "has no SAM" in (without.refinement_missing or "")
    with pytest.raises(ScalpScopeError, match="has no SAM"):
        without.refine(np.zeros((48, 64, 3), np.uint8))
