"""`scalpscope-train segmentation evaluate` and `pseudo` on real files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from support.tiny_bundle import make_tiny_bundle

from calibration.errors import ScalpScopeError
from device_app.images import write_png_atomically
from training.cli import call
from training.evaluation.mask_metrics import count_mask, pooled_scores
from training.evaluation.methods import METHODS, open_methods
from training.evaluation.pairs import find_pairs, read_pair
from training.segmentation import baselines
from training.segmentation.checkpoint import save_network
from training.segmentation.u2net import U2Net, U2NetConfig


def _picture(hairs: int) -> tuple[np.ndarray, np.ndarray]:
    """Pale scalp with dark bars of 10 px, and the mask."""
    mask = np.zeros((96, 128), np.uint8)
    for number in range(hairs):
        mask[:, 15 + 30 * number : 25 + 30 * number] = 255
    image = np.where(mask[..., None] > 0, np.uint8([40, 35, 30]), np.uint8([220, 190, 170]))
    return image, mask


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    images, masks = tmp_path / "images", tmp_path / "masks"
    images.mkdir()
    masks.mkdir()
    for number in (1, 2, 3):
        image, mask = _picture(number)
        write_png_atomically(images / f"scalp{number}.png", image)
        write_png_atomically(masks / f"scalp{number}{'_mask' if number == 2 else ''}.png", mask)
    return images, masks


def _find(spec: str, image: np.ndarray) -> np.ndarray:
    """The mask of a method of one row."""
    (finder,) = open_methods({spec: spec})
    (found,) = finder.find(image, {spec})
    return found.mask


def _evaluate(images: Path, masks: Path, *more: str) -> int:
    return call(["segmentation", "evaluate", "--images", str(images), "--masks", str(masks), *more])


def test_scores_of_several_methods_in_a_table_and_files(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    bundle = make_tiny_bundle(tmp_path / "bundle")
    methods = ("-m", "kim", "-m", "shih", "-m", f"bundle:{bundle}")
    assert _evaluate(*folders, *methods, "--out", str(tmp_path / "scores.json")) == 0
    table = capsys.readouterr().out
    assert "3 pictures" in table and "Jaccard" in table
    content = json.loads((tmp_path / "scores.json").read_text())
    scores = content["methods"]
    assert content["command"].startswith("scalpscope-train segmentation evaluate --images")
    assert [one["method"] for one in scores] == ["kim", "shih", f"bundle:{bundle}"]
    assert all(one["images"] == 3 for one in scores)

    # The figures are those of the masks themselves.
    expected = []
    for number in (1, 2, 3):
        image, mask = _picture(number)
        expected.append(pooled_scores(count_mask(baselines.kim(image), mask)).dice)
    dice = scores[0]["per_image"]["dice"]
    assert dice["value"] == pytest.approx(np.mean(expected))
    assert min(expected) <= dice["low"] <= dice["value"] <= dice["high"] <= max(expected)
    # The tiny bundle takes dark for hair, through the device's own pipeline.
    assert scores[2]["per_image"]["dice"]["value"] > 0.8

    assert _evaluate(*folders, "-m", "kim", "--out", str(tmp_path / "scores.csv")) == 0
    with (tmp_path / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[0]["per_image_dice"]) == pytest.approx(np.mean(expected), abs=1e-5)


def test_pictures_and_masks_may_share_a_folder(tmp_path: Path) -> None:
    image, mask = _picture(2)
    write_png_atomically(tmp_path / "a.png", image)
    write_png_atomically(tmp_path / "a_mask.png", mask)
    (pair,) = find_pairs(tmp_path, tmp_path)
    assert (pair.image.name, pair.mask.name) == ("a.png", "a_mask.png")


@pytest.mark.parametrize("hair", [1, 255])
def test_masks_of_ones_and_of_255_mean_the_same(tmp_path: Path, hair: int) -> None:
    image, mask = _picture(2)
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    write_png_atomically(tmp_path / "images" / "a.png", image)
    write_png_atomically(tmp_path / "masks" / "a.png", np.where(mask > 0, np.uint8(hair), np.uint8(0)))
    (pair,) = find_pairs(tmp_path / "images", tmp_path / "masks")
    assert np.array_equal(read_pair(pair)[1], mask > 0)


def test_bad_pairs_are_all_named(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    images, masks = folders
    (masks / "scalp1.png").unlink()
    write_png_atomically(masks / "scalp2.png", _picture(2)[1])
    assert _evaluate(images, masks, "-m", "kim") == 2
    said = capsys.readouterr().err
    assert "scalp1.png has no mask" in said
    assert "scalp2.png has several masks" in said


def test_unfit_masks_are_all_named_before_any_work(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    images, masks = folders
    write_png_atomically(masks / "scalp1.png", _picture(1)[1][:50])
    coloured = np.zeros((96, 128, 3), np.uint8)
    coloured[..., 0] = 255
    write_png_atomically(masks / "scalp2_mask.png", coloured)
    (masks / "scalp3.png").write_bytes(b"no picture")
    assert _evaluate(images, masks, "-m", "kim") == 2
    said = capsys.readouterr().err
    assert "128x50 and 128x96" in said
    assert "coloured" in said
    assert "scalp3.png" in said
    assert "Traceback" not in said


def test_unknown_methods_and_bad_destinations(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for spec in ("nonesuch", "kim:3", "bundle", "bundle:", "checkpoint"):
        assert _evaluate(*folders, "-m", spec) == 2
        assert f"no method '{spec}'" in capsys.readouterr().err
    assert _evaluate(*folders, "-m", "kim", "--out", str(tmp_path / "scores.txt")) == 2
    assert _evaluate(*folders, "-m", "kim", "--out", str(tmp_path / "no" / "scores.csv")) == 2
    assert _evaluate(tmp_path / "nowhere", folders[1], "-m", "kim") == 2


def test_checkpoint_method_gives_a_mask_of_the_pictures_size(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_network(U2Net(U2NetConfig.named("slim", 2)).eval(), tmp_path / "weights.pt", {}, 0)
    mask = _find(f"checkpoint:{tmp_path / 'weights.pt'}@64x48", _picture(2)[0])
    assert mask.shape == (96, 128)
    assert set(np.unique(mask)) <= {0, 255}
    with pytest.raises(ScalpScopeError, match="no file"):
        open_methods({"any": "checkpoint:nowhere.pt"})


def test_every_baseline_of_the_table_opens() -> None:
    image = _picture(3)[0]
    for name in (name for name, kind in METHODS.items() if not kind.argument):
        assert _find(name, image).any()


def test_drawn_pseudo_images_can_be_evaluated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "small.toml"
    recipe.write_text("[pseudo_images]\nwidth = 64\nheight = 48\n[training]\nsteps = 1\nbatch_size = 1\n")
    out = tmp_path / "drawn"
    assert call(["segmentation", "pseudo", "-n", "4", "-o", str(out), "-c", str(recipe), "--seed", "5"]) == 0
    assert _evaluate(out / "images", out / "masks", "-m", "black_hat") == 0
    pairs = find_pairs(out / "images", out / "masks")
    assert [pair.image.stem for pair in pairs] == [f"pseudo_{number:07d}" for number in (5, 6, 7, 8)]
    assert any(read_pair(pair)[1].any() for pair in pairs)
