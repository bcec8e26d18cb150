"""Quarters: they cover the picture, and joined they are the picture again."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_app.vision.quarters import join_views, quarter_boxes

INPUT = (64, 48)


def test_small_pictures_are_seen_whole_and_only_large_sides_are_halved():
    assert quarter_boxes((64, 48), INPUT) == ()
    assert quarter_boxes((64, 64), INPUT) == ()
    assert len(quarter_boxes((128, 48), INPUT)) == 2
    assert len(quarter_boxes((128, 102), INPUT)) == 4


@settings(max_examples=40, deadline=None)
@given(st.integers(20, 900), st.integers(20, 900))
def test_boxes_cover_every_pixel(width, height):
    boxes = quarter_boxes((width, height), INPUT)
    covered = np.zeros((height, width), bool)
    for left, top, right, bottom in boxes:
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        covered[top:bottom, left:right] = True
    assert covered.all() or not boxes


@pytest.mark.parametrize("size", [(128, 96), (200, 151), (128, 60), (333, 49)])
def test_views_of_one_smooth_map_join_to_that_map(size):
    width, height = size
    y, x = np.mgrid[:height, :width] / (height, 1)[0]
    truth = np.float32(0.5 + 0.3 * np.sin(3 * x) * np.cos(2 * y))
    boxes = quarter_boxes(size, INPUT)
    parts = [cv2.resize(truth[t:b, left:r], INPUT, interpolation=cv2.INTER_AREA) for left, t, r, b in boxes]
    joined = join_views(cv2.resize(truth, INPUT, interpolation=cv2.INTER_AREA), parts, boxes, size)
    wanted = cv2.resize(truth, joined.shape[::-1])
    assert joined.shape == (96, 128)
    assert np.abs(joined - wanted).max() < 0.05


def test_both_views_have_their_say():
    boxes = quarter_boxes((128, 96), INPUT)
    ones, zeros = np.ones((48, 64), np.float32), np.zeros((48, 64), np.float32)
    assert np.allclose(join_views(ones, [zeros] * 4, boxes, (128, 96)), 0.5)
    assert np.allclose(join_views(zeros, [ones] * 4, boxes, (128, 96)), 0.5)
