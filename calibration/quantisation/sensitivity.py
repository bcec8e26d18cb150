"""Which layers to leave in float: measured, not guessed.

Each group of layers is put back into float alone, and the loss of the whole network against FP32 is measured. Those
that help most are then put back one after another for as long as each still pays for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np


class Scored(Protocol):
    """Any measure of how far a quantised network is from FP32."""

    @property
    def score(self) -> float:
        """One number to choose by, 0 = no loss."""


@dataclass(frozen=True)
class Loss:
    """How far a quantised network's masks are from FP32's over some frames.

    Attributes:
        mask_dice: (N,) Dice of its mask with FP32's mask, per frame.
        prob_mae: (N,) mean absolute difference of the probabilities, per frame.
    """

    mask_dice: tuple[float, ...]
    prob_mae: tuple[float, ...]

    @property
    def score(self) -> float:
        """One number to choose by, 0 = no loss: missing Dice, mean and worst, and the mean difference."""
        return float(1 - np.mean(self.mask_dice) + 0.2 * (1 - min(self.mask_dice)) + np.mean(self.prob_mae))


@dataclass(frozen=True)
class Sensitivity:
    """What was found.

    Attributes:
        all_int8: the score with every group in int8.
        float_alone: the score with that group alone in float, by group name; groups that cost too much are left out.
        chosen: groups to leave in float, in the order of their choice.
        final: the score with the chosen groups in float.
    """

    all_int8: float
    float_alone: Mapping[str, float]
    chosen: tuple[str, ...]
    final: float


def find_float_layers(
    groups: Mapping[str, float],
    measure: Callable[[frozenset[str]], Scored],
    max_cost: float = 0.12,
    min_gain: float = 0.1,
    report: Callable[[str], None] = lambda message: None,
) -> Sensitivity:
    """Greedy choice of the groups to leave in float.

    Args:
        groups: cost of leaving each group in float (its share of the whole network's arithmetic), by name.
        measure: the loss of the network with these groups in float. Called at most 2 x len(groups) + 1 times.
        max_cost: the most that the chosen groups may cost together.
        min_gain: the part of the all-int8 score that a group must take away to be chosen.
        report: told what is being measured, for a progress bar.

    Returns:
        The choice and the figures behind it.
    """
    report("everything in int8")
    all_int8 = measure(frozenset()).score
    alone = {}
    for name in (name for name, cost in groups.items() if cost <= max_cost):
        report(f"{name} in float")
        alone[name] = measure(frozenset({name})).score
    chosen: list[str] = []
    best, least_gain = all_int8, max(min_gain * all_int8, 1e-9)
    for name in sorted(alone, key=alone.__getitem__):
        gains_alone = all_int8 - alone[name] >= least_gain
        if not gains_alone or sum(groups[other] for other in (*chosen, name)) > max_cost:
            continue
        if chosen:
            report(f"{', '.join((*chosen, name))} in float")
            score = measure(frozenset((*chosen, name))).score
        else:
            score = alone[name]
        if best - score >= least_gain:
            chosen.append(name)
            best = score
    return Sensitivity(all_int8, alone, tuple(chosen), best)
