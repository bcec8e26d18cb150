"""Two strands that are the two flanks of one glossy hair: joined again to the hair they are.

A streak of gloss can be as bright as the skin, and the mask then shows two thin hairs side by side. What lies between
them tells: between two hairs lies skin, between two flanks lies gloss, of another colour than the skin outside.
"""

from __future__ import annotations

from itertools import combinations

import cv2
import numpy as np

from device_app.vision.tracing import Strand

_MOST_ANGLE = np.cos(np.deg2rad(12))
_MOST_GAP_IN_WIDTHS = 2.2  # of the flanks' mean width
_LEAST_SHARED = 0.7  # of both strands' points that run side by side
_LEAST_COLOUR = 12.0  # grey levels between what lies between the strands and the skin outside


def join_twins(strands: list[Strand], image: np.ndarray, mask: np.ndarray) -> tuple[list[Strand], np.ndarray]:
    """Join flanks.

    Args:
        strands: traced in `mask`.
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) uint8, 0 or 255.

    Returns:
        The strands, longest first, and the mask with the gloss between joined flanks filled in; the same mask object
        where nothing was joined.
    """
    joined: dict[int, Strand] = {}
    gone: set[int] = set()
    for one, other in _candidates(strands):
        if one in gone or other in gone:
            continue
        hair = _joined(strands[one], strands[other], image, mask)
        if hair is not None:
            if not joined:
                mask = mask.copy()
            line = [np.round(hair.centre_line * 16).astype(np.int32)]
            inner = hair.mask_width_px - (strands[one].mask_width_px + strands[other].mask_width_px) / 2
            cv2.polylines(mask, line, False, 255, max(1, round(inner)), cv2.LINE_8, 4)
            joined[one] = hair
            gone |= {one, other}
    if not joined:
        return strands, mask
    kept = [strand for k, strand in enumerate(strands) if k not in gone]
    return sorted([*kept, *joined.values()], key=lambda strand: -strand.length_px), mask


def _candidates(strands: list[Strand]) -> list[tuple[int, int]]:
    """Pairs of about one length, width and direction whose middles lie near each other."""
    if len(strands) < 2:
        return []
    lines = np.stack([strand.centre_line for strand in strands])
    chord = lines[:, -1] - lines[:, 0]
    chord = chord / np.maximum(np.linalg.norm(chord, axis=1, keepdims=True), 1e-6)
    middle = lines[:, lines.shape[1] // 2]
    length = np.array([strand.length_px for strand in strands])
    width = np.array([strand.mask_width_px for strand in strands])
    first, second = np.array(list(combinations(range(len(strands)), 2))).T
    along = np.abs(np.sum(chord[first] * chord[second], axis=1))
    apart = np.linalg.norm(middle[first] - middle[second], axis=1)
    mean_width = (width[first] + width[second]) / 2
    good = (along > _MOST_ANGLE) & (apart < (1 + _MOST_GAP_IN_WIDTHS) * mean_width + 0.25 * length[first])
    good &= np.minimum(length[first], length[second]) > 0.55 * np.maximum(length[first], length[second])
    good &= np.minimum(width[first], width[second]) > 0.4 * np.maximum(width[first], width[second])
    order = np.argsort(apart[good])
    return list(zip(first[good][order].tolist(), second[good][order].tolist(), strict=True))


def _joined(one: Strand, other: Strand, image: np.ndarray, mask: np.ndarray) -> Strand | None:
    """The one hair of two flanks, or None."""
    a, b = one.centre_line.astype(np.float64), other.centre_line.astype(np.float64)
    distance = np.linalg.norm(a[:, None] - b[None], axis=2)
    nearest = distance.argmin(axis=1)
    gap = distance.min(axis=1)
    beside = (nearest > 0) & (nearest < len(b) - 1)
    width = (one.mask_width_px + other.mask_width_px) / 2
    if beside.mean() < _LEAST_SHARED:
        return None
    apart = float(np.median(gap[beside]))
    even = np.abs(gap[beside] - apart) < 0.3 * apart + 1.0
    if even.mean() < _LEAST_SHARED or not 0.9 * width < apart < (1 + _MOST_GAP_IN_WIDTHS) * width:
        return None
    across = b[nearest] - a
    between = a + 0.5 * across
    unit = across / np.maximum(gap, 1e-6)[:, None]
    beyond = width / 2 + 0.35 * apart + 2
    inside = _colour(image, mask, between[beside])
    outside = _colour(image, mask, np.concatenate([a - beyond * unit, b[nearest] + beyond * unit])[np.tile(beside, 2)])
    if inside is None or outside is None or np.linalg.norm(inside - outside) < _LEAST_COLOUR:
        return None
    longer = one if one.length_px >= other.length_px else other
    return Strand(between.astype(np.float32), longer.length_px, apart + width, one.ends_inside)


def _colour(image: np.ndarray, mask: np.ndarray, points: np.ndarray) -> np.ndarray | None:
    """Median colour (3,) of those points (x, y) that lie in the picture and not on hair; None for fewer than five."""
    height, width = mask.shape
    x, y = np.round(points).astype(int).T
    within = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    x, y = x[within], y[within]
    bare = mask[y, x] == 0
    if bare.sum() < 5:
        return None
    return np.asarray(np.median(image[y[bare], x[bare]].astype(np.float64), axis=0))
