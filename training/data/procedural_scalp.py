"""Scalp drawn from nothing: for those who have no pictures, and for variety beyond the pictures one has."""

from __future__ import annotations

import cv2
import numpy as np

# Mean skin colours from light to dark under white LED light, RGB; jittered below.
SKIN_TONES = np.array(
    [(232, 205, 190), (214, 182, 162), (198, 160, 138), (170, 128, 104), (132, 94, 74), (92, 64, 50)], np.float32
)


def fractal_noise(
    rng: np.random.Generator, height: int, width: int, coarsest_px: float, octaves: int = 4, falloff: float = 0.55
) -> np.ndarray:
    """Smooth noise whose largest features measure about `coarsest_px`: (height, width) float32, mean 0, deviation 1."""
    field = np.zeros((height, width), np.float32)
    weight, size = 1.0, float(coarsest_px)
    for _ in range(octaves):
        grid = (max(2, round(width / size) + 1), max(2, round(height / size) + 1))
        coarse = rng.standard_normal((grid[1], grid[0]), dtype=np.float32)
        field += weight * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        weight *= falloff
        size /= 2
        if size < 1:
            break
    field -= field.mean()
    return np.asarray(field / max(float(field.std()), 1e-6), np.float32)


def render_procedural_scalp(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Bare skin without a hair: tone, mottling, redness, pores, furrows, grain, uneven light.

    Returns:
        (height, width, 3) float32 RGB, 0..255.
    """
    tone = SKIN_TONES[rng.integers(len(SKIN_TONES))] * rng.uniform(0.75, 1.1) + rng.normal(0, 6, 3)
    # Cheap microscopes rarely balance white: a cast over everything, towards blue or yellow.
    tone = tone * (1 + rng.normal(0, 0.06, 3))
    skin = np.empty((height, width, 3), np.float32)
    skin[:] = tone.astype(np.float32)

    mottling = fractal_noise(rng, height, width, rng.uniform(40, 250), 5, rng.uniform(0.4, 0.75))
    skin += (mottling * rng.uniform(1, 9))[..., None] * np.float32([1, 1, 0.95])
    if rng.random() < 0.5:
        redness = np.clip(fractal_noise(rng, height, width, rng.uniform(30, 200)) - rng.uniform(0, 1.2), 0, None)
        skin += (redness * rng.uniform(2, 16))[..., None] * np.float32([0.35, -1, -0.8])
    if rng.random() < 0.5:
        pores = fractal_noise(rng, height, width, rng.uniform(4, 18), 2)
        skin -= (np.clip(pores - 1.0, 0, None) * rng.uniform(2, 14))[..., None]
    if rng.random() < 0.4:
        # Skin furrows: the zero crossings of smooth noise, a faint net of lines.
        net = np.abs(fractal_noise(rng, height, width, rng.uniform(15, 70), 2))
        skin -= (np.exp(-((net / rng.uniform(0.04, 0.15)) ** 2)) * rng.uniform(1, 7))[..., None]
    if rng.random() < 0.5:
        grain = fractal_noise(rng, height, width, rng.uniform(2, 5), 2)
        skin += (grain * rng.uniform(1, 6))[..., None]
    return np.clip(skin, 0, 255)
