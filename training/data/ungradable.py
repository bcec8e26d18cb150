"""Pictures that must not be graded: too blurred to judge, or no scalp at all.

What is no scalp has no end, so it comes in families (`not_scalp_families`): flat colours, text, cloth, photographs ...
Four of them no training may use (`HELD_OUT_FAMILIES`); whether things never seen are refused is tested on those.
Images are (H, W, 3) uint8 RGB.
"""

from __future__ import annotations

from collections.abc import Collection

import cv2
import numpy as np

from training.data.not_scalp_families import FAMILIES
from training.data.textures import white_noise

ALL_FAMILIES: frozenset[str] = frozenset(FAMILIES)
"""Names of every family of pictures that are no scalp."""

HELD_OUT_FAMILIES: frozenset[str] = frozenset({"checkerboard", "keyboard", "pen_lines", "water"})
"""Never trained on."""

TRAINING_FAMILIES: frozenset[str] = ALL_FAMILIES - HELD_OUT_FAMILIES


def not_scalp(
    rng: np.random.Generator, size: tuple[int, int], families: Collection[str] = TRAINING_FAMILIES
) -> np.ndarray:
    """One picture that is no scalp, of one of the families.

    Args:
        size: width and height in pixels.
        families: names out of `ALL_FAMILIES`.
    """
    width, height = size
    names = sorted(families)
    picture = FAMILIES[names[rng.integers(len(names))]](rng, height, width)
    return _through_a_camera(rng, picture)


def blurred(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """The picture so far out of focus, moved or fogged that nothing in it could be graded.

    Blur is at least that of a Gaussian of 5 px, up to 20 px, in a picture 640 px wide.
    """
    scale = image.shape[1] / 640
    sigma = float(np.exp(rng.uniform(np.log(5), np.log(20)))) * scale
    kind = rng.random()
    if kind < 0.45:
        result = _gaussian(image, sigma)
    elif kind < 0.75:
        result = _defocused(image, 2 * sigma)  # a disc of radius 2 sigma spreads as far as the Gaussian
    elif kind < 0.9:  # moved: along one line, and a little out of focus across it
        result = _gaussian(_moved(rng, image, max(24 * scale, 4 * sigma)), max(5.0 * scale, 0.4 * sigma))
    else:  # a fogged lens: blurred, pale, without contrast
        veil, share = rng.uniform(120, 220), rng.uniform(0.3, 0.7)
        result = cv2.convertScaleAbs(_gaussian(image, sigma), alpha=1 - share, beta=veil * share)
    return _grain(rng, result, rng.uniform(0, 3))


def _gaussian(image: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian blur; a strong one is made on a smaller picture, where it costs less and looks the same."""
    shrink = int(max(1, sigma // 3))
    height, width = image.shape[:2]
    small = cv2.resize(image, (max(2, width // shrink), max(2, height // shrink)), interpolation=cv2.INTER_AREA)
    # Shrinking and enlarging blur too; what is left of the variance is made up here.
    rest = max(sigma**2 - (shrink**2) / 4, 0.1) ** 0.5 / shrink
    small = cv2.GaussianBlur(small, (0, 0), rest, borderType=cv2.BORDER_REFLECT)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def _defocused(image: np.ndarray, radius: float) -> np.ndarray:
    """What a lens does out of focus: every point becomes a disc."""
    shrink = int(max(1, radius // 6))
    height, width = image.shape[:2]
    small = cv2.resize(image, (max(2, width // shrink), max(2, height // shrink)), interpolation=cv2.INTER_AREA)
    reach = max(1, round(radius / shrink))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1)).astype(np.float32)
    small = cv2.filter2D(small, -1, disc / disc.sum(), borderType=cv2.BORDER_REFLECT)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def _moved(rng: np.random.Generator, image: np.ndarray, length: float) -> np.ndarray:
    size = max(3, round(length)) | 1
    kernel = np.zeros((size, size), np.uint8)
    angle = rng.uniform(0, np.pi)
    reach = size / 2 * np.array([np.cos(angle), np.sin(angle)])
    start, end = (np.round(size / 2 + sign * reach).astype(int).tolist() for sign in (-1, 1))
    cv2.line(kernel, start, end, 255, 1, cv2.LINE_AA)
    weights = kernel.astype(np.float32)
    return cv2.filter2D(image, -1, weights / weights.sum(), borderType=cv2.BORDER_REFLECT)


def _grain(rng: np.random.Generator, image: np.ndarray, strength: float) -> np.ndarray:
    if strength < 0.4:
        return image
    return np.uint8(np.clip(image + strength * white_noise(rng, *image.shape[:2]), 0, 255))


def _through_a_camera(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Light, a little blur, noise and JPEG over a drawn picture (H, W, 3) float32 or uint8."""
    image = cv2.convertScaleAbs(np.clip(picture, 0, 255))
    if rng.random() < 0.1:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if rng.random() < 0.4:
        image = cv2.convertScaleAbs(image, alpha=rng.uniform(0.6, 1.2))
    if rng.random() < 0.4:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.5))
    if rng.random() < 0.6:
        image = _grain(rng, image, rng.uniform(0, 6))
    if rng.random() < 0.6:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 97))]
        data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality)[1]
        image = cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    return np.ascontiguousarray(image)
