"""A healthy scalp under the microscope, drawn quickly: skin without a red patch, follicles, hairs, camera.

It is what conditions are drawn on (`training.data.graded_scalp`). All pictures are (H, W, 3) float32 RGB, 0..255,
unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from training.data.backgrounds import BackgroundPool
from training.data.procedural_scalp import SKIN_TONES
from training.data.textures import texture, white_noise
from training.segmentation.strands import HairStyle, sample_style

_POINTS = 14  # along the centre line of a hair
_SHIFT = 4
_MOST_HAIRS = 110
_BRIGHTEST_SKIN = 160.0  # mean of RGB; on brighter skin there is no room above it for a white flake or a glint


@dataclass(frozen=True)
class HairLayer:
    """Hairs of one depth: `colour` (H, W, 3) float32 RGB, `alpha` (H, W) float32 0..1."""

    colour: np.ndarray
    alpha: np.ndarray


@dataclass(frozen=True)
class Hairs:
    """What covers the skin.

    Attributes:
        unit: width of a typical hair in pixels; the magnification.
        roots: (N, 2) float32, where hairs leave the skin.
        layers: far (on the skin, in focus) to near (out of focus).
        covered: (H, W) bool, where hair hides the skin.
    """

    unit: float
    roots: np.ndarray
    layers: tuple[HairLayer, ...]
    covered: np.ndarray


def blend(picture: np.ndarray, colour: np.ndarray | float, alpha: np.ndarray) -> None:
    """Lay one colour or a picture over `picture`, in place; `alpha` (H, W) float32 0..1."""
    alpha = np.asarray(alpha, np.float32)
    if np.ndim(colour) < 3:
        planes = np.broadcast_to(np.asarray(colour, np.float32), 3).tolist()
        colour = cv2.merge([np.full(alpha.shape, plane, np.float32) for plane in planes])
    # OpenCV does this in a tenth of numpy's time: broadcasting over three channels is slow.
    cv2.blendLinear(picture, np.asarray(colour, np.float32), 1 - alpha, alpha, dst=picture)


def shade(picture: np.ndarray, factor: np.ndarray) -> None:
    """Multiply every channel of `picture` by `factor` (H, W), in place."""
    factor = np.asarray(factor, np.float32)
    cv2.multiply(picture, cv2.merge([factor, factor, factor]), dst=picture)


def at_low_resolution(draw: Callable[[int, int], np.ndarray], height: int, width: int, shrink: int) -> np.ndarray:
    """`draw(height, width)` on a grid `shrink` times coarser, enlarged again: for whatever has no fine detail."""
    small = draw(max(2, -(-height // shrink)), max(2, -(-width // shrink)))
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def calm_skin(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Bare skin of any tone without red patches: brownish mottling, furrows, pores and grain."""
    tone = SKIN_TONES[rng.integers(len(SKIN_TONES))] + rng.normal(0, 6, 3)
    # The cold LEDs of microscopes take the warmth out of skin: most real pictures are beige to grey.
    tone = tone.mean() + (tone - tone.mean()) * rng.uniform(0.25, 1.0)
    tone *= min(1.0, _BRIGHTEST_SKIN * rng.uniform(0.85, 1.0) / tone.mean())
    shrink = 4

    def mottled(rows: int, columns: int) -> np.ndarray:
        # Light and dark, and brown against grey: never red against pale, that would be erythema.
        light = texture(rng, rows, columns, rng.uniform(40, 250) / shrink) * rng.uniform(0.01, 0.05)
        brown = texture(rng, rows, columns, rng.uniform(40, 250) / shrink) * rng.uniform(0, 0.02)
        return np.float32(tone) * (1 + light[..., None] + brown[..., None] * np.float32([0.4, 0.1, -1.2]))

    skin = at_low_resolution(mottled, height, width, shrink)
    relief = texture(rng, height, width, rng.uniform(2, 7)) * rng.uniform(0.003, 0.03)
    if rng.random() < 0.4:
        net = np.abs(texture(rng, height, width, rng.uniform(24, 70)))
        relief -= np.clip(1 - net / rng.uniform(0.1, 0.3), 0, 1) * rng.uniform(0.01, 0.06)
    if rng.random() < 0.4:
        pores = texture(rng, height, width, rng.uniform(6, 18))
        relief -= np.clip(pores - 1.2, 0, 1.5) * rng.uniform(0.01, 0.06)
    shade(skin, 1 + relief)
    return skin


