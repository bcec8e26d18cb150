"""Prompt points: the paper's own, fast; on hair, off hair, spread evenly, and never more than asked for."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree
from scipy.spatial.distance import pdist
from support import paper_algorithm1 as paper

from device_app.vision.prompts import (
    PromptOptions,
    PromptPoints,
    draw_prompts,
    mean_hair_points,
    morphological_skeleton,
    scalp_points,
    suppress_boxes,
)

ALL_POINTS = 10**6


def drawn_hairs(seed: int, size: tuple[int, int], count: int, thickest: int = 8) -> np.ndarray:
    """Bent hairs over each other, (H, W) uint8 0/255, some of them leaving the picture."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(size[::-1], np.uint8)
    for _ in range(count):
        start, middle, end = rng.uniform(-0.1, 1.1, (3, 2)) * size
        along = np.linspace(0, 1, 40)[:, None]
        curve = (1 - along) ** 2 * start + 2 * along * (1 - along) * middle + along**2 * end
        cv2.polylines(mask, [np.round(curve).astype(np.int32)], False, 255, int(rng.integers(1, thickest)))
    return mask


@st.composite
def masks(draw: st.DrawFn, largest: int = 40) -> np.ndarray:
    """From single pixels over blobs to all of the picture, at any size from 1x1."""
    height, width = draw(st.integers(1, largest)), draw(st.integers(1, largest))
    noise = np.random.default_rng(draw(st.integers(0, 10**6))).random((height, width))
    smooth = cv2.GaussianBlur(noise, (0, 0), draw(st.floats(0.1, 4.0)))
    cut = np.quantile(smooth, draw(st.floats(0.0, 1.0)))
    return np.where(smooth > cut, 255, 0).astype(np.uint8)


# --- the paper's points ---


@settings(max_examples=200, deadline=None)
@given(mask=masks(), box_px=st.integers(1, 13), overlap=st.sampled_from([0.0, 0.1, 0.3, 0.6]))
def test_positive_points_are_those_of_the_paper(mask, box_px, overlap):
    options = PromptOptions(box_px=box_px, overlap=overlap, most_points=ALL_POINTS)
    np.testing.assert_array_equal(draw_prompts(mask, options).positive, paper.positive_points(mask, box_px, overlap))


@pytest.mark.parametrize("seed", range(4))
def test_the_same_on_drawn_hairs_with_the_papers_values(seed):
    mask = drawn_hairs(seed, (320, 240), 3 + 5 * seed)
    expected = paper.positive_points(mask)
    assert len(expected) > 20
    np.testing.assert_array_equal(draw_prompts(mask, PromptOptions(most_points=ALL_POINTS)).positive, expected)


@settings(max_examples=100, deadline=None)
@given(masks())
def test_the_skeleton_is_that_of_the_loop(mask):
    np.testing.assert_array_equal(morphological_skeleton(mask) > 0, paper.skeleton(mask > 0))


def test_thirty_times_faster_than_the_paper_on_dense_hair():
    mask = drawn_hairs(1, (640, 480), 25, thickest=20)
    assert 0.2 < (mask > 0).mean() < 0.6
    options = PromptOptions(most_points=ALL_POINTS)

    def seconds(draw):
        start = time.perf_counter()
        points = draw()
        return time.perf_counter() - start, points

    shipped = min((seconds(lambda: draw_prompts(mask, options)) for _ in range(7)), key=lambda took: took[0])
    literal = seconds(lambda: paper.positive_points(mask))
    np.testing.assert_array_equal(shipped[1].positive, literal[1])
    assert literal[0] >= 30 * shipped[0]


def test_a_straight_hair_gets_its_points_on_its_axis():
    mask = np.zeros((100, 60), np.uint8)
    mask[:, 20:25] = 255  # its skeleton is the column 22, from border to border
    # Boxes 9 px apart share 10 of 190 px, 8 px apart 20 of 180: the first is kept, the second dropped.
    rows = [np.arange(max(0, y - 5), min(100, y + 5)).mean() for y in range(0, 100, 9)]
    np.testing.assert_allclose(draw_prompts(mask).positive, [(22, row) for row in rows])


# --- properties of the points ---


