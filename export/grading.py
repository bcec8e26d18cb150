"""How near a quantised classifier is to FP32, by what counts: the grades that a device would show, and their truth."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import ModelProto

from calibration.errors import ScalpScopeError
from device_app.engines.engine import Precision
from device_app.manifest_classifiers import ClassEntry, ClassifierEntry, ConditionsEntry
from device_app.manifest_parts import SEVERITIES
from device_app.vision.conditions import Refusal, Severity
from device_app.vision.preprocess import to_classifier_input
from export.graph import session_of
from export.onnx import INPUT
from training.classification import scores
from training.classification.evaluate import Verdicts, judge
from training.classification.pictures import Picture
from training.classification.predictions import Answers, Predictions, predict_pictures

MOST_F1_LOSS, LEAST_AGREEMENT = 0.01, 0.98
"""Of macro-F1, and of all grades the share that are FP32's: what a precision must keep to ship."""

_REASONS = tuple(Refusal)  # a refusal is a grade of its own, each reason another
_TIMED = 15  # runs of each precision, in turns


@dataclass(frozen=True)
class GradeLoss:
    """How far a quantised classifier is from FP32, for the search of the layers that stay in float.

    Attributes:
        probability_mae: mean absolute difference of the probabilities.
        disagreement: share of grades that are not FP32's.
        f1_loss: of macro-F1, 0 where it gained.
    """

    probability_mae: float
    disagreement: float
    f1_loss: float

    @property
    def score(self) -> float:
        """Grades are few and change by leaps, so the probabilities count beside them."""
        return self.probability_mae + self.disagreement + self.f1_loss


@dataclass(frozen=True)
class GradeParity:
    """One precision beside FP32 on the same pictures.

    Attributes:
        precision: its name.
        macro_f1, macro_f1_loss: against the known truth, and what FP32 has more.
        agreement: share of grades that are FP32's; a refusal is a grade.
        probability_mae, probability_max: mean and largest absolute difference of a probability.
        latency_ms, speed: median time of a run on this machine, and FP32's over it.
        kept: whether it may ship.
    """

    precision: str
    macro_f1: float
    macro_f1_loss: float
    agreement: float
    probability_mae: float
    probability_max: float
    latency_ms: float
    speed: float
    kept: bool


class Grader:
    """Compares what any version of a classifier grades with what FP32 grades.

    Args:
        entry: how pictures become inputs and answers become grades.
        pictures: to compare on; the truth of some must be known.
        reference: FP32.

    Raises:
        ScalpScopeError: there is no picture with a label.
    """

    def __init__(self, entry: ClassifierEntry, pictures: Sequence[Picture], reference: ModelProto) -> None:
        self._entry, self._pictures = entry, pictures
        self._reference = self._grade(reference)
        self.macro_f1 = self._macro_f1(self._reference)
        if not np.isfinite(self.macro_f1):
            raise ScalpScopeError(
                "There is no picture with a label to measure the loss of accuracy on.", "Give some with --labelled."
            )

    def loss(self, model: ModelProto) -> GradeLoss:
        """How far a version is from FP32."""
        graded = self._grade(model)
        difference = np.abs(graded.probabilities - self._reference.probabilities)
        lost = self.macro_f1 - self._macro_f1(graded)
        return GradeLoss(float(difference.mean()), 1.0 - self._agreement(graded), max(0.0, lost))

    def parities(self, models: Mapping[Precision, ModelProto]) -> list[GradeParity]:
        """Each version beside FP32, which is among them; the times are taken in turns."""
        times = self._times(models)
        rows = []
        for precision, model in models.items():
            graded = self._grade(model)
            difference = np.abs(graded.probabilities - self._reference.probabilities)
            found, agreement = self._macro_f1(graded), self._agreement(graded)
            lost = self.macro_f1 - found
            rows.append(
                GradeParity(
                    precision=precision.value,
                    macro_f1=found,
                    macro_f1_loss=lost,
                    agreement=agreement,
                    probability_mae=float(difference.mean()),
                    probability_max=float(difference.max()),
                    latency_ms=times[precision],
                    speed=times[Precision.FP32] / times[precision],
                    kept=lost <= MOST_F1_LOSS and agreement >= LEAST_AGREEMENT,
                )
            )
        return rows

    def _grade(self, model: ModelProto) -> _Graded:
        predictions = predict_pictures(_ModelJudge(model, self._entry), self._pictures)
        entry = self._entry
        if isinstance(entry, ConditionsEntry):
            return _Graded(predictions, judge(predictions, entry.limits, entry.calibration, None), _shown(entry))
        assert isinstance(entry, ClassEntry)
        return _Graded(predictions, judge(predictions, entry.limits, None, entry.temperature), ())

    def _agreement(self, graded: _Graded) -> float:
        return float(np.mean(graded.grades == self._reference.grades))

    def _macro_f1(self, graded: _Graded) -> float:
        """The mean macro-F1 of every head that has a label: presence and severity of each condition, or the class.

        Refused pictures count as they would have been graded: what is refused is in the agreement.
        """
        truth, found = graded.predictions, graded.found
        if not graded.conditions:
            return _f1(truth.label, found[:, 0], graded.verdicts.classes.shape[1])
        heads = []
        for place, condition in enumerate(graded.conditions):
            heads.append(_f1(truth.presence[:, condition], found[:, place] > Severity.GOOD, 2))
            heads.append(_f1(truth.severity[:, condition], found[:, place], SEVERITIES))
        return float(scores.macro(np.array(heads)))

    def _times(self, models: Mapping[Precision, ModelProto]) -> dict[Precision, float]:
        """Median milliseconds of a run."""
        sessions = {precision: session_of(model) for precision, model in models.items()}
        one = self._pictures[0]
        feed = {INPUT: to_classifier_input(one.image, self._entry, one.hair_mask)}
        times: dict[Precision, list[float]] = {precision: [] for precision in models}
        for _ in range(1 + _TIMED):
            for precision, session in sessions.items():
                start = time.perf_counter()
                session.run(None, feed)
                times[precision].append(1e3 * (time.perf_counter() - start))
        return {precision: float(np.median(own[1:])) for precision, own in times.items()}  # the first run is slower


