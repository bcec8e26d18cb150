"""What a classifier's answers are worth: pure functions on numpy, each by its textbook's definition.

Labels are integers, negative where nobody knows one: such pictures do not count. What is to be bootstrapped also takes
`weights`, (R, N), how often each picture counts in each of R resamples, and then answers R figures at once, without a
loop. A figure that is not defined, such as the AUROC of pictures that all have the condition, is NaN in these arrays;
`GroupBootstrap` makes it None.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

MOST_BINS = 15
PICTURES_PER_BIN = 15
"""The calibration error's bins hold as many pictures each: about so many, in `MOST_BINS` bins at the most."""

SIMULATIONS = 2000
SEED = 0


def confusion(truth: np.ndarray, found: np.ndarray, classes: int, weights: np.ndarray | None = None) -> np.ndarray:
    """How many pictures of each class were taken for which.

    Args:
        truth: (N,) int, 0 to `classes` - 1, negative: not known.
        found: (N,) int, 0 to `classes` - 1.
        classes: how many there are.
        weights: see the module.

    Returns:
        (K, K) float64, or (R, K, K) with weights; the row is the true class, the column the found one.
    """
    known = np.asarray(truth) >= 0
    cells = np.asarray(truth)[known].astype(np.int64) * classes + np.asarray(found)[known].astype(np.int64)
    if weights is None:
        return np.bincount(cells, minlength=classes**2).reshape(classes, classes).astype(np.float64)
    members = np.eye(classes**2)[cells]
    return np.asarray(weights[:, known] @ members).reshape(-1, classes, classes)


def precision(table: np.ndarray) -> np.ndarray:
    """Of what was taken for a class, the share that is of it: (..., K, K) confusions -> (..., K)."""
    return _over(_diagonal(table), table.sum(axis=-2))


def recall(table: np.ndarray) -> np.ndarray:
    """Of a class's pictures, the share that was found: (..., K, K) confusions -> (..., K)."""
    return _over(_diagonal(table), table.sum(axis=-1))


def f1(table: np.ndarray) -> np.ndarray:
    """F1 of each class, 2 TP / (2 TP + FP + FN): (..., K, K) confusions -> (..., K).

    It is 0 for a class that is there and never found, and not defined for one that is neither there nor ever found.
    """
    return _over(2 * _diagonal(table), table.sum(axis=-1) + table.sum(axis=-2))


def macro(values: np.ndarray) -> np.ndarray:
    """The plain mean over the last axis of what is defined there: (..., K) -> (...)."""
    defined = np.isfinite(values)
    return _over(np.where(defined, values, 0.0).sum(axis=-1), defined.sum(axis=-1).astype(np.float64))


def accuracy(table: np.ndarray) -> np.ndarray:
    """The share of pictures that were taken for what they are: (..., K, K) confusions -> (...)."""
    return _over(_diagonal(table).sum(axis=-1), table.sum(axis=(-2, -1)))


def quadratic_kappa(table: np.ndarray) -> np.ndarray:
    """Cohen's kappa with quadratic weights (Cohen 1968), for classes in an order: (..., K, K) confusions -> (...).

    1 for perfect agreement, 0 for that of chance; not defined where truth and answers are all of one class.
    """
    places = np.arange(table.shape[-1])
    cost = (places[:, None] - places[None, :]) ** 2.0
    by_chance = table.sum(axis=-1)[..., :, None] * table.sum(axis=-2)[..., None, :]
    expected = (cost * by_chance).sum(axis=(-2, -1))
    return 1.0 - _over((cost * table).sum(axis=(-2, -1)) * table.sum(axis=(-2, -1)), expected)


