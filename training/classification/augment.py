"""Pictures changed so that a network does not learn them by heart: the usual way, and the baselines of Table 3.

Whatever moves the picture moves where its conditions are and its hair mask alike. All on numpy, by a generator that the
caller gives: the same generator, the same picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

import cv2
import numpy as np

Size = tuple[int, int]
Rng = np.random.Generator

NOISE_DEVIATION = 0.1 * 255
"""Standard deviation of the Gaussian noise of Table 3's baseline, grey levels. The paper does not say which it took."""

AUGMIX_CHAINS, AUGMIX_DEPTH, AUGMIX_SEVERITY, AUGMIX_ALPHA = 3, 3, 3, 1.0
"""AugMix, Hendrycks et al. 2020, arXiv 1912.02781: width, the longest chain, severity of 10, of Dirichlet and Beta."""

_MOST_ROTATED_DEG = 25.0
_SCALES = (0.8, 1.5)
_MOST_SHIFTED = 0.12  # of width and height


class Augmentation(str, Enum):
    """What happens to a training picture."""

    NONE = "none"
    NOISE = "noise"
    AUGMIX = "augmix"
    USUAL = "usual"


@dataclass(frozen=True)
class Layers:
    """A picture and what lies over it.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        regions: (3, H, W) uint8, not 0 where each condition is; None where nobody asks.
        hair_mask: (H, W) uint8, not 0 where hair is; None where nobody asks.
    """

    image: np.ndarray
    regions: np.ndarray | None = None
    hair_mask: np.ndarray | None = None


def augment(layers: Layers, kind: Augmentation, rng: Rng, size: Size, keep_colour: bool = False) -> Layers:
    """The picture, changed, at ``size`` (width, height). With ``keep_colour`` the usual way never makes it grey."""
    if kind is Augmentation.USUAL:
        moved = move(layers, rng, size)
        return replace(moved, image=recolour(moved.image, rng, keep_colour))
    resized = resize(layers, size)
    if kind is Augmentation.NOISE:
        return replace(resized, image=add_noise(resized.image, rng))
    if kind is Augmentation.AUGMIX:
        return replace(resized, image=augmix(resized.image, rng))
    return resized


def resize(layers: Layers, size: Size) -> Layers:
    """Every layer at ``size`` (width, height); shrunk by areas, as on the device."""
    if layers.image.shape[1::-1] == size:
        return layers
    shrinks = layers.image.shape[1] >= size[0] and layers.image.shape[0] >= size[1]
    image = cv2.resize(layers.image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return _with_masks(layers, image, lambda mask: cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST_EXACT))


def move(layers: Layers, rng: Rng, size: Size) -> Layers:
    """Mirrored, turned, nearer or farther, shifted; what comes in over an edge is the picture's own reflection."""
    scale = float(np.exp(rng.uniform(*np.log(_SCALES))))
    angle = rng.uniform(-_MOST_ROTATED_DEG, _MOST_ROTATED_DEG)
    shift = rng.uniform(-_MOST_SHIFTED, _MOST_SHIFTED, 2) * size
    flips = rng.random(2) < 0.5

    # Shrunk by areas before it is turned: a thin hair fades, and does not break up.
    wanted = (max(2, round(size[0] * scale)), max(2, round(size[1] * scale)))
    if wanted[0] < layers.image.shape[1] and wanted[1] < layers.image.shape[0]:
        layers = resize(layers, wanted)
    height, width = layers.image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
    enlarge = np.diag([size[0] * scale / width, size[1] * scale / height])
    matrix = enlarge @ matrix
    centre = np.array([(width - 1) / 2, (height - 1) / 2, 1.0])
    matrix[:, 2] += (np.array(size) - 1) / 2 + shift - matrix @ centre
    for axis, flipped in enumerate(flips):
        if flipped:
            matrix[axis] *= -1
            matrix[axis, 2] += size[axis] - 1

    def warp(layer: np.ndarray, interpolation: int) -> np.ndarray:
        return cv2.warpAffine(layer, matrix, size, flags=interpolation, borderMode=cv2.BORDER_REFLECT_101)

    return _with_masks(layers, warp(layers.image, cv2.INTER_LINEAR), lambda mask: warp(mask, cv2.INTER_NEAREST))


