"""Measuring hairs as one would write it in an afternoon with scikit-image and SciPy: what the peers do after a network.

Each step is the library's own call for it; Python loops only over hairs and along them. It gives the same kinds of
figures as ours and less of each: a crossing ends the hairs in it, diameters are whole pixels apart, nothing has an
interval. Nothing is done twice or made slow on purpose.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage
from skimage.measure import label, regionprops
from skimage.morphology import skeletonize

LEAST_LENGTH_PX = 17
LEAST_SPECK_PX, LEAST_HOLE_PX = 31, 12
"""The same as ours at 640 x 480."""

_SQUARE = np.ones((3, 3), np.uint8)
_DIVERSITY_LIMIT = 0.20


@dataclass(frozen=True)
class NaiveHair:
    """One piece of skeleton between two crossings.

    Attributes:
        line: (N, 2) row and column, in order.
        length_px, diameter_px: its length, and the median of twice the distance to the mask's edge.
        ends_inside: whether an end lies off the picture's border.
    """

    line: np.ndarray
    length_px: float
    diameter_px: float
    ends_inside: bool


@dataclass(frozen=True)
class NaiveFigures:
    """What they add up to; micrometres by the scale given."""

    hairs: tuple[NaiveHair, ...]
    density_per_cm2: float
    coverage_fraction: float
    mean_diameter_um: float
    sd_diameter_um: float
    diversity_fraction: float
    focus: float


def clean_naively(mask: np.ndarray) -> np.ndarray:
    """A mask (H, W) bool without specks and pinholes."""
    return ~_without_small(~_without_small(mask, LEAST_SPECK_PX), LEAST_HOLE_PX)


def measure_naively(image: np.ndarray, mask: np.ndarray, scale_um_per_px: float) -> NaiveFigures:
    """Find and measure the hairs of a mask.

    Args:
        image: (H, W, 3) uint8 RGB, for its focus.
        mask: (H, W) bool, cleaned.
        scale_um_per_px: micrometres per pixel.
    """
    skeleton = skeletonize(mask)
    distance = ndimage.distance_transform_edt(mask)
    neighbours = ndimage.convolve(skeleton.astype(np.uint8), _SQUARE, mode="constant") - 1
    crossings = skeleton & (neighbours > 2)
    pieces = label(skeleton & ~ndimage.binary_dilation(crossings, _SQUARE), connectivity=2)
    hairs = []
    for piece in regionprops(pieces):
        if piece.area < LEAST_LENGTH_PX:
            continue
        line = _in_order(piece.coords)
        steps = np.linalg.norm(np.diff(line, axis=0), axis=1)
        widths = 2 * distance[line[:, 0], line[:, 1]]
        ends = line[[0, -1]]
        near = widths[[0, -1], None] / 2 + 2  # a skeleton ends half a width before its mask
        inside = (ends >= near).all(axis=1) & (ends < np.array(mask.shape) - near).all(axis=1)
        hairs.append(NaiveHair(line, float(steps.sum()), float(np.median(widths)), bool(inside.any())))
    sizes_um = np.array([hair.diameter_px for hair in hairs]) * scale_um_per_px
    area_cm2 = mask.size * scale_um_per_px**2 * 1e-8
    mean = float(sizes_um.mean()) if len(hairs) else 0.0
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return NaiveFigures(
        hairs=tuple(hairs),
        density_per_cm2=sum(hair.ends_inside for hair in hairs) / area_cm2,
        coverage_fraction=float(mask.mean()),
        mean_diameter_um=mean,
        sd_diameter_um=float(sizes_um.std(ddof=1)) if len(hairs) > 1 else 0.0,
        diversity_fraction=float((np.abs(sizes_um - mean) > _DIVERSITY_LIMIT * mean).mean()) if len(hairs) else 0.0,
        focus=float(cv2.Laplacian(grey, cv2.CV_64F).var()),
    )


def _without_small(mask: np.ndarray, least_px: int) -> np.ndarray:
    labels = label(mask, connectivity=1)
    sizes = np.bincount(labels.ravel())
    return mask & (sizes >= least_px)[labels]


def _in_order(points: np.ndarray) -> np.ndarray:
    """The pixels of a piece from one end to the other: from an end, ever on to the nearest that is left."""
    left = {(int(row), int(column)) for row, column in points}

    def around(row: int, column: int) -> list[tuple[int, int]]:
        steps = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))
        return [(row + y, column + x) for y, x in steps if (row + y, column + x) in left]

    here = min(left, key=lambda point: len(around(*point)))
    line = [here]
    left.remove(here)
    while further := around(*here):
        here = further[0]
        line.append(here)
        left.remove(here)
    return np.array(line)
