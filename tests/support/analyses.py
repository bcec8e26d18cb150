"""Analyses with known hairs, for tests of what is said and drawn about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from device_app.camera.source import Frame
from device_app.live.analysis import Analysis, Conditions
from device_app.live.refinement import Correction, Refinement
from device_app.manifest_parts import Combination
from device_app.vision.conditions import Condition, Grade, Refusal
from device_app.vision.hairs import TRICHOSCOPY, HairClasses
from device_app.vision.measure import measure_hairs
from device_app.vision.prompts import PromptPoints


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


def make_conditions(frame_id: int = 0, grades: Mapping[Condition, Grade] | None = None) -> Conditions:
    """The grades of a frame: moderate dandruff, mild sebum, and redness that is not claimed, unless given."""
    sure = np.eye(4) * 0.8 + 0.05
    if grades is None:
        grades = {
            Condition.DANDRUFF: Grade.of(sure[2]),
            Condition.EXCESS_SEBUM: Grade.of(sure[1]),
            Condition.ERYTHEMA: Grade.refusal(Refusal.NOT_CLAIMED),
        }
    heat = np.linspace(0, 1, 3 * 3 * 4, dtype=np.float32).reshape(3, 3, 4)
    cpu = "onnxruntime-cpu fp32"
    return Conditions(
        frame_id, grades, np.stack([sure[2], sure[1], sure[0]]), heat, None, {"total": 3.0}, "tiny 1", cpu, True
    )


def make_refinement(
    frame: Frame, corrections: tuple[Correction, ...] = (), scale_um_per_px: float | None = 4.0
) -> Refinement:
    """A refinement of `frame` whose three masks differ: M_AP is M̂ without its left half, M is nothing but that."""
    coarse = make_analysis(frame, scale_um_per_px=scale_um_per_px)
    refined = coarse.mask.copy()
    refined[:, : refined.shape[1] // 2] = 0
    analysis = replace(coarse, mask=refined.copy(), timings_ms={"decode": 5.0, "total": 50.0})
    middle = np.array([[refined.shape[1] * 0.7, refined.shape[0] / 2]], np.float32)
    return Refinement(
        frame_id=frame.id,
        coarse_mask=coarse.mask,
        refined_mask=refined,
        mask=analysis.mask,
        points=PromptPoints(middle, middle - 5),
        corrections=corrections,
        analysis=analysis,
        combination=Combination.PRODUCT,
        predicted_iou=0.9,
        timings_ms=analysis.timings_ms,
    )
