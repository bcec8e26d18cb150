"""Noise fields for drawing many pictures quickly: cut from large fields that are made once.

A cut at a random place, turned and stretched at random, is as good as fresh noise for a texture and costs a twentieth.
The large fields come from a fixed seed, so a picture still depends on its own random numbers only.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from training.data.procedural_scalp import fractal_noise

_SIDE = 1024
_COARSE_PX, _FINE_PX = 64.0, 6.0  # largest features of the two large fields
_BETWEEN_PX = 24.0  # textures of larger features are cut from the coarse field
_FIELDS = 3


@lru_cache(maxsize=1)
def _large_fields() -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
    """Coarse and fine fields (1024, 1024) float32, mean 0 and deviation 1, and white noise (1024, 1024, 3)."""
    rng = np.random.default_rng(20240617)
    coarse = [fractal_noise(rng, _SIDE, _SIDE, _COARSE_PX, 6, 0.55) for _ in range(_FIELDS)]
    fine = [fractal_noise(rng, _SIDE, _SIDE, _FINE_PX, 3, 0.6) for _ in range(_FIELDS)]
    return coarse, fine, rng.standard_normal((_SIDE, _SIDE, 3), dtype=np.float32)


def texture(rng: np.random.Generator, height: int, width: int, coarsest_px: float) -> np.ndarray:
    """Fractal noise whose largest features measure about `coarsest_px`: (height, width) float32, mean about 0,
    deviation about 1.

    Detail goes down to one pixel in coarse textures that are not stretched; `coarsest_px` is at least 2.
    """
    coarse, fine, _ = _large_fields()
    fields, features = (coarse, _COARSE_PX) if coarsest_px >= _BETWEEN_PX else (fine, _FINE_PX)
    stretch = max(coarsest_px, 2.0) / features
    cut = _cut(rng, fields[rng.integers(_FIELDS)], int(np.ceil(height / stretch)), int(np.ceil(width / stretch)))
    mean, deviation = cv2.meanStdDev(cut)
    cut = (cut - float(mean[0, 0])) * np.float32(1 / max(float(deviation[0, 0]), 1e-6))
    if cut.shape != (height, width):
        cut = cv2.resize(cut, (width, height), interpolation=cv2.INTER_CUBIC if stretch > 1 else cv2.INTER_LINEAR)
    return np.asarray(cut, np.float32)


def white_noise(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Independent normal values: (height, width, 3) float32, mean 0, deviation 1."""
    return _cut(rng, _large_fields()[2], height, width)


def _cut(rng: np.random.Generator, field: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """A window of a large field, mirrored or not; where it reaches over the field's edge it is reflected there."""
    flip = int(rng.integers(4))
    if max(rows, columns) > _SIDE:
        field = cv2.copyMakeBorder(field, 0, max(0, rows - _SIDE), 0, max(0, columns - _SIDE), cv2.BORDER_REFLECT_101)
    top, left = (int(rng.integers(limit + 1)) for limit in (field.shape[0] - rows, field.shape[1] - columns))
    window = field[top : top + rows, left : left + columns]
    return cv2.flip(window, flip - 1) if flip < 3 else window  # upside down, left to right, both; or neither
