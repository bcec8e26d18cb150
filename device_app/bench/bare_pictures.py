"""Pictures without any hair, drawn from a seed: what a microscope shows when it looks at something else, or at nothing.

Independent of the pseudo-images that the network was trained on, so that a network cannot have learnt its drawings.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

_SKIN_RGB = ((236, 205, 188), (226, 180, 156), (208, 158, 130), (178, 130, 102), (134, 94, 74), (88, 60, 48))


def _field(rng: np.random.Generator, shape: tuple[int, int], cells: int) -> np.ndarray:
    """Smooth noise, (H, W) float32, mean 0, standard deviation 1, `cells` lumps across the picture's width."""
    height, width = shape
    coarse = rng.standard_normal((max(2, cells * height // width), max(2, cells))).astype(np.float32)
    field = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return (field - field.mean()) / max(float(field.std()), 1e-6)


def _finish(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Uneven light, a soft lens, sensor noise and JPEG; (H, W, 3) float in 0..255 -> uint8."""
    height, width = image.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    centre = rng.uniform(0.3, 0.7, 2) * (width, height)
    distance = np.hypot(x - centre[0], y - centre[1]) / np.hypot(width, height)
    light = 1.0 - rng.uniform(0.0, 0.5) * distance**2
    image = cv2.GaussianBlur(image * light[..., None], (0, 0), rng.uniform(0.5, 1.5))
    noisy = image + rng.normal(0.0, rng.uniform(1.0, 6.0), image.shape)
    flat = np.clip(noisy, 0, 255).astype(np.uint8)
    _, coded = cv2.imencode(".jpg", flat, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(70, 97))])
    decoded = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    assert decoded is not None  # just coded
    return decoded


def _skin(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Skin, (H, W, 3) float: tone, redness in patches, pores and lines of its own relief."""
    tone = np.array(_SKIN_RGB[rng.integers(len(_SKIN_RGB))], np.float32) * rng.uniform(0.85, 1.1)
    image = np.broadcast_to(tone, (*shape, 3)).astype(np.float32).copy()
    redness = np.clip(_field(rng, shape, int(rng.integers(3, 9))), 0, None) * rng.uniform(0, 0.07) * float(tone.mean())
    image += redness[..., None] * np.array((0.3, -1.0, -0.8), np.float32)
    for cells, strength in ((12, 6.0), (50, 4.0), (160, 3.0)):
        image += (_field(rng, shape, cells) * rng.uniform(0.3, 1.0) * strength)[..., None]
    return image


def _blots(
    rng: np.random.Generator, shape: tuple[int, int], count: int, radius: tuple[float, float], raggedness: float
) -> np.ndarray:
    """Coverage 0..1, (H, W) float32, of round or ragged blots."""
    coverage = np.zeros(shape, np.float32)
    height, width = shape
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    for _ in range(count):
        ragged = rng.standard_normal(24)
        ragged = (np.roll(ragged, 1) + 2 * ragged + np.roll(ragged, -1)) / 2.5
        radii = rng.uniform(*radius) * np.clip(1 + raggedness * ragged, 0.3, 2.0)
        squeeze = rng.uniform(0.6, 1.0)
        points = np.stack([radii * np.cos(angles), squeeze * radii * np.sin(angles)], axis=1)
        points += rng.uniform(0, 1, 2) * (width, height)
        cv2.fillPoly(coverage, [np.round(points * 16).astype(np.int32)], 1.0, cv2.LINE_AA, shift=4)
    return cv2.GaussianBlur(coverage, (0, 0), rng.uniform(0.7, 2.5))


def _blend(image: np.ndarray, coverage: np.ndarray, colour: tuple[float, float, float]) -> np.ndarray:
    share = np.clip(coverage, 0, 1)[..., None]
    return image * (1 - share) + np.array(colour, np.float32) * share


def bare_scalp(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Skin of any tone, with pores and here and there a mole."""
    image = _skin(rng, shape)
    image = _blend(image, _blots(rng, shape, int(rng.integers(0, 40)), (1.5, 4), 0.1) * 0.35, (90, 60, 50))
    moles = _blots(rng, shape, int(rng.integers(0, 3)), (12, 40), 0.08) * rng.uniform(0.4, 0.9)
    return _finish(rng, _blend(image, moles, (82, 52, 40)))


def flakes(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Dandruff: pale ragged scales from specks to plates, with the shadow at their edge."""
    image = _skin(rng, shape)
    for _ in range(int(rng.integers(1, 4))):
        size = rng.uniform(3, 40)
        scales = _blots(rng, shape, int(rng.integers(4, 30)), (size * 0.4, size), 0.25)
        shadow = np.roll(scales, (2, 2), axis=(0, 1)) * rng.uniform(0.1, 0.35)
        image = _blend(image, shadow, (70, 50, 45))
        texture = 1 + 0.08 * _field(rng, shape, 120)
        image = _blend(image, scales * rng.uniform(0.5, 0.95) * texture, (238, 232, 220))
    return _finish(rng, image)


def gloss(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Wet or greasy skin: burnt-out spots, soft sheens and bubbles with bright rims."""
    image = _skin(rng, shape)
    sheen = np.clip(_field(rng, shape, int(rng.integers(4, 14))) - rng.uniform(0.5, 1.5), 0, 1)
    image = _blend(image, sheen * rng.uniform(0.3, 0.9), (252, 250, 246))
    image = _blend(image, _blots(rng, shape, int(rng.integers(5, 60)), (1.5, 9), 0.3), (255, 255, 255))
    rims = np.zeros(shape, np.float32)
    for _ in range(int(rng.integers(0, 8))):
        centre = tuple(int(value) for value in rng.uniform(0, 1, 2) * (shape[1], shape[0]))
        cv2.circle(rims, centre, int(rng.integers(6, 45)), 1.0, int(rng.integers(1, 4)), cv2.LINE_AA)
    return _finish(rng, _blend(image, cv2.GaussianBlur(rims, (0, 0), 1.2) * rng.uniform(0.3, 0.9), (250, 248, 244)))


def white_paper(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Paper under the lens: white with fibres' relief too soft to be a hair, a tint of the lamp, uneven light."""
    image = np.full((*shape, 3), rng.uniform(200, 250), np.float32)
    for cells, strength in ((20, 3.0), (90, 3.0), (220, 3.0)):
        image += (_field(rng, shape, cells) * rng.uniform(0.2, 1.0) * strength)[..., None]
    return _finish(rng, image * rng.uniform(0.92, 1.0, 3).astype(np.float32))


def black(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """The lens cap on: black, with the sensor's noise."""
    return np.clip(rng.normal(0, rng.uniform(0, 8), (*shape, 3)), 0, 255).astype(np.uint8)


def white(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Burnt out: white, with what noise is left."""
    return np.clip(255 - np.abs(rng.normal(0, rng.uniform(0, 4), (*shape, 3))), 0, 255).astype(np.uint8)


def noise(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Nothing but noise, fine or coarse, grey or coloured, as a broken camera sends it."""
    grain = int(rng.integers(1, 9))
    channels = 3 if rng.random() < 0.5 else 1
    small = rng.integers(0, 256, (-(-shape[0] // grain), -(-shape[1] // grain), channels)).astype(np.uint8)
    image = cv2.resize(small, (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST).reshape(*shape, channels)
    return np.ascontiguousarray(np.broadcast_to(image, (*shape, 3)))


KINDS: dict[str, Callable[[np.random.Generator, tuple[int, int]], np.ndarray]] = {
    "bare scalp": bare_scalp,
    "flakes": flakes,
    "gloss": gloss,
    "white paper": white_paper,
    "black": black,
    "white": white,
    "noise": noise,
}
"""What is drawn, by name: (generator, (height, width)) -> (height, width, 3) uint8 RGB."""


def draw_bare_picture(kind: str, seed: int, width: int = 640, height: int = 480) -> np.ndarray:
    """One picture without a hair, (height, width, 3) uint8 RGB; the same arguments give the same picture.

    Raises:
        KeyError: `kind` is not one of `KINDS`.
    """
    draw = KINDS[kind]
    return draw(np.random.default_rng([list(KINDS).index(kind), seed]), (height, width))
