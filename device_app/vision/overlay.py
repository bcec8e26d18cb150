"""The picture with what was found drawn over it: tinted mask, hair lines by class, scale bar, legend; heat maps."""

from __future__ import annotations

import cv2
import numpy as np

from device_app.vision.hairs import Hair, HairClass, HairClasses, Measurements

MASK_TINT_RGB = (86, 180, 233)
CLASS_COLOURS_RGB = {
    HairClass.VELLUS: (240, 228, 66),  # yellow
    HairClass.INTERMEDIATE: (230, 159, 0),  # orange
    HairClass.TERMINAL: (0, 114, 178),  # blue
}
"""Okabe and Ito's palette: told apart by colour-blind eyes, and on skin."""

UNCLASSED_RGB = (255, 255, 255)

HEAT_RGB = (240, 228, 66)  # yellow, of the same palette
_LIT_FROM, _LIT_TO = 0.15, 0.9

_BAR_LENGTHS_UM = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)
_SUBPIXEL_BITS = 4


def class_of(hair: Hair, scale_um_per_px: float | None, classes: HairClasses) -> HairClass | None:
    """The class of a hair; None without a scale or a diameter."""
    if scale_um_per_px is None or not np.isfinite(hair.diameter_px):
        return None
    diameter_um = hair.diameter_px * scale_um_per_px
    if diameter_um < classes.vellus_below_um:
        return HairClass.VELLUS
    return HairClass.TERMINAL if diameter_um > classes.terminal_above_um else HairClass.INTERMEDIATE


def draw_overlay(image: np.ndarray, mask: np.ndarray, measurements: Measurements) -> np.ndarray:
    """Draw mask, hairs, scale bar and legend over a copy of the picture.

    Args:
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) uint8, 0 or 255.
        measurements: of that picture and mask.

    Returns:
        (H, W, 3) uint8 RGB. Line widths and letters grow with the picture, so that they stay crisp at any size.
    """
    picture = np.ascontiguousarray(image).copy()
    tinted = cv2.addWeighted(picture, 0.65, np.full_like(picture, MASK_TINT_RGB), 0.35, 0)
    cv2.copyTo(tinted, mask, picture)
    unit = max(min(picture.shape[:2]) / 480, 0.5)
    for hair in measurements.hairs:
        kind = class_of(hair, measurements.scale_um_per_px, measurements.classes)
        colour = UNCLASSED_RGB if kind is None else CLASS_COLOURS_RGB[kind]
        _draw_line(picture, hair, colour, unit)
    if min(picture.shape[:2]) >= 200 and measurements.scale_um_per_px is not None:
        _draw_scale_bar(picture, measurements.scale_um_per_px, unit)
        _draw_legend(picture, measurements, unit)
    return picture


def draw_heat(image: np.ndarray, heat_map: np.ndarray) -> np.ndarray:
    """Light up where a network looked, on the picture in dim grey, as the screen does.

    Args:
        image: (H, W, 3) uint8 RGB.
        heat_map: (h, w) float32, 0..1, the picture from edge to edge.

    Returns:
        (H, W, 3) uint8 RGB: nothing is lit below 0.15, everything above 0.9.
    """
    height, width = image.shape[:2]
    heat = cv2.resize(heat_map, (width, height), interpolation=cv2.INTER_LINEAR)[..., None]
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32) / 255
    share = np.clip((heat - _LIT_FROM) / (_LIT_TO - _LIT_FROM), 0, 1)
    share = np.float32(0.85) * share * share * (3 - 2 * share)
    lit = np.array(HEAT_RGB, np.float32) * (0.7 + 0.3 * grey)
    return np.round(255 * 0.6 * grey * (1 - share) + lit * share).astype(np.uint8)


def bar_length_um(width_px: int, scale_um_per_px: float) -> int:
    """The round length nearest below a quarter of the picture's width, for the scale bar."""
    room = width_px * scale_um_per_px / 4
    return max((length for length in _BAR_LENGTHS_UM if length <= room), default=_BAR_LENGTHS_UM[0])


def _draw_line(picture: np.ndarray, hair: Hair, colour: tuple[int, int, int], unit: float) -> None:
    """One hair: a thin dark line under a coloured one, seen on pale and on dark hair alike."""
    points = np.round(hair.centre_line * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    thickness = max(1, round(1.5 * unit))
    for line_colour, extra in (((20, 20, 20), max(2, round(1.5 * unit))), (colour, 0)):
        cv2.polylines(picture, [points], False, line_colour, thickness + extra, cv2.LINE_AA, _SUBPIXEL_BITS)
    for end, inside in zip((points[0], points[-1]), hair.ends_inside):
        if inside:
            radius = round(2.2 * unit * (1 << _SUBPIXEL_BITS))
            centre = (int(end[0]), int(end[1]))
            cv2.circle(picture, centre, radius, colour, cv2.FILLED, cv2.LINE_AA, _SUBPIXEL_BITS)


def _text(picture: np.ndarray, text: str, at: tuple[int, int], unit: float) -> None:
    for colour, thickness in (((20, 20, 20), 3), ((255, 255, 255), 1)):
        cv2.putText(picture, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.45 * unit, colour,
                    max(1, round(thickness * unit)), cv2.LINE_AA)  # fmt: skip


def _draw_scale_bar(picture: np.ndarray, scale: float, unit: float) -> None:
    height, width = picture.shape[:2]
    length = bar_length_um(width, scale)
    left, bottom = round(12 * unit), height - round(14 * unit)
    right = left + round(length / scale)
    for colour, grow in (((20, 20, 20), max(1, round(unit))), ((255, 255, 255), 0)):
        cv2.rectangle(
            picture, (left - grow, bottom - round(4 * unit) - grow), (right + grow, bottom + grow), colour, -1
        )
    # OpenCV's letters have no micro sign.
    _text(picture, f"{length} um" if length < 1000 else f"{length // 1000} mm", (left, bottom - round(9 * unit)), unit)


def _draw_legend(picture: np.ndarray, measurements: Measurements, unit: float) -> None:
    classes = measurements.classes
    low, high = classes.vellus_below_um, classes.terminal_above_um
    rows = [(HairClass.VELLUS, f"vellus < {low:g} um"), (HairClass.TERMINAL, f"terminal > {high:g} um")]
    if high > low:
        rows.insert(1, (HairClass.INTERMEDIATE, f"intermediate {low:g}-{high:g} um"))
    for place, (kind, text) in enumerate(rows):
        y = round((18 + 17 * place) * unit)
        left = round(12 * unit)
        start, end = (left, y - round(4 * unit)), (left + round(18 * unit), y - round(4 * unit))
        cv2.line(picture, start, end, (20, 20, 20), max(3, round(5 * unit)), cv2.LINE_AA)
        cv2.line(picture, start, end, CLASS_COLOURS_RGB[kind], max(2, round(3 * unit)), cv2.LINE_AA)
        _text(picture, text, (left + round(24 * unit), y), unit)
