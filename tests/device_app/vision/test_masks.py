"""Masks: the network's probability at the picture's own resolution, without specks and pinholes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_app.vision.masks import hair_mask


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
