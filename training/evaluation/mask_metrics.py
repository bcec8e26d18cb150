"""How well a mask finds hair, in the figures of ScalpVision's Table 1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np


@dataclass(frozen=True)
class MaskCounts:
    """Pixels by what was found and what is true: hair found, invented, missed, and scalp left alone."""

    true_hair: int = 0
    false_hair: int = 0
    missed_hair: int = 0
    true_scalp: int = 0

    def __add__(self, other: MaskCounts) -> MaskCounts:
        return MaskCounts(
            self.true_hair + other.true_hair,
            self.false_hair + other.false_hair,
            self.missed_hair + other.missed_hair,
            self.true_scalp + other.true_scalp,
        )


@dataclass(frozen=True)
class MaskScores:
    """All in 0..1.

    pixel_f1: mean of the F1 of hair and the F1 of scalp.  jaccard, dice: of hair (Dice is hair's F1).
    """

    pixel_f1: float
    jaccard: float
    dice: float


def count_mask(found: np.ndarray, truth: np.ndarray) -> MaskCounts:
    """Count the pixels of two masks (H, W) of the same shape; bool, or numbers of which those other than 0 are hair.

    Raises:
        ValueError: the shapes differ.
    """
    if found.shape != truth.shape:
        raise ValueError(f"masks of different shapes: {found.shape} and {truth.shape}")
    hair, true = found.astype(bool), truth.astype(bool)
    both = int(np.count_nonzero(hair & true))
    false, missed = int(np.count_nonzero(hair)) - both, int(np.count_nonzero(true)) - both
    return MaskCounts(both, false, missed, hair.size - both - false - missed)


def score_counts(counts: np.ndarray) -> np.ndarray:
    """Scores of any number of counts at once.

    A class that is neither there nor found is found perfectly: a bare scalp left bare scores 1, and one invented pixel
    in it makes the Dice of hair 0.

    Args:
        counts: (..., 4), the fields of `MaskCounts` in their order; they need not be whole numbers.

    Returns:
        (..., 3) float64, the fields of `MaskScores` in their order.
    """
    true_hair, false_hair, missed_hair, true_scalp = np.moveaxis(np.asarray(counts, np.float64), -1, 0)
    wrong = false_hair + missed_hair
    hair = _share(2 * true_hair, 2 * true_hair + wrong)
    scalp = _share(2 * true_scalp, 2 * true_scalp + wrong)
    return np.stack([(hair + scalp) / 2, _share(true_hair, true_hair + wrong), hair], axis=-1)


def pooled_scores(counts: MaskCounts) -> MaskScores:
    """Scores over all counted pixels at once; see `score_counts`."""
    return MaskScores(*score_counts(np.array(astuple(counts))).tolist())


def mean_scores(counts: Sequence[MaskCounts]) -> MaskScores:
    """Scores of each image, then their mean over images, as in Table 1. Raises ValueError without any image."""
    if not counts:
        raise ValueError("no image to average over")
    each = score_counts(np.array([astuple(one) for one in counts]))
    return MaskScores(*each.mean(axis=0).tolist())


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.ones_like(whole), where=whole != 0)
