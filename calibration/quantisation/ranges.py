"""The range of values a tensor keeps in 8 bits, from a histogram of the values it took.

Everything outside is clipped, everything inside shares 256 steps. Which compromise is best differs from network to
network, so all rules are tried and the measured loss decides. Memory stays small: a tensor is a histogram, never its
values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_BINS = 2048
_LEVELS = 256


@dataclass(frozen=True)
class RangeRule:
    """How a range is taken from a histogram.

    Attributes:
        name: for reports.
        percentile: share of the values kept, in per cent, 100 = all (min-max); None asks for the entropy rule.
    """

    name: str
    percentile: float | None


ENTROPY = RangeRule("entropy", None)
MIN_MAX = RangeRule("min-max", 100.0)
RANGE_RULES = (
    MIN_MAX,
    RangeRule("percentile 99.999", 99.999),
    RangeRule("percentile 99.99", 99.99),
    RangeRule("percentile 99.9", 99.9),
    ENTROPY,
)


class TensorHistogram:
    """A histogram that grows with the values: 2048 equal bins over [-reach, reach], where `reach` doubles as needed."""

    def __init__(self) -> None:
        self.low = np.inf
        self.high = -np.inf
        self.reach = 0.0
        self.counts = np.zeros(_BINS, np.int64)

    def add(self, values: np.ndarray) -> None:
        """Count finite values of any shape. Raises ValueError for values that are not finite."""
        flat = np.asarray(values, np.float32).ravel()
        if flat.size == 0:
            return
        low, high = float(flat.min()), float(flat.max())
        if not np.isfinite(low + high):
            raise ValueError("the tensor has values that are not finite")
        self.low, self.high = min(self.low, low), max(self.high, high)
        needed = max(-low, high, 1e-12)
        if self.reach == 0.0:
            self.reach = needed
        while self.reach < needed:
            # Two neighbouring bins become one; the outer half of the new histogram is empty.
            pairs = self.counts.reshape(-1, 2).sum(1)
            self.counts = np.concatenate([np.zeros(_BINS // 4, np.int64), pairs, np.zeros(_BINS // 4, np.int64)])
            self.reach *= 2
        index = ((flat + self.reach) * (_BINS / (2 * self.reach))).astype(np.int32)
        self.counts += np.bincount(np.clip(index, 0, _BINS - 1), minlength=_BINS)

    def range(self, rule: RangeRule) -> tuple[float, float]:
        """(low, high) by a rule; always holds 0, lies within the values seen, and low < high unless all were 0.

        Raises ValueError when nothing was counted.
        """
        if not self.counts.any():
            raise ValueError("no values were counted")
        low, high = min(self.low, 0.0), max(self.high, 0.0)
        if rule.percentile is None:
            reach = self._entropy_reach()
            return max(low, -reach), min(high, reach)
        if rule.percentile >= 100:
            return low, high
        edges = np.linspace(-self.reach, self.reach, _BINS + 1)
        share = np.cumsum(self.counts) / self.counts.sum()
        tail = (1 - rule.percentile / 100) / 2
        lower = edges[int(np.searchsorted(share, tail, side="right"))]
        upper = edges[min(int(np.searchsorted(share, 1 - tail)) + 1, _BINS)]
        return max(low, min(lower, 0.0)), min(high, max(upper, 0.0))

    def _entropy_reach(self) -> float:
        """The reach whose 8-bit version tells most of the values: least Kullback-Leibler divergence (Migacz 2017)."""
        halves = self.counts.reshape(2, -1)
        magnitudes = (halves[0][::-1] + halves[1]).astype(np.float64)  # counts by |value|
        signed = bool(self.low < -1e-3 * self.high)
        levels = _LEVELS // 2 if signed else _LEVELS
        best, best_divergence = len(magnitudes), np.inf
        for stop in range(levels, len(magnitudes) + 1, 16):
            clipped = magnitudes[:stop].copy()
            filled = clipped > 0
            target = np.arange(stop) * levels // stop
            sums = np.bincount(target, clipped, minlength=levels)
            cells = np.bincount(target, filled, minlength=levels)
            coarse = np.where(filled, (sums / np.maximum(cells, 1))[target], 0.0)
            clipped[-1] += magnitudes[stop:].sum()
            # The clipped values may land in a bin that was empty: give it a little so that the divergence stays finite.
            p, q = clipped / clipped.sum(), (coarse + 1e-9) / (coarse + 1e-9).sum()
            inside = p > 0
            divergence = float(np.sum(p[inside] * np.log(p[inside] / q[inside])))
            if divergence < best_divergence:
                best, best_divergence = stop, divergence
        return best / len(magnitudes) * self.reach
