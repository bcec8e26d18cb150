"""What a classifier's answer means: conditions, their severity, how sure it is, and when it must not judge at all.

Pure functions on numpy. Evaluation in training and the device both decide here, so that a figure in a report and a word
on the screen follow one rule. The networks' answers are logits; probabilities are made here, with the temperatures that
the bundle's manifest holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum

import cv2
import numpy as np

from device_app.manifest_classifiers import Calibration, Limits


class Condition(str, Enum):
    """What is graded. The order is that of the paper and of every tensor."""

    DANDRUFF = "dandruff"
    EXCESS_SEBUM = "excess_sebum"
    ERYTHEMA = "erythema"


class Severity(IntEnum):
    """How bad a condition is; ordered."""

    GOOD = 0
    MILD = 1
    MODERATE = 2
    SEVERE = 3

    @property
    def word(self) -> str:
        """As it is written in files: good, mild, moderate, severe."""
        return self.name.lower()


class Quality(IntEnum):
    """What the network thinks of the picture itself; the order of its `quality` output."""

    GRADABLE = 0
    OUT_OF_FOCUS = 1
    NO_SCALP = 2  # for the hair-loss task: no head


class Refusal(str, Enum):
    """Why there is no grade, the first that applies."""

    TOO_DARK = "too_dark"
    TOO_BRIGHT = "too_bright"
    OUT_OF_FOCUS = "out_of_focus"
    NO_SCALP = "no_scalp"
    UNLIKE_TRAINING = "unlike_training"
    NOT_CLAIMED = "not_claimed"  # the bundle's maker does not claim that the network can grade this condition


@dataclass(frozen=True)
class Grade:
    """One condition of one picture: a grade, or the reason why there is none. Without a grade all figures are None.

    Neither a grade nor a reason: it is still being looked at (`live.steady`).

    Attributes:
        present_probability: that the condition is there, 0..1.
        severity: by the rule of `severity_of`.
        severity_probabilities: of good, mild, moderate, severe; they add up to 1, and the first is the probability
            that the condition is not there.
        certainty: the probability of `severity`.
        refused: why there is no grade.
    """

    present_probability: float | None
    severity: Severity | None
    severity_probabilities: tuple[float, float, float, float] | None
    certainty: float | None
    refused: Refusal | None = None

    @classmethod
    def refusal(cls, reason: Refusal) -> Grade:
        """No grade, for this reason."""
        return cls(None, None, None, None, reason)

    @classmethod
    def looking(cls) -> Grade:
        """No grade yet."""
        return cls(None, None, None, None)

    @classmethod
    def of(cls, probabilities: np.ndarray) -> Grade:
        """The grade that joint probabilities (4,) mean."""
        severity = severity_of(probabilities)
        good, mild, moderate, severe = (float(p) for p in probabilities)
        return cls(1.0 - good, severity, (good, mild, moderate, severe), float(probabilities[severity]))


def present_probability(logit: np.ndarray | float, temperature: float, bias: float) -> np.ndarray:
    """Calibrated probability of presence: the sigmoid of ``logit / temperature + bias``. Any shape, float64."""
    return 0.5 * (1.0 + np.tanh(0.5 * (np.asarray(logit, np.float64) / temperature + bias)))


def class_probabilities(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Calibrated probabilities of classes: the softmax of ``logits / temperature`` over the last axis, float64."""
    scaled = np.asarray(logits, np.float64) / temperature
    raised = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))


def joint_severity(present: np.ndarray | float, severity: np.ndarray) -> np.ndarray:
    """Bring what the presence head and a severity head say into one distribution, so that they cannot contradict.

    The presence head alone decides how probable *good* is; the severity head decides how the rest is shared among mild,
    moderate and severe.

    Args:
        present: (...) probability that the condition is there.
        severity: (..., 4) the severity head's probabilities.

    Returns:
        (..., 4), adding up to 1: ``1 - present``, then ``present`` times the severity head's shares of the three.
    """
    present = np.asarray(present, np.float64)[..., None]
    grades = np.asarray(severity, np.float64)[..., 1:] + 1e-12
    return np.concatenate([1.0 - present, present * grades / grades.sum(axis=-1, keepdims=True)], axis=-1)


def severity_of(probabilities: np.ndarray) -> Severity:
    """The severity that joint probabilities (4,) mean: the median, the least severity that is reached with even odds.

    Severity is ordered, so its median is the grade nearest to all others; and the median is *good* exactly when the
    condition is more probably absent than present.
    """
    return Severity(int(median_severity(probabilities)))


def median_severity(probabilities: np.ndarray) -> np.ndarray:
    """`severity_of` for many: (..., 4) joint probabilities -> (...) int, 0..3."""
    reached = np.cumsum(np.asarray(probabilities, np.float64), axis=-1)
    return np.asarray(np.argmax(reached >= 0.5 - 1e-9, axis=-1))


def refusal_of(image: np.ndarray, quality: np.ndarray, distance: float, limits: Limits) -> Refusal | None:
    """Why a picture must not be judged; None when it may be.

    Args:
        image: (H, W, 3) uint8 RGB.
        quality: (3,) logits in the order of `Quality`.
        distance: how unlike the training pictures the features are.
        limits: of the manifest.
    """
    brightness = float(np.mean(cv2.resize(image, (32, 24), interpolation=cv2.INTER_AREA)))
    if brightness < limits.darkest:
        return Refusal.TOO_DARK
    if brightness > limits.brightest:
        return Refusal.TOO_BRIGHT
    believed = class_probabilities(quality, 1.0)
    if believed[Quality.OUT_OF_FOCUS] > limits.most_out_of_focus:
        return Refusal.OUT_OF_FOCUS
    if believed[Quality.NO_SCALP] > limits.most_no_scalp:
        return Refusal.NO_SCALP
    return Refusal.UNLIKE_TRAINING if distance > limits.farthest else None


def joint_probabilities(presence: np.ndarray, severity: np.ndarray, calibration: Calibration) -> np.ndarray:
    """Calibrated joint probabilities of pictures.

    Args:
        presence: (..., 3) logits, in the order of `Condition`.
        severity: (..., 3, 4) logits.
        calibration: of the manifest.

    Returns:
        (..., 3, 4) float64.
    """
    columns = []
    for index in range(len(Condition)):
        present = present_probability(
            presence[..., index], calibration.presence_temperature[index], calibration.presence_bias[index]
        )
        shares = class_probabilities(severity[..., index, :], calibration.severity_temperature[index])
        columns.append(joint_severity(present, shares))
    return np.stack(columns, axis=-2)


def grade(
    probabilities: np.ndarray, refused: Refusal | None, claimed: Mapping[Condition, bool]
) -> dict[Condition, Grade]:
    """The grades of one picture.

    Args:
        probabilities: (3, 4), of `joint_probabilities`.
        refused: of `refusal_of`; it holds for every condition.
        claimed: whether the bundle's maker claims that a condition can be graded.
    """
    grades = {}
    for condition, own in zip(Condition, probabilities, strict=True):
        why = refused or (None if claimed[condition] else Refusal.NOT_CLAIMED)
        grades[condition] = Grade.of(own) if why is None else Grade.refusal(why)
    return grades
