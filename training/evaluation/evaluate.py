"""Any set of methods on any folder of pictures and masks: counts per picture, and from them the figures of Table 1."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np

from training.evaluation.bootstrap import Bootstrap, Figure
from training.evaluation.finder import Finder, Role, Row
from training.evaluation.mask_metrics import MaskCounts, MaskScores, count_mask, pooled_scores, score_counts
from training.evaluation.pairs import Pair, read_pair

FIGURES = tuple(field.name for field in fields(MaskScores))
"""``pixel_f1``, ``jaccard`` and ``dice``."""


@dataclass(frozen=True)
class Tally:
    """What one row of the table did, picture by picture.

    row: which one.  counts: (N, 4) float64, the fields of `MaskCounts`.  seconds: (N,) float64.
    """

    row: Row
    counts: np.ndarray
    seconds: np.ndarray

    @property
    def scores(self) -> np.ndarray:
        """(N, 3) float64, the scores of each picture, in the order of `FIGURES`."""
        return score_counts(self.counts)

    @property
    def jaccard(self) -> np.ndarray:
        """(N,) float64, of hair in each picture."""
        return np.asarray(self.scores[:, FIGURES.index("jaccard")])

    def only(self, pictures: np.ndarray) -> Tally:
        """The same over the pictures of these indices or this (N,) bool choice."""
        return Tally(self.row, self.counts[pictures], self.seconds[pictures])


@dataclass(frozen=True)
class Scores:
    """One line of the table: a method, or the difference of two.

    Attributes:
        method: its name.
        images: over how many pictures.
        per_image: figures by name (`FIGURES`), the mean over pictures, as Table 1 has them.
        pooled: the same over the pixels of all pictures together.
        seconds: median time for one picture; None for a difference.
        oracle: the truth helped to choose the masks.
    """

    method: str
    images: int
    per_image: dict[str, Figure]
    pooled: dict[str, Figure]
    seconds: float | None = None
    oracle: bool = False

    @property
    def figures(self) -> dict[str, Figure]:
        """The six figures by name, per image first."""
        ways = {"per_image": self.per_image, "pooled": self.pooled}
        return {f"{way}_{name}": figure for way, figures in ways.items() for name, figure in figures.items()}


def evaluate(finders: Sequence[Finder], pairs: Iterable[Pair]) -> list[Tally]:
    """Run all finders over all pairs: one tally for each row, finder by finder; raises ValueError without any pair."""
    rows = [row for finder in finders for row in finder.rows]
    names = {row.name for row in rows}
    counts: dict[str, list[MaskCounts]] = {row.name: [] for row in rows}
    seconds: dict[str, list[float]] = {row.name: [] for row in rows}
    for pair in pairs:
        image, truth = read_pair(pair)
        best: dict[str, MaskCounts] = {}
        spent = dict.fromkeys(names, 0.0)
        for finder in finders:
            for found in finder.find(image, names):
                spent[found.row] += found.seconds
                counted = count_mask(found.mask, truth)
                if found.row not in best or _jaccard(counted) > _jaccard(best[found.row]):
                    best[found.row] = counted
        nothing = count_mask(np.zeros_like(truth), truth)  # an oracle without a single mask
        for name in names:
            counts[name].append(best.get(name, nothing))
            seconds[name].append(spent[name])
    if not rows or not counts[rows[0].name]:
        raise ValueError("nothing to evaluate")
    return [
        Tally(row, np.array([astuple(one) for one in counts[row.name]], np.float64), np.array(seconds[row.name]))
        for row in rows
    ]


def score(tally: Tally, bootstrap: Bootstrap) -> Scores:
    """One row's figures with their intervals."""
    return Scores(
        tally.row.name,
        len(tally.counts),
        _named(bootstrap.figures(lambda weights: _means(tally, weights))),
        _named(bootstrap.figures(lambda weights: score_counts(weights @ tally.counts))),
        float(np.median(tally.seconds)),
        tally.row.role is Role.ORACLE,
    )


def difference(one: Tally, other: Tally, bootstrap: Bootstrap) -> Scores:
    """How much better `one` is than `other` on the same pictures, paired: each resample draws both from the same."""
    return Scores(
        f"{one.row.name} − {other.row.name}",
        len(one.counts),
        _named(bootstrap.figures(lambda weights: _means(one, weights) - _means(other, weights))),
        _named(
            bootstrap.figures(lambda weights: score_counts(weights @ one.counts) - score_counts(weights @ other.counts))
        ),
    )


def differences(tallies: Sequence[Tally], bootstrap: Bootstrap) -> list[Scores]:
    """The comparisons that matter among these rows.

    For each bundle M - M̂, M - M_AP and M minus the best classical method, and each other combination minus M. The best
    classical method is the best on these very pictures, per-image Jaccard, which favours it.
    """
    classical = [tally for tally in tallies if tally.row.role is Role.CLASSICAL]
    found = []
    for hair in (tally for tally in tallies if tally.row.role is Role.HAIR):
        own = [tally for tally in tallies if tally.row.bundle == hair.row.bundle]
        rivals = [tally for role in (Role.COARSE, Role.REFINED) for tally in own if tally.row.role is role]
        if classical:
            rivals.append(max(classical, key=lambda tally: float(tally.jaccard.mean())))
        found += [difference(hair, rival, bootstrap) for rival in rivals]
        found += [difference(tally, hair, bootstrap) for tally in own if tally.row.role is Role.COMBINED]
    return found


@dataclass(frozen=True)
class ConditionScores:
    """How the rows of the networks did under one condition, per-image Jaccard.

    Attributes:
        condition: its name.
        images: how many pictures show it.
        jaccard: the figure of each row by its name.
        differences: of the pairs that `differences` compares, without the classical methods.
    """

    condition: str
    images: int
    jaccard: dict[str, Figure]
    differences: dict[str, Figure]


def by_condition(tallies: Sequence[Tally], conditions: Sequence[str]) -> list[ConditionScores]:
    """The Jaccard of M̂, M_AP and M under each condition; `conditions` names that of each picture, as tallied."""
    networks = [tally for tally in tallies if tally.row.role in (Role.COARSE, Role.REFINED, Role.HAIR, Role.COMBINED)]
    found = []
    for condition in dict.fromkeys(conditions):
        pictures = np.array([one == condition for one in conditions])
        parts = [tally.only(pictures) for tally in networks]
        bootstrap = Bootstrap(int(pictures.sum()))
        found.append(
            ConditionScores(
                condition,
                int(pictures.sum()),
                {part.row.name: score(part, bootstrap).per_image["jaccard"] for part in parts},
                {one.method: one.per_image["jaccard"] for one in differences(parts, bootstrap)},
            )
        )
    return found


def _means(tally: Tally, weights: np.ndarray) -> np.ndarray:
    return np.asarray(weights @ tally.scores / len(tally.counts))


def _named(figures: Sequence[Figure]) -> dict[str, Figure]:
    return dict(zip(FIGURES, figures, strict=True))


def _jaccard(counts: MaskCounts) -> float:
    return pooled_scores(counts).jaccard
