"""Choosing the frames to calibrate with: few, and as unlike each other as the frames at hand allow.

A range collected from twenty frames of one head is wrong on the next head. The choice is the greedy k-centre (Gonzalez
1985) on a few plain features: each next frame is the one furthest from all that were chosen.
"""

from __future__ import annotations

import cv2
import numpy as np

_WORKING_WIDTH = 256


def frame_features(image: np.ndarray) -> np.ndarray:
    """What makes one frame unlike another to a hair network.

    Args:
        image: (H, W, 3) uint8 RGB.

    Returns:
        (14,) float64: mean and standard deviation of L, a and b; the shares of dark, of bright and of glossy pixels;
        and the strength of dark and of bright lines (black-hat, top-hat) at two widths; fine detail (variance of the
        Laplacian).
    """
    height = max(1, round(image.shape[0] * _WORKING_WIDTH / image.shape[1]))
    small = cv2.resize(image, (_WORKING_WIDTH, height), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small, cv2.COLOR_RGB2LAB).reshape(-1, 3).astype(np.float64)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    saturation = small.max(2).astype(np.int16) - small.min(2)
    shares = [(grey < 50).mean(), (grey > 205).mean(), ((grey > 235) & (saturation < 25)).mean()]
    lines = []
    for width in (5, 15):
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
        lines += [cv2.morphologyEx(grey, kind, kernel).mean() for kind in (cv2.MORPH_BLACKHAT, cv2.MORPH_TOPHAT)]
    detail = np.log1p(cv2.Laplacian(grey, cv2.CV_32F).var())
    return np.array([*lab.mean(0), *lab.std(0), *shares, *lines, detail])


def choose_frames(features: np.ndarray, count: int, seed: int = 0) -> list[int]:
    """Greedy k-centre.

    Args:
        features: (N, F), one row per frame.
        count: how many to choose; all N when there are no more.
        seed: decides the first frame.

    Returns:
        Distinct row numbers in the order of their choice: any prefix is itself a good choice.
    """
    features = np.asarray(features, np.float64)
    if len(features) == 0 or count <= 0:
        return []
    spread = features.std(0)
    scaled = (features - features.mean(0)) / np.where(spread > 1e-12, spread, 1.0)
    chosen = [int(np.random.default_rng(seed).integers(len(features)))]
    distance = np.linalg.norm(scaled - scaled[chosen[0]], axis=1)
    distance[chosen[0]] = -1.0
    while len(chosen) < min(count, len(features)):
        furthest = int(np.argmax(distance))
        chosen.append(furthest)
        distance = np.minimum(distance, np.linalg.norm(scaled - scaled[furthest], axis=1))
        distance[chosen] = -1.0
    return chosen
