"""Goldens: the proof that an engine computes what the network computed when it was exported.

Whatever a compiler, a driver or a processor does to a network, no engine goes live that has not reproduced them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calibration.errors import ScalpScopeError
from device_app.bundle import Bundle, ModelEntry, read_goldens
from device_app.engines.engine import Engine
from device_app.vision.preprocess import to_network_input


@dataclass(frozen=True)
class GoldenCheck:
    """How far an engine was from the goldens, over the worst picture of each kind."""

    mean_abs_diff: float
    mask_dice: float


def mask_dice(first: np.ndarray, second: np.ndarray) -> float:
    """Dice coefficient of two boolean masks of one shape; 1.0 when both are empty."""
    total = int(np.count_nonzero(first)) + int(np.count_nonzero(second))
    return 1.0 if total == 0 else 2.0 * int(np.count_nonzero(first & second)) / total


def compare_with_goldens(engine: Engine, folder: Path, model: ModelEntry) -> GoldenCheck:
    """Run the golden pictures, preprocessed as any frame is, and compare with the stored FP32 outputs.

    Args:
        engine: to be checked.
        folder: the bundle's.
        model: the network's entry in its manifest.

    Raises:
        ScalpScopeError: the engine failed on one of them (wrong shape, NaN).
    """
    images, wanted = read_goldens(folder, model)
    differences, dices = [], []
    for image, target in zip(images, wanted, strict=True):
        output = engine.run({model.input_name: to_network_input(image, model)})[model.output_name][0]
        differences.append(float(np.mean(np.abs(output - target))))
        dices.append(mask_dice(output >= model.threshold, target >= model.threshold))
    return GoldenCheck(max(differences), min(dices))


def check_goldens(engine: Engine, bundle: Bundle, model: ModelEntry) -> GoldenCheck:
    """`compare_with_goldens`, refusing an engine outside the manifest's tolerance for its precision.

    Raises:
        ScalpScopeError: the engine differs, with the figures.
    """
    found, allowed = compare_with_goldens(engine, bundle.path, model), model.goldens.tolerance[engine.precision]
    if found.mean_abs_diff > allowed.max_mean_abs_diff or found.mask_dice < allowed.min_mask_dice:
        raise ScalpScopeError(
            f"The {engine.precision.value} network of bundle '{bundle.name} {bundle.version}' computes something else "
            f"on {engine.backend} than when it was exported: mean difference {found.mean_abs_diff:.4f} (at most "
            f"{allowed.max_mean_abs_diff:.4f}), mask Dice {found.mask_dice:.3f} (at least "
            f"{allowed.min_mask_dice:.3f}).",
            "Use another precision, or export the bundle again.",
        )
    return found
