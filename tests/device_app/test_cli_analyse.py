"""`scalpscope analyse` as its users meet it: real processes, real files, good ones and bad ones."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from pydantic import BaseModel, ConfigDict

from calibration.optics.profile import Profile, ScaleMethod
from device_app import analyse_picture
from device_app.analysis_files import SUMMARY_COLUMNS
from device_app.cli import call
from device_app.images import read_image, write_png_atomically
from tests.support.command import problems, scalpscope, start


class HairSchema(BaseModel):
    """A hair of NAME.json."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    id: int
    centre_line: list[tuple[float, float]]
    length_px: float
    diameter_px: float | None
    diameter_um: float | None
    diameter_spread_px: float | None
    hair_class: str | None
    ends_inside: tuple[bool, bool]


class Schema(BaseModel):
    """NAME.json: every key, no other one, and the type of each. A change here is a change of `schema_version`."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    schema_version: int
    image: str
    width_px: int
    height_px: int
    scale_um_per_px: float | None
    scale_uncertainty_um_per_px: float | None
    profile: str | None
    hair_count: int
    density_per_cm2: float | None
    coverage_fraction: float | None
    mean_diameter_px: float | None
    mean_diameter_um: float | None
    sd_diameter_um: float | None
    diameter_diversity_fraction: float | None
    cumulative_thickness_mm_per_cm2: float | None
    thin_fraction: float | None
    vellus_count: int | None
    intermediate_count: int | None
    terminal_count: int | None
    intervals: dict[str, dict[str, float | None]]
    reasons: dict[str, str]
    hair_classes: dict[str, str | float]
    density_rule: str
    refinement: None  # of refined pictures: test_cli_refine
    conditions: None  # of graded pictures: test_cli_grades
    conditions_model: None
    conditions_missing: str | None
    scalp_condition: None
    hairs: list[HairSchema]
    focus: float | None
    timings_ms: dict[str, float]
    bundle: str
    backend: str
    engine_reasons: list[str]
    fallback: bool
    demonstration_only: bool
    software: str
    analysed: str


PHYSICAL = (
    "density_per_cm2",
    "mean_diameter_um",
    "sd_diameter_um",
    "vellus_count",
    "intermediate_count",
    "terminal_count",
    "cumulative_thickness_mm_per_cm2",
    "thin_fraction",
)


def record_of(path: Path) -> dict[str, Any]:
    """A NAME.json, checked against the schema; NaN and Infinity are no JSON."""
    text = path.read_text(encoding="utf-8")
    record: dict[str, Any] = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} in {path.name}"))
    Schema.model_validate_json(text)
    return record


def rows_of(out: Path) -> list[dict[str, str]]:
    with (out / "summary.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(None not in row for row in rows)
    return rows


def check_whole_sets(out: Path, names: list[str]) -> None:
    """Every NAME has its three whole files, and there is nothing else but the summary."""
    expected = {f"{name}{ending}" for name in names for ending in (".json", "_mask.png", "_overlay.png")}
    assert {path.name for path in out.iterdir()} == {*expected, "summary.csv"}
    for name in names:
        record = record_of(out / f"{name}.json")
        size = (record["height_px"], record["width_px"])
        mask = cv2.imread(str(out / f"{name}_mask.png"), cv2.IMREAD_UNCHANGED)
        assert mask is not None
        assert mask.shape == size
        assert set(np.unique(mask)) <= {0, 255}
        assert read_image(out / f"{name}_overlay.png").shape == (*size, 3)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path, hairy_pictures: list[Path]) -> Path:
    """The results of one run over three pictures with a scale."""
    out = tmp_path_factory.mktemp("measured") / "deep" / "out"
    run = scalpscope("analyse", hairy_pictures[0].parent, "--out", out, "--um-per-px", "4", "--bundle", tiny_bundle)
    assert run.returncode == 0, run.stderr
    assert problems(run.stderr) == []
    assert "3 of 3" in run.stdout
    return out


def test_every_picture_gets_its_files(measured: Path) -> None:
    check_whole_sets(measured, ["scalp-1", "scalp-2", "scalp-3"])


def test_the_json_holds_what_was_measured(measured: Path, tiny_bundle: Path, hairy_pictures: list[Path]) -> None:
    record = record_of(measured / "scalp-1.json")
    image = read_image(hairy_pictures[0])
    analysis = analyse_picture(image, scale_um_per_px=4.0, bundle_path=tiny_bundle)
    assert (record["image"], record["width_px"], record["height_px"]) == ("scalp-1.png", 320, 240)
    assert record["hair_count"] == analysis.measurements.hair_count == len(record["hairs"]) > 3
    assert all(record[name] is not None for name in PHYSICAL)
    assert record["mean_diameter_um"] == pytest.approx(4.0 * record["mean_diameter_px"], rel=1e-5)
    assert record["density_per_cm2"] == pytest.approx(analysis.measurements.density_per_cm2.value, rel=1e-5)
    for name, interval in record["intervals"].items():
        if interval["low"] is not None:
            assert interval["low"] <= record[name] <= interval["high"], name
    counts = [record[f"{name}_count"] for name in ("vellus", "intermediate", "terminal")]
    classes = [hair["hair_class"] for hair in record["hairs"]]
    assert counts == [classes.count(name) for name in ("vellus", "intermediate", "terminal")]
    for hair, truth in zip(record["hairs"], analysis.measurements.hairs, strict=True):
        assert np.allclose(hair["centre_line"], truth.centre_line, atol=0.006)
        assert (hair["diameter_px"] is None) == math.isnan(truth.diameter_px)
    mask = cv2.imread(str(measured / "scalp-1_mask.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(mask, analysis.mask)
    assert (record["bundle"], record["backend"]) == ("tiny 1", "onnxruntime-cpu fp32")
    assert record["demonstration_only"] is True
    assert record["fallback"] is True
    assert "total" in record["timings_ms"]
    assert not np.array_equal(read_image(measured / "scalp-1_overlay.png"), image)


def test_the_summary_says_the_same(measured: Path) -> None:
    rows = rows_of(measured)
    assert list(rows[0]) == list(SUMMARY_COLUMNS)
    assert [row["image"] for row in rows] == ["scalp-1.png", "scalp-2.png", "scalp-3.png"]
    for row in rows:
        record = record_of(measured / f"{row['image'].removesuffix('.png')}.json")
        assert row["error"] == ""
        for name in ("hair_count", "density_per_cm2", "mean_diameter_um", "terminal_count", "coverage_fraction"):
            assert float(row[name]) == record[name]
        assert float(row["density_per_cm2_low"]) == record["intervals"]["density_per_cm2"]["low"]


def test_without_a_scale_no_physical_figure(tmp_path: Path, tiny_bundle: Path, hairy_pictures: list[Path]) -> None:
    assert call(["analyse", str(hairy_pictures[0]), "-o", str(tmp_path), "--bundle", str(tiny_bundle)]) == 0
    record = record_of(tmp_path / "scalp-1.json")
    assert record["scale_um_per_px"] is None
    assert all(record[name] is None for name in PHYSICAL)
    assert all(hair["diameter_um"] is None for hair in record["hairs"])
    assert record["mean_diameter_px"] > 0
    assert "scale" in record["reasons"]["density_per_cm2"]
    assert all(rows_of(tmp_path)[0][name] == "" for name in PHYSICAL)


def test_a_profile_gives_the_scale_and_its_uncertainty(
    tmp_path: Path, tiny_bundle: Path, hairy_pictures: list[Path]
) -> None:
    profile = Profile(
        name="scope A",
        width_px=320,
        height_px=240,
        scale_um_per_px=4.0,
        scale_uncertainty_um_per_px=0.2,
        method=ScaleMethod.TYPED,
    )
    profile.save(tmp_path / "scope.json")
    other = tmp_path / "other.png"
    write_png_atomically(other, np.full((200, 300, 3), 200, np.uint8))
    out = tmp_path / "out"
    run = scalpscope(
        "analyse", hairy_pictures[0], other, "--out", out, "--profile", tmp_path / "scope.json", "--bundle", tiny_bundle
    )
    assert run.returncode == 1
    (line,) = problems(run.stderr)
    assert "other.png" in line
    assert "320 x 240" in line
    check_whole_sets(out, ["scalp-1"])
    record = record_of(out / "scalp-1.json")
    assert (record["profile"], record["scale_um_per_px"], record["scale_uncertainty_um_per_px"]) == (
        "scope A",
        4.0,
        0.2,
    )
    exact = analyse_picture(read_image(hairy_pictures[0]), scale_um_per_px=4.0, bundle_path=tiny_bundle)
    width = record["intervals"]["mean_diameter_um"]["high"] - record["intervals"]["mean_diameter_um"]["low"]
    figure = exact.measurements.mean_diameter_um
    assert figure.high is not None
    assert figure.low is not None
    assert width > figure.high - figure.low


@pytest.mark.parametrize(("classes", "cut"), [("trichoscopy", 30.0), ("trichoscan", 40.0)])
def test_the_cuts_are_named(
    tmp_path: Path, tiny_bundle: Path, hairy_pictures: list[Path], classes: str, cut: float
) -> None:
    words = ["analyse", str(hairy_pictures[1]), "--out", str(tmp_path), "--bundle", str(tiny_bundle)]
    assert call([*words, "--um-per-px", "4", "--classes", classes]) == 0
    record = record_of(tmp_path / "scalp-2.json")
    assert record["hair_classes"]["vellus_below_um"] == cut
    if classes == "trichoscan":
        assert record["intermediate_count"] == 0


def bad_pictures(folder: Path) -> list[Path]:
    """One of each kind of picture that cannot be analysed."""
    whole = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8))[1].tobytes()
    (folder / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_text("this is no picture")
    Image.new("RGB", (1, 1)).save(folder / "one.png")
    Image.new("1", (12000, 10000)).save(folder / "huge.png")
    return [folder / name for name in ("truncated.jpg", "empty.png", "text.png", "one.png", "huge.png")]


def test_bad_pictures_are_named_and_the_others_done(
    tmp_path: Path, tiny_bundle: Path, hairy_pictures: list[Path]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    bad = bad_pictures(folder)
    shutil.copy(hairy_pictures[0], folder / "good.png")
    run = scalpscope("analyse", folder, "--out", tmp_path / "out", "--bundle", tiny_bundle)
    assert run.returncode == 1
    assert "Traceback" not in run.stderr
    lines = problems(run.stderr)
    assert len(lines) == len(bad)
    for path in bad:
        (line,) = [line for line in lines if path.name in line]
        assert line.startswith("scalpscope: ")
    check_whole_sets(tmp_path / "out", ["good"])
    errors = {row["image"]: row["error"] for row in rows_of(tmp_path / "out")}
    assert set(errors) == {"good.png", *(path.name for path in bad)}
    assert {name for name, error in errors.items() if not error} == {"good.png"}


def test_one_bad_picture_alone_fails(tmp_path: Path, tiny_bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    words = ["analyse", str(tmp_path / "empty.png"), "--out", str(tmp_path / "out"), "--bundle", str(tiny_bundle)]
    assert call(words) == 1
    check_whole_sets(tmp_path / "out", [])
    assert len(problems(capfd.readouterr().err)) == 1


def test_unusual_pictures_are_analysed(tmp_path: Path, tiny_bundle: Path, hairy_pictures: list[Path]) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    picture = Image.open(hairy_pictures[0])
    grey = np.array(picture.convert("L"))
    cv2.imwrite(str(folder / "deep.png"), grey.astype(np.uint16) * 257)
    cv2.imwrite(str(folder / "grey.png"), grey)
    picture.convert("RGBA").save(folder / "alpha.png")
    picture.convert("CMYK").save(folder / "cmyk.jpg", quality=95)
    picture.save(folder / "Kopf haut äöü.webp", quality=95)
    assert call(["analyse", str(folder), "--out", str(tmp_path / "out"), "--bundle", str(tiny_bundle)]) == 0
    check_whole_sets(tmp_path / "out", ["deep", "grey", "alpha", "cmyk", "Kopf haut äöü"])
    for row in rows_of(tmp_path / "out"):
        assert int(row["hair_count"]) > 0, row["image"]


def test_no_hair_is_no_hair(tmp_path: Path, tiny_bundle: Path) -> None:
    """White and bright pictures: the tests' network finds nothing dark, and no figure may appear or be NaN."""
    folder = tmp_path / "in"
    folder.mkdir()
    write_png_atomically(folder / "white.png", np.full((240, 320, 3), 255, np.uint8))
    write_png_atomically(folder / "skin.png", np.full((240, 320, 3), (225, 180, 150), np.uint8))
    words = ["analyse", str(folder), "--out", str(tmp_path / "out"), "--bundle", str(tiny_bundle)]
    assert call([*words, "--um-per-px", "3"]) == 0
    for name in ("white", "skin"):
        record = record_of(tmp_path / "out" / f"{name}.json")
        assert (record["hair_count"], record["hairs"], record["density_per_cm2"]) == (0, [], 0.0)
        assert record["mean_diameter_um"] is None
        assert record["reasons"]["mean_diameter_um"]


