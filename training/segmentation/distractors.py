"""What lies on a scalp and in front of a lens and is not hair: drawn, and never masked.

Every function takes a picture (H, W, 3) float32 RGB, 0..255, and changes it in place unless it says otherwise.
"""

from __future__ import annotations

import string

import cv2
import numpy as np

from training.data.procedural_scalp import fractal_noise


def _blend(picture: np.ndarray, colour: np.ndarray | float, alpha: np.ndarray) -> None:
    picture += (colour - picture) * alpha[..., None]


def _disc(
    picture: np.ndarray, centre: np.ndarray, radii: tuple[float, float], angle: float, softness: float
) -> np.ndarray:
    """A soft ellipse, (H, W) float32 0..1; `softness` 0 is a hard edge."""
    height, width = picture.shape[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    cos, sin = np.cos(angle), np.sin(angle)
    u = ((x - centre[0]) * cos + (y - centre[1]) * sin) / radii[0]
    v = (-(x - centre[0]) * sin + (y - centre[1]) * cos) / radii[1]
    distance = np.sqrt(u * u + v * v)
    return np.asarray(np.clip((1 - distance) / max(softness, 0.02) + 0.5, 0, 1), np.float32)


def draw_flakes(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Dandruff and scales: ragged whitish patches of any size. Returns their opacity (H, W), to lay over hairs."""
    height, width = picture.shape[:2]
    shape = fractal_noise(rng, height, width, np.exp(rng.uniform(np.log(8), np.log(110))), 5, rng.uniform(0.45, 0.75))
    alpha = np.clip((shape - rng.uniform(1.1, 2.6)) / rng.uniform(0.05, 0.5), 0, 1) * rng.uniform(0.25, 0.97)
    tone = picture.mean(axis=(0, 1)) * rng.uniform(1.15, 1.8) + rng.uniform(0, 40)
    texture = fractal_noise(rng, height, width, rng.uniform(3, 20), 3) * rng.uniform(3, 18)
    _blend(picture, np.clip(tone[None, None] + texture[..., None], 0, 255), alpha)
    if rng.random() < 0.4:  # the lifted edge throws a shadow
        shift = rng.uniform(-4, 4, 2)
        move = np.float32([[1, 0, shift[0]], [0, 1, shift[1]]])
        shadow = np.clip(cv2.warpAffine(alpha, move, (width, height)) - alpha, 0, 1)
        picture *= 1 - rng.uniform(0.1, 0.35) * cv2.GaussianBlur(shadow, (0, 0), 1.5)[..., None]
    return np.asarray(alpha, np.float32)


def draw_glints(rng: np.random.Generator, picture: np.ndarray) -> None:
    """Wet reflexes: blown-out specks, short bent strokes and their clusters."""
    height, width = picture.shape[:2]
    layer = np.zeros((height, width), np.uint8)
    centre = rng.uniform((0, 0), (width, height))
    spread = rng.uniform(10, 120)
    largest = rng.choice((1.2, 2.5, 5.0))
    for _ in range(int(rng.integers(4, 90))):
        at = centre + rng.normal(0, spread, 2) if rng.random() < 0.7 else rng.uniform((0, 0), (width, height))
        long, thin = rng.uniform(0.5, 1) * largest * rng.choice((1.0, 2.0, 4.0)), rng.uniform(0.3, 1) * largest
        start = rng.uniform(0, 360)
        axes = tuple(int(16 * max(0.4, a)) for a in (long, thin))
        at_fixed = tuple(int(16 * a) for a in at)
        if rng.random() < 0.6:
            cv2.ellipse(layer, at_fixed, axes, rng.uniform(0, 180), 0, 360, 255, -1, cv2.LINE_AA, 4)
        else:
            bend = tuple(int(16 * max(2.0, a)) for a in rng.uniform(2, 5, 2) * largest)
            cv2.ellipse(
                layer,
                at_fixed,
                bend,
                rng.uniform(0, 180),
                start,
                start + rng.uniform(20, 120),
                255,
                max(1, round(thin)),
                cv2.LINE_AA,
                4,
            )
    alpha = cv2.GaussianBlur(layer, (0, 0), rng.uniform(0.5, 1.2)).astype(np.float32) / 255 * rng.uniform(0.4, 1)
    _blend(picture, rng.uniform(225, 255), alpha)


def draw_gloss(rng: np.random.Generator, picture: np.ndarray) -> None:
    """Sebum or water: broad bright areas, some with a hard wet rim."""
    height, width = picture.shape[:2]
    field = fractal_noise(rng, height, width, rng.uniform(50, 220), 3, 0.5)
    level = rng.uniform(0.2, 1.4)
    alpha = np.clip((field - level) / rng.uniform(0.1, 1.2), 0, 1) * rng.uniform(0.1, 0.55)
    _blend(picture, rng.uniform(215, 255), np.asarray(alpha, np.float32))
    if rng.random() < 0.4:
        rim = np.exp(-(((field - level) / rng.uniform(0.02, 0.06)) ** 2))
        patchy = np.clip(fractal_noise(rng, height, width, 40, 2), 0, 1)
        _blend(picture, 245.0, np.asarray(rim * patchy * rng.uniform(0.2, 0.8), np.float32))


def draw_bubbles(rng: np.random.Generator, picture: np.ndarray) -> None:
    """Air bubbles in the contact fluid: a dark ring, a bright ring, a glint."""
    height, width = picture.shape[:2]
    for _ in range(int(rng.integers(1, 7))):
        radius = float(np.exp(rng.uniform(np.log(4), np.log(45))))
        at = rng.uniform((0, 0), (width, height))
        disc = _disc(picture, at, (radius, radius), 0, 0.05)
        inner = _disc(picture, at, (radius * 0.8, radius * 0.8), 0, rng.uniform(0.05, 0.3))
        ring = np.clip(disc - inner, 0, 1)
        _blend(picture, rng.choice((30.0, 60.0, 235.0)), ring * rng.uniform(0.2, 0.8))
        _blend(picture, 235.0, inner * rng.uniform(0, 0.25))
        at = at + rng.uniform(-0.5, 0.5, 2) * radius
        glint = _disc(picture, at, (radius * 0.18, radius * 0.1), rng.uniform(0, 3), 0.4)
        _blend(picture, 255.0, glint * rng.uniform(0.4, 1))


def draw_spots(rng: np.random.Generator, picture: np.ndarray) -> None:
    """Moles, dark spots, follicle openings and plugs: round or ragged, soft or sharp, never long."""
    height, width = picture.shape[:2]
    big = rng.random() < 0.4
    for _ in range(int(rng.integers(1, 3 if big else 14))):
        radius = float(np.exp(rng.uniform(np.log(15), np.log(90)) if big else rng.uniform(np.log(1.5), np.log(12))))
        spot = _disc(
            picture,
            rng.uniform((0, 0), (width, height)),
            (radius, radius * rng.uniform(0.6, 1)),
            rng.uniform(0, 3.1),
            rng.uniform(0.15, 1.2),
        )
        if big:
            spot = spot * np.clip(0.8 + 0.25 * fractal_noise(rng, height, width, radius), 0, 1)
        colour = picture.mean(axis=(0, 1)) * rng.uniform(0.12, 0.75) * np.array([1.05, 0.95, 0.9])
        _blend(picture, colour, np.asarray(spot * rng.uniform(0.3, 0.95), np.float32))


def draw_vessels(rng: np.random.Generator, picture: np.ndarray) -> None:
    """Thin red vessels, branching and winding, of low contrast; scratches and dried blood look the same."""
    height, width = picture.shape[:2]
    layer = np.zeros((height, width), np.uint8)
    for _ in range(int(rng.integers(1, 6))):
        points = [rng.uniform((0, 0), (width, height))]
        heading = rng.uniform(0, 6.3)
        for _ in range(int(rng.integers(5, 30))):
            heading += rng.normal(0, 0.55)
            points.append(points[-1] + rng.uniform(3, 9) * np.array([np.cos(heading), np.sin(heading)]))
        cv2.polylines(
            layer,
            [np.round(np.array(points) * 16).astype(np.int32)],
            False,
            255,
            int(rng.integers(1, 5)),
            cv2.LINE_AA,
            4,
        )
    alpha = cv2.GaussianBlur(layer, (0, 0), rng.uniform(0.8, 2.5)).astype(np.float32) / 255
    _blend(picture, picture.mean(axis=(0, 1)) * np.array([1.0, 0.62, 0.62]), alpha * rng.uniform(0.2, 0.8))


def draw_ink(rng: np.random.Generator, picture: np.ndarray) -> None:
    """A pen mark on the skin: a broad coloured stroke that follows the skin's grain and lets it through."""
    height, width = picture.shape[:2]
    layer = np.zeros((height, width), np.uint8)
    points = rng.uniform((0, 0), (width, height), (int(rng.integers(2, 4)), 2))
    cv2.polylines(layer, [points.astype(np.int32)], False, 255, int(rng.integers(18, 70)), cv2.LINE_AA)
    ragged = np.clip(0.75 + 0.3 * fractal_noise(rng, height, width, rng.uniform(4, 15)), 0, 1)
    alpha = cv2.GaussianBlur(layer, (0, 0), rng.uniform(1, 4)).astype(np.float32) / 255 * ragged
    colour = np.array([(90, 60, 160), (40, 70, 170), (40, 120, 80), (150, 40, 60)])[rng.integers(4)]
    picture *= 1 - alpha[..., None] * rng.uniform(0.4, 0.9) * (1 - colour / 255)


def draw_text(rng: np.random.Generator, picture: np.ndarray) -> None:
    """What a camera's own firmware writes into the picture: a date, a magnification, a scale bar, a cross-hair."""
    height, width = picture.shape[:2]
    layer = np.zeros((height, width), np.uint8)
    signs = string.digits + ":-/ xX.umMAPF"
    for _ in range(int(rng.integers(1, 4))):
        text = "".join(rng.choice(list(signs), int(rng.integers(3, 16))))
        cv2.putText(
            layer,
            text,
            tuple(int(v) for v in rng.uniform((0, 12), (width * 0.8, height))),
            int(rng.integers(8)),
            rng.uniform(0.35, 1.3),
            255,
            int(rng.integers(1, 4)),
            cv2.LINE_AA,
        )
    if rng.random() < 0.4:
        x, y = (int(v) for v in rng.uniform((0, 0), (width * 0.7, height)))
        cv2.rectangle(layer, (x, y), (x + int(rng.integers(30, 120)), y + int(rng.integers(1, 6))), 255, -1)
    if rng.random() < 0.2:
        cv2.line(layer, (0, height // 2), (width, height // 2), 255, 1)
        cv2.line(layer, (width // 2, 0), (width // 2, height), 255, 1)
    colours = np.float32([(255, 255, 255), (255, 230, 0), (20, 20, 20), (230, 30, 30)])
    _blend(picture, colours[rng.integers(4)], layer.astype(np.float32) / 255)


def draw_borders(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Black round borders, grey or white strips at the edge. Returns what stays visible, (H, W) float32 0..1."""
    height, width = picture.shape[:2]
    visible = np.ones((height, width), np.float32)
    if rng.random() < 0.5:
        centre = np.array([width, height]) * rng.uniform(0.2, 0.8, 2)
        radius = rng.uniform(0.45, 0.95) * max(height, width)
        visible = _disc(picture, centre, (radius, radius), 0, rng.uniform(0.01, 0.15))
        picture *= visible[..., None]
        return visible
    tone = float(rng.choice((0, 255, 200, 225, 128, rng.uniform(0, 255))))
    for _ in range(int(rng.integers(1, 3))):
        strip = int(rng.uniform(0.02, 0.25) * min(height, width)) + 1
        area = [np.s_[:strip], np.s_[-strip:], np.s_[:, :strip], np.s_[:, -strip:]][rng.integers(4)]
        picture[area] = tone
        visible[area] = 0
    return visible