def mirror(layers: Layers, rng: Rng) -> Layers:
    """Mirrored left-right, up-down, both or not at all."""
    across, down = (slice(None, None, -1 if rng.random() < 0.5 else None) for _ in range(2))

    def flip(layer: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(layer[down, across])

    return _with_masks(layers, flip(layers.image), flip)


def recolour(image: np.ndarray, rng: Rng, keep_colour: bool = False) -> np.ndarray:
    """Another lamp, another camera: gains of the channels, brightness, contrast, sometimes grey, soft or noisy."""
    picture = image.astype(np.float32)
    picture *= np.exp(rng.normal(0, 0.06, 3) + rng.normal(0, 0.15)).astype(np.float32)
    if rng.random() < 0.15 and not keep_colour:
        picture = np.repeat(picture.mean(axis=2, keepdims=True), 3, axis=2)
    middle = picture.mean()
    picture = (picture - middle) * np.float32(np.exp(rng.normal(0, 0.15))) + middle
    if rng.random() < 0.3:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.4, 1.6) * image.shape[1] / 448)
    if rng.random() < 0.3:
        picture = picture + rng.uniform(0, 8) * rng.standard_normal(picture.shape, np.float32)
    return _as_picture(picture)


def add_noise(image: np.ndarray, rng: Rng) -> np.ndarray:
    """Gaussian noise on every value of the picture."""
    return _as_picture(image + NOISE_DEVIATION * rng.standard_normal(image.shape, np.float32))


def augmix(image: np.ndarray, rng: Rng) -> np.ndarray:
    """AugMix: several chains of simple operations, mixed with one another and with the picture itself.

    As `augment_and_mix` of the authors' code, without their consistency loss: ScalpVision has none.
    """
    shares = rng.dirichlet([AUGMIX_ALPHA] * AUGMIX_CHAINS)
    kept = rng.beta(AUGMIX_ALPHA, AUGMIX_ALPHA)
    mixed = np.zeros(image.shape, np.float32)
    for share in shares:
        chained = image
        for _ in range(int(rng.integers(1, AUGMIX_DEPTH + 1))):
            operation = _OPERATIONS[int(rng.integers(len(_OPERATIONS)))]
            chained = operation(chained, rng)
        mixed += np.float32(share) * chained
    return _as_picture((1 - kept) * image + kept * mixed)


def _strength(rng: Rng, most: float) -> float:
    """How much of ``most``, at severity 10, an operation does."""
    return float(rng.uniform(0.1, AUGMIX_SEVERITY)) / 10 * most


def _either_way(rng: Rng, most: float) -> float:
    return _strength(rng, most) * (1 if rng.random() < 0.5 else -1)


def _autocontrast(image: np.ndarray, rng: Rng) -> np.ndarray:
    low = image.min(axis=(0, 1)).astype(np.float32)
    high = image.max(axis=(0, 1)).astype(np.float32)
    stretched = (image - low) * (255 / np.maximum(1, high - low))
    return np.where(high > low, _as_picture(stretched), image)


def _equalize(image: np.ndarray, rng: Rng) -> np.ndarray:
    return np.dstack([cv2.equalizeHist(np.ascontiguousarray(image[..., channel])) for channel in range(3)])


def _posterize(image: np.ndarray, rng: Rng) -> np.ndarray:
    bits = 4 - int(_strength(rng, 4))
    return image & np.uint8(256 - 2 ** (8 - bits))


def _solarize(image: np.ndarray, rng: Rng) -> np.ndarray:
    return np.where(image < 256 - int(_strength(rng, 256)), image, 255 - image)


def _rotate(image: np.ndarray, rng: Rng) -> np.ndarray:
    height, width = image.shape[:2]
    return _warp(image, cv2.getRotationMatrix2D((width / 2, height / 2), _either_way(rng, 30), 1.0))


def _shear_x(image: np.ndarray, rng: Rng) -> np.ndarray:
    return _warp(image, np.array([[1, _either_way(rng, 0.3), 0], [0, 1, 0]], float))


def _shear_y(image: np.ndarray, rng: Rng) -> np.ndarray:
    return _warp(image, np.array([[1, 0, 0], [_either_way(rng, 0.3), 1, 0]], float))


def _translate_x(image: np.ndarray, rng: Rng) -> np.ndarray:
    return _warp(image, np.array([[1, 0, _either_way(rng, image.shape[1] / 3)], [0, 1, 0]]))


def _translate_y(image: np.ndarray, rng: Rng) -> np.ndarray:
    return _warp(image, np.array([[1, 0, 0], [0, 1, _either_way(rng, image.shape[0] / 3)]]))


def _warp(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return cv2.warpAffine(image, matrix, image.shape[1::-1], flags=cv2.INTER_LINEAR)


_OPERATIONS: tuple[Callable[[np.ndarray, Rng], np.ndarray], ...] = (
    _autocontrast, _equalize, _posterize, _rotate, _solarize, _shear_x, _shear_y, _translate_x, _translate_y,
)  # fmt: skip


def _with_masks(layers: Layers, image: np.ndarray, change: Callable[[np.ndarray], np.ndarray]) -> Layers:
    regions = None if layers.regions is None else np.stack([change(region) for region in layers.regions])
    return Layers(image, regions, None if layers.hair_mask is None else change(layers.hair_mask))


def _as_picture(values: np.ndarray) -> np.ndarray:
    return np.round(np.clip(values, 0, 255)).astype(np.uint8)
