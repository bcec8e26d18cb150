"""Masks: probabilities at the picture's own resolution, two views made one, and what is too small taken out."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from device_app.vision.masks import CleanUp, Combination, combine_masks, drop_small, hair_mask

SIZE = (160, 120)


def test_an_edge_between_the_networks_pixels_is_placed_by_the_slope():
    x = np.arange(64)
    # Probability falls from 1 to 0 over pixels 30..34 and passes 0.5 at 31.75 network pixels.
    probability = np.tile(np.clip(1 - (x - 29.75) / 4, 0, 1), (48, 1)).astype(np.float32)
    mask = hair_mask(probability, (640, 480), 0.5)
    edge = int(np.argmin(mask[200]))
    assert abs(edge - ((31.75 + 0.5) * 10 - 0.5)) <= 1


def test_specks_go_and_pinholes_close_and_hairs_stay():
    probability = np.zeros((480, 640), np.float32)
    cv2.line(probability, (50, 50), (500, 400), 1.0, 7)
    hair = probability.copy()
    probability[225, 275] = 0.0  # in the middle of the hair
    cv2.circle(probability, (500, 80), 2, 1.0, cv2.FILLED)
    np.testing.assert_array_equal(hair_mask(probability, (640, 480)), np.where(hair > 0, 255, 0))


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (640, 480), (1280, 1024), (333, 777)])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_all_or_nothing_at_any_size(size, value):
    mask = hair_mask(np.full((48, 64), value, np.float32), size)
    assert mask.shape == size[::-1] and mask.dtype == np.uint8
    # All of one pixel is a speck by no measure: it is all of the picture.
    assert set(np.unique(mask)) == {255 if value else 0}


def test_what_is_not_a_number_is_not_hair():
    assert not hair_mask(np.full((48, 64), np.nan, np.float32), (64, 48)).any()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_cleaning_twice_changes_nothing_and_the_mask_is_0_or_255(seed):
    rough = cv2.GaussianBlur(np.random.default_rng(seed).random((60, 80)).astype(np.float32), (0, 0), 2)
    once = hair_mask(rough, (160, 120), float(rough.mean()))
    assert set(np.unique(once)) <= {0, 255}
    np.testing.assert_array_equal(hair_mask(once / 255.0, (160, 120)), once)


# --- two views made one ---


def blobs(seed: int, size: tuple[int, int], sigma: float = 3.0) -> np.ndarray:
    """A smooth random probability, (h, w) float32, about a half of it above a half."""
    noise = cv2.GaussianBlur(np.random.default_rng(seed).random(size[::-1]).astype(np.float32), (0, 0), sigma)
    return np.clip(0.5 + (noise - np.median(noise)) / (4 * noise.std()), 0, 1).astype(np.float32)


@pytest.fixture
def two_views() -> tuple[np.ndarray, np.ndarray]:
    """Coarse: two hairs, one cut off at x = 100, and a flake. Refined: that one whole, half the other; a glint."""
    coarse, refined = np.zeros((120, 160), np.float32), np.zeros((120, 160), np.float32)
    coarse[20:26, 10:100] = coarse[60:66, 10:150] = coarse[90:100, 120:130] = 0.9
    refined[21:27, 10:150] = refined[60:66, 10:70] = refined[100:110, 20:30] = 0.8
    return coarse, refined


def test_the_product_is_what_both_call_hair(two_views):
    product = combine_masks(*two_views, Combination.PRODUCT, SIZE)
    expected = np.zeros((120, 160), np.uint8)
    expected[21:26, 10:100] = expected[60:66, 10:70] = 255
    np.testing.assert_array_equal(product, expected)


def test_refined_is_the_second_view_alone(two_views):
    refined = combine_masks(*two_views, Combination.REFINED, SIZE)
    np.testing.assert_array_equal(refined, np.where(two_views[1] > 0.5, 255, 0))


def test_the_mean_follows_the_surer_view(two_views):
    coarse, refined = two_views
    coarse[90:100, 120:130] = 1.0
    coarse[coarse == 0] = 0.15
    mean = combine_masks(coarse, refined, Combination.MEAN, SIZE, threshold=0.45)
    # 0.9 with 0.0 stays on the threshold, 0.8 with 0.15 passes it.
    np.testing.assert_array_equal(mean, np.where((coarse + refined) / 2 >= np.float32(0.45), 255, 0))
    assert mean[24, 140] == 255 and mean[95, 125] == 255


def test_grown_takes_all_of_a_hair_that_both_know_and_nothing_that_one_alone_sees(two_views):
    grown = combine_masks(*two_views, Combination.GROWN, SIZE)
    expected = np.zeros((120, 160), np.uint8)
    expected[20:26, 10:100] = expected[21:27, 10:150] = expected[60:66, 10:150] = 255
    np.testing.assert_array_equal(grown, expected)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.tuples(st.integers(3, 90), st.integers(3, 90)), st.floats(0.2, 0.8))
def test_combinations_stand_in_order_whatever_the_views(seed, size, threshold):
    coarse, refined = blobs(seed, (80, 60)), blobs(seed + 1, size, 2.0)
    made = {how: combine_masks(coarse, refined, how, SIZE, threshold) for how in Combination}
    for mask in made.values():
        assert mask.shape == (120, 160) and mask.dtype == np.uint8 and set(np.unique(mask)) <= {0, 255}
    first, second = (hair_mask(view, SIZE, threshold) for view in (coarse, refined))
    np.testing.assert_array_equal(made[Combination.PRODUCT], first & second)
    np.testing.assert_array_equal(made[Combination.REFINED], second)
    grown, product = made[Combination.GROWN], made[Combination.PRODUCT]
    labels, count = ndimage.label(first | second, np.ones((3, 3)))
    for label in range(1, count + 1):
        part = labels == label
        assert (grown[part] == (255 if product[part].any() else 0)).all()
    assert not grown[labels == 0].any()


@pytest.mark.parametrize("how", Combination)
def test_two_equal_views_stay_as_they_are(how):
    view = blobs(5, (80, 60))
    np.testing.assert_array_equal(combine_masks(view, view, how, SIZE), hair_mask(view, SIZE))


@pytest.mark.parametrize("how", Combination)
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_counts_as_no_hair(two_views, how, wrong):
    coarse, refined = two_views
    broken = refined.copy()
    broken[21:27, 30:40] = wrong
    refined[21:27, 30:40] = 0
    np.testing.assert_array_equal(combine_masks(coarse, broken, how, SIZE), combine_masks(coarse, refined, how, SIZE))
    assert not combine_masks(np.full((9, 9), wrong), np.full((5, 7), wrong), how, SIZE).any()


# --- what is too small for a hair ---


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 60), st.integers(1, 60), st.floats(0, 200))
def test_parts_below_the_least_area_go_and_no_others(seed, width, height, least):
    noise = cv2.GaussianBlur(np.random.default_rng(seed).random((height, width)), (0, 0), 1.2)
    mask = np.where(noise > 0.52, 255, 0).astype(np.uint8)
    before = mask.copy()
    dropped = drop_small(mask, least)
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    for label in range(1, count + 1):
        part = labels == label
        assert (dropped[part] == (255 if part.sum() >= least else 0)).all()
    assert not dropped[labels == 0].any()
    np.testing.assert_array_equal(mask, before)


def test_corners_connect_and_holes_do_not_count():
    mask = np.zeros((30, 30), np.uint8)
    mask[np.arange(10), np.arange(10)] = 255  # ten pixels, corner to corner
    cv2.rectangle(mask, (15, 15), (24, 24), 255, 1)  # 36 pixels round 64 others
    assert np.count_nonzero(drop_small(mask, 10)) == 46
    assert np.count_nonzero(drop_small(mask, 11)) == 36
    assert not drop_small(mask, 37).any()


@pytest.mark.parametrize("value", [0, 255])
def test_all_of_a_picture_is_one_part_and_none_is_no_part(value):
    mask = np.full((20, 30), value, np.uint8)
    np.testing.assert_array_equal(drop_small(mask, 600), mask)
    assert not drop_small(mask, 601).any()


def test_without_a_scale_the_authors_pixels_hold():
    clean_up = CleanUp()
    assert (clean_up.least_before(None), clean_up.least_after(None)) == (250, 100)
    # Larger pictures: as they are. Smaller ones: the same share of the picture.
    assert clean_up.least_after(None, (1920, 1080)) == 100
    assert clean_up.least_after(None, (320, 240)) == 25
    assert clean_up.least_before(None, (320, 240)) == 62.5


def test_with_a_scale_the_area_holds_whatever_the_picture():
    clean_up = CleanUp(before_um2=1000, after_um2=4000)
    assert clean_up.least_before(2.0) == clean_up.least_before(2.0, (320, 240)) == 250
    assert clean_up.least_after(2.0) == 1000
    assert clean_up.least_after(10.0) == 40


@pytest.mark.parametrize("scale_um_per_px", [1.0, 2.0, 3.0, 4.5, 6.0, 8.0])
def test_a_short_vellus_hair_is_kept_and_a_small_flake_is_not(scale_um_per_px):
    length, thickness, flake = (round(um / scale_um_per_px) for um in (300, 20, 25))
    mask = np.zeros((400, 400), np.uint8)
    mask[20 : 20 + thickness, 20 : 20 + length] = 255
    hair = mask.copy()
    mask[200 : 200 + flake, 200 : 200 + flake] = 255
    clean_up = CleanUp()
    np.testing.assert_array_equal(drop_small(mask, clean_up.least_after(scale_um_per_px)), hair)
    np.testing.assert_array_equal(drop_small(hair, clean_up.least_before(scale_um_per_px)), hair)
