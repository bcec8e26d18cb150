"""Hair-free patches: found on bare skin, never on hair, the same again from the cache."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.errors import ScalpScopeError
from device_app.camera.strands import strand_coverage
from training.data.backgrounds import BackgroundPool, Patch, find_patches, load_backgrounds
from training.data.procedural_scalp import render_procedural_scalp


def bare_scalp(seed: int) -> np.ndarray:
    """Smooth skin with a little grain, (480, 640, 3) uint8."""
    rng = np.random.default_rng(seed)
    skin = np.full((480, 640, 3), (190, 165, 150), np.float32)
    skin += cv2.GaussianBlur(rng.normal(0, 12, skin.shape).astype(np.float32), (0, 0), 2)
    return np.uint8(np.clip(skin, 0, 255))


def scalp_with_hairs_on_the_left(seed: int, grey: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Hairs of 3 to 30 px over the left half; and where they are."""
    image = bare_scalp(seed)
    rng = np.random.default_rng(seed)
    hair = np.zeros((480, 640), np.uint8)
    for width in (3, 6, 12, 20, 30):
        x = rng.uniform(20, 280, 2)
        hair = np.maximum(hair, strand_coverage((480, 640), np.linspace((x[0], -20), (x[1], 500), 20), width))
    share = hair[..., None] / 255
    return np.uint8(image * (1 - share) + grey * share), hair


@pytest.mark.parametrize("seed", range(4))
def test_patches_lie_on_bare_skin_only(seed):
    image, hair = scalp_with_hairs_on_the_left(seed)
    marked = image.copy()
    patches = find_patches(image, "a")
    assert patches
    for patch in patches:
        side = patch.pixels.shape[0]
        found = cv2.matchTemplate(marked, patch.pixels, cv2.TM_SQDIFF)
        _, _, (x, y), _ = cv2.minMaxLoc(found)
        assert hair[y : y + side, x : x + side].mean() < 1


def test_a_picture_full_of_hair_gives_no_patch():
    image = bare_scalp(0)
    image[:, ::16] = image[:, 1::16] = image[:, 2::16] = 30
    assert find_patches(image, "a") == []


def test_copies_of_one_original_are_read_once_and_the_cache_gives_the_same(tmp_path: Path):
    for name in ("x_jpg.rf.1.png", "x_jpg.rf.2.png", "y_jpg.rf.1.png"):
        cv2.imwrite(str(tmp_path / name), bare_scalp(len(name)))
    cache = tmp_path / "cache" / "patches.npz"
    pool = load_backgrounds(tmp_path, cache)
    again = load_backgrounds(tmp_path, cache)
    assert {patch.original for patch in pool.patches} == {"x_jpg", "y_jpg"}
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(pool.patches, again.patches, strict=True))
    cv2.imwrite(str(tmp_path / "z.png"), bare_scalp(3))
    assert "z.png" in {patch.original for patch in load_backgrounds(tmp_path, cache).patches}


def test_a_split_keeps_the_patches_of_one_original_together():
    pool = BackgroundPool([Patch(f"picture {i // 3}", np.zeros((96, 96, 3), np.uint8)) for i in range(60)])
    first, second = pool.split(0.2, seed=5)
    assert len(first.patches) + len(second.patches) == 60
    assert len({p.original for p in second.patches}) == 4
    assert not {p.original for p in first.patches} & {p.original for p in second.patches}


@pytest.mark.parametrize("size", [(96, 700), (480, 640), (33, 35)])
def test_backgrounds_of_any_size_come_out_of_small_patches(size):
    pool = BackgroundPool([Patch("a", bare_scalp(1)[:96, :96])], procedural_share=0.0)
    picture = pool.sample(np.random.default_rng(0), *size)
    assert picture.shape == (*size, 3)
    assert 100 < picture.mean() < 220


def test_an_empty_folder_and_one_full_of_hair_say_what_to_do(tmp_path: Path):
    with pytest.raises(ScalpScopeError, match="No picture found"):
        load_backgrounds(tmp_path)
    stripes = np.full((300, 300, 3), 180, np.uint8)
    stripes[:, ::12] = stripes[:, 1::12] = stripes[:, 2::12] = 20
    cv2.imwrite(str(tmp_path / "a.png"), stripes)
    with pytest.raises(ScalpScopeError, match="hair-free"):
        load_backgrounds(tmp_path)


def test_procedural_scalp_spans_light_and_dark_skin():
    levels = [render_procedural_scalp(np.random.default_rng(seed), 64, 64).mean() for seed in range(60)]
    assert min(levels) < 90
    assert max(levels) > 190
