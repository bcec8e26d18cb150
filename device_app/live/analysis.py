"""What the pipeline hands on for one frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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
