"""From the networks' probabilities to the hair mask at the picture's own resolution.

`hair_mask` cuts one probability. With SAM there are two views, the coarse mask M̂ and the refined mask M_AP:
`combine_masks` makes one mask M of them, and `drop_small` takes out what is too small for a hair, before prompting and
after (`CleanUp`); ScalpVision, arXiv 2406.17254.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from device_app.manifest_parts import Combination

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


def combine_masks(
    coarse_probability: np.ndarray,
    refined_probability: np.ndarray,
    how: Combination,
    size: tuple[int, int],
    threshold: float = 0.5,
) -> np.ndarray:
    """The hair mask M from the coarse and the refined view.

    M̂ and M_AP are each what `hair_mask` makes of its probability: the masks that are combined are those that are
    shown, and the product is never more than either.

    Args:
        coarse_probability: (h, w) float, 0..1, of any size; non-finite values count as no hair.
        refined_probability: the same, of a size of its own.
        how: the combination.
        size: (width, height) of the picture.
        threshold: probability from which a pixel is hair, in either view and in their mean.

    Returns:
        (height, width) uint8, 0 or 255.
    """
    if how is Combination.REFINED:
        return hair_mask(_finite(refined_probability), size, threshold)
    if how is Combination.MEAN:
        views = [cv2.resize(_finite(view), size) for view in (coarse_probability, refined_probability)]
        return hair_mask((views[0] + views[1]) / 2, size, threshold)
    coarse = hair_mask(_finite(coarse_probability), size, threshold)
    refined = hair_mask(_finite(refined_probability), size, threshold)
    product = cv2.bitwise_and(coarse, refined)
    return product if how is Combination.PRODUCT else _grown(product, cv2.bitwise_or(coarse, refined))


def _finite(probability: np.ndarray) -> np.ndarray:
    """As float32, 0 where it is not a finite number."""
    probability = np.asarray(probability, np.float32)
    finite = np.isfinite(probability)
    return probability if finite.all() else np.where(finite, probability, np.float32(0))


def _grown(seeds: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The 8-connected parts of a mask that hold a pixel of the seeds; all (H, W) uint8 0/255."""
    count, labels = cv2.connectedComponents(mask, connectivity=8, ltype=cv2.CV_32S)
    kept = np.zeros(count, np.uint8)
    kept[labels[seeds > 0]] = 255
    return kept[labels]


AUTHORS_SIZE = (640, 480)
"""(width, height) of the pictures for which the authors chose their least sizes in pixels."""


@dataclass(frozen=True)
class CleanUp:
    """How large a connected part of a mask must be to be kept: before prompting (of M̂) and after combining (of M).

    With a scale the areas in µm² hold, so that the same hair is kept at any magnification. The defaults are the pixels
    below at 3 µm per pixel, 2,250 and 900 µm². A short vellus hair, 20 µm thick and 300 µm long, covers 6,000 µm²: it
    is kept, even if it comes in pieces.

    Before prompting the authors' 250 px hold; after combining, their 400 px dropped more thin hair than flakes in
    validation pictures, and a quarter of it stays. Without a scale nothing says whether a picture larger than theirs
    shows more scalp or the same scalp finer, so that the pixels are taken as they are; in a smaller picture they shrink
    with its area. Either way rather a speck is kept than a hair dropped.

    Attributes:
        before_px, after_px: least area in pixels where there is no scale (the authors': 250 and 400, in 640x480).
        before_um2, after_um2: least area in µm² where there is one.
    """

    before_px: float = 250.0
    after_px: float = 100.0
    before_um2: float = 2250.0
    after_um2: float = 900.0

    def least_before(self, scale_um_per_px: float | None, size: tuple[int, int] = AUTHORS_SIZE) -> float:
        """Least area, in pixels, of a part of M̂ that is to be prompted; `size` is the mask's (width, height)."""
        return _least_px(self.before_px, self.before_um2, scale_um_per_px, size)

    def least_after(self, scale_um_per_px: float | None, size: tuple[int, int] = AUTHORS_SIZE) -> float:
        """Least area, in pixels, of a part of M that is kept; `size` is the mask's (width, height)."""
        return _least_px(self.after_px, self.after_um2, scale_um_per_px, size)


def _least_px(pixels: float, area_um2: float, scale_um_per_px: float | None, size: tuple[int, int]) -> float:
    if scale_um_per_px is not None:
        return area_um2 / scale_um_per_px**2
    return pixels * min(1.0, size[0] * size[1] / (AUTHORS_SIZE[0] * AUTHORS_SIZE[1]))


def drop_small(mask: np.ndarray, least_px: float) -> np.ndarray:
    """The mask without its 8-connected parts of fewer than `least_px` pixels; holes do not count as part.

    Args:
        mask: (H, W) uint8, 0 or 255.
        least_px: the area from which a part is kept.

    Returns:
        (H, W) uint8, 0 or 255; the mask given stays as it is.
    """
    count, labels = cv2.connectedComponents(mask, connectivity=8, ltype=cv2.CV_32S)
    kept = np.where(np.bincount(labels.ravel(), minlength=count) >= least_px, 255, 0).astype(np.uint8)
    kept[0] = 0
    return kept[labels]
