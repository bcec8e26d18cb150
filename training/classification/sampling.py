"""Which example comes when: by ScalpVision's Algorithm 2, or each as often as the others.

The choice is a pure function of the run's seed and the sample's index, so a run that is resumed sees the same examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import numpy as np

from device_app.manifest_parts import Task
from training.data.example_set import Example, ExampleSet


class Sampling(str, Enum):
    """How examples are chosen."""

    ALGORITHM2 = "algorithm2"  # the rarer a class, the oftener each of its examples
    UNIFORM = "uniform"  # every example once, in a new order, then every one again


def sampling_ratios(counts: Sequence[int]) -> list[float]:
    """Algorithm 2: the ratio of a class is ``(1 / count) / sum of (1 / count)``, over the classes that have samples.

    Args:
        counts: samples of each class.

    Returns:
        One ratio for each class, 0 for one without samples; they add up to 1 unless no class has any.
    """
    inverse = [1.0 / count if count else 0.0 for count in counts]
    total = sum(inverse)
    return [one / total if total else 0.0 for one in inverse]


def example_weights(examples: ExampleSet) -> np.ndarray:
    """How probable each example is to be drawn: (N,) float64 that add up to 1.

    An example's weight is its class's ratio; with several heads the mean of the ratios over the heads it has a label
    for. A condition is one head: its severities where the example has one, else its presence.
    """
    heads = [_known_classes(one, examples.task) for one in examples.examples]
    counts: dict[tuple[str, int], dict[int, int]] = {}
    for known in heads:
        for head, label in known.items():
            per_class = counts.setdefault(head, {})
            per_class[label] = per_class.get(label, 0) + 1
    ratios = {
        head: dict(zip(per_class, sampling_ratios(list(per_class.values())), strict=True))
        for head, per_class in counts.items()
    }
    weights = np.array([_mean([ratios[head][label] for head, label in known.items()]) for known in heads])
    return weights / weights.sum() if weights.sum() else np.full(len(heads), 1.0 / max(1, len(heads)))


class Draw:
    """Gives the position of the example for a sample.

    Args:
        weights: (N,) that add up to 1; None: `Sampling.UNIFORM`.
        count: N.
        seed: of the run.
    """

    def __init__(self, weights: np.ndarray | None, count: int, seed: int) -> None:
        self._up_to = None if weights is None else np.cumsum(weights)
        self._count, self._seed = count, seed
        self._order: tuple[int, np.ndarray] | None = None

    def __call__(self, index: int) -> int:
        """0..N - 1 for the sample number ``index``."""
        if self._up_to is not None:
            chance = np.random.default_rng((self._seed, index)).random() * self._up_to[-1]
            return min(int(np.searchsorted(self._up_to, chance, side="right")), self._count - 1)
        epoch, position = divmod(index, self._count)
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, np.random.default_rng((self._seed, epoch)).permutation(self._count)
        return int(self._order[1][position])


def _known_classes(example: Example, task: Task) -> dict[tuple[str, int], int]:
    """The class of an example by head."""
    if task is not Task.CONDITIONS:
        return {} if example.label is None else {("class", 0): example.label}
    known = {}
    for index, (severity, presence) in enumerate(zip(example.severity, example.presence, strict=True)):
        if severity is not None:
            known["severity", index] = severity
        elif presence is not None:
            known["presence", index] = presence
    return known


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
