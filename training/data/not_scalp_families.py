"""Families of pictures that are no scalp, each one small function ``(rng, height, width) -> (H, W, 3)`` RGB, 0..255."""

from __future__ import annotations

import string
from collections.abc import Callable

import cv2
import numpy as np

from training.data.other_photographs import collage, photograph
from training.data.procedural_scalp import SKIN_TONES
from training.data.textures import texture, white_noise

Family = Callable[[np.random.Generator, int, int], np.ndarray]


def _colour(rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(0, 255, 3).astype(np.float32)


def _any_colour(rng: np.random.Generator) -> np.ndarray:
    """A colour for what has a shape of its own: also grey, and also that of skin, which alone makes no scalp."""
    chance = rng.random()
    if chance < 0.5:
        return _colour(rng)
    if chance < 0.75:
        return np.float32(rng.uniform(0, 255) + rng.normal(0, 8, 3))
    return SKIN_TONES[rng.integers(len(SKIN_TONES))] * np.float32(rng.uniform(0.7, 1.1))


def _two_colours(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two colours that can be told apart."""
    first, second = _any_colour(rng), _any_colour(rng)
    if np.abs(first - second).mean() < 50:
        second = np.float32(255) - first
    return first, second


def _canvas(height: int, width: int, colour: np.ndarray | float) -> np.ndarray:
    """(H, W, 3) uint8 of one colour, to draw on: smooth edges are drawn on bytes only."""
    canvas = np.empty((height, width, 3), np.uint8)
    canvas[:] = np.clip(colour, 0, 255)
    return canvas


def _between(share: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The mixture of two colours: 0 the first, 1 the second; `share` (H, W)."""
    return np.asarray(first + (second - first) * np.clip(share, 0, 1)[..., None], np.float32)


def _grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns, (H, 1) and (1, W) float32."""
    return np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)[None]


def _turned(rng: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates along two crossed directions at any angle, each (H, W)."""
    rows, columns = _grid(height, width)
    angle = rng.uniform(0, np.pi)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return columns * cos + rows * sin, rows * cos - columns * sin


def flat(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """One colour with hardly any texture: a wall, a table."""
    picture = np.empty((height, width, 3), np.float32)
    picture[:] = _colour(rng) if rng.random() < 0.7 else rng.uniform(0, 255)
    return picture + rng.uniform(0, 3) * texture(rng, height, width, 60)[..., None]


def gradient(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """From one colour into another, straight or round."""
    rows, columns = _grid(height, width)
    if rng.random() < 0.5:
        along, _ = _turned(rng, height, width)
    else:
        along = np.hypot(rows - rng.uniform(0, height), columns - rng.uniform(0, width))
    low, high = float(along.min()), float(along.max())
    return _between((along - low) / max(high - low, 1e-6), _colour(rng), _colour(rng))


def white_noise_picture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A camera without a signal: coarse or fine, grey or coloured grains."""
    block = int(rng.choice((1, 1, 2, 4)))
    noise = white_noise(rng, -(-height // block), -(-width // block))
    if rng.random() < 0.5:
        noise = np.repeat(noise[..., :1], 3, 2)
    noise = cv2.resize(noise, (width, height), interpolation=cv2.INTER_NEAREST)
    return _colour(rng) + noise * np.float32(rng.uniform(15, 90))


def clouds(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Smooth noise between two or more colours: clouds, marble, camouflage."""
    field = texture(rng, height, width, rng.uniform(6, 250))
    picture = _between(0.5 + 0.3 * field, _colour(rng), _colour(rng))
    if rng.random() < 0.5:
        picture = _lay(picture, _colour(rng), texture(rng, height, width, rng.uniform(6, 250)) > rng.uniform(0, 1))
    return picture


def _lay(picture: np.ndarray, colour: np.ndarray, where: np.ndarray) -> np.ndarray:
    picture[where] = colour
    return picture


def dark_noise(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """The lens cap on, or the light off: black with the noise of a sensor that does its best."""
    picture = rng.uniform(2, 30) + white_noise(rng, height, width) * np.float32(rng.uniform(1, 14))
    picture += np.clip(texture(rng, height, width, 200), 0, None)[..., None] * np.float32(rng.uniform(0, 6))
    return picture


def light_leak(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A covered lens with light coming in at one side."""
    rows, columns = _grid(height, width)
    side = rng.uniform(-0.3, 1.3, 2) * (height, width)
    distance = np.hypot(rows - side[0], columns - side[1]) / np.hypot(height, width)
    glow = np.exp(-((distance / rng.uniform(0.1, 0.5)) ** rng.uniform(1, 2)))
    return _between(glow, np.float32([4, 3, 3]), np.float32([255, rng.uniform(60, 240), rng.uniform(20, 220)]))


def page(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Printed text: lines of words in any size, dark on light or light on dark."""
    paper, ink = np.float32([245, 243, 238]) * rng.uniform(0.7, 1), np.float32([30, 30, 34])
    if rng.random() < 0.2:
        paper, ink = ink, paper
    layer = np.zeros((height, width), np.uint8)
    size = rng.uniform(0.3, 2.2) * width / 448
    step = int(max(8, 34 * size))
    letters = list(string.ascii_letters + string.digits + "    .,")
    for line in range(-step, height + step, step):
        text = "".join(rng.choice(letters, int(rng.integers(10, 60))))
        at = (int(rng.uniform(-40, 30)), line)
        cv2.putText(layer, text, at, int(rng.integers(0, 8)), size, 255, max(1, round(1.5 * size)), cv2.LINE_AA)
    return _rotated(rng, _between(layer / np.float32(255), paper, ink), 0.5)


def _rotated(rng: np.random.Generator, picture: np.ndarray, share: float) -> np.ndarray:
    """Turned at random in `share` of the cases, its edges mirrored."""
    if rng.random() > share:
        return picture
    height, width = picture.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(0, 360), rng.uniform(1, 1.6))
    return cv2.warpAffine(picture, turn, (width, height), borderMode=cv2.BORDER_REFLECT)


def screen(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A computer's screen: windows, bars, buttons, lines of text."""
    picture = _canvas(height, width, _any_colour(rng) if rng.random() < 0.5 else rng.choice((20, 240)))
    for _ in range(int(rng.integers(3, 25))):
        x, y = (rng.uniform(-0.1, 0.95, 2) * (width, height)).astype(int).tolist()
        wide, high = (rng.uniform(0.03, 0.6, 2) * (width, height)).astype(int).tolist()
        cv2.rectangle(picture, (x, y), (x + wide, y + high), _any_colour(rng).tolist(), -1 if rng.random() < 0.8 else 2)
        if rng.random() < 0.6:
            words = "".join(rng.choice(list(string.ascii_letters + " "), int(rng.integers(3, 18))))
            cv2.putText(
                picture, words, (x + 4, y + 18), 0, rng.uniform(0.3, 0.9), _any_colour(rng).tolist(), 1, cv2.LINE_AA
            )
    return picture


def checkerboard(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A checkerboard, a calibration target or a test chart's bars."""
    along, across = _turned(rng, height, width)
    period = rng.uniform(8, 80) * width / 448
    if rng.random() < 0.6:
        share = (np.floor(along / period) + np.floor(across / period)) % 2
    else:
        share = (np.floor(along / period) % 2) * np.ones_like(across)
    return _between(share, *_two_colours(rng)) if rng.random() < 0.4 else np.repeat(255 * share[..., None], 3, 2)


def stripes(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Soft or hard stripes and waves."""
    along, across = _turned(rng, height, width)
    along = along + rng.uniform(0, 12) * np.sin(across / rng.uniform(10, 60))
    wave = np.sin(along * 2 * np.pi / (rng.uniform(5, 90) * width / 448))
    return _between(0.5 + wave * rng.choice((0.5, 2.0)), *_two_colours(rng))


def weave(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Cloth: two sets of threads over and under each other."""
    along, across = _turned(rng, height, width)
    period = rng.uniform(5, 36) * width / 448
    along = along + 0.1 * period * texture(rng, height, width, 40)
    warp, weft = np.sin(along * 2 * np.pi / period), np.sin(across * 2 * np.pi / period)
    over = (np.floor(along / period) + np.floor(across / period)) % 2
    light = 0.5 + 0.4 * np.where(over > 0, warp * (1 + 0.2 * weft), weft * (1 + 0.2 * warp))
    picture = _between(light, *_two_colours(rng))
    return picture + texture(rng, height, width, 3)[..., None] * np.float32(rng.uniform(0, 12))


def wood(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Wood: rings cut at an angle, and fibres along them."""
    along, across = _turned(rng, height, width)
    rings = across / rng.uniform(12, 60) + texture(rng, height, width, 200) * rng.uniform(0.5, 2.5) + along / 900
    fibre = cv2.blur(texture(rng, height, width, 3), (1, 15) if rng.random() < 0.5 else (15, 1))
    light = 0.5 + 0.35 * np.sin(rings * 2 * np.pi) + 0.5 * fibre
    dark = np.float32([90, 55, 30]) * rng.uniform(0.5, 1.3)
    return _between(light, dark, dark * np.float32([1.9, 2.0, 2.0]))


def stone(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Stone, concrete, sand: grains of several sizes and colours."""
    base, grain = _two_colours(rng)
    if rng.random() < 0.6:
        base, grain = np.float32([1, 0.97, 0.92]) * rng.uniform(60, 200), np.float32([1, 1, 1]) * rng.uniform(0, 255)
    share = 0.3 + 0.25 * texture(rng, height, width, rng.uniform(3, 20)) + 0.2 * texture(rng, height, width, 80)
    picture = _between(share, base, grain)
    return _lay(picture, _colour(rng), texture(rng, height, width, rng.uniform(4, 14)) > rng.uniform(1.4, 2.4))


def keyboard(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Keys, tiles, a circuit board, a grille: rounded shapes in rows."""
    picture = _canvas(height, width, _any_colour(rng) * 0.4)
    pitch = int(rng.uniform(24, 110) * width / 448) + 4
    key, ink = _two_colours(rng)
    gap, is_round = max(2, int(pitch * rng.uniform(0.08, 0.3))), rng.random() < 0.3
    for row, y in enumerate(range(-pitch, height + pitch, pitch)):
        for x in range(-pitch + (row % 3) * pitch // 3, width + pitch, pitch):
            if is_round:
                cv2.circle(picture, (x + pitch // 2, y + pitch // 2), (pitch - gap) // 2, key.tolist(), -1, cv2.LINE_AA)
            else:
                cv2.rectangle(picture, (x + gap, y + gap), (x + pitch - gap, y + pitch - gap), key.tolist(), -1)
            sign = str(rng.choice(list(string.ascii_uppercase)))
            at = (x + pitch // 3, y + 2 * pitch // 3)
            cv2.putText(picture, sign, at, 0, pitch / 60, ink.tolist(), 1, cv2.LINE_AA)
    return _rotated(rng, picture, 0.5)


def water(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """The light net on the ground of a pool, ripples."""
    net = np.abs(texture(rng, height, width, rng.uniform(30, 130)))
    finer = np.abs(texture(rng, height, width, rng.uniform(24, 70)))
    light = np.exp(-net * rng.uniform(2, 6)) + 0.5 * np.exp(-finer * 5)
    deep = np.float32([rng.uniform(0, 90), rng.uniform(60, 160), rng.uniform(90, 220)])
    return _between(light * 0.8, deep, np.float32([225, 245, 250]))


def bubbles(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Foam or drops: rings with glints on one colour."""
    picture = cv2.convertScaleAbs(gradient(rng, height, width))
    rim = _any_colour(rng)
    for _ in range(int(rng.integers(10, 120))):
        radius = float(np.exp(rng.uniform(np.log(3), np.log(50)))) * width / 448
        x, y = (rng.uniform(0, 1, 2) * (width, height)).astype(int).tolist()
        cv2.circle(
            picture, (x, y), round(radius), (rim * rng.uniform(0.5, 1)).tolist(), max(1, round(radius / 8)), cv2.LINE_AA
        )
        glint = (round(x - radius / 3), round(y - radius / 3))
        cv2.circle(picture, glint, max(1, round(radius / 6)), (252, 252, 252), -1, cv2.LINE_AA)
    return picture


def pen_lines(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Pen strokes on paper: as long and as dark as hairs, but no scalp under them."""
    paper = np.float32([rng.uniform(205, 252)] * 3) + rng.normal(0, 4, 3).astype(np.float32)
    picture = _canvas(height, width, paper)
    if rng.random() < 0.3:  # squared or ruled
        step = int(rng.uniform(12, 50))
        picture[::step] = picture[:, :: step if rng.random() < 0.5 else width] = (170, 190, 225)
    for _ in range(int(rng.integers(3, 60))):
        t = np.linspace(0, 1, 16)
        corners = rng.uniform(-0.1, 1.1, (3, 2)) * (width, height)
        curve = (
            ((1 - t) ** 2)[:, None] * corners[0]
            + (2 * t * (1 - t))[:, None] * corners[1]
            + (t**2)[:, None] * corners[2]
        )
        ink = np.float32([(20, 20, 24), (30, 45, 140), (160, 30, 40)][rng.integers(3)]) * rng.uniform(0.8, 1.5)
        points = np.round(curve * 16).astype(np.int32)
        thick = int(rng.integers(1, 9) * width / 448) + 1
        cv2.polylines(picture, [points], False, ink.tolist(), thick, cv2.LINE_AA, 4)
    return picture


def shapes(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A cartoon: plain shapes with outlines."""
    picture = _canvas(height, width, _any_colour(rng))
    for _ in range(int(rng.integers(4, 40))):
        at = (rng.uniform(0, 1, 2) * (width, height)).astype(int).tolist()
        reach = int(np.exp(rng.uniform(np.log(8), np.log(120))) * width / 448) + 2
        colour, line = _any_colour(rng).tolist(), (10, 10, 10)
        if rng.random() < 0.5:
            axes = (reach, max(2, int(reach * rng.uniform(0.3, 1))))
            cv2.ellipse(picture, at, axes, rng.uniform(0, 180), 0, 360, colour, -1, cv2.LINE_AA)
            cv2.ellipse(picture, at, axes, 0, 0, 360, line, 2, cv2.LINE_AA)
        else:
            corners = at + rng.normal(0, reach, (int(rng.integers(3, 7)), 2)).astype(int)
            cv2.fillPoly(picture, [corners.astype(np.int32)], colour, cv2.LINE_AA)
            cv2.polylines(picture, [corners.astype(np.int32)], True, line, 2, cv2.LINE_AA)
    return picture


def face(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Skin that is no scalp under a microscope: a face or fingers seen from afar, in front of something."""
    picture = clouds(rng, height, width) if rng.random() < 0.5 else gradient(rng, height, width)
    skin = np.float32([(232, 200, 180), (198, 150, 122), (130, 90, 70), (85, 58, 45)][rng.integers(4)])
    layer = np.zeros((height, width), np.uint8)
    if rng.random() < 0.5:
        centre = (rng.uniform(0.3, 0.7, 2) * (width, height)).astype(int).tolist()
        reach = int(rng.uniform(0.2, 0.45) * height)
        cv2.ellipse(layer, centre, (int(reach * 0.75), reach), rng.uniform(-20, 20), 0, 360, 255, -1)
        picture = _between(cv2.GaussianBlur(layer, (0, 0), 2) / np.float32(255), picture, skin)
        picture = cv2.convertScaleAbs(picture)
        for side in (-1, 1):
            eye = (centre[0] + side * reach // 3, centre[1] - reach // 5)
            cv2.ellipse(picture, eye, (reach // 6, reach // 12), 0, 0, 360, (245, 245, 245), -1, cv2.LINE_AA)
            cv2.circle(picture, eye, max(1, reach // 14), (30, 22, 18), -1, cv2.LINE_AA)
        mouth = (centre[0], centre[1] + reach // 2)
        cv2.ellipse(picture, mouth, (reach // 3, reach // 10), 0, 0, 180, (150, 60, 60), -1, cv2.LINE_AA)
        cv2.ellipse(
            picture, (centre[0], centre[1] - reach // 2), (int(reach * 0.8), reach // 2), 0, 180, 360, (30, 25, 22), -1
        )
    else:
        for finger in range(int(rng.integers(1, 5))):
            x = int(width * (0.15 + 0.2 * finger + rng.uniform(-0.05, 0.05)))
            end = (x + int(rng.normal(0, 40)), int(height * rng.uniform(0.1, 0.5)))
            cv2.line(layer, (x, height + 20), end, 255, int(width * rng.uniform(0.09, 0.16)), cv2.LINE_AA)
        picture = _between(cv2.GaussianBlur(layer, (0, 0), 3) / np.float32(255), picture, skin)
    shade = 1 + 0.08 * texture(rng, height, width, 150) + 0.02 * texture(rng, height, width, 5)
    return np.asarray(picture * shade[..., None], np.float32)


FAMILIES: dict[str, Family] = {
    "flat": flat,
    "gradient": gradient,
    "white_noise": white_noise_picture,
    "clouds": clouds,
    "dark_noise": dark_noise,
    "light_leak": light_leak,
    "page": page,
    "screen": screen,
    "checkerboard": checkerboard,
    "stripes": stripes,
    "weave": weave,
    "wood": wood,
    "stone": stone,
    "keyboard": keyboard,
    "water": water,
    "bubbles": bubbles,
    "pen_lines": pen_lines,
    "shapes": shapes,
    "face": face,
    "photograph": photograph,
    "collage": collage,
}
"""Every family by its name."""
