"""How sure a figure is: the bootstrap over pictures (Efron 1979), percentile intervals.

Pictures, not pixels, are drawn again: pixels of one picture succeed and fail together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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


class GroupBootstrap:
    """The same where several pictures are of one patient or one original: whole groups are drawn again.

    Args:
        groups: the group of each picture, at least one picture.
        seed: of the draw.
        resamples: how often the groups are drawn again.
    """

    _MOST_WEIGHTS = 4_000_000
    """Weights that are spread over pictures at a time: 32 MB."""

    def __init__(self, groups: Sequence[str], seed: int = SEED, resamples: int = RESAMPLES) -> None:
        names, self._member = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
        self._draws = Bootstrap(len(names), seed, resamples)

    def figures(self, statistic: Callable[[np.ndarray], np.ndarray]) -> list[Figure | None]:
        """As `Bootstrap.figures`, with weights of the pictures; None for a figure that is not defined for them."""

        def spread(weights: np.ndarray) -> np.ndarray:
            rows = max(1, self._MOST_WEIGHTS // len(self._member))
            parts = [weights[start : start + rows] for start in range(0, len(weights), rows)]
            return np.concatenate([statistic(part[:, self._member]) for part in parts])

        found = self._draws.figures(spread)
        return [figure if math.isfinite(figure.value) else None for figure in found]
