"""Pictures of a condition show what the condition says, and nothing changes for pictures without one."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.errors import ScalpScopeError
from device_app.camera.strands import strand_coverage
from training.cli import call
from training.data.backgrounds import BackgroundPool
from training.segmentation.conditions import (
    CONDITIONS_CSV,
    Condition,
    read_conditions,
    render_condition,
    write_conditions,
)
from training.segmentation.pseudo_images import Chances, PseudoImage, PseudoImageRecipe, render_pseudo_image

PROCEDURAL = BackgroundPool()
SIZE = (192, 144)
SEEDS = range(8)


@cache
def _drawn(condition: Condition) -> list[PseudoImage]:
    return [render_condition(seed, condition, PROCEDURAL, SIZE) for seed in SEEDS]


def _coverage(condition: Condition) -> float:
    return float(np.mean([pseudo.mask.mean() / 255 for pseudo in _drawn(condition)]))


def test_every_condition_has_the_size_asked_for_and_is_the_same_again() -> None:
    for condition in Condition:
        one, same = (render_condition(5, condition, PROCEDURAL, SIZE) for _ in range(2))
        assert one.image.shape == (144, 192, 3)
        assert np.array_equal(one.image, same.image)
        assert np.array_equal(one.mask, same.mask)


def test_hairless_conditions_have_no_hair_and_all_others_have_some() -> None:
    for condition in Condition:
        has_hair = condition not in (Condition.HAIRLESS, Condition.CLUTTER_HAIRLESS)
        pictures = _drawn(condition)
        assert all(bool(pseudo.hairs) == has_hair for pseudo in pictures)
        assert any(pseudo.mask.any() for pseudo in pictures) == has_hair


def test_thin_hairs_are_thin_and_the_others_are_not() -> None:
    thin = [hair.diameter_px for pseudo in _drawn(Condition.THIN) for hair in pseudo.hairs]
    assert np.median(thin) < 4
    assert max(thin) < 10
    plain = [hair.diameter_px for pseudo in _drawn(Condition.PLAIN) for hair in pseudo.hairs]
    assert np.median(plain) > 5


def test_tangles_cover_much_more() -> None:
    assert _coverage(Condition.TANGLES) > 1.5 * _coverage(Condition.PLAIN)


def test_blurred_pictures_are_less_sharp() -> None:
    def sharpness(condition: Condition) -> float:
        # The strongest edges of a picture: noise is not counted for sharpness.
        edges = [cv2.Laplacian(cv2.GaussianBlur(p.image, (0, 0), 1), cv2.CV_32F).max() for p in _drawn(condition)]
        return float(np.median(edges))

    assert sharpness(Condition.BLUR) < 0.7 * sharpness(Condition.PLAIN)


def test_pale_hairs_are_near_the_skin() -> None:
    def off_the_skin(condition: Condition) -> float:
        found = []
        for pseudo in (render_condition(seed, condition, PROCEDURAL, SIZE) for seed in range(16)):
            hair, skin = pseudo.mask > 200, pseudo.mask == 0
            if hair.any() and skin.any():
                found.append(abs(np.median(pseudo.image[hair]) / np.median(pseudo.image[skin]) - 1))
        return float(np.median(found))

    assert 1.5 * off_the_skin(Condition.PALE) < off_the_skin(Condition.PLAIN)


def test_flakes_hide_hair_and_are_never_masked() -> None:
    def hidden(condition: Condition) -> list[float]:
        """The share of each picture's drawn hair that the mask leaves out."""
        shares = []
        for pseudo in (render_condition(seed, condition, PROCEDURAL, SIZE) for seed in range(10, 18)):
            drawn = np.zeros(pseudo.mask.shape, bool)
            for hair in pseudo.hairs:
                drawn |= strand_coverage(pseudo.mask.shape, hair.centre_line, hair.widths_px) == 255
            shares.append(np.count_nonzero(drawn & (pseudo.mask < 128)) / np.count_nonzero(drawn))
        return shares

    assert max(hidden(Condition.PLAIN)) < 0.001
    assert max(hidden(Condition.FLAKES)) > 0.05


def test_clutter_lies_on_bare_scalp_where_there_is_no_hair() -> None:
    bare = PseudoImageRecipe(width=SIZE[0], height=SIZE[1], hairless_share=1.0, plain_share=0.0)
    nothing = Chances(**dict.fromkeys([field.name for field in dataclasses.fields(Chances)], 0.0))

    def busy(images: list[np.ndarray]) -> float:
        return float(np.mean([cv2.Laplacian(cv2.GaussianBlur(i, (0, 0), 2), cv2.CV_32F).std() for i in images]))

    calm = [render_pseudo_image(seed, bare, PROCEDURAL, nothing).image for seed in SEEDS]
    assert busy([pseudo.image for pseudo in _drawn(Condition.CLUTTER_HAIRLESS)]) > 1.5 * busy(calm)


def test_conditions_come_back_from_their_file(tmp_path: Path) -> None:
    conditions = {f"{number}.png": condition for number, condition in enumerate(Condition)}
    (tmp_path / "images").mkdir()
    for folder in (tmp_path, tmp_path / "images"):  # beside the pictures' folder, or in it
        write_conditions(folder / CONDITIONS_CSV, conditions)
        found = read_conditions(tmp_path / "images", list(conditions))
        assert found == {name: condition.value for name, condition in conditions.items()}
        (folder / CONDITIONS_CSV).unlink()


def test_bad_condition_files_are_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(ScalpScopeError, match=r"no conditions\.csv"):
        read_conditions(tmp_path, ["a.png"])
    (tmp_path / CONDITIONS_CSV).write_text("picture,state\na.png,dry\n")
    with pytest.raises(ScalpScopeError, match="no columns called image and condition"):
        read_conditions(tmp_path, ["a.png"])
    (tmp_path / CONDITIONS_CSV).write_text("image,condition\na.png,dry\nb.png,\n")
    with pytest.raises(ScalpScopeError, match=r"no condition for b\.png, c\.png"):
        read_conditions(tmp_path, ["a.png", "b.png", "c.png"])
    assert read_conditions(tmp_path, ["a.png"]) == {"a.png": "dry"}


def test_a_set_of_all_conditions_is_drawn_by_the_command(tmp_path: Path) -> None:
    size = ("--width", "64", "--height", "48")
    out = tmp_path / "set"
    assert call(["segmentation", "pseudo", "--conditions", "-n", "2", "--seed", "7", "-o", str(out), *size]) == 0
    names = sorted(path.name for path in (out / "images").iterdir())
    assert len(names) == 2 * len(Condition)
    assert names == sorted(path.name for path in (out / "masks").iterdir())
    conditions = read_conditions(out / "images", names)
    assert list(conditions.values()) == [condition.value for condition in Condition for _ in range(2)]
    for name, condition in conditions.items():
        if "no hair" in condition:
            assert not cv2.imread(str(out / "masks" / name)).any()