def patch_skin(rng: np.random.Generator, height: int, width: int, backgrounds: BackgroundPool) -> np.ndarray:
    """Skin of a real hair-free patch, its colour kept and its light set to that of a well lit picture."""
    skin = np.ascontiguousarray(backgrounds.fill(rng, height, width))
    level = float(skin[::4, ::4].mean())
    skin *= rng.uniform(0.6, 1.0) * _BRIGHTEST_SKIN / max(level, 20.0)
    return skin


def grow_hairs(rng: np.random.Generator, height: int, width: int, skin: np.ndarray) -> Hairs:
    """Follicles on a loose grid with one to three hairs each, hairs that only cross, and some near the lens.

    Args:
        skin: mean RGB of the skin.
    """
    unit = float(np.exp(rng.uniform(np.log(2.2), np.log(26.0)))) * width / 448
    density = 0.0 if rng.random() < 0.06 else rng.uniform(0.05, 1.0) ** 1.3
    roots = _scatter_roots(rng, height, width, unit, density)
    if density == 0.0:
        return Hairs(unit, roots, (), np.zeros((height, width), bool))
    family = sample_style(rng, skin, unit, 0.08)
    lines, widths, rooted = _hair_lines(rng, height, width, unit, density, roots)
    layers = [_paint(rng, height, width, lines, widths, family, skin)]
    if rng.random() < (0.55 if unit > 5 * width / 448 else 0.2):
        count = int(rng.integers(1, 5))
        near_lines, near_widths, _ = _hair_lines(rng, height, width, unit * rng.uniform(1.2, 1.9), 0.0, roots, count)
        painted = _paint(rng, height, width, near_lines, near_widths, family, skin)
        blur = 0.8 + unit * rng.uniform(0.08, 0.3)
        haze = rng.uniform(0, 0.35)  # a hair far out of focus gathers the light between lens and skin
        colour = painted.colour + (np.float32([128, 140, 152]) - painted.colour) * np.float32(haze)
        layers.append(
            HairLayer(colour, cv2.GaussianBlur(painted.alpha, (0, 0), blur) * np.float32(rng.uniform(0.75, 1)))
        )
    alpha = np.maximum(layers[0].alpha, layers[-1].alpha)
    return Hairs(unit, roots[rooted] if len(rooted) else roots, tuple(layers), alpha > 0.4)


def _scatter_roots(rng: np.random.Generator, height: int, width: int, unit: float, density: float) -> np.ndarray:
    """Follicles in and a little around the picture, (N, 2) float32 (x, y); closer where hair is denser."""
    spacing = unit * rng.uniform(7, 13) / (0.5 + 0.6 * density)
    spacing = max(spacing, np.sqrt(height * width / 90))
    x, y = np.meshgrid(np.arange(-0.5, width / spacing + 1), np.arange(-0.5, height / spacing + 1))
    grid = np.stack([x.ravel(), y.ravel()], 1) + rng.uniform(-0.45, 0.45, (x.size, 2))
    return np.asarray((grid + rng.uniform(-0.5, 0.5, 2)) * spacing, np.float32)