@dataclass(frozen=True)
class _Graded:
    """What one version says of the pictures; `conditions` are the indices of those that count, () for classes."""

    predictions: Predictions
    verdicts: Verdicts
    conditions: tuple[int, ...]

    @property
    def probabilities(self) -> np.ndarray:
        if not self.conditions:
            return self.verdicts.classes
        return self.verdicts.conditions[:, list(self.conditions)]

    @property
    def found(self) -> np.ndarray:
        """(N, heads) int: severities or classes, of refused pictures too."""
        if not self.conditions:
            return self.verdicts.classes.argmax(axis=1)[:, None]
        return self.verdicts.severity[:, list(self.conditions)]

    @property
    def grades(self) -> np.ndarray:
        """(N, heads) int: what a device shows."""
        refused = np.array([0 if one is None else 1 + _REASONS.index(one) for one in self.verdicts.refused])[:, None]
        return np.where(refused > 0, -refused, self.found)


class _ModelJudge:
    """Answers of an ONNX model; see `training.classification.predictions.Judge`."""

    def __init__(self, model: ModelProto, entry: ClassifierEntry) -> None:
        self._session, self._entry = session_of(model), entry
        self._names = [spec.name for spec in entry.outputs]

    def __call__(self, pictures: Sequence[Picture]) -> Answers:
        rows = []
        for one in pictures:
            tensor = to_classifier_input(one.image, self._entry, one.hair_mask)
            rows.append(self._session.run(self._names, {INPUT: tensor}))
        values = {name: np.concatenate(column) for name, column in zip(self._names, zip(*rows), strict=True)}
        nothing = np.zeros((len(pictures), 0), np.float32)
        return Answers(
            presence=values.get("presence", nothing),
            severity=values.get("severity", np.zeros((len(pictures), 0, SEVERITIES), np.float32)),
            classes=values.get("classes", nothing),
            quality=values["quality"],
            features=nothing,
            distance=values["distance"][:, 0],
            heat_maps=values["heat_map"],
        )


def _shown(entry: ConditionsEntry) -> tuple[int, ...]:
    """The conditions that the device grades; where its maker claims none, all count here."""
    claimed = tuple(place for place, one in enumerate(entry.claimed) if one)
    return claimed or tuple(range(len(entry.claimed)))


def _f1(truth: np.ndarray, found: np.ndarray, classes: int) -> float:
    """Macro-F1 over the known truth; not a number without any."""
    return float(scores.macro(scores.f1(scores.confusion(truth, found, classes))))