def auroc(truth: np.ndarray, score: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """The probability that a picture with the condition scores above one without; a tie counts half.

    Args:
        truth: (N,) int, 1, 0, negative: not known.
        score: (N,) float, the higher the surer that the condition is there.
        weights: see the module.

    Returns:
        () or (R,) float64; not defined where either kind is missing.
    """
    known = np.asarray(truth) >= 0
    one, values = np.asarray(truth)[known], np.asarray(score)[known]
    counts = np.ones((1, len(one))) if weights is None else weights[:, known]
    if not len(one):
        return np.full(len(counts), np.nan) if weights is not None else np.array(np.nan)
    order = np.argsort(values, kind="stable")
    firsts = np.flatnonzero(np.r_[True, np.diff(values[order]) > 0])
    with_it = np.add.reduceat(counts[:, order] * (one[order] > 0), firsts, axis=1)
    without = np.add.reduceat(counts[:, order] * (one[order] == 0), firsts, axis=1)
    below = np.cumsum(without, axis=1) - without
    areas = _over((with_it * (below + without / 2)).sum(axis=1), with_it.sum(axis=1) * without.sum(axis=1))
    return areas if weights is not None else areas[0]


def calibration_bins(probability: np.ndarray) -> np.ndarray:
    """Sort probabilities into bins of equal mass: (N,) -> (N,) int, counting up from 0.

    There are N / `PICTURES_PER_BIN` bins, 1 to `MOST_BINS`; equal probabilities always share one.
    """
    values = np.asarray(probability, np.float64)
    count = len(values)
    bins = max(1, min(MOST_BINS, count // PICTURES_PER_BIN))
    _, member, sizes = np.unique(values, return_inverse=True, return_counts=True)
    middles = np.cumsum(sizes) - sizes / 2  # of the ranks that equal values share
    filled = np.minimum((middles * bins / max(1, count)).astype(np.int64), bins - 1)[member]
    return np.unique(filled, return_inverse=True)[1] if count else filled


def calibration_error(truth: np.ndarray, probability: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Expected calibration error (Naeini 2015), with bins of equal mass; see `calibration_bins`.

    The mean over pictures of how far, in each bin, the mean probability lies from the share of pictures for which it
    came true.

    Args:
        truth: (N,) int, 1 where what was foretold is so, 0 where not, negative: not known.
        probability: (N,) float, 0..1, that was foretold.
        weights: see the module; the bins stay those of the pictures themselves.

    Returns:
        () or (R,) float64; not defined without a picture.
    """
    known = np.asarray(truth) >= 0
    foretold = np.asarray(probability, np.float64)[known]
    off = foretold - np.asarray(truth, np.float64)[known]
    counts = np.ones((1, len(off))) if weights is None else weights[:, known]
    if not len(off):
        return np.full(len(counts), np.nan) if weights is not None else np.array(np.nan)
    errors = _over(_binned_error(off, calibration_bins(foretold), counts), counts.sum(axis=1))
    return errors if weights is not None else errors[0]


@dataclass(frozen=True)
class Perfect:
    """The calibration error that a perfectly calibrated model shows on so few pictures: mean and 95th percentile."""

    mean: float
    most: float


def perfect_calibration_error(probability: np.ndarray, seed: int = SEED) -> Perfect | None:
    """What `calibration_error` would be if every probability were true: lots are drawn by them, many times.

    With few pictures it lies far above 0: an error of this size is no sign of bad calibration.

    Args:
        probability: (N,) float, 0..1, of the pictures whose label is known.
        seed: of the lots.

    Returns:
        None without a picture.
    """
    foretold = np.asarray(probability, np.float64)
    if not len(foretold):
        return None
    rng = np.random.default_rng(seed)
    bins = calibration_bins(foretold)
    errors = []
    rows = max(1, 4_000_000 // len(foretold))
    for start in range(0, SIMULATIONS, rows):
        drawn = rng.random((min(rows, SIMULATIONS - start), len(foretold))) < foretold
        errors.append(_binned_error(foretold - drawn, bins) / len(foretold))
    found = np.concatenate(errors)
    return Perfect(float(found.mean()), float(np.percentile(found, 95)))


@dataclass(frozen=True)
class ReliabilityBin:
    """One point of a reliability curve.

    Attributes:
        foretold: mean probability of its pictures.
        observed: share of them for which it came true.
        low, high: 95 % interval of that share (Wilson 1927).
        count: how many pictures.
    """

    foretold: float
    observed: float
    low: float
    high: float
    count: int


def reliability(truth: np.ndarray, probability: np.ndarray) -> list[ReliabilityBin]:
    """The reliability curve, over the bins of `calibration_error`; empty without a picture whose label is known."""
    known = np.asarray(truth) >= 0
    came_true, foretold = np.asarray(truth)[known], np.asarray(probability, np.float64)[known]
    bins = calibration_bins(foretold)
    curve = []
    for number in range(int(bins.max()) + 1 if len(bins) else 0):
        inside = bins == number
        share, count = float(came_true[inside].mean()), int(inside.sum())
        curve.append(ReliabilityBin(float(foretold[inside].mean()), share, *wilson(share, count), count))
    return curve


def wilson(share: float, count: int) -> tuple[float, float]:
    """95 % interval of a share that was seen in `count` pictures, at least 1 (Wilson 1927)."""
    z = 1.959964
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    reach = z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    return max(0.0, middle - reach), min(1.0, middle + reach)


def _binned_error(off: np.ndarray, bins: np.ndarray, counts: np.ndarray | None = None) -> np.ndarray:
    """Sum over bins of the magnitude of the summed errors; `off` (N,) with counts (R, N), or (R, N) without."""
    members = np.eye(int(bins.max()) + 1)[bins]
    return np.asarray(np.abs((off if counts is None else counts * off) @ members).sum(axis=-1))


def _diagonal(table: np.ndarray) -> np.ndarray:
    return np.asarray(np.diagonal(table, axis1=-2, axis2=-1))


def _over(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    part, whole = np.broadcast_arrays(np.asarray(part, np.float64), np.asarray(whole, np.float64))
    return np.asarray(np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole != 0))
