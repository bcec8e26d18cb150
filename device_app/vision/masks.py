"""From the network's probability to the hair mask at the picture's own resolution."""

from __future__ import annotations

import cv2
import numpy as np

SPECK_SHARE = 1e-4
"""A blob smaller than this share of the picture is a speck, no hair: 31 px of 640x480, a hair of 6 by 5 px."""

PINHOLE_SHARE = 4e-5
"""A hole smaller than this share of the picture is filled: 12 px of 640x480; the gap between two hairs is larger."""


def hair_mask(probability: np.ndarray, size: tuple[int, int], threshold: float = 0.5) -> np.ndarray:
    """Threshold the probability at the picture's resolution, drop specks and fill pinholes.

    The probability is enlarged before it is cut, not after: its slope across an edge then places the edge between the
    network's pixels.

    Args:
        probability: (h, w) float, 0..1, of any size; non-finite values count as no hair.
        size: (width, height) of the picture.
        threshold: probability from which a pixel is hair.

    Returns:
        (height, width) uint8, 0 or 255.
    """
    width, height = size
    probability = np.asarray(probability, np.float32)
    if probability.shape != (height, width):
        probability = cv2.resize(probability, (width, height), interpolation=cv2.INTER_LINEAR)
    mask = cv2.compare(probability, float(threshold), cv2.CMP_GE)
    return clean_mask(mask)


def clean_mask(mask: np.ndarray) -> np.ndarray:
    """Drop specks and fill pinholes of an (H, W) uint8 0/255 mask; see `SPECK_SHARE` and `PINHOLE_SHARE`."""
    area = mask.shape[0] * mask.shape[1]
    mask = _without_small_blobs(mask, SPECK_SHARE * area, 8)
    holes_dropped = _without_small_blobs(cv2.bitwise_not(mask), PINHOLE_SHARE * area, 4)
    return cv2.bitwise_not(holes_dropped)


def _without_small_blobs(mask: np.ndarray, least_px: float, connectivity: int) -> np.ndarray:
    """The mask without its connected parts of fewer than `least_px` pixels."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=connectivity, ltype=cv2.CV_16U)
    small = stats[:, cv2.CC_STAT_AREA] < least_px
    small[0] = False
    if not small.any():
        return mask
    # Only the boxes of the few small parts are touched: cheaper than a look-up over the whole picture.
    mask = mask.copy()
    for label in np.flatnonzero(small):
        left, top, width, height = stats[label, :4]
        box = (slice(top, top + height), slice(left, left + width))
        mask[box][labels[box] == label] = 0
    return mask
