"""The overlay: drawn on a copy, where the hairs are, in their class's colour."""

from __future__ import annotations

import numpy as np
import pytest
from support.strips import draw_strips

from device_app.vision.hairs import HairClass
from device_app.vision.measure import measure_hairs
from device_app.vision.overlay import CLASS_COLOURS_RGB, UNCLASSED_RGB, bar_length_um, draw_heat, draw_overlay


@pytest.mark.parametrize(
    ("scale", "colour"),
    [
        (2.0, CLASS_COLOURS_RGB[HairClass.VELLUS]),
        (4.0, CLASS_COLOURS_RGB[HairClass.INTERMEDIATE]),
        (8.0, CLASS_COLOURS_RGB[HairClass.TERMINAL]),
        (None, UNCLASSED_RGB),
    ],
)
def test_a_hair_is_drawn_along_its_axis_in_its_class_colour(scale, colour):
    picture, mask = draw_strips((640, 480), [((100, 150), (500, 350), 12)])
    before = picture.copy()
    overlay = draw_overlay(picture, mask, measure_hairs(picture, mask, scale))
    np.testing.assert_array_equal(picture, before)
    assert overlay.shape == picture.shape and overlay.dtype == np.uint8
    np.testing.assert_allclose(overlay[250, 300].astype(int), colour, atol=40)
    assert not np.array_equal(overlay[250 + 5, 300], picture[250 + 5, 300])  # tinted beside the line
    np.testing.assert_array_equal(overlay[60, 500], picture[60, 500])  # skin stays as it is


def test_a_scale_bar_only_with_a_scale():
    picture, mask = draw_strips((640, 480), [])
    with_scale = draw_overlay(picture, mask, measure_hairs(picture, mask, 4.0))
    white = np.flatnonzero((with_scale[464] > 250).all(axis=1))
    assert len(white) == pytest.approx(500 / 4.0, abs=3)  # 500 µm at 4 µm per pixel
    np.testing.assert_array_equal(draw_overlay(picture, mask, measure_hairs(picture, mask)), picture)


@pytest.mark.parametrize("shape", [(1, 1), (30, 20), (1200, 1600)])
def test_any_size(shape):
    picture, mask = np.full((*shape, 3), 180, np.uint8), np.zeros(shape, np.uint8)
    assert draw_overlay(picture, mask, measure_hairs(picture, mask, 3.0)).shape == (*shape, 3)


def test_bar_lengths_are_round_and_fit():
    assert bar_length_um(640, 4.0) == 500
    assert bar_length_um(1280, 2.0) == 500
    assert bar_length_um(640, 0.5) == 50


def test_heat_lights_up_where_it_is_and_leaves_the_rest_grey():
    picture = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    before = picture.copy()
    heat = np.zeros((4, 4), np.float32)
    heat[:, 2:] = 1
    drawn = draw_heat(picture, heat)
    np.testing.assert_array_equal(picture, before)
    assert drawn.shape == picture.shape and drawn.dtype == np.uint8
    left, right = drawn[:, :50].astype(int), drawn[:, 120:].astype(int)
    assert (np.ptp(left, axis=2) == 0).all() and left.max() <= 154  # grey, and dimmed
    assert (right[..., 0] - right[..., 2] > 60).all()  # yellow
    np.testing.assert_array_equal(draw_heat(picture, heat * 0.1), draw_heat(picture, heat * 0))