def test_a_black_picture_is_survived(tmp_path: Path, tiny_bundle: Path) -> None:
    write_png_atomically(tmp_path / "black.png", np.zeros((240, 320, 3), np.uint8))
    words = ["analyse", str(tmp_path / "black.png"), "--out", str(tmp_path / "out"), "--bundle", str(tiny_bundle)]
    assert call(words) == 0
    record_of(tmp_path / "out" / "black.json")


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "5000", "two"])
def test_a_scale_that_is_none_is_refused(
    tmp_path: Path, hairy_pictures: list[Path], value: str, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["analyse", str(hairy_pictures[0]), "--out", str(tmp_path / "out"), f"--um-per-px={value}"]
    assert call(words) == 2
    assert "--um-per-px" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{pictures}", "--um-per-px", "2", "--profile", "a"], "Give one of them"),
        (["{pictures}", "--profile", "no such scope"], "no such scope"),
        (["{pictures}", "--bundle", "/no/such/bundle"], "/no/such/bundle"),
        (["{pictures}", "--precision", "int8_symmetric"], "int8_symmetric"),
        (["/no/such/picture.png"], "/no/such/picture.png"),
        (["{empty}"], "holds no pictures"),
    ],
)
def test_wrong_options_are_said_in_one_line_before_anything_is_done(
    tmp_path: Path,
    tiny_bundle: Path,
    hairy_pictures: list[Path],
    words: list[str],
    said: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty").mkdir()
    filled = [word.format(pictures=hairy_pictures[0], empty=tmp_path / "empty") for word in words]
    if "--bundle" not in filled:
        filled += ["--bundle", str(tiny_bundle)]
    assert call(["analyse", *filled, "--out", str(tmp_path / "out")]) == 2
    (line,) = capfd.readouterr().err.strip().splitlines()
    assert said in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("second", ["b/scalp.png", "a/scalp.jpg", "a/SCALP.png"])
def test_two_pictures_of_one_name_are_refused(
    tmp_path: Path, hairy_pictures: list[Path], second: str, capfd: pytest.CaptureFixture[str]
) -> None:
    first = tmp_path / "a" / "scalp.png"
    for path in (first, tmp_path / second):
        path.parent.mkdir(exist_ok=True)
        shutil.copy(hairy_pictures[0], path)
    assert call(["analyse", str(first), str(tmp_path / second), "--out", str(tmp_path / "out")]) == 2
    assert "would both be saved" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_picture_named_twice_is_done_once(tmp_path: Path, tiny_bundle: Path, hairy_pictures: list[Path]) -> None:
    one, folder = hairy_pictures[0], hairy_pictures[0].parent
    words = ["analyse", str(one), str(folder), str(one), "--out", str(tmp_path), "--bundle", str(tiny_bundle)]
    assert call(words) == 0
    assert [row["image"] for row in rows_of(tmp_path)] == ["scalp-1.png", "scalp-2.png", "scalp-3.png"]


def test_pictures_are_never_overwritten(
    tmp_path: Path, hairy_pictures: list[Path], capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("x.png", "x_mask.png"):
        shutil.copy(hairy_pictures[0], tmp_path / name)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert call(["analyse", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert "x_mask.png" in capfd.readouterr().err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_second_run_in_the_same_folder_takes_no_result_for_a_picture(
    tmp_path: Path, tiny_bundle: Path, hairy_pictures: list[Path]
) -> None:
    shutil.copy(hairy_pictures[0], tmp_path / "x.png")
    words = ["analyse", str(tmp_path), "--out", str(tmp_path), "--bundle", str(tiny_bundle)]
    assert call(words) == 0
    first = record_of(tmp_path / "x.json")
    assert call(words) == 0
    second = record_of(tmp_path / "x.json")
    assert [row["image"] for row in rows_of(tmp_path)] == ["x.png"]
    assert first["hairs"] == second["hairs"]


def test_a_disk_that_fills_is_said_once_and_nothing_is_half_written(
    tmp_path: Path, tiny_bundle: Path, hairy_pictures: list[Path]
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may mount the small disk that this test fills")
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("this machine does not let root mount a tmpfs")
    try:
        words = ("analyse", hairy_pictures[0].parent, "--out", disk / "out", "--bundle", tiny_bundle)
        run = scalpscope(*words)
        assert run.returncode == 2
        (line,) = problems(run.stderr)
        assert "disk is full" in line
        done = sorted(path.stem for path in (disk / "out").glob("*.json"))
        assert done
        assert done != ["scalp-1", "scalp-2", "scalp-3"]
        names = {path.name for path in (disk / "out").iterdir()} - {"summary.csv"}
        assert names == {f"{name}{end}" for name in done for end in (".json", "_mask.png", "_overlay.png")}
        for name in done:
            record_of(disk / "out" / f"{name}.json")
            read_image(disk / "out" / f"{name}_overlay.png")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_name_too_long_for_its_results_keeps_no_other_from_being_done(
    tmp_path: Path, tiny_bundle: Path, hairy_pictures: list[Path], capfd: pytest.CaptureFixture[str]
) -> None:
    long = tmp_path / f"{'a' * 250}.png"
    shutil.copy(hairy_pictures[0], long)
    words = ["analyse", str(long), str(hairy_pictures[0]), "--out", str(tmp_path / "out")]
    assert call([*words, "--bundle", str(tiny_bundle)]) == 1
    (line,) = problems(capfd.readouterr().err)
    assert "too long" in line
    check_whole_sets(tmp_path / "out", ["scalp-1"])


def test_an_output_folder_that_is_a_file_is_said(
    tmp_path: Path, tiny_bundle: Path, hairy_pictures: list[Path], capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("mine")
    words = ["analyse", str(hairy_pictures[0]), "--out", str(tmp_path / "out"), "--bundle", str(tiny_bundle)]
    assert call(words) == 2
    (line,) = problems(capfd.readouterr().err)
    assert str(tmp_path / "out") in line
    assert (tmp_path / "out").read_text() == "mine"


def many_pictures(folder: Path, picture: Path, count: int = 40) -> list[str]:
    folder.mkdir()
    names = [f"scalp-{number:02d}" for number in range(count)]
    for name in names:
        shutil.copy(picture, folder / f"{name}.png")
    return names


def wait_for_first_result(process: subprocess.Popen[str], out: Path) -> None:
    while not list(out.glob("*.json")):
        assert process.poll() is None, process.communicate()[1]


def test_killed_half_way_leaves_whole_sets_and_the_next_run_finishes(
    tmp_path: Path, tiny_bundle: Path, hairy_pictures: list[Path]
) -> None:
    out = tmp_path / "out"
    names = many_pictures(tmp_path / "in", hairy_pictures[0])
    words = ("analyse", tmp_path / "in", "--out", out, "--bundle", tiny_bundle)
    with start(*words) as process:
        wait_for_first_result(process, out)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    done = [path.stem for path in out.glob("*.json")]
    assert 0 < len(done) < len(names)
    for name in done:
        record_of(out / f"{name}.json")
        assert read_image(out / f"{name}_overlay.png").shape == (240, 320, 3)
        assert read_image(out / f"{name}_mask.png").shape == (240, 320, 3)
    for path in out.glob("[!.]*"):
        if path.suffix == ".png":
            read_image(path)
    assert scalpscope(*words).returncode == 0
    check_whole_sets(out, names)


def test_interrupted_by_hand_the_summary_lists_what_is_done(
    tmp_path: Path, tiny_bundle: Path, hairy_pictures: list[Path]
) -> None:
    out = tmp_path / "out"
    many_pictures(tmp_path / "in", hairy_pictures[0])

    def listens_to_ctrl_c() -> None:  # a suite that a shell runs in the background hands on that it is ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    words = ("analyse", tmp_path / "in", "--out", out, "--bundle", tiny_bundle)
    with start(*words, preexec=listens_to_ctrl_c) as process:
        wait_for_first_result(process, out)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in err
    done = sorted(path.name.removesuffix(".json") for path in out.glob("*.json"))
    assert {row["image"].removesuffix(".png") for row in rows_of(out)} <= set(done)
    assert len(rows_of(out)) >= len(done) - 1
    assert not list(out.glob(".*"))
