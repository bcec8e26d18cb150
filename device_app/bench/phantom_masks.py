"""Masks of phantoms as a network would give them: its resolution, imprecise edges, holes, gaps and specks."""

from __future__ import annotations

import cv2
import numpy as np

from device_app.camera.phantom import Phantom

NETWORK_SIZE = (640, 480)
"""(width, height) of the probability picture that the hair network gives."""


def degraded_probability(phantom: Phantom, seed: int) -> np.ndarray:
    """A hair probability (480, 640) float32 made from a phantom's true mask and then damaged.

    All edges of a picture stand out or in together by up to 1 network pixel, single stretches by about as much again;
    every third hair or so has a hole or a gap, and a few specks lie on the skin.
    """
    rng = np.random.default_rng([seed, 480640])
    width, height = NETWORK_SIZE
    small = cv2.resize(phantom.mask, NETWORK_SIZE, interpolation=cv2.INTER_AREA)
    hair = np.where(small >= 128, 255, 0).astype(np.uint8)
    # Signed distance to the edge, in network pixels: positive inside.
    inside = cv2.distanceTransform(hair, cv2.DIST_L2, 5)
    outside = cv2.distanceTransform(cv2.bitwise_not(hair), cv2.DIST_L2, 5)
    distance = np.where(hair > 0, inside - 0.5, 0.5 - outside)
    waviness = cv2.resize(rng.normal(0, 0.4, (height // 4, width // 4)).astype(np.float32), NETWORK_SIZE)
    distance = distance + rng.uniform(-0.5, 1.0) + waviness
    scale = np.array([width / phantom.mask.shape[1], height / phantom.mask.shape[0]])
    for hair_truth in phantom.hairs:
        if rng.random() < 0.33:
            at = hair_truth.centre_line[int(rng.uniform(0.15, 0.85) * len(hair_truth.centre_line))] * scale
            radius = hair_truth.diameter_px / 2 * scale.mean()
            # Either a hole in the middle, or a gap across the whole shaft about half as long as the hair is thick.
            size = 0.5 * radius if rng.random() < 0.5 else max(0.6 * radius, 1.5)
            centre = (int(at[0]), int(at[1]))
            if size == 0.5 * radius:
                cv2.circle(distance, centre, max(1, round(size)), -3.0, cv2.FILLED)
            else:
                _cut_across(distance, hair_truth.centre_line * scale, at, radius, size)
    for _ in range(rng.integers(2, 6)):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        cv2.circle(distance, centre, int(rng.integers(1, 3)), 2.0, cv2.FILLED)
    return (1 / (1 + np.exp(-1.5 * np.clip(distance, -20, 20)))).astype(np.float32)


def _cut_across(distance: np.ndarray, line: np.ndarray, at: np.ndarray, radius: float, length: float) -> None:
    """Draw a gap across a shaft, in place."""
    nearest = int(np.clip(np.argmin(np.linalg.norm(line - at, axis=1)), 1, len(line) - 2))
    along = line[nearest + 1] - line[nearest - 1]
    along /= max(float(np.linalg.norm(along)), 1e-6)
    across = np.array([-along[1], along[0]]) * (radius + 2)
    first, second = (tuple(round(v) for v in (at + sign * across).tolist()) for sign in (-1, 1))
    cv2.line(distance, first, second, -3.0, max(1, round(length)))
