"""Analyses with known hairs, for tests of what is said and drawn about them."""

from __future__ import annotations

import numpy as np

from device_app.camera.source import Frame
from device_app.live.analysis import Analysis
from device_app.vision.hairs import TRICHOSCOPY, HairClasses
from device_app.vision.measure import measure_hairs


def make_frame(frame_id: int = 0, captured_ns: int = 0, width: int = 320, height: int = 240) -> Frame:
    """A grey picture that tells its number by its brightness."""
    return Frame(frame_id, np.full((height, width, 3), 100 + frame_id % 100, np.uint8), captured_ns)


def striped(widths_px: tuple[int, ...], width: int = 320, height: int = 240) -> tuple[np.ndarray, np.ndarray]:
    """A picture and its mask with upright dark stripes of these widths, all the way down but a margin."""
    mask = np.zeros((height, width), np.uint8)
    step = width // (len(widths_px) + 1)
    for number, stripe in enumerate(widths_px, start=1):
        left = number * step - stripe // 2
        mask[20 : height - 20, left : left + stripe] = 255
    image = np.where(mask[..., None] > 0, 40, 200).astype(np.uint8).repeat(3, axis=2)
    return image, mask


def make_analysis(
    frame: Frame,
    widths_px: tuple[int, ...] = (6, 8, 10, 12, 14, 16),
    scale_um_per_px: float | None = 4.0,
    focus: float = 0.9,
    classes: HairClasses = TRICHOSCOPY,
) -> Analysis:
    """An analysis of `frame`, its figures measured by the real code on stripes of these widths."""
    height, width = frame.image.shape[:2]
    image, mask = striped(widths_px, width, height)
    measurements = measure_hairs(image, mask, scale_um_per_px, 0.0, classes)
    return Analysis(frame.id, mask, measurements, focus, {"total": 20.0}, "tiny 1", "onnxruntime-cpu fp32", True)
