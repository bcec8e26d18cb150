"""95 % confidence intervals of the figures: which rule for which figure, in one place."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import chdtri, ndtri, stdtrit

_TAIL = 0.025
_Z = float(ndtri(1 - _TAIL))


def poisson_interval(count: int) -> tuple[float, float]:
    """Garwood's exact interval of a Poisson mean after `count` events."""
    low = 0.0 if count == 0 else chdtri(2 * count, 1 - _TAIL) / 2
    return float(low), float(chdtri(2 * count + 2, _TAIL) / 2)


def mean_interval(values: np.ndarray, relative_scale_sd: float = 0.0) -> tuple[float, float]:
    """Student's interval of a mean; the scale's own uncertainty, common to all values, adds in quadrature.

    Args:
        values: (n,) finite, n >= 2.
        relative_scale_sd: 1 standard deviation of the scale over the scale.
    """
    mean, count = float(np.mean(values)), len(values)
    sampling = float(stdtrit(count - 1, 1 - _TAIL)) * float(np.std(values, ddof=1)) / math.sqrt(count)
    half = math.hypot(sampling, _Z * relative_scale_sd * mean)
    return mean - half, mean + half


def deviation_interval(values: np.ndarray, relative_scale_sd: float = 0.0) -> tuple[float, float]:
    """Chi-square interval of a standard deviation (n >= 2), widened by the scale's uncertainty."""
    sd, free = float(np.std(values, ddof=1)), len(values) - 1
    low = sd * math.sqrt(free / float(chdtri(free, _TAIL)))
    high = sd * math.sqrt(free / float(chdtri(free, 1 - _TAIL)))
    extra = _Z * relative_scale_sd * sd
    return max(sd - math.hypot(sd - low, extra), 0.0), sd + math.hypot(high - sd, extra)


def share_interval(count: int, total: int) -> tuple[float, float]:
    """Wilson's interval of a share `count` / `total`, total >= 1."""
    share, z2 = count / total, _Z**2
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = _Z / (1 + z2 / total) * math.sqrt(share * (1 - share) / total + z2 / (4 * total**2))
    return max(middle - half, 0.0), min(middle + half, 1.0)


def sum_interval(values: np.ndarray, relative_sd: float = 0.0) -> tuple[float, float]:
    """Interval of a sum over a Poisson number of hairs: its variance is the sum of the squares (compound Poisson)."""
    total = float(np.sum(values))
    half = _Z * math.hypot(float(np.sqrt(np.sum(np.square(values)))), relative_sd * total)
    return max(total - half, 0.0), total + half