@settings(max_examples=100, deadline=None)
@given(mask=masks(60), keep_off=st.floats(0, 12), seed=st.integers(0, 100))
def test_points_lie_where_they_should(mask, keep_off, seed):
    points = draw_prompts(mask, PromptOptions(keep_off_px=keep_off, seed=seed))
    height, width = mask.shape
    coords, labels = points.coords_and_labels()
    assert coords.dtype == labels.dtype == np.float32 and coords.shape == (points.count, 2)
    assert ((coords >= 0) & (coords <= (width - 1, height - 1))).all()
    assert (labels == [1] * len(points.positive) + [0] * len(points.negative)).all()
    assert len(points.negative) <= 64
    if not mask.any():
        assert points.count == 0
        return
    assert len(points.positive) > 0
    hair = cKDTree(np.argwhere(mask)[:, ::-1])
    # The mean of a box's hair lies in that box, and so does at least one hair pixel, its centre.
    assert hair.query(points.positive, p=np.inf)[0].max() <= 5
    if len(points.negative):
        assert hair.query(points.negative)[0].min() >= max(keep_off, 1)
    reachable = hair.query(np.argwhere(mask == 0)[:, ::-1])[0] >= keep_off if (mask == 0).any() else np.zeros(0)
    assert (len(points.negative) > 0) == bool(reachable.any())


def test_negative_points_are_spread_evenly():
    hair = drawn_hairs(0, (640, 480), 1)
    points = scalp_points(hair, 8.0, 64)
    assert 56 <= len(points) <= 64
    share_px = np.sqrt((640 * 480 - (hair > 0).sum()) / 64)
    assert pdist(points).min() > 0.7 * share_px
    counts, *_ = np.histogram2d(points[:, 0], points[:, 1], bins=(4, 3), range=((0, 640), (0, 480)))
    assert counts.min() >= 2 and counts.max() <= 9  # 5.3 on average


def test_the_seed_moves_the_negative_points_only():
    mask = drawn_hairs(2, (320, 240), 6)
    first, again, other = (draw_prompts(mask, PromptOptions(seed=seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.coords_and_labels()[0], again.coords_and_labels()[0])
    np.testing.assert_array_equal(first.positive, other.positive)
    assert not np.array_equal(first.negative, other.negative)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (9, 1), (640, 480)])
def test_no_hair_no_points_and_all_hair_only_positive_ones(size):
    assert draw_prompts(np.zeros(size[::-1], np.uint8)).count == 0
    points = draw_prompts(np.full(size[::-1], 255, np.uint8))
    assert len(points.positive) >= 1 and len(points.negative) == 0


def test_a_picture_of_one_pixel_of_hair_gets_that_pixel():
    np.testing.assert_array_equal(draw_prompts(np.full((1, 1), 255, np.uint8)).positive, [(0, 0)])


def test_whatever_says_hair_gives_the_same_points_and_the_mask_stays_as_it_is():
    mask = drawn_hairs(3, (200, 150), 5)
    before = mask.copy()
    wanted = draw_prompts(mask).coords_and_labels()[0]
    wider = np.zeros((150, 400), np.uint8)
    wider[:, ::2] = mask
    for same in (mask > 0, mask // 255, wider[:, ::2], np.asfortranarray(mask)):
        np.testing.assert_array_equal(draw_prompts(same).coords_and_labels()[0], wanted)
    np.testing.assert_array_equal(mask, before)


def test_zero_negative_points_can_be_asked_for():
    points = draw_prompts(drawn_hairs(3, (200, 150), 5), PromptOptions(negatives=0))
    assert len(points.positive) > 0 and points.negative.shape == (0, 2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"box_px": 0},
        {"overlap": 1.0},
        {"overlap": -0.1},
        {"keep_off_px": -1.0},
        {"keep_off_px": float("nan")},
        {"negatives": -1},
        {"most_points": 0},
    ],
)
def test_options_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValueError):
        PromptOptions(**wrong)


def test_a_picture_is_not_a_mask():
    with pytest.raises(ValueError, match="axes"):
        draw_prompts(np.zeros((8, 8, 3), np.uint8))


# --- many points ---


