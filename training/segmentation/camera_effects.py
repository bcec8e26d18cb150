"""What a cheap USB microscope does to a picture: light, blur, sharpening, colour, noise, JPEG."""

from __future__ import annotations

import cv2
import numpy as np


def apply_vignette(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Darken towards a side or the corners, up to almost black. (H, W, 3) float32 in and out."""
    height, width = picture.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    centre = rng.uniform(-0.2, 1.2, 2) * (width, height)
    distance = np.hypot(x - centre[0], y - centre[1]) / np.hypot(height, width)
    falloff = np.clip((distance - rng.uniform(0.1, 0.5)) / rng.uniform(0.25, 0.9), 0, 1) ** rng.uniform(1, 2.5)
    return np.asarray(picture * (1 - rng.uniform(0.15, 0.95) * falloff)[..., None], np.float32)


def motion_blur(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """A hand that moved during the exposure."""
    length = int(rng.integers(3, 12))
    kernel = np.zeros((length, length), np.float32)
    angle = rng.uniform(0, np.pi)
    reach = (length - 1) / 2 * np.array([np.cos(angle), np.sin(angle)])
    start, end = (length - 1) / 2 - reach, (length - 1) / 2 + reach
    cv2.line(kernel, tuple(round(v) for v in start), tuple(round(v) for v in end), 1.0)
    return cv2.filter2D(picture, -1, kernel / kernel.sum())


def photograph(
    rng: np.random.Generator, picture: np.ndarray, sharp_share: float = 0.85, moved_share: float = 0.1
) -> np.ndarray:
    """The whole camera, in the order of a real one.

    Args:
        picture: (H, W, 3) float32 RGB, 0..255, what reaches the lens.
        sharp_share: how often the lens is a sharp one.
        moved_share: how often the hand moved.

    Returns:
        (H, W, 3) uint8 RGB, what the camera hands out.
    """
    if rng.random() < 0.3:
        picture = apply_vignette(rng, picture)
    if rng.random() < moved_share:
        picture = motion_blur(rng, picture)
    blur = abs(rng.normal(0, 0.8)) if rng.random() < sharp_share else rng.uniform(1, 2.6)
    if blur > 0.25:
        picture = cv2.GaussianBlur(picture, (0, 0), blur)
    # Exposure, contrast, white balance, gamma.
    picture = picture * np.exp(rng.normal(0, 0.16)) * np.exp(rng.normal(0, 0.05, 3)).astype(np.float32)
    middle = 110.0
    picture = (picture - middle) * rng.uniform(0.75, 1.3) + middle
    picture = 255 * (np.clip(picture, 0, 255) / 255) ** np.exp(rng.normal(0, 0.15))
    if rng.random() < 0.08:
        picture = np.repeat(picture @ np.float32([0.299, 0.587, 0.114])[:, None], 3, axis=2)
    noise = rng.uniform(0, 6) if rng.random() < 0.8 else rng.uniform(6, 14)
    grain = rng.standard_normal(picture.shape, dtype=np.float32)
    if rng.random() < 0.5:
        grain = cv2.GaussianBlur(grain, (0, 0), rng.uniform(0.5, 1.1)) * 1.8
    if rng.random() < 0.5:
        grain[:] = grain.mean(axis=2, keepdims=True) * 1.5
    picture = picture + noise * grain
    if rng.random() < 0.55:  # firmware sharpening, with its halos
        soft = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.8, 2.5))
        picture = picture + rng.uniform(0.3, 2.2) * (picture - soft)
    picture = np.clip(np.round(picture), 0, 255).astype(np.uint8)
    if rng.random() < 0.75:
        quality = int(rng.integers(35, 97))
        _, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        picture = np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])
    return picture
