"""Goldens: the proof that an engine computes what the network computed when it was exported.

Whatever a compiler, a driver or a processor does to a network, no engine goes live that has not reproduced them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calibration.errors import ScalpScopeError
from device_app.bundle import (
    Bundle,
    ClassifierEntry,
    FeatureTolerance,
    HairEntry,
    LogitTolerance,
    MaskTolerance,
    ModelEntry,
    SamDecoderEntry,
    SamEncoderEntry,
    Tolerance,
)
from device_app.engines.engine import Engine
from device_app.engines.golden_files import (
    ClassifierGoldens,
    DecoderGolden,
    EncoderGoldens,
    HairGoldens,
    read_goldens,
    sigmoid,
)
from device_app.vision.conditions import class_probabilities
from device_app.vision.preprocess import to_classifier_input, to_network_input
from device_app.vision.sam import choose_mask


@dataclass(frozen=True)
class GoldenCheck:
    """How far an engine was from the goldens, over the worst golden of each kind.

    Attributes:
        mean_abs_diff: of the probabilities; of an encoder's features, relative to the mean absolute golden value; of a
            classifier's heat maps.
        mask_dice: of the masks at the threshold; None for an encoder and a classifier.
        iou_diff: largest difference of a predicted IoU; None but for a decoder.
        probability_diff: largest difference of any probability; None but for a classifier.
        distance_diff: largest difference of the distance, over FP32's; None but for a classifier.
    """

    mean_abs_diff: float
    mask_dice: float | None = None
    iou_diff: float | None = None
    probability_diff: float | None = None
    distance_diff: float | None = None

    def __str__(self) -> str:
        if self.probability_diff is not None and self.distance_diff is not None:
            return (
                f"probabilities within {self.probability_diff:.4f}, heat maps' mean difference "
                f"{self.mean_abs_diff:.4f}, distance within {self.distance_diff:.4f} of itself"
            )
        parts = [f"mean difference {self.mean_abs_diff:.4f}"]
        if self.mask_dice is not None:
            parts.append(f"Dice {self.mask_dice:.3f}")
        if self.iou_diff is not None:
            parts.append(f"predicted IoU within {self.iou_diff:.4f}")
        return ", ".join(parts)


def mask_dice(first: np.ndarray, second: np.ndarray) -> float:
    """Dice coefficient of two boolean masks of one shape; 1.0 when both are empty."""
    total = int(np.count_nonzero(first)) + int(np.count_nonzero(second))
    return 1.0 if total == 0 else 2.0 * int(np.count_nonzero(first & second)) / total


def compare_with_goldens(engine: Engine, folder: Path, model: ModelEntry) -> GoldenCheck:
    """Run the goldens, pictures preprocessed as any frame is, and compare with the stored FP32 outputs.

    Args:
        engine: to be checked.
        folder: the bundle's.
        model: the network's entry in its manifest.

    Raises:
        ScalpScopeError: the engine failed on one of them (wrong shape, NaN).
    """
    goldens = read_goldens(folder, model)
    if isinstance(goldens, HairGoldens):
        assert isinstance(model, HairEntry)
        return _compare_hair(engine, model, goldens)
    if isinstance(goldens, EncoderGoldens):
        assert isinstance(model, SamEncoderEntry)
        return _compare_encoder(engine, model, goldens)
    if isinstance(goldens, ClassifierGoldens):
        assert isinstance(model, ClassifierEntry)
        return _compare_classifier(engine, model, goldens)
    assert isinstance(model, SamDecoderEntry)
    return _compare_decoder(engine, model, goldens)


def _compare_hair(engine: Engine, model: HairEntry, goldens: HairGoldens) -> GoldenCheck:
    differences, dices = [], []
    for image, target in zip(goldens.images, goldens.outputs, strict=True):
        output = engine.run({model.input_name: to_network_input(image, model)})[model.output_name][0]
        differences.append(float(np.mean(np.abs(output - target))))
        dices.append(mask_dice(output >= model.threshold, target >= model.threshold))
    return GoldenCheck(max(differences), min(dices))


def _compare_encoder(engine: Engine, model: SamEncoderEntry, goldens: EncoderGoldens) -> GoldenCheck:
    worst = 0.0
    for number, image in enumerate(goldens.images):
        outputs = engine.run({model.input_name: to_network_input(image, model)})
        for name, samples in goldens.samples.items():
            target = samples[number]
            difference = np.mean(np.abs(outputs[name].reshape(-1)[:: goldens.steps[name]] - target))
            # An output that is 0 all over has no size to compare with: the difference itself counts then.
            worst = max(worst, float(difference) / (float(np.mean(np.abs(target))) or 1.0))
    return GoldenCheck(worst)


def _compare_decoder(engine: Engine, model: SamDecoderEntry, goldens: tuple[DecoderGolden, ...]) -> GoldenCheck:
    differences, dices, ious = [], [], []
    for golden in goldens:
        outputs = engine.run(golden.inputs)
        probabilities = sigmoid(outputs["masks"][0])
        chosen = choose_mask(golden.iou_predictions)
        differences.append(float(np.mean(np.abs(probabilities - golden.probabilities))))
        masks = (found[chosen] >= model.threshold for found in (probabilities, golden.probabilities))
        dices.append(mask_dice(*masks))
        ious.append(float(np.max(np.abs(outputs["iou_predictions"][0] - golden.iou_predictions))))
    return GoldenCheck(max(differences), min(dices), max(ious))


def _compare_classifier(engine: Engine, model: ClassifierEntry, goldens: ClassifierGoldens) -> GoldenCheck:
    probabilities, maps, distances = [], [], []
    for number, image in enumerate(goldens.images):
        mask = None if goldens.hair_masks is None else goldens.hair_masks[number]
        outputs = engine.run({model.input_name: to_classifier_input(image, model, mask)})
        targets = {name: values[number] for name, values in goldens.outputs.items()}
        for spec in (*model.judgements, *(spec for spec in model.outputs if spec.name == "quality")):
            to_probability = sigmoid if spec.name == "presence" else _softmax
            difference = np.abs(to_probability(outputs[spec.name][0]) - to_probability(targets[spec.name]))
            probabilities.append(float(np.max(difference)))
        maps.append(float(np.mean(np.abs(outputs["heat_map"][0] - targets["heat_map"]))))
        found, target = float(outputs["distance"][0, 0]), float(targets["distance"][0])
        distances.append(abs(found - target) / max(abs(target), 1e-6))
    return GoldenCheck(max(maps), probability_diff=max(probabilities), distance_diff=max(distances))


def _softmax(logits: np.ndarray) -> np.ndarray:
    return class_probabilities(logits, 1.0)


def check_goldens(engine: Engine, bundle: Bundle, model: ModelEntry) -> GoldenCheck:
    """`compare_with_goldens`, refusing an engine outside the manifest's tolerance for its precision.

    Raises:
        ScalpScopeError: the engine differs, with the figures.
    """
    found = compare_with_goldens(engine, bundle.path, model)
    if misses := _misses(found, model.goldens.tolerance[engine.precision]):
        raise ScalpScopeError(
            f"The {engine.precision.value} network of bundle '{bundle.name} {bundle.version}' computes something else "
            f"on {engine.backend} than when it was exported: {', '.join(misses)}.",
            "Use another precision, or export the bundle again.",
        )
    return found


def _misses(found: GoldenCheck, allowed: Tolerance | FeatureTolerance | LogitTolerance) -> list[str]:
    """Every figure with its limit if one of them is beyond it; else nothing. Not a number is beyond any limit."""
    mean = found.mean_abs_diff
    limits: list[tuple[str, float | None, float, bool]]
    if isinstance(allowed, FeatureTolerance):
        limits = [("mean relative difference", mean, allowed.max_relative_diff, True)]
    elif isinstance(allowed, LogitTolerance):
        limits = [
            ("probabilities off by", found.probability_diff, allowed.max_probability_diff, True),
            ("heat maps' mean difference", mean, allowed.max_mean_map_diff, True),
            ("distance off by", found.distance_diff, allowed.max_relative_distance_diff, True),
        ]
    else:
        limits = [
            ("mean difference", mean, allowed.max_mean_abs_diff, True),
            ("mask Dice", found.mask_dice, allowed.min_mask_dice, False),
        ]
        if isinstance(allowed, MaskTolerance):
            limits.append(("predicted IoU off by", found.iou_diff, allowed.max_iou_diff, True))
    # A figure that is missing was not proved: as far off as can be.
    known = [
        (name, (float("inf") if at_most else 0.0) if value is None else value, limit, at_most)
        for name, value, limit, at_most in limits
    ]
    if all(value <= limit if at_most else value >= limit for _, value, limit, at_most in known):
        return []
    return [
        f"{name} {value:.4f} (at {'most' if at_most else 'least'} {limit:.4f})" for name, value, limit, at_most in known
    ]
