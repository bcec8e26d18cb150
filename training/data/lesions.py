"""Drawing dandruff, excess sebum and erythema on skin so that an exact share of the visible skin is covered.

A lesion's shape is a noise field cut at a level. The level is the quantile of the field over the skin that can be seen,
so the covered share is met whatever the hairs hide. Pictures are (H, W, 3) float32 RGB, 0..255, changed in place;
`seen` is (H, W) bool, the skin that no hair hides; the lesions' functions return where the lesion is, (H, W) bool,
under hair too.
"""

from __future__ import annotations

import cv2
import numpy as np

from training.data.scalp_scene import Hairs, blend, root_bumps, shade
from training.data.textures import texture


def draw_dandruff(
    rng: np.random.Generator, picture: np.ndarray, seen: np.ndarray, hairs: Hairs, share: float, largest: float
) -> tuple[np.ndarray, np.ndarray]:
    """Fine scales and larger flakes: dull, whitish, ragged, at the roots and between them.

    Args:
        share: of the seen skin that is covered, 0..1.
        largest: size of the largest flakes in pixels, about.

    Returns:
        where the flakes are, and how opaque they are there: (H, W) float32 0..1.
    """
    height, width = picture.shape[:2]
    fine = rng.uniform(0.1, 0.6)
    near_roots = rng.uniform(0, 1.6) if len(hairs.roots) else 0.0
    crowd = texture(rng, height, width, max(height, width) / 2) * rng.uniform(0, 0.5)
    crowd += near_roots * root_bumps(height, width, hairs.roots, 1.2 * hairs.unit + 3)
    scales = texture(rng, height, width, rng.uniform(6, 11) * width / 448) + crowd
    flakes = texture(rng, height, width, max(largest, 10.0)) + 0.22 * texture(rng, height, width, 5.0) + crowd
    covered = np.zeros((height, width), bool)
    opacity = np.zeros((height, width), np.float32)
    for field, part in ((scales, share * fine), (flakes, share)):
        left = part - covered[seen].mean()
        if left <= 0:
            continue
        level = _level(field, seen & ~covered, left / max(1e-6, 1 - covered[seen].mean()))
        # A flake is thicker, and so whiter, away from its ragged rim.
        np.maximum(opacity, np.clip(0.75 + (field - level) / rng.uniform(0.05, 0.25), 0, 1), out=opacity)
        covered |= field > level
    opacity *= np.clip(0.8 + 0.15 * texture(rng, height, width, rng.uniform(8, 40)), rng.uniform(0.6, 0.8), 0.97)
    _throw_shadow(rng, picture, opacity)
    white = np.float32([236, 238, 240]) * rng.uniform(0.94, 1.04) * np.exp(rng.normal(0, 0.015, 3)).astype(np.float32)
    plates = 1 + texture(rng, height, width, rng.uniform(4, 14)) * np.float32(rng.uniform(0.02, 0.07))
    flake = np.empty_like(picture)
    flake[:] = white
    shade(flake, plates)
    blend(picture, np.minimum(flake, 252), opacity)
    return covered, opacity


def draw_specks(rng: np.random.Generator, picture: np.ndarray, seen: np.ndarray) -> None:
    """A few dull specks that nobody would call dandruff: less than 0.1 % of the skin that can be seen."""
    places = np.argwhere(seen[::4, ::4]) * 4
    budget = 0.0006 * seen.sum()
    if not len(places):
        return
    layer = np.zeros(seen.shape, np.uint8)
    for _ in range(int(rng.integers(1, 8))):
        radius = rng.uniform(0.5, 1.2)
        budget -= np.pi * (radius + 0.5) ** 2
        if budget < 0:
            break
        y, x = places[rng.integers(len(places))].tolist()
        cv2.circle(layer, (x * 16, y * 16), round(radius * 16), 255, -1, cv2.LINE_AA, 4)
    blend(picture, 225.0, layer.astype(np.float32) * np.float32(rng.uniform(0.3, 0.7) / 255))


