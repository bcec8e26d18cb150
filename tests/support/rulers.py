"""Pictures of rulers with exactly known scale, written from the geometry and independent of what finds them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import cv2
import numpy as np
from scipy.special import ndtr


@dataclass(frozen=True)
class RulerScene:
    """A ruler and how it is photographed. Lengths in pixels, brightness from 0 to 255."""

    width: int = 640
    height: int = 480
    spacing: float = 20.0
    angle_deg: float = 0.0
    phase: float = 0.3
    tick_width_fraction: float = 0.25
    tick_length: float = 60.0
    fifth_longer: float = 1.4
    tenth_longer: float = 1.8
    centred_ticks: bool = False
    offset: float = 0.0
    first_tick: int = -10_000
    last_tick: int = 10_000
    missing: frozenset[int] = frozenset()
    displaced: dict[int, float] = field(default_factory=dict)
    baseline: bool = False
    numbers: bool = False
    light_on_dark: bool = False
    paper: float = 210.0
    ink: float = 50.0
    uneven: float = 0.0
    blur: float = 0.8
    noise: float = 0.0
    barrel: float = 0.0
    tilt: float = 0.0
    reticle: bool = False
    colour: tuple[float, float, float] = (1.0, 0.97, 0.92)
    seed: int = 0


def render_ruler(scene: RulerScene) -> np.ndarray:
    """(height, width, 3) uint8 RGB. Every pixel's ink is the closed form of a blurred bar, so no edge is rounded."""
    along, across = _ruler_coordinates(scene, scene.angle_deg)
    ink = _ticks(scene, along, across)
    if scene.reticle:
        ink = np.maximum(ink, _ticks(scene, *_ruler_coordinates(scene, scene.angle_deg + 90.0)))
    if scene.numbers:
        ink = np.maximum(ink, _numbers(scene))
    background, mark = (scene.ink, scene.paper) if scene.light_on_dark else (scene.paper, scene.ink)
    picture = background + (mark - background) * ink
    y, x = np.mgrid[: scene.height, : scene.width].astype(np.float64)
    light = 1.0 - scene.uneven * (((x / scene.width - 0.3) ** 2 + (y / scene.height - 0.4) ** 2) / 0.85)
    rng = np.random.default_rng(scene.seed)
    rgb = picture[..., None] * light[..., None] * np.array(scene.colour)
    rgb = rgb + rng.normal(0.0, scene.noise, rgb.shape) if scene.noise else rgb
    return np.clip(np.round(rgb), 0, 255).astype(np.uint8)


def _ruler_coordinates(scene: RulerScene, angle_deg: float) -> tuple[np.ndarray, np.ndarray]:
    """Position along the ruler (across its ticks) and along its ticks of every pixel centre, seen through the lens."""
    y, x = np.mgrid[: scene.height, : scene.width].astype(np.float64)
    x, y = x - (scene.width - 1) / 2, y - (scene.height - 1) / 2
    half_diagonal = math.hypot(scene.width, scene.height) / 2
    stretch = 1.0 + scene.barrel * (x**2 + y**2) / half_diagonal**2
    x, y = x * stretch, y * stretch
    cos, sin = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    along, across = cos * x + sin * y, -sin * x + cos * y
    perspective = 1.0 / (1.0 - scene.tilt * along / half_diagonal)
    return along * perspective, across * perspective - scene.offset


def _ticks(scene: RulerScene, along: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Ink, 0 to 1."""
    sigma = math.hypot(scene.blur, math.sqrt(1 / 12))  # the pixel itself is a box of one pixel
    half = scene.spacing * scene.tick_width_fraction / 2
    nearest = np.round(along / scene.spacing - scene.phase).astype(int)
    ink = np.zeros(along.shape)
    for step in (-1, 0, 1):
        number = nearest + step
        there = (number >= scene.first_tick) & (number <= scene.last_tick)
        if scene.missing:
            there &= ~np.isin(number, list(scene.missing))
        place = (number + scene.phase) * scene.spacing
        for index, shift in scene.displaced.items():
            place = place + shift * (number == index)
        length = np.where(number % 10 == 0, scene.tenth_longer, np.where(number % 5 == 0, scene.fifth_longer, 1.0))
        length = length * scene.tick_length
        start = -length / 2 if scene.centred_ticks else np.full(along.shape, -scene.tick_length / 2)
        bar = _bar(along - place, -half, half, sigma) * _bar(across, start, start + length, sigma)
        ink = ink + there * bar
    if scene.baseline:
        ends = (scene.first_tick + scene.phase) * scene.spacing, (scene.last_tick + scene.phase) * scene.spacing
        middle = 0.0 if scene.centred_ticks else -scene.tick_length / 2
        ink = np.maximum(ink, _bar(across, middle - half, middle + half, sigma) * _bar(along, *ends, sigma))
    return np.minimum(ink, 1.0)


def _bar(x: np.ndarray, low: np.ndarray | float, high: np.ndarray | float, sigma: float) -> np.ndarray:
    """A bar from low to high, blurred by a Gaussian."""
    bar: np.ndarray = ndtr((x - low) / sigma) - ndtr((x - high) / sigma)
    return bar


def _numbers(scene: RulerScene) -> np.ndarray:
    """Figures beside every tenth tick, as on a printed ruler."""
    layer = np.zeros((scene.height, scene.width), np.uint8)
    cos, sin = math.cos(math.radians(scene.angle_deg)), math.sin(math.radians(scene.angle_deg))
    beyond = scene.tick_length * scene.tenth_longer - scene.tick_length / 2 + 14 + scene.offset
    if scene.centred_ticks:
        beyond = scene.tick_length * scene.tenth_longer / 2 + 14 + scene.offset
    for number in range(-200, 201, 10):
        along = (number + scene.phase) * scene.spacing
        x = (scene.width - 1) / 2 + cos * along - sin * beyond
        y = (scene.height - 1) / 2 + sin * along + cos * beyond
        if -50 < x < scene.width + 50 and -50 < y < scene.height + 50:
            place = (round(x) - 12, round(y) + 8)
            cv2.putText(layer, str(abs(number)), place, cv2.FONT_HERSHEY_SIMPLEX, 0.7, 255, 2, cv2.LINE_AA)
    return cv2.GaussianBlur(layer / 255.0, (0, 0), max(0.3, scene.blur))
