"""How sure a figure is: the bootstrap over pictures (Efron 1979), percentile intervals.

Pictures, not pixels, are drawn again: pixels of one picture succeed and fail together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95
RESAMPLES = 2000
SEED = 0


@dataclass(frozen=True)
class Figure:
    """A value with its 95 % interval; `low` and `high` are None where one picture alone says nothing about others."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def sign(self) -> int:
        """1 or -1 where the whole interval lies above or below 0, else 0: a difference that may be none."""
        if self.low is None or self.high is None:
            return 0
        return int(self.low > 0) - int(self.high < 0)


class Bootstrap:
    """The same resamples for every figure of a set of pictures, so that differences are paired.

    Args:
        pictures: how many there are, at least 1.
        seed: of the draw.
        resamples: how often the pictures are drawn again.
    """

    def __init__(self, pictures: int, seed: int = SEED, resamples: int = RESAMPLES) -> None:
        self.pictures = pictures
        rng = np.random.default_rng(seed)
        shares = np.full(pictures, 1 / pictures)
        self._weights = rng.multinomial(pictures, shares, resamples).astype(np.float64) if pictures > 1 else None

    def figures(self, statistic: Callable[[np.ndarray], np.ndarray]) -> list[Figure]:
        """Figures with their intervals.

        Args:
            statistic: from weights (R, n) float64, how often each picture was drawn, to R times K figures, (R, K).

        Returns:
            K figures; resamples in which one is not a number do not count for it.
        """
        values = statistic(np.ones((1, self.pictures)))[0]
        if self._weights is None:
            return [Figure(float(value)) for value in values]
        samples = statistic(self._weights)
        edges = (50 * (1 - LEVEL), 50 * (1 + LEVEL))
        found = []
        for value, column in zip(values, samples.T, strict=True):
            column = column[np.isfinite(column)]
            found.append(Figure(float(value), *np.percentile(column, edges).tolist()) if len(column) else Figure(value))
        return found
