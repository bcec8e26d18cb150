"""From a trained run to one that knows its doubts: temperatures, limits of refusal, and what may be claimed.

All of it is found on validation pictures, none on test pictures. A single split is used: pictures of other runs' splits
would be answered by other networks, whose logits mean something else; instead the temperatures are kept near 1 where
there are few pictures (`training.classification.temperature`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from device_app.manifest_classifiers import Calibration, Limits
from device_app.manifest_parts import Task
from device_app.vision.conditions import Condition, Quality
from training.classification.evaluate import judge, score_group, score_refusals
from training.classification.limits import MOST_GOOD_REFUSED, Doubt, choose_limits
from training.classification.network import Unlikeness
from training.classification.pictures import DRAWN, REAL
from training.classification.predictions import Predictions, together
from training.classification.temperature import fit_classes, fit_presence, fit_severity, originals_share
from training.data.examples import ExampleSet

FEWEST_ORIGINALS = 30
"""A condition is claimed when so many originals have it and as many have not, in training and validation together."""


@dataclass(frozen=True)
class Fitted:
    """What calibration found.

    Attributes:
        calibration: of the conditions.  temperature: of a task with classes.
        limits: beyond which pictures are refused.
        unlikeness: the measure of how unlike the training pictures a picture is.
        quality: figures on the validation pictures, by name.
    """

    calibration: Calibration | None
    temperature: float | None
    limits: Limits
    unlikeness: Unlikeness
    quality: dict[str, float]


def fit(
    task: Task,
    training: Predictions,
    good: Mapping[str, Predictions],
    ungradable: Predictions,
    labels: tuple[str, ...] = (),
    share: float = MOST_GOOD_REFUSED,
) -> Fitted:
    """Calibrate on predictions.

    Args:
        task: of the network.
        training: about training pictures, for how unlike a picture is; at least two.
        good: about unaltered validation pictures, real and drawn.
        ungradable: about pictures that should be refused.
        labels: classes of a task with classes.
        share: of the good pictures that may be refused.

    Raises:
        ScalpScopeError: there is no good validation picture.
    """
    unlikeness = Unlikeness(training.features.shape[1])
    unlikeness.fit(torch.from_numpy(training.features).float())

    def doubt(predictions: Predictions) -> Doubt:
        distance = measured(predictions, unlikeness).distance
        return Doubt.of(predictions.brightness, predictions.quality_logits, distance)

    limits = choose_limits({kind: doubt(one) for kind, one in good.items()}, doubt(ungradable), share)
    calibration, temperature = None, None
    if task is Task.CONDITIONS:
        calibration = fit_conditions(good)
    else:
        one = together(list(good.values()))
        temperature = fit_classes(one.class_logits, one.label, originals_share(one.groups))
    quality = _quality(good, ungradable, unlikeness, limits, calibration, temperature, labels)
    return Fitted(calibration, temperature, limits, unlikeness, quality)


def fit_conditions(good: Mapping[str, Predictions]) -> Calibration:
    """The temperatures and biases of the conditions.

    Presence is fitted on real pictures, on drawn ones only for a condition that no real picture has a label of;
    severity on both together, for real grades are few and weak. All pictures of one original count as one.
    """
    presence, severity = [], []
    for index in range(len(Condition)):
        own = good.get(REAL)
        if own is None or not (own.presence[:, index] >= 0).any():
            own = good.get(DRAWN, own)
        assert own is not None
        weights = originals_share(own.groups)
        presence.append(fit_presence(own.presence_logits[:, index], own.presence[:, index], weights))
        both = together(list(good.values()))
        weights = originals_share(both.groups)
        severity.append(fit_severity(both.severity_logits[:, index], both.severity[:, index], weights))
    (first, second, third), (left, middle, right) = presence, severity
    return Calibration(
        presence_temperature=(first[0], second[0], third[0]),
        presence_bias=(first[1], second[1], third[1]),
        severity_temperature=(left, middle, right),
    )


def measured(predictions: Predictions, unlikeness: Unlikeness) -> Predictions:
    """The same with their distance from the training pictures."""
    with torch.no_grad():
        distance = unlikeness(torch.from_numpy(predictions.features).float())[:, 0].numpy()
    return predictions.with_distance(distance)


def claimed_conditions(
    examples: ExampleSet | None, fewest: int = FEWEST_ORIGINALS, drawn: bool = True
) -> tuple[bool, bool, bool]:
    """Which conditions may be claimed.

    Args:
        examples: training and validation pictures; None: the network has seen drawings alone.
        fewest: originals with a condition, and originals without it, from which on it is claimed.
        drawn: what is claimed of a network that has seen drawings alone, so that the whole way can be tried. Whoever
            ships one marks it as a demonstration and says what it was trained on.
    """
    if examples is None:
        return drawn, drawn, drawn
    counts = np.zeros((len(Condition), 2), int)
    for index in range(len(Condition)):
        for present in (0, 1):
            counts[index, present] = len({o.group for o in examples.examples if o.presence[index] == present})
    first, second, third = (bool(row.min() >= fewest) for row in counts)
    return first, second, third


def _quality(
    good: Mapping[str, Predictions],
    ungradable: Predictions,
    unlikeness: Unlikeness,
    limits: Limits,
    calibration: Calibration | None,
    temperature: float | None,
    labels: tuple[str, ...],
) -> dict[str, float]:
    """What the manifest says of the validation pictures, on which the run was also calibrated and chosen."""
    found: dict[str, float] = {}
    for kind, plain in [*good.items(), ("ungradable", ungradable)]:
        predictions = measured(plain, unlikeness)
        verdicts = judge(predictions, limits, calibration, temperature)
        refused = score_refusals(predictions, verdicts)
        share = sum(one.refused for one in refused) / len(predictions)
        found[f"validation_{kind}_refused"] = round(share, 4)
        if int(plain.quality[0]) != Quality.GRADABLE:
            continue
        scores = score_group(predictions, verdicts, labels)
        figures = {"macro_f1": None if scores.table_3 is None else scores.table_3[0]}
        if scores.classes is not None:
            figures["macro_f1"] = scores.classes.macro_f1
        for condition, head in scores.presence.items():
            if head is not None:
                figures[f"auroc_{condition.value}"] = head.auroc["present"]
        found |= {f"validation_{kind}_{n}": round(one.value, 4) for n, one in figures.items() if one is not None}
    return found
