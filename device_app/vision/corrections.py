"""A clinician's word where SAM did not follow it: drawn into the mask, within the correction's reach."""

from __future__ import annotations

import cv2
import numpy as np

from device_app.vision.prompts import PromptPoints

_SNAP = 1 / 6  # of the reach: so far a finger may miss a thin hair
_DOT = 1 / 8  # of the reach: what is drawn where nothing stands out from the scalp
_MOST_OF_DISC = 0.6  # a region that fills more of the reach is no hair that a tap was meant for


def heed(mask: np.ndarray, image: np.ndarray, corrections: PromptPoints, reach: float) -> np.ndarray:
    """The mask with every correction in it.

    SAM is asked first; it weighs a correction against hundreds of other points and may not follow. "No hair" takes
    away what hangs together with the place within the reach. "Hair" adds what hangs together with the place, within
    the reach, and looks more like it than like the scalp round it; the place is the most conspicuous one near the tap.

    Args:
        mask: (H, W) uint8, 0 or 255; it stays as it is.
        image: (H, W, 3) uint8 RGB.
        corrections: in pixels of the picture, inside it.
        reach: how far a correction reaches, pixels.

    Returns:
        (H, W) uint8, 0 or 255.
    """
    heeded = mask.copy()
    for x, y in corrections.negative.round().astype(int).tolist():
        window, disc = _disc(heeded.shape, x, y, reach)
        part = _hanging_together((heeded[window] > 0) & disc, x - window[1].start, y - window[0].start)
        heeded[window][part] = 0
    for x, y in corrections.positive.round().astype(int).tolist():
        if not heeded[y, x]:
            window, disc = _disc(heeded.shape, x, y, reach)
            place = x - window[1].start, y - window[0].start
            region = _hair_at(image[window], heeded[window] > 0, disc, place, reach)
            heeded[window][region] = 255
    return heeded


def _hair_at(image: np.ndarray, hair: np.ndarray, disc: np.ndarray, place: tuple[int, int], reach: float) -> np.ndarray:
    """(h, w) bool: what a tap at `place` (x, y) was meant for."""
    scalp = disc & ~hair
    smooth = cv2.GaussianBlur(image, (3, 3), 0).astype(np.float32)
    tone_of_scalp = np.median(smooth[scalp], axis=0)
    from_scalp = np.linalg.norm(smooth - tone_of_scalp, axis=2)
    rows, columns = np.mgrid[: disc.shape[0], : disc.shape[1]]
    away = np.hypot(columns - place[0], rows - place[1])
    near = (away <= max(1.0, _SNAP * reach)) & scalp
    y, x = np.unravel_index(np.argmax(np.where(near, from_scalp, -1)), near.shape)
    alike = np.linalg.norm(smooth - smooth[y, x], axis=2) < from_scalp
    region = _hanging_together(alike & scalp, int(x), int(y))
    if not region[y, x] or np.count_nonzero(region) > _MOST_OF_DISC * np.count_nonzero(disc):
        return (away <= max(1.0, _DOT * reach)) & disc
    return region | ((away <= 1) & disc)


def _disc(shape: tuple[int, int], x: int, y: int, reach: float) -> tuple[tuple[slice, slice], np.ndarray]:
    """The window of a picture round a place, and in it what lies within the reach, (h, w) bool."""
    size = int(np.ceil(reach))
    rows = slice(max(0, y - size), min(shape[0], y + size + 1))
    columns = slice(max(0, x - size), min(shape[1], x + size + 1))
    down, across = np.mgrid[rows, columns]
    return (rows, columns), np.hypot(across - x, down - y) <= reach


def _hanging_together(region: np.ndarray, x: int, y: int) -> np.ndarray:
    """The 8-connected part of (h, w) bool that holds a place; empty where the place is not in it."""
    if not region[y, x]:
        return np.zeros_like(region)
    _, labels = cv2.connectedComponents(region.view(np.uint8), connectivity=8, ltype=cv2.CV_32S)
    return np.asarray(labels == labels[y, x])