def test_five_thousand_points_are_thinned_evenly_and_keep_their_share():
    mask = np.zeros((720, 1000), np.uint8)
    mask[4:720:10, 4:720:10] = 255  # far enough from each other to get a point each, too near for scalp between
    every = draw_prompts(mask, PromptOptions(most_points=ALL_POINTS, negatives=500))
    assert len(every.positive) == 72 * 72 and len(every.negative) > 400
    points = draw_prompts(mask, PromptOptions(negatives=500))
    assert points.count == 1024
    assert len(points.positive) / 1024 == pytest.approx(len(every.positive) / every.count, abs=1e-3)
    for bins in ((4, 4), (8, 8)):
        counts, *_ = np.histogram2d(*points.positive.T, bins=bins, range=((0, 720), (0, 720)))
        there, *_ = np.histogram2d(*every.positive.T, bins=bins, range=((0, 720), (0, 720)))
        np.testing.assert_allclose(counts / there, 1024 / every.count, rtol=0.35)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 70), st.integers(0, 1000))
def test_thinning_leaves_so_many_of_the_points_in_their_order(positives, negatives, most, seed):
    rng = np.random.default_rng(seed)
    points = PromptPoints(*(rng.uniform(0, 500, (count, 2)).astype(np.float32) for count in (positives, negatives)))
    thinned = points.thinned(most)
    assert thinned.count == min(most, points.count)
    for left, before in ((thinned.positive, points.positive), (thinned.negative, points.negative)):
        places = [before.tolist().index(point) for point in left.tolist()]
        assert places == sorted(set(places))
        assert len(left) > 0 or len(before) == 0 or most < 2


# --- the parts by themselves ---


def test_suppression_goes_from_the_top_left_on():
    skeleton = np.zeros((12, 30), np.uint8)
    skeleton[5, [3, 11, 12, 13, 21]] = 1
    # 8 and 8 px apart: the second overlaps the first too much, the third (9 px) does not and drops the fourth.
    assert suppress_boxes(skeleton).tolist() == [[3, 5], [12, 5], [21, 5]]
    assert suppress_boxes(np.zeros((5, 5), np.uint8)).shape == (0, 2)


def test_the_mean_counts_hair_only_and_cuts_boxes_at_the_border():
    hair = np.zeros((20, 20), np.uint8)
    hair[0, 0:3] = hair[10, 10] = hair[12, 14] = hair[10, 15] = 255  # the last is outside of 5 to 14
    points = mean_hair_points(hair, np.array([[0, 0], [10, 10]]))
    np.testing.assert_array_equal(points, np.array([[1, 0], [12, 11]], np.float32))


def test_no_points_are_arrays_too():
    coords, labels = PromptPoints.none().coords_and_labels()
    assert coords.shape == (0, 2) and labels.shape == (0,)
    assert PromptPoints.none().scaled(2, 2).moved(1, 1).within((0, 0, 5, 5)).thinned(3).count == 0


# --- tiles ---


@pytest.mark.parametrize("factor", [0.5, 2.0, 10.0])
def test_scaled_points_stay_where_they_are_in_a_resized_picture(factor):
    ramp = np.tile(np.arange(64, dtype=np.float32), (48, 1))
    resized = cv2.resize(ramp, None, fx=factor, fy=factor)
    points = PromptPoints(np.array([[20, 30], [40, 10]], np.float32), np.array([[33, 21]], np.float32))
    scaled = points.scaled(factor, factor)
    for before, after in ((points.positive, scaled.positive), (points.negative, scaled.negative)):
        seen = cv2.remap(resized, after[None], None, cv2.INTER_LINEAR)
        np.testing.assert_allclose(seen[0], before[:, 0], atol=0.05)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 200), st.integers(1, 100))
def test_tiles_share_out_the_points_of_a_picture(seed, right, bottom):
    rng = np.random.default_rng(seed)
    points = PromptPoints(*(rng.uniform(-20, 220, (count, 2)).astype(np.float32) for count in (40, 20)))
    whole = points.within((0, 0, 200, 100))
    for kind in (whole.positive, whole.negative):
        assert ((kind >= -0.5) & (kind < (199.5, 99.5))).all()
    tiles = [(0, 0, right, bottom), (right, 0, 200, bottom), (0, bottom, right, 100), (right, bottom, 200, 100)]
    parts = [points.within(tile) for tile in tiles]
    assert sum(part.count for part in parts) == whole.count
    left, top, *_ = tiles[3]
    there = parts[3].moved(-left, -top).within((0, 0, 200 - left, 100 - top))
    assert there.count == parts[3].count
    together = PromptPoints.none()
    for part in parts:
        together = together.joined(part)
    assert sorted(together.positive.tolist()) == sorted(whole.positive.tolist())
    assert sorted(together.negative.tolist()) == sorted(whole.negative.tolist())
