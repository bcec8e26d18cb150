"""Table 1 with a tiny SAM in a real bundle: every row through the device's own pipeline; what is said without SAM."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from segment_anything.modeling.image_encoder import ImageEncoderViT
from support.tiny_bundle import make_tiny_bundle
from support.tiny_sam import make_sam_bundle

from calibration.errors import ScalpScopeError
from device_app.camera.source import Frame
from device_app.images import write_png_atomically
from device_app.live.pipeline import Pipeline
from device_app.live.settings import PipelineSettings
from device_app.manifest_parts import Combination
from training.cli import call
from training.evaluation.finder import Role
from training.evaluation.methods import TABLE_1, open_methods
from training.evaluation.sam_automatic import OfficialAutomatic, grid_points
from training.prompting.checkpoints import sam_with

WIDTH, HEIGHT = 160, 128


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sam_bundle(tmp_path_factory.mktemp("bundles") / "sam", WIDTH, HEIGHT)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two pictures of dark hairs on pale scalp, one with a dark spot that is no hair."""
    folder = tmp_path_factory.mktemp("pictures")
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for number in (1, 2):
        image, mask = picture(number)
        write_png_atomically(folder / "images" / f"{number}.png", image)
        write_png_atomically(folder / "masks" / f"{number}.png", mask)
    (folder / "conditions.csv").write_text("image,condition\n1.png,plain\n2.png,spots\n")
    return folder / "images", folder / "masks"


def picture(number: int) -> tuple[np.ndarray, np.ndarray]:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for hair in range(number + 1):
        cv2.line(mask, (15 + 40 * hair, 0), (40 + 40 * hair, HEIGHT), 255, 9)
    image = np.where(mask[..., None] > 0, np.uint8([40, 35, 30]), np.uint8([220, 190, 170]))
    if number == 2:
        cv2.circle(image, (20, 100), 12, (30, 30, 30), -1)
    return image, mask


def _evaluate(folders: tuple[Path, Path], *more: str | Path) -> int:
    images, masks = folders
    return call(["segmentation", "evaluate", "--images", str(images), "--masks", str(masks), *map(str, more)])


