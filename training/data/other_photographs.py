"""Photographs of other things than scalps: those inside scikit-image's own package. Nothing is downloaded."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np


@lru_cache(maxsize=1)
def _photographs() -> tuple[np.ndarray, ...]:
    """The pictures inside scikit-image's own package, (H, W, 3) uint8 each; none is fetched."""
    from skimage import data

    names = (
        *("astronaut", "brick", "camera", "chelsea", "clock", "coffee", "coins", "grass", "gravel", "horse"),
        *(
            "hubble_deep_field",
            "immunohistochemistry",
            "moon",
            "page",
            "retina",
            "rocket",
            "text",
            "cell",
            "colorwheel",
        ),
    )
    found = []
    for name in names:
        picture = np.asarray(getattr(data, name)())
        picture = picture.astype(np.uint8) * 255 if picture.dtype == bool else picture
        picture = np.repeat(picture[..., None], 3, 2) if picture.ndim == 2 else picture[..., :3]
        longest = 640 / max(picture.shape[:2])
        found.append(cv2.resize(picture, None, fx=longest, fy=longest, interpolation=cv2.INTER_AREA))
    return tuple(found)


def photograph(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A part of a photograph of something else, mirrored, recoloured."""
    pictures = _photographs()
    whole = pictures[rng.integers(len(pictures))]
    share = rng.uniform(0.3, 1)
    rows, columns = (max(8, int(share * side)) for side in whole.shape[:2])
    top, left = (int(rng.integers(whole.shape[axis] - cut + 1)) for axis, cut in enumerate((rows, columns)))
    part = whole[top : top + rows, left : left + columns]
    if rng.random() < 0.5:
        part = part[:, ::-1]
    if rng.random() < 0.3:
        part = np.rot90(part, int(rng.integers(4)))
    picture = cv2.resize(np.ascontiguousarray(part), (width, height), interpolation=cv2.INTER_LINEAR)
    colours = np.exp(rng.normal(0, 0.15, 3)).astype(np.float32) * np.float32(np.exp(rng.normal(0, 0.15)))
    return picture.astype(np.float32) * colours


def collage(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Parts of photographs side by side and over each other."""
    picture = photograph(rng, height, width)
    for _ in range(int(rng.integers(1, 5))):
        rows, columns = int(rng.uniform(0.2, 0.8) * height) + 1, int(rng.uniform(0.2, 0.8) * width) + 1
        top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
        picture[top : top + rows, left : left + columns] = photograph(rng, rows, columns)
    return picture
