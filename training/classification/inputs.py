"""From a picture to the classifier's input in training: by the very function that the device uses."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from device_app.engines.engine import Precision
from device_app.manifest_classifiers import Calibration, ClassEntry, ClassifierEntry, ConditionsEntry, Limits
from device_app.manifest_parts import CONDITIONS, BundleFile, LogitGoldens, LogitTolerance, Task
from device_app.vision.preprocess import to_classifier_input
from training.classification.network import ClassifierConfig

PLANE_MEAN = PLANE_STD = 0.5
"""Of every plane, on values of 0..1: the input is -1..1."""

_NOT_YET = "0" * 64


def input_entry(config: ClassifierConfig) -> ClassifierEntry:
    """What a bundle will say of this classifier's input. All else in it stands in for what is known only later."""
    three = (1.0, 1.0, 1.0)
    shared = {
        "files": {Precision.FP32: BundleFile(path="none.onnx", sha256=_NOT_YET)},
        "goldens": LogitGoldens(
            path="none.npz",
            sha256=_NOT_YET,
            tolerance={
                Precision.FP32: LogitTolerance(
                    max_probability_diff=0, max_mean_map_diff=0, max_relative_distance_diff=0
                )
            },
        ),
        "trained_on": "",
        "licence": "",
        "credit": "",
        "demonstration_only": True,
        "input_name": "image",
        "input_shape": (1, config.planes, config.height, config.width),
        "mean": (PLANE_MEAN,) * config.planes,
        "std": (PLANE_STD,) * config.planes,
        "hsv": config.hsv,
        "mask": config.mask,
        "map_size": (1, 1),
        "limits": Limits(darkest=0, brightest=255, most_out_of_focus=1, most_no_scalp=1, farthest=1, rule="none yet"),
    }
    if config.task is Task.CONDITIONS:
        calibration = Calibration(presence_temperature=three, presence_bias=(0, 0, 0), severity_temperature=three)
        return ConditionsEntry(**shared, calibration=calibration, claimed=(False,) * CONDITIONS)
    ordered = config.task is Task.HAIR_LOSS_STAGE
    return ClassEntry(**shared, task=config.task, labels=config.labels, ordered=ordered, temperature=1.0)


def to_input(image: np.ndarray, entry: ClassifierEntry, hair_mask: np.ndarray | None = None) -> Tensor:
    """A picture (H, W, 3) uint8 RGB, and its hair mask (H, W) if the network takes one -> (planes, h, w) float32."""
    return torch.from_numpy(to_classifier_input(image, entry, hair_mask)[0])
