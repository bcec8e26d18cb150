"""Tracing: one strand for every hair, through crossings and over gaps, from end to end."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.strips import draw_strips

from device_app.vision.lines import smooth_lines
from device_app.vision.tracing import POINTS, trace_hairs


def _cross(angle_deg: float, thickness: tuple[float, float], size=(640, 480)) -> np.ndarray:
    """The mask of two hairs that cross in the middle of the picture."""
    strips = []
    for turn, width in zip((0.3, 0.3 + np.deg2rad(angle_deg)), thickness):
        arm = 200 * np.array([np.cos(turn), np.sin(turn)])
        strips.append((tuple(np.array([320, 240]) - arm), tuple(np.array([320, 240]) + arm), width))
    return draw_strips(size, strips)[1]


@pytest.mark.parametrize("angle_deg", [20, 30, 45, 60, 90])
@pytest.mark.parametrize("thickness", [(6, 6), (5, 14), (12, 12), (26, 26), (24, 8)])
def test_two_hairs_that_cross_are_two_hairs_whole(angle_deg, thickness):
    strands = trace_hairs(_cross(angle_deg, thickness))
    assert len(strands) == 2
    for strand in strands:
        assert strand.length_px == pytest.approx(400, abs=14)
        ends, middle = strand.centre_line[[0, -1]], strand.centre_line[POINTS // 2]
        assert np.linalg.norm(middle - ends.mean(axis=0)) < 12  # each goes straight on
        assert all(strand.ends_inside)


def test_three_hairs_through_one_point():
    strips = []
    for turn in np.deg2rad([10, 70, 130]):
        arm = 180 * np.array([np.cos(turn), np.sin(turn)])
        strips.append((tuple(np.array([320, 240]) - arm), tuple(np.array([320, 240]) + arm), 10))
    strands = trace_hairs(draw_strips((640, 480), strips)[1])
    assert [round(strand.length_px / 10) for strand in strands] == pytest.approx([36, 36, 36], abs=1)


@pytest.mark.parametrize("width", [6, 12, 24])
def test_a_strand_ends_where_its_hair_ends(width):
    start, end = (150.3, 130.2), (480.6, 330.9)
    (strand,) = trace_hairs(draw_strips((640, 480), [(start, end, width)])[1])
    ends = sorted(strand.centre_line[[0, -1]].tolist())
    assert np.linalg.norm(np.array(ends) - [start, end], axis=1).max() < 0.2 * width + 2


def test_a_hair_that_leaves_the_picture_has_that_end_cut():
    mask = draw_strips((640, 480), [((-100, 100), (300, 240), 10), ((-50, 400), (700, 450), 8)])[1]
    through, cut = trace_hairs(mask)
    assert through.ends_inside == (False, False)
    assert sorted(cut.ends_inside) == [False, True]


@pytest.mark.parametrize("gap", [3, 6, 9])
def test_a_gap_does_not_make_two_hairs(gap):
    mask = draw_strips((640, 480), [((100, 100), (500, 300), 9)])[1]
    cv2.line(mask, (290, 220), (310, 180), 0, gap)
    (strand,) = trace_hairs(mask)
    assert strand.length_px == pytest.approx(447, abs=10)


def test_hairs_in_line_but_far_apart_stay_two():
    mask = draw_strips((640, 480), [((60, 100), (260, 200), 9), ((350, 245), (550, 345), 9)])[1]
    assert len(trace_hairs(mask)) == 2


def test_a_streak_of_gloss_missing_from_the_mask_does_not_split_a_hair():
    mask = draw_strips((640, 480), [((100, 100), (500, 300), 20)])[1]
    cv2.line(mask, (180, 140), (420, 260), 0, 5)
    (strand,) = trace_hairs(mask)
    assert strand.mask_width_px == pytest.approx(20, abs=3)


def test_close_parallel_hairs_stay_two():
    mask = draw_strips((640, 480), [((100, 100), (500, 300), 8), ((94, 112), (494, 312), 8)])[1]
    assert len(trace_hairs(mask)) == 2


@pytest.mark.parametrize("radius", [4, 10, 40])
def test_a_flake_is_no_hair(radius):
    mask = np.zeros((480, 640), np.uint8)
    cv2.ellipse(mask, (300, 200), (2 * radius, radius), 30, 0, 360, 255, cv2.FILLED)
    assert trace_hairs(mask) == []


@pytest.mark.parametrize("length_px", [0.0, 1e-6, 1e-3, 1.0, 500.0])
def test_smoothing_leaves_a_straight_line_where_it_is(length_px):
    line = np.array([300.0, 200.0]) + np.linspace(0, length_px, 36)[:, None] * np.array([0.8, 0.6])
    np.testing.assert_allclose(smooth_lines(line[None], np.array([115.0]))[0], line, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (7, 200), (480, 640)])
@pytest.mark.parametrize("value", [0, 255])
def test_nothing_to_trace(shape, value):
    assert trace_hairs(np.full(shape, value, np.uint8)) == []


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 100_000), share=st.floats(0.02, 0.98), grain=st.floats(0.5, 12))
def test_whatever_the_mask_every_strand_is_sound(seed, share, grain):
    noise = cv2.GaussianBlur(np.random.default_rng(seed).random((96, 128)).astype(np.float32), (0, 0), grain)
    mask = np.where(noise < np.quantile(noise, share), 255, 0).astype(np.uint8)
    for strand in trace_hairs(mask):
        assert strand.centre_line.shape == (POINTS, 2) and np.isfinite(strand.centre_line).all()
        assert (strand.centre_line >= 0).all() and (strand.centre_line <= [127, 95]).all()
        assert strand.length_px > 0 and strand.mask_width_px > 0
