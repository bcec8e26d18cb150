"""Hair masks without learning: the classical methods of ScalpVision's Table 1, as plain OpenCV.

Each takes a picture (H, W, 3) uint8 RGB and gives a mask (H, W) uint8, 0 or 255. All of them take hair to be darker
than scalp. The table names each method's technique, not its settings: the settings are ours, one set for all pictures.
"""

from __future__ import annotations

import cv2
import numpy as np


def shih(image: np.ndarray) -> np.ndarray:
    """Contrast stretching and one binary threshold (Shih 2014; Table 1: Pixel-F1 .706, Jaccard .348, Dice .512)."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    low, high = np.percentile(grey, (1, 99))
    stretched = (grey - low) / max(high - low, 1.0)
    return _mask(stretched < 0.4)


def yue(image: np.ndarray) -> np.ndarray:
    """Morphology (Yue 2021; Table 1: .794, .493, .654): darker than its surroundings, then opened and closed.

    The surroundings are a mean over a window much wider than a hair, so uneven light does no harm.
    """
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (5, 5), 0)
    window = max(3, min(grey.shape) // 6) | 1
    dark = cv2.adaptiveThreshold(grey, 255, cv2.ADAPTIVE_THRESH_MEAN_C, cv2.THRESH_BINARY_INV, window, 20)
    cross = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    opened = cv2.morphologyEx(dark, cv2.MORPH_OPEN, cross)
    return cv2.morphologyEx(opened, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5)))


def kim(image: np.ndarray) -> np.ndarray:
    """Otsu's threshold (Kim 2017; Table 1: .815, .561, .708): the grey level that parts dark from bright best."""
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (5, 5), 0)
    return cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY_INV | cv2.THRESH_OTSU)[1]


def black_hat(image: np.ndarray) -> np.ndarray:
    """Black-hat (not in Table 1; how dermoscopy finds hairs to remove): dark and narrower than the structuring element.

    Three sizes of it find hairs of every width; Otsu's threshold of the answer, but never under 10 grey levels, which
    keeps the noise of a hairless picture out.
    """
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (5, 5), 0)
    answer = np.zeros_like(grey)
    for share in (0.03, 0.07, 0.15):
        size = max(3, round(share * min(grey.shape))) | 1
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
        np.maximum(answer, cv2.morphologyEx(grey, cv2.MORPH_BLACKHAT, kernel), out=answer)
    level, _ = cv2.threshold(answer, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return _mask(answer > max(level, 10.0))


def _mask(hair: np.ndarray) -> np.ndarray:
    return np.where(hair, np.uint8(255), np.uint8(0))
