"""How values spread, and by which ratio two runs differ, with an interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from device_app.manifest_parts import Strict

PERCENTILES = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p99_9": 99.9}


class Spread(Strict):
    """How the times of one stage spread, in milliseconds.

    Attributes:
        count: how many there are.
        min_ms, mean_ms, p50_ms ... p99_9_ms, max_ms: nearest-rank percentiles: each is a time that was measured.
        cv: coefficient of variation, the standard deviation over the mean; 0 for a single value.
    """

    count: int = Field(ge=1)
    min_ms: float
    mean_ms: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    p99_9_ms: float
    max_ms: float
    cv: float


def spread_of(values_ms: Sequence[float] | np.ndarray) -> Spread:
    """The spread of some times in milliseconds. Raises ValueError without any, or where one is not finite."""
    values = np.asarray(values_ms, np.float64)
    if values.size == 0 or not np.isfinite(values).all():
        raise ValueError("a spread needs finite values")
    ranks = np.percentile(values, list(PERCENTILES.values()), method="inverted_cdf")
    mean = float(values.mean())
    return Spread(
        count=values.size,
        min_ms=float(values.min()),
        mean_ms=mean,
        max_ms=float(values.max()),
        cv=float(values.std(ddof=1)) / mean if values.size > 1 and mean > 0 else 0.0,
        **{f"{name}_ms": float(rank) for name, rank in zip(PERCENTILES, ranks, strict=True)},
    )


class Ratio(Strict):
    """By which factor one run's times differ from another's.

    Attributes:
        ratio: the other's median over this one's: above 1, this one is faster.
        low, high: 95 % interval.
    """

    ratio: float
    low: float
    high: float


def ratio_of_medians(
    ours_ms: Sequence[float] | np.ndarray, theirs_ms: Sequence[float] | np.ndarray, draws: int = 2000, seed: int = 0
) -> Ratio:
    """The ratio of the medians, with the 95 % interval of a bootstrap over blocks of consecutive frames.

    Neighbouring frames are alike (clocks, caches, what else the machine does), so single frames would make the interval
    too narrow: each draw takes whole blocks of about the square root of the run's length.
    """
    ours, theirs = np.asarray(ours_ms, np.float64), np.asarray(theirs_ms, np.float64)
    if ours.size == 0 or theirs.size == 0:
        raise ValueError("a ratio needs values on both sides")
    rng = np.random.default_rng(seed)
    drawn = _block_medians(theirs, draws, rng) / _block_medians(ours, draws, rng)
    low, high = np.percentile(drawn, (2.5, 97.5))
    return Ratio(ratio=float(np.median(theirs) / np.median(ours)), low=float(low), high=float(high))


def _block_medians(values: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    length = max(1, min(round(2 * values.size**0.5), values.size // 8))
    blocks = -(-values.size // length)
    offsets = np.arange(length)
    medians = np.empty(draws)
    for draw in range(draws):
        starts = rng.integers(0, values.size, blocks)
        places = (starts[:, None] + offsets[None, :]) % values.size
        medians[draw] = np.median(values[places.reshape(-1)[: values.size]])
    return medians
