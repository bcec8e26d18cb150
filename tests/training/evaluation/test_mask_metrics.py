"""Mask scores, against hand counts and their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from training.evaluation.mask_metrics import MaskCounts, count_mask, mean_scores, pooled_scores

masks = hnp.arrays(bool, (6, 7))


def test_by_hand() -> None:
    truth = np.array([[255, 255, 0, 0], [0, 0, 0, 0]], np.uint8)
    found = np.array([[255, 0, 255, 0], [0, 0, 0, 0]], np.uint8)
    counts = count_mask(found, truth)
    assert counts == MaskCounts(true_hair=1, false_hair=1, missed_hair=1, true_scalp=5)
    scores = pooled_scores(counts)
    assert scores.dice == pytest.approx(2 / 4)
    assert scores.jaccard == pytest.approx(1 / 3)
    assert scores.pixel_f1 == pytest.approx((2 / 4 + 10 / 12) / 2)


def _f1(found: np.ndarray, truth: np.ndarray) -> float:
    """F1 from precision and recall, where both exist."""
    precision = (found & truth).sum() / found.sum()
    recall = (found & truth).sum() / truth.sum()
    return 0.0 if precision + recall == 0 else float(2 * precision * recall / (precision + recall))


@given(found=masks, truth=masks)
def test_definitions(found: np.ndarray, truth: np.ndarray) -> None:
    counts = count_mask(found, truth)
    assert counts.true_hair + counts.false_hair + counts.missed_hair + counts.true_scalp == found.size
    scores = pooled_scores(counts)
    assert 0 <= scores.jaccard <= scores.dice <= 1
    assert scores.dice == pytest.approx(2 * scores.jaccard / (1 + scores.jaccard))
    if 0 < found.sum() < found.size and 0 < truth.sum() < truth.size:
        assert scores.dice == pytest.approx(_f1(found, truth))
        assert scores.pixel_f1 == pytest.approx((_f1(found, truth) + _f1(~found, ~truth)) / 2)


@given(found=masks, truth=masks)
def test_perfect_only_when_equal_and_alike_both_ways(found: np.ndarray, truth: np.ndarray) -> None:
    scores = pooled_scores(count_mask(found, truth))
    assert (scores.pixel_f1 == 1) == np.array_equal(found, truth)
    assert pooled_scores(count_mask(truth, found)) == scores


def test_bare_scalp() -> None:
    bare = np.zeros((10, 10), bool)
    assert pooled_scores(count_mask(bare, bare)).dice == 1
    invented = bare.copy()
    invented[0, 0] = True
    assert pooled_scores(count_mask(invented, bare)).dice == 0


def test_mean_over_images_and_pooled_pixels_differ() -> None:
    small_and_wrong = MaskCounts(true_hair=0, false_hair=1, missed_hair=1, true_scalp=98)
    large_and_right = MaskCounts(true_hair=98, false_hair=0, missed_hair=0, true_scalp=2)
    assert mean_scores([small_and_wrong, large_and_right]).dice == pytest.approx(0.5)
    assert pooled_scores(small_and_wrong + large_and_right).dice == pytest.approx(196 / 198)


@given(parts=st.lists(st.tuples(masks, masks), min_size=1, max_size=4))
def test_pooling_is_counting_one_large_picture(parts: list[tuple[np.ndarray, np.ndarray]]) -> None:
    total = sum((count_mask(found, truth) for found, truth in parts), MaskCounts())
    together = count_mask(np.hstack([p[0] for p in parts]), np.hstack([p[1] for p in parts]))
    assert total == together


def test_refusals() -> None:
    with pytest.raises(ValueError, match="different shapes"):
        count_mask(np.zeros((2, 3)), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="no image"):
        mean_scores([])