def draw_sebum(
    rng: np.random.Generator, picture: np.ndarray, seen: np.ndarray, hairs: Hairs, share: float, plugs: int
) -> np.ndarray:
    """A wet, yellowish film that glints in specks and wrinkles, and waxy plugs at `plugs` of the roots."""
    height, width = picture.shape[:2]
    field = texture(rng, height, width, rng.uniform(60, 170) * width / 448)
    if len(hairs.roots):
        field += rng.uniform(0, 1.2) * root_bumps(height, width, hairs.roots, 2.5 * hairs.unit + 6)
    level = _level(field, seen, share)
    film = np.clip(0.5 + (field - level) / rng.uniform(0.15, 0.6), 0, 1)
    covered = field > level
    tint = rng.uniform(0.2, 1.0)
    oily = cv2.transform(picture, np.diag([1 + 0.06 * tint, 1 + 0.03 * tint, 1 - 0.17 * tint]))
    broad = np.clip(0.5 + 0.5 * texture(rng, height, width, rng.uniform(15, 60)), 0, 1)
    blend(picture, np.minimum(oily + np.float32(rng.uniform(10, 26)), 245), film * np.float32(rng.uniform(0.6, 0.95)))
    blend(picture, np.float32([238, 238, 232]), film * broad * np.float32(rng.uniform(0.08, 0.25)))
    # Glints: points of a rough surface, and the crests of its fine wrinkles.
    rough = texture(rng, height, width, rng.uniform(3, 7) * width / 448)
    points = np.clip((rough - rng.uniform(0.6, 1.2)) * 1.6, 0, 1)
    wrinkles = np.abs(texture(rng, height, width, rng.uniform(8, 20) * width / 448))
    crests = np.clip(1 - wrinkles / 0.12, 0, 1) * np.clip(rough, 0, 1)
    shine = np.maximum(points, crests) * film * np.clip(0.6 + broad, 0, 1)
    blend(picture, 253.0, shine * np.float32(rng.uniform(0.75, 1.0)))
    for x, y in hairs.roots[rng.permutation(len(hairs.roots))][:plugs]:
        _draw_plug(rng, picture, (float(x), float(y)), hairs.unit * rng.uniform(0.5, 0.9) + 2)
    return covered


def draw_erythema(
    rng: np.random.Generator,
    picture: np.ndarray,
    seen: np.ndarray,
    hairs: Hairs,
    share: float,
    strength: float,
    vessels: int,
    pustules: int,
) -> np.ndarray:
    """Reddened skin around and between follicles, with branching vessels and pustules.

    Args:
        strength: how much of the green light the reddened skin keeps back, 0..1.
        vessels: how many trees of vessels.
        pustules: how many.
    """
    height, width = picture.shape[:2]
    field = texture(rng, height, width, rng.uniform(50, 180) * width / 448)
    if len(hairs.roots):
        field += rng.uniform(0, 1.5) * root_bumps(height, width, hairs.roots, 3 * hairs.unit + 8)
    level = _level(field, seen, share)
    red = np.clip(0.5 + (field - level) / rng.uniform(0.5, 1.5), 0, 1)
    red = red * red * (3 - 2 * red)
    red *= np.clip(1 + 0.12 * texture(rng, height, width, rng.uniform(24, 60)), 0.6, 1.3)
    # Dark skin sends back little green: below a fixed step nobody could see the difference.
    green = float(picture[::8, ::8, 1].mean())
    strength = min(0.6, max(strength, strength * 115 / max(green, 30.0)))
    kept = [1 - red * np.float32(lost) for lost in (-0.1 * strength, strength, rng.uniform(0.75, 0.95) * strength)]
    cv2.multiply(picture, cv2.merge(kept), dst=picture)
    places = np.argwhere((seen & (field > level))[::4, ::4]) * 4
    if len(places):
        _draw_vessels(rng, picture, places, vessels, strength)
        for _ in range(pustules):
            y, x = places[rng.integers(len(places))]
            _draw_pustule(rng, picture, (float(x), float(y)), rng.uniform(4, 8) * width / 448 + 0.3 * hairs.unit)
    return field > level


def _level(field: np.ndarray, seen: np.ndarray, share: float) -> float:
    """The level above which `share` of the field's values on seen skin lie."""
    if share > 0.05:  # there is enough of it to be met on every second pixel, too
        field, seen = field[::2, ::2], seen[::2, ::2]
    values = field[seen]
    if not len(values):
        return float(field.max())
    index = int(np.clip(round((1 - share) * len(values)), 0, len(values) - 1))
    return float(np.partition(values, index)[index])


def _throw_shadow(rng: np.random.Generator, picture: np.ndarray, opacity: np.ndarray) -> None:
    shift = rng.uniform(-2.5, 2.5, 2)
    move = np.float32([[1, 0, shift[0]], [0, 1, shift[1]]])
    beside = cv2.warpAffine(opacity, move, (opacity.shape[1], opacity.shape[0]))
    shade(picture, 1 - np.float32(rng.uniform(0.05, 0.3)) * np.clip(beside - opacity, 0, 1))