def _hair_lines(
    rng: np.random.Generator,
    height: int,
    width: int,
    unit: float,
    density: float,
    roots: np.ndarray,
    crossing: int | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre lines (N, P, 2), widths (N, P) and the indices of the roots that carry hair.

    `crossing` hairs run through the whole picture; None: some, beside those of the roots. No more than about two
    thirds of the picture is covered, so that skin can be judged.
    """
    diagonal = float(np.hypot(height, width))
    used = np.zeros(0, int)
    starts = np.zeros((0, 2), np.float32)
    cut_short = bool(rng.random() < 0.2)
    budget = 1.3 * height * width * (0.15 + 0.85 * density)
    if crossing is None:
        used = np.flatnonzero(rng.random(len(roots)) < rng.uniform(0.5, 1) * min(1.0, 0.25 + density))
        used = rng.permutation(used)
        used = np.repeat(used, rng.choice((1, 2, 3), len(used), p=(0.55, 0.3, 0.15)))
        starts = roots[used] + rng.normal(0, 0.5 * unit, (len(used), 2)).astype(np.float32)
        crossing = int(rng.integers(0, 4 + int(12 * density)))
    own = len(starts)
    anchors = rng.uniform((0, 0), (width, height), (crossing, 2)).astype(np.float32)
    starts = np.concatenate([starts, anchors])
    lean = np.concatenate([rng.normal(0, 1, len(roots))[used], rng.normal(0, 1, crossing)])
    count = len(starts)
    direction = rng.uniform(0, 2 * np.pi)
    disorder = float(rng.choice((0.12, 0.35, 1.2)))
    # Hair lies the same way in one place and turns slowly over the picture.
    turning = rng.normal(0, 0.5, 2) / diagonal
    heading = direction + starts @ turning + disorder * lean + rng.normal(0, 0.06, count)
    length = np.exp(rng.normal(np.log(diagonal * 0.8), 0.4, count))
    if cut_short:
        length[:own] = unit * rng.uniform(2.5, 12, own)
    length = np.maximum(length, 2.5 * unit)
    length[own:] = 2.2 * diagonal
    widths = unit * np.exp(rng.normal(0, 0.25, count)) * np.where(rng.random(count) < 0.12, rng.uniform(0.3, 0.6), 1)
    area = np.cumsum(np.minimum(length, 0.55 * diagonal) * widths)
    keep = (area - area[:1] < budget) & (np.arange(count) < _MOST_HAIRS) if count else np.zeros(0, bool)
    t = np.linspace(0, 1, _POINTS)
    begin = np.where(np.arange(count) < own, 0.0, -0.5)
    along = (t[None] + begin[:, None]) * length[:, None]
    bend = rng.normal(0, 0.16, count) * np.minimum(length, diagonal)
    shape = t[None] ** rng.uniform(1.3, 2.6, (count, 1)) + 0.12 * np.sin(
        t[None] * rng.uniform(2, 8, (count, 1)) + rng.uniform(0, 6.3, (count, 1))
    ) * (rng.random((count, 1)) < 0.3)
    across = bend[:, None] * (shape - shape[:, :1])
    cos, sin = np.cos(heading)[:, None], np.sin(heading)[:, None]
    x = starts[:, :1] + along * cos - across * sin
    y = starts[:, 1:] + along * sin + across * cos
    taper = np.where(rng.random((count, 1)) < 0.3, np.clip((1.02 - t[None]) * 3, 0.15, 1), 1.0)
    lines = np.stack([x, y], 2)[keep]
    return lines, np.maximum(widths[:, None] * taper, 0.9)[keep], np.unique(used[keep[:own]])


def _paint(
    rng: np.random.Generator,
    height: int,
    width: int,
    lines: np.ndarray,
    widths: np.ndarray,
    family: HairStyle,
    skin: np.ndarray,
) -> HairLayer:
    """Hairs over each other: a body, a lighter or darker middle and broken streaks of gloss."""
    colour = np.empty((height, width, 3), np.uint8)
    colour[:] = np.clip(family.colour, 0, 255).astype(np.uint8)
    alpha = np.zeros((height, width), np.uint8)
    count = len(lines)
    if count == 0:
        return HairLayer(colour.astype(np.float32), alpha.astype(np.float32))
    tangents = np.gradient(lines, axis=1)
    tangents /= np.maximum(np.linalg.norm(tangents, axis=2, keepdims=True), 1e-6)
    normals = np.stack([-tangents[..., 1], tangents[..., 0]], 2) * widths[..., None] / 2
    tones = np.clip(family.colour * np.exp(rng.normal(0, 0.16, (count, 1))), 0, 255)
    for index in np.flatnonzero(rng.random(count) < rng.choice((0.06, 0.4), p=(0.8, 0.2))):
        tones[index] = sample_style(rng, skin, float(widths[index].mean()), 0.08).colour

    def strips(left: np.ndarray | float, right: np.ndarray | float, first: int = 0, last: int = _POINTS) -> np.ndarray:
        """Outlines between two places across the shafts (-1 .. 1), for every hair: (N, 2 P, 2) int32."""
        line, normal = lines[:, first:last], normals[:, first:last]
        outline = np.concatenate([line + left * normal, (line + right * normal)[:, ::-1]], axis=1)
        return np.round(np.clip(outline, -3000, 3000) * (1 << _SHIFT)).astype(np.int32)

    bodies, middles = strips(-1, 1), strips(-0.55, 0.5)
    rims, cores = np.clip(tones * family.rim, 0, 255).tolist(), tones.tolist()
    where = rng.uniform(-0.3, 0.3, (count, 1, 1))
    spread = 0.25 * family.gloss_width
    shine = np.clip(family.gloss * rng.uniform(0, 0.8, (4, count, 1)), 0, 1)
    shines = (tones + (230 - tones) * shine).tolist()
    pieces = [strips(where - spread, where + spread, first, first + 4) for first in (1, 4, 7, 10)]
    thick = widths.mean(axis=1) >= 3
    for index in range(count):
        cv2.fillPoly(colour, bodies[index : index + 1], rims[index], cv2.LINE_AA, _SHIFT)
        cv2.fillPoly(alpha, bodies[index : index + 1], 255, cv2.LINE_AA, _SHIFT)
        if thick[index]:
            cv2.fillPoly(colour, middles[index : index + 1], cores[index], cv2.LINE_AA, _SHIFT)
            for piece, bright in zip(pieces, shines, strict=True):
                cv2.fillPoly(colour, piece[index : index + 1], bright[index], cv2.LINE_AA, _SHIFT)
    painted = colour.astype(np.float32)
    cuticle = texture(rng, height, width, rng.uniform(2, 5)) * np.float32(0.25 * family.roughness * family.gloss + 0.05)
    shade(painted, 1 + cuticle)
    return HairLayer(painted, alpha.astype(np.float32) * np.float32(1 / 255))


def shade_skin(rng: np.random.Generator, picture: np.ndarray, hairs: Hairs) -> None:
    """What hair does to the skin around it: shadows beside the shafts, bluish or brown spots at the roots; in place."""
    if not hairs.layers:
        return
    height, width = picture.shape[:2]
    alpha = hairs.layers[0].alpha
    size = (max(2, width // 4), max(2, height // 4))
    small = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA)
    move = np.float32([[1, 0, rng.normal(0, 1.5)], [0, 1, rng.normal(0, 1.5)]])
    shadow = cv2.GaussianBlur(cv2.warpAffine(small, move, size), (0, 0), rng.uniform(0.8, 2)) * rng.uniform(0.0, 0.3)
    shade(picture, 1 - cv2.resize(shadow, (width, height)))
    if rng.random() < 0.6:
        spots = root_bumps(height, width, hairs.roots, hairs.unit * rng.uniform(0.7, 1.5))
        tone = np.float32((70, 80, 90) if rng.random() < 0.7 else (90, 70, 50))
        blend(picture, tone, spots * np.float32(rng.uniform(0.1, 0.5)))


def root_bumps(height: int, width: int, roots: np.ndarray, reach: float) -> np.ndarray:
    """Soft round bumps of height 1 and radius about `reach` pixels at the roots: (H, W) float32 0..1."""
    shrink = int(np.clip(reach / 2, 1, 8))
    layer = np.zeros((max(2, height // shrink), max(2, width // shrink)), np.uint8)
    scale = np.float32([layer.shape[1] / width, layer.shape[0] / height])
    for x, y in (roots * scale * 16).astype(np.int32).tolist():
        cv2.circle(layer, (x, y), max(8, round(reach / shrink * 16)), 255, -1, cv2.LINE_AA, _SHIFT)
    soft = cv2.GaussianBlur(layer, (0, 0), max(0.5, 0.6 * reach / shrink))
    return cv2.resize(soft, (width, height)).astype(np.float32) * np.float32(1 / 255)


def photograph_gently(rng: np.random.Generator, picture: np.ndarray, skin: np.ndarray, grey: bool) -> np.ndarray:
    """A cheap microscope's camera that still leaves visible what can be seen: (H, W, 3) uint8. `picture` is used up.

    Light, slight blur, white balance, contrast around the skin's own level, noise, sharpening, JPEG.

    Args:
        skin: (H, W) bool, where skin can be seen.
        grey: from a monochrome camera.
    """
    height, width = picture.shape[:2]
    if rng.random() < 0.35:
        centre = rng.uniform(0, 1, 2)
        reach, strength = rng.uniform(0.5, 1.1), rng.uniform(0.1, 0.55)

        def falloff(rows: int, columns: int) -> np.ndarray:
            y, x = np.mgrid[0 : 1 : rows * 1j, 0 : 1 : columns * 1j]
            distance = np.hypot(x - centre[0], y - centre[1])
            return np.float32(1 - strength * np.clip((distance - 0.25) / reach, 0, 1) ** 1.5)

        shade(picture, at_low_resolution(falloff, height, width, 16))
    blur = abs(rng.normal(0, 0.45)) * width / 448
    image = cv2.convertScaleAbs(np.clip(picture, 0, 255))
    if blur > 0.3:
        image = cv2.GaussianBlur(image, (0, 0), min(blur, 1.1 * width / 448))
    levels = image[::4, ::4, 1][skin[::4, ::4]]
    level = float(np.median(levels)) if len(levels) else 128.0
    wanted = float(np.clip(level * np.exp(rng.normal(0, 0.12)), 62, 1.05 * _BRIGHTEST_SKIN))
    contrast, gamma = rng.uniform(0.85, 1.25), np.exp(rng.normal(0, 0.06))
    balance = np.exp(rng.normal(0, 0.06, 3))
    values = np.arange(256, dtype=np.float64)
    table = np.empty((1, 256, 3), np.uint8)
    for channel in range(3):
        scaled = values * (wanted / max(level, 1)) * balance[channel]
        scaled = (scaled - wanted) * contrast + wanted
        table[0, :, channel] = np.clip(255 * (np.clip(scaled, 0, 255) / 255) ** gamma, 0, 255).round()
    image = cv2.LUT(image, table)
    if grey:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    noise = rng.uniform(0, 4) if rng.random() < 0.85 else rng.uniform(4, 8)
    if noise > 0.4:
        grain = white_noise(rng, height, width)
        if rng.random() < 0.5 or grey:
            grain = cv2.merge([grain[..., 0]] * 3)
        image = np.uint8(np.clip(image + grain * np.float32(noise), 0, 255))
    if rng.random() < 0.5:
        soft, amount = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.8, 2.0)), rng.uniform(0.3, 1.6)
        image = cv2.addWeighted(image, 1 + amount, soft, -amount, 0)
    if rng.random() < 0.7:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(45, 97))]
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        image = cv2.cvtColor(cv2.imdecode(cv2.imencode(".jpg", image, quality)[1], cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    return np.ascontiguousarray(image)
