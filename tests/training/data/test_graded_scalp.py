"""Drawn grades: the truth is the truth, by the shares that the module states."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.optics.focus import SHARP_ENOUGH, focus_score
from training.data.backgrounds import BackgroundPool, Patch
from training.data.graded_scalp import (
    FIRST_TRAINING_SEED,
    TEST_SEEDS,
    VALIDATION_SEEDS,
    GradedPicture,
    contact_sheet,
    render_graded,
)

SIZE = (224, 168)
# As the module's table states them, in percent of the visible skin.
STATED = {
    0: ((0.0, 0.0), (0.4, 1.0), (1.8, 4.0), (7.0, 20.0)),
    1: ((0.0, 0.0), (2.0, 5.0), (9.0, 16.0), (26.0, 55.0)),
    2: ((0.0, 0.0), (4.0, 9.0), (15.0, 26.0), (40.0, 65.0)),
}
DANDRUFF, SEBUM, ERYTHEMA = range(3)


def covered_percent(drawn: GradedPicture, condition: int) -> float:
    skin = drawn.skin_mask > 0
    return 100 * float((drawn.regions[condition] > 0)[skin].mean())


def only(condition: int, grade: int) -> tuple[int, int, int]:
    grades = [0, 0, 0]
    grades[condition] = grade
    return (grades[0], grades[1], grades[2])


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    width=st.integers(160, 360),
    height=st.integers(120, 300),
    severity=st.tuples(*[st.integers(0, 3)] * 3),
)
def test_every_grade_covers_the_share_of_visible_skin_that_is_stated(seed, width, height, severity):
    drawn = render_graded(seed, (width, height), severity=severity)
    assert drawn.image.shape == (height, width, 3)
    assert drawn.image.dtype == np.uint8
    assert tuple(drawn.severity) == severity
    assert tuple(drawn.presence) == tuple(int(grade > 0) for grade in severity)
    assert drawn.regions.shape == (3, height, width)
    assert set(np.unique(drawn.regions)) <= {0, 255}
    assert (drawn.skin_mask > 0).mean() > 0.1, "nobody could grade a scalp that cannot be seen"
    rounding = 100 * 4 / np.count_nonzero(drawn.skin_mask)
    for condition in range(3):
        low, high = STATED[condition][severity[condition]]
        assert low - rounding <= covered_percent(drawn, condition) <= high + rounding


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_no_region_lies_where_hair_hides_the_skin(seed):
    drawn = render_graded(seed, SIZE, severity=(3, 3, 3))
    hair = drawn.hair_mask > 0
    assert not (drawn.regions[:, hair] > 0).any()
    assert not (hair & (drawn.skin_mask > 0)).any()


def test_the_same_arguments_give_the_same_picture_and_others_another():
    first, again, other = (render_graded(seed, SIZE) for seed in (7, 7, 8))
    for name in ("image", "presence", "severity", "regions", "hair_mask", "skin_mask"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
    assert not np.array_equal(first.image, other.image)


def test_drawing_leaves_other_random_numbers_alone():
    np.random.seed(3)
    expected = np.random.random(4)
    np.random.seed(3)
    render_graded(7, SIZE)
    assert np.array_equal(np.random.random(4), expected)


def test_drawn_grades_are_independent_and_all_as_frequent():
    grades = np.array([render_graded(seed, (64, 48)).severity for seed in range(200)])
    for condition in range(3):
        shares = np.bincount(grades[:, condition], minlength=4) / len(grades)
        assert shares.min() > 0.15
        assert shares.max() < 0.35
    between = np.corrcoef(grades.T)[np.triu_indices(3, 1)]
    assert np.abs(between).max() < 0.2


@pytest.mark.parametrize("condition", range(3))
def test_a_worse_grade_covers_more(condition):
    shares = [
        np.mean(
            [covered_percent(render_graded(seed, SIZE, None, only(condition, grade)), condition) for seed in range(4)]
        )
        for grade in range(4)
    ]
    assert shares[0] == 0
    assert all(worse > 2 * better for better, worse in pairwise(shares))


@pytest.mark.parametrize("grade", (1, 2, 3))
@pytest.mark.parametrize("condition", range(3))
def test_what_is_drawn_can_be_seen_in_the_finished_picture(condition, grade):
    """After the camera flakes and glints are brighter, and reddened skin redder, than the skin around them."""
    seen = []
    for seed in range(10):
        drawn = render_graded(seed, (320, 240), None, only(condition, grade))
        lab = cv2.cvtColor(drawn.image, cv2.COLOR_RGB2LAB).astype(np.float32)
        skin, region = drawn.skin_mask > 0, drawn.regions[condition]
        near = cv2.dilate(region, np.ones((5, 5), np.uint8)) > 0
        inside, outside = skin & (region > 0), skin & ~near
        if condition == ERYTHEMA:
            seen.append(lab[inside, 1].mean() - lab[outside, 1].mean())
        else:
            seen.append(np.percentile(lab[inside, 0], 90) - np.percentile(lab[outside, 0], 90))
    assert np.median(seen) > (5 if condition == ERYTHEMA else 20)
    assert np.mean(np.array(seen) > 2) >= 0.9


def test_good_erythema_is_not_red_in_patches():
    """A red complexion or cast is even: no part of the skin is much redder than the rest."""
    for seed in range(10):
        drawn = render_graded(seed, (320, 240), None, (0, 0, 0))
        red = cv2.cvtColor(drawn.image, cv2.COLOR_RGB2LAB)[..., 1].astype(np.float32)
        skin = (cv2.erode(drawn.skin_mask, np.ones((9, 9), np.uint8)) > 0).astype(np.float32)
        smooth = cv2.blur(red * skin, (31, 31)) / np.maximum(cv2.blur(skin, (31, 31)), 0.05)
        values = smooth[skin > 0]
        if len(values) > 500:
            assert np.percentile(values, 98) - np.median(values) < 6


def test_pictures_are_in_focus():
    scores = [focus_score(render_graded(seed, (320, 240)).image) for seed in range(20)]
    assert np.mean(np.array(scores) >= SHARP_ENOUGH) >= 0.95


def test_skins_magnifications_and_amounts_of_hair_vary():
    drawn = [render_graded(seed, SIZE, None, (0, 0, 0)) for seed in range(60)]
    hair = np.array([(picture.hair_mask > 0).mean() for picture in drawn])
    light = np.array([picture.image[picture.skin_mask > 0].mean() for picture in drawn])
    assert hair.min() < 0.02
    assert hair.max() > 0.35
    assert light.max() > 1.8 * light.min()
    assert any(np.ptp(picture.image.astype(int), axis=2).max() < 4 for picture in drawn), "no monochrome camera"


def test_half_of_the_pictures_have_the_skin_of_the_backgrounds():
    """Green patches, so that they can be told from any drawn skin."""
    green = np.zeros((96, 96, 3), np.uint8)
    green[:] = (20, 160, 20)
    pool = BackgroundPool([Patch("a", green)])
    on_green = 0
    for seed in range(60):
        drawn = render_graded(seed, (64, 48), pool, (0, 0, 1))  # erythema: never monochrome
        red, greenish, _ = np.median(drawn.image[drawn.skin_mask > 0].astype(float), axis=0)
        on_green += bool(greenish > 1.6 * red)
    assert 18 <= on_green <= 42


def test_seeds_of_tests_validation_and_training_are_apart():
    assert not set(TEST_SEEDS) & set(VALIDATION_SEEDS)
    assert max(*TEST_SEEDS, *VALIDATION_SEEDS) < FIRST_TRAINING_SEED


def test_a_contact_sheet_has_a_row_per_example_and_a_column_per_grade():
    assert contact_sheet(0, (64, 48), examples=1).shape == (3 * 48, 4 * 64, 3)