def _window(picture: np.ndarray, centre: tuple[float, float], reach: float) -> tuple[np.ndarray, np.ndarray]:
    """The part of the picture around a point (a view), and each of its pixels' distance from the point."""
    x, y = centre
    top, left = max(0, int(y - reach)), max(0, int(x - reach))
    part = picture[top : max(0, int(y + reach) + 1), left : max(0, int(x + reach) + 1)]
    rows, columns = np.ogrid[top : top + part.shape[0], left : left + part.shape[1]]
    return part, np.hypot(columns - x, rows - y).astype(np.float32)


def _dab(part: np.ndarray, colour: np.ndarray | float, alpha: np.ndarray) -> None:
    part += (colour - part) * alpha[..., None]


def _draw_plug(rng: np.random.Generator, picture: np.ndarray, centre: tuple[float, float], radius: float) -> None:
    """A waxy, yellowish drop in a follicle's mouth, with a glint."""
    part, distance = _window(picture, centre, 2 * radius)
    if part.size == 0:
        return
    blend(
        part, np.float32([228, 208, 150]), np.clip(1.3 - distance / radius, 0, 1) * np.float32(rng.uniform(0.5, 0.85))
    )
    part, distance = _window(picture, (centre[0] - 0.3 * radius, centre[1] - 0.3 * radius), radius)
    if part.size:
        _dab(part, 253.0, np.clip(1.4 - distance / (0.35 * radius + 0.5), 0, 1) * np.float32(0.9))


def _draw_pustule(rng: np.random.Generator, picture: np.ndarray, centre: tuple[float, float], radius: float) -> None:
    """A yellow-white dome in a red halo."""
    part, distance = _window(picture, centre, 3 * radius)
    if part.size == 0:
        return
    halo = np.exp(-((distance / (1.5 * radius)) ** 2))
    part *= 1 - halo[..., None] * np.float32([0.05, 0.42, 0.38])
    dome = np.clip((1.15 - distance / radius) * 3, 0, 1)
    colour = (
        np.float32([238, 222, 160])
        * rng.uniform(0.9, 1.03)
        * np.clip(1.06 - 0.2 * distance / radius, 0.7, 1.1)[..., None]
    )
    _dab(part, np.clip(colour, 0, 250), dome * np.float32(rng.uniform(0.8, 0.95)))


def _draw_vessels(
    rng: np.random.Generator, picture: np.ndarray, places: np.ndarray, trees: int, strength: float
) -> None:
    """Branching, winding vessels that start at `trees` of the places (N, 2) of (row, column)."""
    if not trees:
        return
    height, width = picture.shape[:2]
    layer = np.zeros((height, width), np.uint8)
    scale = width / 448
    for _ in range(trees):
        row, column = places[rng.integers(len(places))]
        branches = [(np.array([column, row], float), rng.uniform(0, 2 * np.pi), rng.uniform(50, 110) * scale, 2)]
        while branches:
            start, heading, length, generation = branches.pop()
            steps = max(4, int(length / (5 * scale)))
            turns = heading + np.cumsum(rng.normal(0, 0.28, steps))
            line = start + np.cumsum(np.stack([np.cos(turns), np.sin(turns)], 1) * 5 * scale, 0)
            line = np.vstack([start, line])
            points = np.round(np.clip(line, -2000, 4000) * 16).astype(np.int32)
            thick = max(1, round((0.5 + 0.6 * generation) * scale))
            cv2.polylines(layer, [points], False, 255, thick, cv2.LINE_AA, 4)
            if generation:
                for _ in range(int(rng.integers(1, 4))):
                    at = int(rng.integers(steps // 3, steps))
                    aside = turns[at] + rng.choice((-1, 1)) * rng.uniform(0.5, 1.1)
                    branches.append((line[at + 1], aside, length * rng.uniform(0.35, 0.7), generation - 1))
    alpha = cv2.GaussianBlur(layer, (0, 0), 0.8 * scale).astype(np.float32) * np.float32(1 / 255)
    colour = cv2.transform(picture, np.diag([0.84, 0.42, 0.46]))
    blend(picture, colour, alpha * np.float32(min(1.0, rng.uniform(0.65, 0.9) + 0.3 * strength)))