def test_the_whole_table_with_everything_it_can_write(
    bundle: Path,
    folders: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    files = ("--out", tmp_path / "t.json", "--markdown", tmp_path / "t.md", "--sheet", tmp_path / "t.png")
    assert _evaluate(folders, "--bundle", bundle, "--grid", "2", "--by-condition", *files) == 0
    said = capsys.readouterr().out
    places = [said.index(f" {name} ") for name in TABLE_1]
    assert places == sorted(places)
    for words in ("is an oracle", "favours SAM", "M − M̂", "M − M_AP", "spots", "95 % intervals"):
        assert words in " ".join(said.split())

    content = json.loads((tmp_path / "t.json").read_text())
    assert [one["method"] for one in content["methods"]] == list(TABLE_1)
    assert [one["method"] for one in content["methods"] if one["oracle"]] == ["SAM, automatic, best mask"]
    by_name = {one["method"]: one["per_image"]["jaccard"]["value"] for one in content["methods"]}
    # The tiny networks find what is dark: all hair, and the spot.
    assert 0.8 < by_name["M"] < 1
    for one in content["differences"][:2]:
        rival = one["method"].split(" − ")[1]
        assert one["per_image"]["jaccard"]["value"] == pytest.approx(by_name["M"] - by_name[rival])
    assert [one["condition"] for one in content["conditions"]] == ["plain", "spots"]
    plain, spots = (one["jaccard"]["M"]["value"] for one in content["conditions"])
    assert plain > spots
    assert (plain + spots) / 2 == pytest.approx(by_name["M"])

    markdown = (tmp_path / "t.md").read_text()
    assert markdown.count("| method | Pixel-F1 | Jaccard | Dice |\n|---|---|---|---|\n") == 1
    for name in TABLE_1:
        assert f"\n| {name} | " in markdown
    assert "is an oracle" in markdown
    assert f"`scalpscope-train segmentation evaluate --images {folders[0]}" in markdown
    assert (tmp_path / "t.png").stat().st_size > 10_000


def test_without_sam_its_rows_say_so_and_the_rest_is_there(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    bundle = make_tiny_bundle(tmp_path / "bundle", WIDTH, HEIGHT)
    out, markdown = tmp_path / "t.csv", tmp_path / "t.md"
    assert _evaluate(folders, "-b", bundle, "-o", out, "--markdown", markdown, "--by-condition") == 0
    said = capsys.readouterr().out.split("all pixels pooled")[0]
    assert said.count("no SAM in this bundle") == 3
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows if not row["condition"]] == ["Shih 2014", "Yue 2021", "Kim 2017", "M̂"]
    assert {row["condition"] for row in rows} == {"", "plain", "spots"}
    assert "| M_AP | no SAM in this bundle |" in markdown.read_text()
    # Asked for by name they are an error, and so is the flake test.
    assert _evaluate(folders, "-m", f"refined:{bundle}") == 2
    assert "has no SAM" in capsys.readouterr().err
    assert call(["segmentation", "flakes", "--bundle", str(bundle), "-n", "1"]) == 2
    assert "has no SAM" in capsys.readouterr().err


def test_a_grid_of_none_leaves_the_slow_row_out(
    bundle: Path, folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    assert _evaluate(folders, "--bundle", bundle, "--grid", "0") == 0
    said = capsys.readouterr().out
    assert "left out (--grid 0)" in said
    assert "oracle" not in said


def test_rows_are_the_masks_of_the_device(bundle: Path) -> None:
    image = picture(2)[0]
    specs = {
        "coarse": f"coarse:{bundle}",
        "grown": f"combined:{bundle}@grown",
        "hair": f"hair:{bundle}",
        "alone": f"combined:{bundle}@refined",
        "refined": f"refined:{bundle}@fp32",
    }
    finders = open_methods(specs)
    # One finder for all rows of one bundle at one precision.
    assert [[row.name for row in finder.rows] for finder in finders] == [
        ["coarse", "grown", "hair", "alone"],
        ["refined"],
    ]
    found = {one.row: one for finder in finders for one in finder.find(image, set(specs))}
    pipeline = Pipeline(PipelineSettings(bundle_path=bundle, closer=True))
    frame = Frame(1, image, time.monotonic_ns())
    own = pipeline.refine(frame)
    assert own.mask.any()
    for name, mask in (("coarse", own.coarse_mask), ("hair", own.mask), ("refined", own.refined_mask)):
        assert np.array_equal(found[name].mask, mask)
    for name, how in (("grown", Combination.GROWN), ("alone", Combination.REFINED)):
        other = pipeline.refine(frame, combination=how)
        assert other.combination is how
        assert "embed" not in other.timings_ms  # the encoder ran once for all of them
        assert np.array_equal(found[name].mask, other.mask)
    assert found["coarse"].seconds < found["hair"].seconds
    # Only what is wanted is worked on.
    assert [one.row for one in finders[0].find(image, {"coarse"})] == ["coarse"]


def test_automatic_masks_are_one_for_each_point_but_none_twice(bundle: Path) -> None:
    (finder,) = open_methods({"sam": f"sam_automatic:{bundle}"}, grid=3)
    assert finder.rows[0].role is Role.ORACLE
    found = list(finder.find(picture(1)[0], {"sam"}))
    assert 1 < len(found) <= 9
    assert all(one.mask.shape == (HEIGHT, WIDTH) for one in found)
    assert len({one.mask.tobytes() for one in found}) == len(found)
    # In a picture that is dark all over every point gets all of it.
    (only,) = finder.find(np.full((HEIGHT, WIDTH, 3), 10, np.uint8), {"sam"})
    assert only.mask.all()


def test_grid_points_are_the_middles_of_cells() -> None:
    points = grid_points((64, 32), 2)
    assert points.tolist() == [[15.5, 7.5], [47.5, 7.5], [15.5, 23.5], [47.5, 23.5]]
    assert len(grid_points((640, 480))) == 1024


def test_official_sam_goes_through_its_own_generator() -> None:
    torch.manual_seed(0)
    encoder = ImageEncoderViT(img_size=64, embed_dim=16, depth=1, num_heads=2, use_rel_pos=False)
    sam = sam_with(encoder, 64)
    image = picture(1)[0]
    with torch.no_grad():
        head = sam.mask_decoder.iou_prediction_head.layers[-1]
        head.weight.zero_()
        head.bias.fill_(0.5)
        for mlp in sam.mask_decoder.output_hypernetworks_mlps:
            mlp.layers[-1].weight *= 1e4  # masks with hard edges: stable ones
    unsure = OfficialAutomatic("sam", sam, 2)
    assert list(unsure.find(image, {"sam"})) == []  # it predicts an IoU of 0.5 for all of its masks and drops them
    with torch.no_grad():
        head.bias.fill_(0.95)
    found = list(unsure.find(image, {"sam"}))
    assert found
    assert all(one.mask.shape == (HEIGHT, WIDTH) and one.mask.dtype == bool for one in found)
    assert list(unsure.find(image, {"another"})) == []


def test_bad_methods_are_refused_with_the_reason(bundle: Path, tmp_path: Path) -> None:
    for spec in (f"combined:{bundle}", f"coarse:{bundle}@grown", "hair", "combined:default@sum"):
        with pytest.raises(ScalpScopeError, match="no method"):
            open_methods({"any": spec})
    with pytest.raises(ScalpScopeError, match="no points"):
        open_methods({"any": "kim"}, grid=0)
    (tmp_path / "sam.pth").write_bytes(b"no weights")
    with pytest.raises(ScalpScopeError, match="no file of weights"):
        open_methods({"any": f"sam_automatic:{tmp_path / 'sam.pth'}"})


def test_bad_command_lines_are_refused_before_the_work(
    bundle: Path, folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for more, words in (
        (("--markdown", tmp_path / "t.txt"), "does not end in .md"),
        (("--sheet", tmp_path / "t.jpg"), "does not end in .png"),
        (("--sheet", tmp_path / "no" / "t.png"), "does not exist"),
        (("-m", "kim", "--by-condition"), "none was asked for"),
        (("-m", "kim", "--sheet", tmp_path / "t.png"), "none was asked for"),
        (("--bundle", tmp_path / "none"), "none"),
    ):
        assert _evaluate(folders, *more) == 2
        assert words in capsys.readouterr().err
    (tmp_path / "images").mkdir()
    write_png_atomically(tmp_path / "images" / "1.png", picture(1)[0])
    assert _evaluate((tmp_path / "images", folders[1]), "-m", f"coarse:{bundle}", "--by-condition") == 2
    assert "no conditions.csv" in capsys.readouterr().err


def test_the_flake_test_prints_its_ratio(
    bundle: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    size = ("--width", "160", "--height", "128")
    assert call(["segmentation", "flakes", "--bundle", str(bundle), "-n", "2", *size]) == 0
    said = capsys.readouterr().out
    for words in ("clutter (2)", "clutter, no hair (2)", "all (4)", "M_AP", "M̂"):
        assert words in said
    assert ("the goal, at most 1/3, is" in said) != ("makes up no hair" in said)
