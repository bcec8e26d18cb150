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
    return clean_mask((probability >= np.float32(threshold)).view(np.uint8) * np.uint8(255))


def clean_mask(mask: np.ndarray) -> np.ndarray:
    """Drop specks and fill pinholes of an (H, W) uint8 0/255 mask, in place; see `SPECK_SHARE`, `PINHOLE_SHARE`."""
    area = mask.shape[0] * mask.shape[1]
    contours, parents = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    specks, pinholes = [], []
    for contour, parent in zip(contours, parents[0, :, 3].tolist() if contours else ()):
        # Pick's theorem: pixels inside and on a contour, which for a hole runs through the mask round it.
        if parent < 0 and cv2.contourArea(contour) + len(contour) / 2 + 1 < SPECK_SHARE * area:
            specks.append(contour)
        elif parent >= 0 and cv2.contourArea(contour) - len(contour) / 2 + 1 < PINHOLE_SHARE * area:
            pinholes.append(contour)
    cv2.drawContours(mask, pinholes, -1, 255, cv2.FILLED)
    cv2.drawContours(mask, specks, -1, 0, cv2.FILLED)
    return mask
