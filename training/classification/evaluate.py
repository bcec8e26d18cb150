"""How good a classifier is, with intervals: presence, severity, classes, refusals, all by the device's own rules.

Intervals are 95 %, by bootstrap over groups: the copies of one original and the pictures of one patient are drawn again
together. A figure that is not defined, such as an AUROC without a single positive, is None.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from device_app.manifest_classifiers import Calibration, Limits
from device_app.vision.conditions import (
    Condition,
    Quality,
    Refusal,
    Severity,
    class_probabilities,
    joint_probabilities,
    median_severity,
)
from training.classification import scores, table3
from training.classification.predictions import Predictions
from training.classification.scores import Perfect, ReliabilityBin
from training.evaluation.bootstrap import Figure, GroupBootstrap

FEWEST_OF_AN_ATTRIBUTE = 5
"""Of fewer pictures than this with one attribute, such as one skin tone, no figures are given."""

ABSENT_PRESENT = ("absent", "present")


@dataclass(frozen=True)
class Calibrated:
    """How well a probability can be believed.

    Attributes:
        error: expected calibration error, bins of equal mass; see `scores.calibration_error`.
        perfect: what a perfectly calibrated model would show on as many pictures.
        curve: the reliability curve.
    """

    error: Figure | None
    perfect: Perfect | None
    curve: tuple[ReliabilityBin, ...]


@dataclass(frozen=True)
class HeadScores:
    """How well one thing is told: the presence of a condition, its severity, or the class.

    Attributes:
        labels: its classes; of a presence absent and present.
        counts: pictures of each class.
        confusion: (K, K) pictures, the row is the true class, the column the found one.
        f1, precision, recall: of each class.
        macro_f1: mean of `f1`.
        accuracy: share of pictures that were taken for what they are.
        kappa: quadratic weighted; None also for classes without an order.
        auroc: of a presence, or of each class against the rest; by the class's name.
        calibration: of the probability of presence; of other things, of the certainty of what was found.
    """

    labels: tuple[str, ...]
    counts: tuple[int, ...]
    confusion: tuple[tuple[int, ...], ...]
    f1: tuple[Figure | None, ...]
    precision: tuple[Figure | None, ...]
    recall: tuple[Figure | None, ...]
    macro_f1: Figure | None
    accuracy: Figure | None
    kappa: Figure | None
    auroc: dict[str, Figure | None]
    calibration: Calibrated

    @property
    def pictures(self) -> int:
        """Pictures whose label is known."""
        return sum(self.counts)


@dataclass(frozen=True)
class GroupScores:
    """Every head on one group of pictures; None for a head without a single label in it.

    Attributes:
        pictures, groups: how many, and of how many patients or originals.
        presence, severity: by condition; empty for a task with classes.
        table_3: the macro-F1 and the twelve F1 of ScalpVision's Table 3; None without a severity of every condition.
        classes: of a task with classes.
    """

    pictures: int
    groups: int
    presence: dict[Condition, HeadScores | None]
    severity: dict[Condition, HeadScores | None]
    table_3: tuple[Figure | None, ...] | None
    classes: HeadScores | None


@dataclass(frozen=True)
class RefusalScores:
    """What was refused of one kind of picture.

    Attributes:
        kind: such as real, drawn, blurred.
        should: whether they should have been.
        pictures: how many.
        reasons: how many were refused for which reason.
        low, high: 95 % interval of the share that was refused.
    """

    kind: str
    should: bool
    pictures: int
    reasons: dict[Refusal, int]
    low: float
    high: float

    @property
    def refused(self) -> int:
        """How many were refused."""
        return sum(self.reasons.values())

    @property
    def share(self) -> float:
        """Share that was refused."""
        return self.refused / self.pictures


@dataclass(frozen=True)
class Verdicts:
    """What the device would say of N pictures, were none refused, and which it refuses.

    Attributes:
        conditions: (N, 3, 4) joint probabilities; (N, 0, 4) for a task with classes.
        classes: (N, K) probabilities; (N, 0) for the conditions.
        refused: the reason for each picture; None: none.
    """

    conditions: np.ndarray
    classes: np.ndarray
    refused: tuple[Refusal | None, ...]

    @property
    def severity(self) -> np.ndarray:
        """(N, 3) int, the severities of `severity_of`."""
        return median_severity(self.conditions)

    def only(self, chosen: np.ndarray) -> Verdicts:
        """The same of the pictures of these indices or this (N,) bool choice."""
        places = np.arange(len(self.refused))[chosen]
        return Verdicts(self.conditions[places], self.classes[places], tuple(self.refused[place] for place in places))


def judge(
    predictions: Predictions, limits: Limits, calibration: Calibration | None, temperature: float | None
) -> Verdicts:
    """What the device's rules make of a network's answers.

    Args:
        calibration: for the conditions.
        temperature: for a task with classes.
    """
    count, refused = len(predictions), tuple(predictions.refusals(limits))
    if calibration is not None:
        joint = joint_probabilities(predictions.presence_logits, predictions.severity_logits, calibration)
        return Verdicts(joint, np.zeros((count, 0)), refused)
    probabilities = class_probabilities(predictions.class_logits, temperature or 1.0)
    return Verdicts(np.zeros((count, 0, len(Severity))), probabilities, refused)


def score_group(
    predictions: Predictions, verdicts: Verdicts, labels: Sequence[str] = (), ordered: bool = False
) -> GroupScores:
    """Every figure of some pictures, refused ones too: leave those out beforehand where they are not to count.

    Args:
        predictions: of at least one picture.
        verdicts: about the same ones.
        labels: classes of a task with classes.
        ordered: whether they are stages.
    """
    groups = len(set(predictions.groups))
    if verdicts.classes.shape[1]:
        found, truth = verdicts.classes.argmax(axis=1), predictions.label
        certainty, chances = verdicts.classes.max(axis=1), dict(zip(labels, verdicts.classes.T))
        head = _score(predictions.groups, truth, found, tuple(labels), certainty, chances, ordered)
        return GroupScores(len(predictions), groups, {}, {}, None, head)
    severity = verdicts.severity
    presence, graded = {}, {}
    for index, condition in enumerate(Condition):
        joint, found = verdicts.conditions[:, index], severity[:, index]
        present = 1.0 - joint[:, 0]
        presence[condition] = _score(
            predictions.groups,
            predictions.presence[:, index],
            (found > Severity.GOOD).astype(int),
            ABSENT_PRESENT,
            None,
            {"present": present},
            False,
        )
        certainty = np.take_along_axis(joint, found[:, None], axis=1)[:, 0]
        words = tuple(one.word for one in Severity)
        graded[condition] = _score(
            predictions.groups, predictions.severity[:, index], found, words, certainty, {}, True
        )
    table = _table_3(predictions, severity) if all(graded.values()) else None
    return GroupScores(len(predictions), groups, presence, graded, table, None)


def score_attributes(
    predictions: Predictions, verdicts: Verdicts, labels: Sequence[str] = (), ordered: bool = False
) -> dict[str, dict[str, GroupScores]]:
    """The same for each value of each attribute that is known, such as each skin tone; see `FEWEST_OF_AN_ATTRIBUTE`."""
    names = sorted({name for own in predictions.attributes for name in own})
    found: dict[str, dict[str, GroupScores]] = {}
    for name in names:
        values = [own.get(name) for own in predictions.attributes]
        for value in sorted({value for value in values if value is not None}):
            chosen = np.array([one == value for one in values])
            if chosen.sum() >= FEWEST_OF_AN_ATTRIBUTE:
                part = score_group(predictions.only(chosen), verdicts.only(chosen), labels, ordered)
                found.setdefault(name, {})[value] = part
    return found


def score_refusals(predictions: Predictions, verdicts: Verdicts) -> list[RefusalScores]:
    """What was refused, by kind of picture, good ones first."""
    found = []
    for kind in dict.fromkeys(predictions.kinds):
        places = [place for place, own in enumerate(predictions.kinds) if own == kind]
        reasons = Counter(reason for place in places if (reason := verdicts.refused[place]) is not None)
        edges = scores.wilson(sum(reasons.values()) / len(places), len(places))
        should = int(predictions.quality[places[0]]) != Quality.GRADABLE
        found.append(RefusalScores(kind, should, len(places), dict(reasons), *edges))
    return sorted(found, key=lambda one: one.should)


def mistake_sizes(predictions: Predictions, verdicts: Verdicts) -> np.ndarray:
    """How wrong each answer is: (N, heads), 0 where it is right or nobody knows, 1 at worst.

    A wrong severity counts by how far from the true one it is expected to be, a wrong presence or class by how little
    was believed of the true one. The heads are the three conditions, or the class.
    """
    if verdicts.classes.shape[1]:
        truth = predictions.label.astype(int)
        believed = np.take_along_axis(verdicts.classes, np.maximum(truth, 0)[:, None], axis=1)[:, 0]
        wrong = (truth >= 0) & (verdicts.classes.argmax(axis=1) != truth)
        return np.asarray(np.where(wrong, 1.0 - believed, 0.0)[:, None])
    found = verdicts.severity
    graded = predictions.severity >= 0
    grades = np.arange(len(Severity))
    away = (np.abs(grades - predictions.severity[..., None]) * verdicts.conditions).sum(axis=-1) / Severity.SEVERE
    present = 1.0 - verdicts.conditions[..., 0]
    missed = np.abs(np.where(predictions.presence > 0, 1.0, 0.0) - present)
    wrong_grade = graded & (found != predictions.severity)
    wrong_presence = ~graded & (predictions.presence >= 0) & ((found > 0) != (predictions.presence > 0))
    return np.asarray(np.where(wrong_grade, away, np.where(wrong_presence, missed, 0.0)))


def _score(
    groups: tuple[str, ...],
    truth: np.ndarray,
    found: np.ndarray,
    labels: tuple[str, ...],
    certainty: np.ndarray | None,
    chances: dict[str, np.ndarray],
    ordered: bool,
) -> HeadScores | None:
    """One head: truth and found (N,), the certainty of what was found (N,), and by class its probability (N,).

    Without a certainty the one chance given is what calibration is measured of. None without a label.
    """
    known = truth >= 0
    if not known.any():
        return None
    own = tuple(group for group, kept in zip(groups, known) if kept)
    truth, found = truth[known].astype(int), found[known]
    bootstrap, count = GroupBootstrap(own), len(labels)

    def statistics(weights: np.ndarray) -> np.ndarray:
        table = scores.confusion(truth, found, count, weights)
        f1 = scores.f1(table)
        single = [scores.macro(f1), scores.accuracy(table), scores.quadratic_kappa(table)]
        return np.concatenate([f1, scores.precision(table), scores.recall(table), np.stack(single, axis=1)], axis=1)

    figures = bootstrap.figures(statistics)
    table = scores.confusion(truth, found, count)
    if certainty is None:
        (chance,) = chances.values()
        calibration = _calibrated(bootstrap, truth, chance[known])
    else:
        calibration = _calibrated(bootstrap, (found == truth).astype(int), certainty[known])
    aurocs = {}
    for name, chance in chances.items():
        is_it, score = (truth == labels.index(name)).astype(int), chance[known]
        aurocs[name] = _one(bootstrap, partial(scores.auroc, is_it, score))
    return HeadScores(
        labels=labels,
        counts=tuple(int(one) for one in table.sum(axis=1)),
        confusion=tuple(tuple(int(cell) for cell in row) for row in table),
        f1=tuple(figures[:count]),
        precision=tuple(figures[count : 2 * count]),
        recall=tuple(figures[2 * count : 3 * count]),
        macro_f1=figures[-3],
        accuracy=figures[-2],
        kappa=figures[-1] if ordered else None,
        auroc=aurocs,
        calibration=calibration,
    )


def _calibrated(bootstrap: GroupBootstrap, came_true: np.ndarray, foretold: np.ndarray) -> Calibrated:
    return Calibrated(
        error=_one(bootstrap, partial(scores.calibration_error, came_true, foretold)),
        perfect=scores.perfect_calibration_error(foretold),
        curve=tuple(scores.reliability(came_true, foretold)),
    )


def _table_3(predictions: Predictions, severity: np.ndarray) -> tuple[Figure | None, ...]:
    def statistic(weights: np.ndarray) -> np.ndarray:
        columns = table3.twelve_f1(predictions.severity, severity, weights)
        return np.concatenate([scores.macro(columns)[:, None], columns], axis=1)

    return tuple(GroupBootstrap(predictions.groups).figures(statistic))


def _one(bootstrap: GroupBootstrap, statistic: Callable[[np.ndarray], np.ndarray]) -> Figure | None:
    return bootstrap.figures(lambda weights: statistic(weights)[:, None])[0]
