"""What the pipeline hands on for one frame."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from device_app.manifest_parts import Task
from device_app.vision.conditions import Condition, Grade, Refusal
from device_app.vision.hairs import Measurements


@dataclass(frozen=True)
class Analysis:
    """Everything found in one frame, with what made it. An overlay drawn from it belongs to frame `frame_id` alone.

    Attributes:
        frame_id: `Frame.id` of the picture it was computed from.
        mask: (H, W) uint8, 0 or 255, the picture's own size: the hair mask.
        measurements: hairs and figures.
        focus: focus score of the frame (`calibration.optics.focus`), 0 = no detail, 1 = as sharp as the scale lets it
            be.
        timings_ms: wall time of each stage by its name, and ``total``.
        bundle: name and version of the bundle, such as ``default 1``.
        backend: engine backend and precision, such as ``onnxruntime-cpu int8_u8s8``.
        demonstration: the bundle says it is for demonstration only.
    """

    frame_id: int
    mask: np.ndarray
    measurements: Measurements
    focus: float
    timings_ms: dict[str, float]
    bundle: str
    backend: str
    demonstration: bool


@dataclass(frozen=True)
class Conditions:
    """How the scalp in one frame is graded, or why it is not. A heat map belongs to frame `frame_id` alone.

    Attributes:
        frame_id: `Frame.id` of the picture it was computed from.
        grades: by condition, all of them. In the live loop they are steady: of this and the pictures before it
            (`live.steady`).
        probabilities: (3, 4) float64, what the grades are made of; None when the picture is refused.
        heat_maps: (3, h, w) float32, 0..1, where the network saw each condition: the picture from edge to edge, coarse.
        refused: why the picture must not be judged; None when it may be.
        timings_ms: wall time of each stage by its name, and ``total``.
        bundle: name and version of the bundle.
        backend: engine backend and precision.
        demonstration: the bundle says that this network is for demonstration only.
    """

    frame_id: int
    grades: Mapping[Condition, Grade]
    probabilities: np.ndarray | None
    heat_maps: np.ndarray
    refused: Refusal | None
    timings_ms: dict[str, float]
    bundle: str
    backend: str
    demonstration: bool

    def heat_map(self, condition: Condition) -> np.ndarray:
        """(h, w) float32: where the network saw this one."""
        return np.asarray(self.heat_maps[list(Condition).index(condition)])


@dataclass(frozen=True)
class ClassJudgement:
    """Which class a picture is of, or why that is not said: the scalp's condition, or the stage of hair loss.

    Attributes:
        task: which of the two.
        label: the most probable class; None when the picture is refused.
        probabilities: by label, in the manifest's order; they add up to 1. None when the picture is refused.
        certainty: the probability of `label`; None when the picture is refused.
        refused: why the picture must not be judged; None when it may be.
        heat_map: (h, w) float32, 0..1, what in the picture speaks for `label`: from edge to edge, coarse. None when the
            picture is refused.
        timings_ms, bundle, backend, demonstration: see `Conditions`.
    """

    task: Task
    label: str | None
    probabilities: Mapping[str, float] | None
    certainty: float | None
    refused: Refusal | None
    heat_map: np.ndarray | None
    timings_ms: dict[str, float]
    bundle: str
    backend: str
    demonstration: bool
