"""Painting hairs: shapes of their centre lines, colours, shading, bundles, and layers at different depths."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from device_app.camera.strands import normals_of

_FINE = 2  # hairs are painted on a grid this much finer and averaged down
_SHIFT = 4

# Families of hair colour, RGB, with how often each is drawn. Dark hair under the cold LEDs of a microscope looks blue.
_FAMILIES: tuple[tuple[float, tuple[int, int, int], float], ...] = (
    # share, colour, deviation
    (0.36, (32, 40, 46), 14),  # black
    (0.16, (52, 66, 76), 14),  # black, out of the light: blue-grey
    (0.16, (66, 50, 40), 14),  # dark brown
    (0.07, (112, 80, 56), 18),  # brown
    (0.06, (176, 146, 104), 20),  # blond
    (0.03, (150, 84, 50), 18),  # red
    (0.08, (140, 144, 148), 25),  # grey
    (0.08, (226, 230, 234), 16),  # white
)


@dataclass(frozen=True)
class HairTruth:
    """One drawn hair: centre line (N, 2) float32 points (x, y) in pixels, and the full width (N,) float32 at each."""

    centre_line: np.ndarray
    widths_px: np.ndarray

    @property
    def diameter_px(self) -> float:
        """Median width."""
        return float(np.median(self.widths_px))


@dataclass(frozen=True)
class HairStyle:
    """How one hair looks. Colours are RGB 0..255."""

    colour: np.ndarray
    rim: float  # the colour at the edge, as a factor: below 1 a dark rim, above 1 a glowing one
    gloss: float  # 0 = matt, 1 = a blown-out streak along the shaft
    gloss_width: float  # of the streak, as a factor of its usual width
    roughness: float  # how much gloss and colour change along the shaft
    opacity: float


def sample_centre_line(
    rng: np.random.Generator, height: int, width: int, thickness: float, direction: float, long: bool
) -> np.ndarray:
    """A straight line, a power function, an arc or an S-curve: (N, 2) float32 points through or into the picture.

    Args:
        thickness: the hair's width in pixels; thick hairs bend less.
        direction: radians the hair runs along.
        long: whether it may run through the whole picture; otherwise it is a short piece.
    """
    size = float(np.hypot(height, width))
    length = size * rng.uniform(0.7, 1.6) if long else max(rng.uniform(0.08, 0.55) * size, 3.0 * thickness)
    count = int(np.clip(length / 8, 8, 60))
    t = np.linspace(0, 1, count)
    bend = rng.normal(0, 0.22) * length * (0.5 if thickness > 25 else 1.0)
    kind = rng.integers(4)
    if kind == 0:
        offset = np.zeros(count)
    elif kind == 1:
        offset = bend * 1.4 * t ** rng.uniform(1.3, 4.0)
    elif kind == 2:
        offset = bend * 4 * t * (1 - t)
    else:
        offset = bend * 0.7 * np.sin(2 * np.pi * t * rng.uniform(0.4, 1.2) + rng.uniform(0, 6.3))
    along = (t - rng.uniform(0.2, 0.8)) * length
    across = offset - offset.mean()
    wiggle = rng.random() < 0.25
    if wiggle:
        across = across + rng.uniform(0.3, 2.5) * np.sin(t * length / rng.uniform(15, 60) + rng.uniform(0, 6.3))
    cos, sin = np.cos(direction), np.sin(direction)
    anchor = rng.uniform((-0.05 * width, -0.05 * height), (1.05 * width, 1.05 * height))
    x, y = anchor[0] + along * cos - across * sin, anchor[1] + along * sin + across * cos
    return np.stack([x, y], axis=1).astype(np.float32)


def sample_widths(rng: np.random.Generator, points: int, thickness: float) -> np.ndarray:
    """The width along one hair: constant, tapering to a tip, thinner or thicker at the root, or uneven."""
    t = np.linspace(0, 1, points, dtype=np.float32)
    if rng.random() < 0.5:
        t = t[::-1]
    widths = np.full(points, thickness, np.float32)
    kind = rng.random()
    if kind < 0.15:  # a natural tip
        widths *= np.clip((1 - t) / rng.uniform(0.15, 0.9), 0.12, 1)
    elif kind < 0.3:  # conical, or an exclamation-mark hair
        widths *= 1 + rng.uniform(-0.35, 0.35) * (t - 0.5)
    elif kind < 0.4:  # the root's bulb
        widths *= 1 + rng.uniform(0.2, 0.7) * np.exp(-((t / rng.uniform(0.03, 0.1)) ** 2))
    if rng.random() < 0.3:
        phase = rng.uniform(0, 6.3)
        widths *= 1 + rng.uniform(0.02, 0.1) * np.sin(t * rng.uniform(10, 60) + phase)
    return np.maximum(widths, 0.8)


def sample_style(rng: np.random.Generator, skin: np.ndarray, thickness: float, pale_share: float = 0.12) -> HairStyle:
    """A colour and a finish for one hair, told apart from `skin` (mean RGB) by at least some grey levels.

    `pale_share` is how often it is the skin's own colour, a little darker or brighter.
    """
    shares = np.array([family[0] for family in _FAMILIES])
    _, colour, deviation = _FAMILIES[rng.choice(len(_FAMILIES), p=shares / shares.sum())]
    rgb = np.asarray(colour, np.float64) + rng.normal(0, deviation) + rng.normal(0, 4, 3)
    light = float(skin.mean()) / 165
    rgb = rgb * np.clip(light, 0.35, 1.25)  # a dark picture has dark white hairs too
    if rng.random() < pale_share:  # pale or translucent: the skin's own colour, a little darker or brighter
        rgb = skin * rng.choice((rng.uniform(0.6, 0.88), rng.uniform(1.12, 1.35))) + rng.normal(0, 4, 3)
    minimum = 14 if thickness > 4 else 20
    difference = rgb.mean() - skin.mean()
    if abs(difference) < minimum:
        rgb += np.sign(difference or -1.0) * (minimum - abs(difference))
    pale = rgb.mean() > skin.mean()
    glossy, rough = float(rng.random() < 0.6) * rng.beta(1.2, 2.5), rng.beta(1.2, 2.0)
    if rng.random() < 0.18:  # an even streak from end to end, that may look as bright as the skin: still one hair
        glossy, rough = rng.uniform(0.35, 0.95), rng.uniform(0, 0.15)
    return HairStyle(
        colour=np.clip(rgb, 0, 255),
        rim=rng.uniform(0.55, 1.0) if pale else rng.uniform(0.75, 1.25),
        gloss=glossy,
        gloss_width=rng.uniform(0.6, 1.8),
        roughness=rough,
        opacity=rng.uniform(0.65, 1.0) if rng.random() < 0.25 else 1.0,
    )


class StrandLayer:
    """Hairs at one depth, painted over each other on a finer grid."""

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height, width
        self.colour = np.zeros((height * _FINE, width * _FINE, 3), np.uint8)
        self.alpha = np.zeros((height * _FINE, width * _FINE), np.uint8)
        self.covered = np.zeros((height * _FINE, width * _FINE), np.uint8)

    def paint(self, rng: np.random.Generator, hair: HairTruth, style: HairStyle) -> None:
        """Paint one hair over what is there: body, rim, gloss and streaks along the shaft, step by step."""
        line = hair.centre_line.astype(np.float64)
        normals = normals_of(line)
        half = hair.widths_px.astype(np.float64)[:, None] / 2
        steps = len(line) - 1
        # Colour wanders slowly along the shaft; gloss comes and goes.
        wander = np.interp(np.arange(steps), np.linspace(0, steps, 8), rng.normal(0, 1, 8))
        body = style.colour[None] * (1 + 0.10 * style.roughness * wander[:, None])
        self._strip(line, normals, half, -1.0, 1.0, np.clip(body * style.rim, 0, 255), style.opacity)
        for end in (0, -1):
            if rng.random() < 0.5:  # otherwise cut straight
                self._round_off(line[end], float(half[end, 0]), np.clip(body[end] * style.rim, 0, 255), style.opacity)
        thickness = float(half.mean()) * 2
        if thickness < 2.2:
            return
        self._strip(line, normals, half, -0.72, 0.72, np.clip(body * (1 + style.rim) / 2, 0, 255), None)
        self._strip(line, normals, half, -0.5, 0.5, np.clip(body, 0, 255), None)
        if style.gloss > 0.03:
            where = rng.uniform(-0.35, 0.35) * min(1.0, 1 / style.gloss_width)
            flicker = np.clip(1 + style.roughness * rng.normal(0, 0.9, steps), 0, 1.6)
            for spread, share in ((0.32 * style.gloss_width, 0.35), (0.16 * style.gloss_width, 0.7)):
                shine = body + (245 - body) * np.clip(style.gloss * share * flicker, 0, 1)[:, None]
                self._strip(line, normals, half, where - spread, where + spread, shine, None)
        if thickness > 7 and style.roughness > 0.25:
            for _ in range(int(rng.integers(2, 6))):  # scales and streaks of the cuticle
                where, spread = rng.uniform(-0.85, 0.85), rng.uniform(0.02, 0.09)
                tone = 1 + style.roughness * rng.normal(0, 0.3, steps)
                keep = rng.random(steps) < rng.uniform(0.3, 1.0)
                streak = np.clip(body * tone[:, None] + rng.normal(0, 6), 0, 255)
                self._strip(line, normals, half, where - spread, where + spread, streak, None, keep)

    def _round_off(self, end: np.ndarray, half: float, colour: np.ndarray, opacity: float) -> None:
        """A half-round end of radius `half`."""
        centre = tuple(int(v) for v in np.round(np.clip(end * _FINE + 0.5, -20000, 20000) * (1 << _SHIFT)))
        radius = max(1, round((half * _FINE - 0.5) * (1 << _SHIFT)))
        cv2.circle(self.colour, centre, radius, colour.tolist(), -1, cv2.LINE_8, _SHIFT)
        cv2.circle(self.alpha, centre, radius, round(255 * opacity), -1, cv2.LINE_8, _SHIFT)
        cv2.circle(self.covered, centre, radius, 255, -1, cv2.LINE_8, _SHIFT)

    def _strip(
        self,
        line: np.ndarray,
        normals: np.ndarray,
        half: np.ndarray,
        left: float,
        right: float,
        colours: np.ndarray,
        opacity: float | None,
        keep: np.ndarray | None = None,
    ) -> None:
        """Quads from `left` to `right` half-widths across the shaft; `opacity` None paints inside what is covered."""
        body = opacity is not None
        inset = 0.5 * normals if body else 0.0 * normals
        one = (line + left * half * normals) * _FINE + 0.5 + inset
        two = (line + right * half * normals) * _FINE + 0.5 - inset
        quads = np.stack([one[:-1], one[1:], two[1:], two[:-1]], axis=1)
        inside = (quads.max(axis=(1, 2)) > 0) & (quads[..., 0].min(1) < self.width * _FINE)
        inside &= quads[..., 1].min(1) < self.height * _FINE
        if keep is not None:
            inside &= keep
        points = np.round(np.clip(quads, -20000, 20000) * (1 << _SHIFT)).astype(np.int32)
        for index in np.flatnonzero(inside):
            colour = colours[index].tolist()
            cv2.fillConvexPoly(self.colour, points[index], colour, shift=_SHIFT)
            if body:
                cv2.fillConvexPoly(self.alpha, points[index], round(255 * (opacity or 0)), shift=_SHIFT)
                cv2.fillConvexPoly(self.covered, points[index], 255, shift=_SHIFT)

    def flatten(self, blur_px: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Average down, out of focus by `blur_px` (sigma).

        Returns:
            premultiplied colour (H, W, 3) float32 0..255, its alpha (H, W) float32 0..1, and the sharp coverage
            (H, W) float32 0..1, which is the truth.
        """
        size = (self.width, self.height)
        alpha = self.alpha.astype(np.float32) / 255
        colour = cv2.resize(self.colour * alpha[..., None], size, interpolation=cv2.INTER_AREA)
        alpha = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA)
        covered = cv2.resize(self.covered, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        if blur_px > 0.3:
            colour = cv2.GaussianBlur(colour, (0, 0), blur_px)
            alpha = cv2.GaussianBlur(alpha, (0, 0), blur_px)
        return colour, alpha, covered
