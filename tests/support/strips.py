"""Hairs drawn in another way than the phantoms: by the exact distance to a straight axis, without polygons."""

from __future__ import annotations

import cv2
import numpy as np


def draw_strips(
    size: tuple[int, int],
    strips: list[tuple[tuple[float, float], tuple[float, float], float]],
    *,
    skin: tuple[float, float, float] = (200, 160, 140),
    hair: tuple[float, float, float] = (45, 35, 30),
    profile: str = "flat",
    gloss: float = 0.0,
    blur_px: float = 0.0,
    noise: float = 2.0,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """A picture (H, W, 3) uint8 and its mask (H, W) uint8 0/255 of straight hairs (start, end, width), blunt ends.

    Args:
        size: (width, height).
        profile: `flat`, or `lens`: the darkness of a round, translucent shaft, falling to nothing at its edges.
        gloss: brightness of a streak a third of the way from the axis to the edge.
    """
    fine = 4
    width, height = size
    picture = np.empty((height * fine, width * fine, 3), np.float32)
    picture[:] = skin
    covered = np.zeros(picture.shape[:2], np.float32)
    for start, end, thickness in strips:
        a, b = np.array(start, float), np.array(end, float)
        length = np.linalg.norm(b - a)
        along = (b - a) / length
        # Only the box round the strip is worked on.
        low = np.maximum(np.floor((np.minimum(a, b) - thickness) * fine), 0).astype(int)
        high = np.minimum(np.ceil((np.maximum(a, b) + thickness) * fine), (width * fine, height * fine)).astype(int)
        y, x = np.mgrid[low[1] : high[1], low[0] : high[0]].astype(np.float32)
        x, y = (x + 0.5) / fine - 0.5 - a[0], (y + 0.5) / fine - 0.5 - a[1]
        u, v = x * along[0] + y * along[1], (y * along[0] - x * along[1]) / (thickness / 2)
        inside = (u >= 0) & (u <= length) & (np.abs(v) <= 1)
        v = v[inside][:, None]
        depth = np.sqrt(1 - v**2) if profile == "lens" else np.ones_like(v)
        colour = np.array(skin) + (np.array(hair) - np.array(skin)) * depth
        colour = colour + gloss * (255 - colour) * np.exp(-0.5 * ((v - 0.33) / 0.12) ** 2)
        picture[low[1] : high[1], low[0] : high[0]][inside] = colour
        covered[low[1] : high[1], low[0] : high[0]][inside] = 1
    picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    mask = np.where(cv2.resize(covered, size, interpolation=cv2.INTER_AREA) >= 0.5, 255, 0).astype(np.uint8)
    if blur_px:
        picture = cv2.GaussianBlur(picture, (0, 0), blur_px)
    picture = picture + np.random.default_rng(seed).normal(0, noise, picture.shape)
    return np.clip(np.round(picture), 0, 255).astype(np.uint8), mask
