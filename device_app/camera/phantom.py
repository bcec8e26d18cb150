"""Phantoms: pictures of scalp whose every hair is known exactly, for the demo camera, the tests and the benchmarks.

The hairs are drawn by `strand_coverage` (widths true to about 0.06 px); everything that makes a picture difficult (skin
texture, shading round the shaft, gloss, pale hair, blur, noise, JPEG) is laid over that truth and can be switched off.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from scipy.spatial import cKDTree

from device_app.camera.strands import normals_of, strand_coverage

SKIN_TONES_RGB = ((232, 196, 176), (222, 178, 152), (205, 158, 128), (176, 128, 98), (132, 92, 70))
HAIR_TONES_RGB = ((34, 26, 24), (48, 34, 28), (66, 46, 34), (92, 66, 46), (120, 96, 72))
PALE_TONES_RGB = ((226, 222, 214), (240, 238, 234), (190, 186, 180))


@dataclass(frozen=True)
class PhantomLook:
    """How a phantom is made to look. Lengths in pixels of the picture unless the name says otherwise.

    Attributes:
        texture: standard deviation of the skin's own texture, grey levels.
        noise: standard deviation of the sensor noise, grey levels.
        shading: how much darker the shaft is at its edge than on its axis, 0 = flat strip, 1 = black edge.
        gloss: brightness of the wet streak along the shaft, 0 = none, 1 = white.
        pale_fraction: share of the hairs that are white or grey; they are drawn on darker skin.
        blur_px: standard deviation of the Gaussian that blurs the finished picture.
        jpeg_quality: 1 to 100, or None for no JPEG.
        taper: how much thinner a hair is at its tip than at its root, 0 = none, 0.5 = half.
        curvature: how far the middle of a hair stands off its chord at most, as a share of its length.
        inside_fraction: share of the hairs that must lie wholly inside; the others fall as they fall.
        crossings: whether hairs may cross; if not, they keep apart.
        spread_deg: how far hair directions spread about the picture's main direction, 1 sd.
        length_um: shortest and longest hair, or None for 25 to 60 % of the picture's height.
    """

    texture: float = 5.0
    noise: float = 3.0
    shading: float = 0.25
    gloss: float = 0.0
    pale_fraction: float = 0.0
    blur_px: float = 0.7
    jpeg_quality: int | None = None
    taper: float = 0.0
    curvature: float = 0.08
    inside_fraction: float = 0.5
    crossings: bool = True
    spread_deg: float = 35.0
    length_um: tuple[float, float] | None = None


@dataclass(frozen=True)
class HairTruth:
    """One hair as it was drawn.

    Attributes:
        centre_line: (N, 2) float64 points (x, y) from root to tip in pixels; may leave the picture.
        widths_px: (N,) float64, diameter at each of them.
        diameter_px: median of the widths whose points lie inside the picture.
        ends_inside: whether root and tip lie inside the picture.
    """

    centre_line: np.ndarray
    widths_px: np.ndarray
    diameter_px: float
    ends_inside: tuple[bool, bool]


@dataclass(frozen=True)
class Phantom:
    """A rendered picture and its truth.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) uint8, 255 where a hair covers half of the pixel or more.
        hairs: the hairs, in the order in which they were laid down (the last lies on top).
    """

    image: np.ndarray
    mask: np.ndarray
    hairs: tuple[HairTruth, ...] = field(repr=False)
    scale_um_per_px: float

    @property
    def rooted_count(self) -> int:
        """Hairs with at least one end inside the picture: those that density counts (`vision.measure`)."""
        return sum(any(hair.ends_inside) for hair in self.hairs)

    @property
    def density_per_cm2(self) -> float:
        """`rooted_count` over the picture's area."""
        height, width = self.mask.shape
        return self.rooted_count / (height * width * self.scale_um_per_px**2 * 1e-8)


def render_phantom(
    seed: int,
    width: int,
    height: int,
    scale_um_per_px: float,
    hair_count: int,
    diameter_um: tuple[float, float] = (30.0, 100.0),
    look: PhantomLook | None = None,
) -> Phantom:
    """Render a scalp with `hair_count` hairs of known place and diameter. The same arguments give the same picture.

    Hairs cross, but none hides another for long and none grazes another along its side: such truth could not be seen
    by anyone. Where the picture has no room left for another hair, fewer are drawn; `Phantom.hairs` holds those drawn.

    Args:
        scale_um_per_px: micrometres per pixel.
        diameter_um: thinnest and thickest hair; drawn evenly between.
        look: what the picture looks like; None for `PhantomLook()`.
    """
    look = look or PhantomLook()
    rng = np.random.default_rng([seed, width, height])
    hairs = _place_hairs(rng, width, height, scale_um_per_px, hair_count, diameter_um, look)
    pale = rng.random(len(hairs)) < look.pale_fraction
    tones = SKIN_TONES_RGB[2:] if look.pale_fraction > 0 else SKIN_TONES_RGB[:4]
    image = render_skin(rng, width, height, np.array(tones[rng.integers(len(tones))], np.float32), look.texture)
    mask = np.zeros((height, width), np.uint8)
    for hair, is_pale in zip(hairs, pale):
        palette = PALE_TONES_RGB if is_pale else HAIR_TONES_RGB
        colour = np.array(palette[rng.integers(len(palette))], np.float32) + rng.normal(0, 4, 3).astype(np.float32)
        gloss_at = rng.uniform(-0.3, 0.3)
        _draw_hair(image, mask, hair, colour, look, gloss_at)
    covered = np.where(mask >= 128, 255, 0).astype(np.uint8)
    return Phantom(_photograph(rng, image, look), covered, hairs, scale_um_per_px)


def render_skin(rng: np.random.Generator, width: int, height: int, tone_rgb: np.ndarray, texture: float) -> np.ndarray:
    """Bare scalp, (height, width, 3) float32, 0..255: uneven light, blotches of redness, skin relief."""

    def noise(cell_px: float) -> np.ndarray:
        cells = (int(height / cell_px) + 2, int(width / cell_px) + 2)
        small = rng.normal(0, 1, cells).astype(np.float32)
        big = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
        return big / max(float(big.std()), 1e-6) if texture > 0 else np.zeros_like(big)

    relief = 0.5 * noise(2.5) + 0.6 * noise(7.0) + 0.5 * noise(23.0)
    light = 1.2 * noise(max(width, height) / 2.0)
    redness = 0.8 * noise(60.0)
    skin = np.empty((height, width, 3), np.float32)
    for channel, (relief_share, red_share) in enumerate(((0.9, 0.3), (1.0, -0.7), (1.0, -0.6))):
        skin[..., channel] = tone_rgb[channel] + texture * (relief_share * relief + light + red_share * redness)
    return skin


def _place_hairs(
    rng: np.random.Generator,
    width: int,
    height: int,
    scale: float,
    hair_count: int,
    diameter_um: tuple[float, float],
    look: PhantomLook,
) -> tuple[HairTruth, ...]:
    """Throw hairs until `hair_count` have found a fair place."""
    main_direction = rng.uniform(0, np.pi)
    shortest, longest = (0.25 * height, 0.6 * height) if look.length_um is None else np.array(look.length_um) / scale
    placed: list[HairTruth] = []
    trees: list[cKDTree] = []
    for _ in range(20 * hair_count):
        if len(placed) == hair_count:
            break
        must_be_inside = rng.random() < look.inside_fraction
        diameter = rng.uniform(*diameter_um) / scale
        length = max(rng.uniform(shortest, longest), 6 * diameter)
        angle = main_direction + np.deg2rad(rng.normal(0, look.spread_deg))
        line = _curve(rng, length, angle, look.curvature) + rng.uniform((0, 0), (width, height))
        widths = diameter * (1 - look.taper * np.linspace(0, 1, len(line)))
        hair = _truth(line, widths, width, height)
        if hair is None or (must_be_inside and not all(hair.ends_inside)):
            continue
        if not _fair(hair, placed, trees, look.crossings, width, height):
            continue
        placed.append(hair)
        trees.append(cKDTree(line))
    return tuple(placed)


def _curve(rng: np.random.Generator, length: float, angle: float, curvature: float) -> np.ndarray:
    """A gently bent line of about the given length round the origin, a point every 3 px."""
    count = max(8, int(length / 3))
    along = np.linspace(-0.5, 0.5, count)
    sag = rng.uniform(-curvature, curvature) * 4 * (0.25 - along**2) + rng.uniform(-0.3, 0.3) * curvature * along**3
    line = np.stack([along, sag], axis=1) * length
    cos, sin = np.cos(angle), np.sin(angle)
    return line @ np.array([[cos, sin], [-sin, cos]])


def _truth(line: np.ndarray, widths: np.ndarray, width: int, height: int) -> HairTruth | None:
    """The truth of a hair, or None when too little of it can be seen to be called a hair."""
    limit = np.array([width - 1, height - 1])
    inside = np.all((line >= 0) & (line <= limit), axis=1)
    if not inside.any():
        return None
    visible_px = inside.sum() / len(line) * np.linalg.norm(np.diff(line, axis=0), axis=1).sum()
    diameter = float(np.median(widths[inside]))
    # An end whose corner touches the border is neither inside nor cut: keep such doubtful ones out of the truth.
    margin = np.minimum(line, limit - line).min(axis=1)
    if visible_px < 5 * diameter or any(-0.5 * diameter < margin[end] < diameter for end in (0, -1)):
        return None
    return HairTruth(line, widths, diameter, (bool(inside[0]), bool(inside[-1])))


def _fair(
    hair: HairTruth, placed: list[HairTruth], trees: list[cKDTree], crossings: bool, width: int, height: int
) -> bool:
    """Whether a hair leaves itself and the others visible: crossings steeper than some 25 degrees, no touching ends."""
    low, high = hair.centre_line.min(axis=0), hair.centre_line.max(axis=0)
    for other, tree in zip(placed, trees):
        reach = (hair.widths_px.max() + other.widths_px.max()) / 2 + 3
        if np.any(tree.mins > high + reach) or np.any(tree.maxes < low - reach):
            continue
        distance, nearest = tree.query(hair.centre_line)
        touch = (hair.widths_px + other.widths_px[nearest]) / 2
        gap = distance - touch
        # No end may lie so near another hair that the two could be one with a gap in it.
        room = 1.6 * touch.max() + 4
        to_its_ends = np.linalg.norm(hair.centre_line[:, None] - other.centre_line[[0, -1]], axis=2).min()
        if min(distance[0], distance[-1], to_its_ends) < room:
            return False
        close = gap < 3
        if not close.any():
            continue
        if not crossings:
            return False
        where = np.flatnonzero(close)
        if np.any(np.diff(where) > 1):
            return False  # meets it twice
        length = np.linalg.norm(np.diff(hair.centre_line, axis=0), axis=1).mean() * len(where)
        if length > 2.5 * (touch[where].max() * 2) + 6 or distance.min() > 3:
            return False  # runs along it, or only grazes it
        clearance = 1.5 * touch[where].max() / 3 + 2  # in points, one every 3 px
        if where[0] < clearance or where[-1] > len(hair.centre_line) - 1 - clearance:
            return False  # ends on it
        on_other = nearest[where]
        if on_other.min() < clearance or on_other.max() > len(other.centre_line) - 1 - clearance:
            return False
        meeting = hair.centre_line[where]
        on_border = (meeting < touch.max()) | (meeting > np.array([width, height]) - touch.max())
        visible = (meeting > -touch.max()) & (meeting < np.array([width, height]) + touch.max())
        if on_border.any() and visible.any():
            return False  # crosses on the border, where nobody could tell the two apart
    return True


def _draw_hair(
    image: np.ndarray, mask: np.ndarray, hair: HairTruth, colour: np.ndarray, look: PhantomLook, gloss_at: float
) -> None:
    """Blend one hair into the picture and the mask, working only in its bounding box."""
    height, width = mask.shape
    reach = hair.widths_px.max() / 2 + 2
    low = np.maximum(np.floor(hair.centre_line.min(axis=0) - reach), 0).astype(int)
    high = np.minimum(np.ceil(hair.centre_line.max(axis=0) + reach) + 1, (width, height)).astype(int)
    if np.any(high <= low):
        return
    box = (slice(low[1], high[1]), slice(low[0], high[0]))
    coverage = strand_coverage((high[1] - low[1], high[0] - low[0]), hair.centre_line - low, hair.widths_px, 4)
    rows, columns = np.nonzero(coverage)
    across = _position_across(hair, np.stack([columns, rows], axis=1) + low)
    tone = 1 - look.shading * across**2
    shaft = colour[None, :] * tone[:, None]
    if look.gloss > 0:
        streak = look.gloss * np.exp(-0.5 * ((across - gloss_at) / 0.16) ** 2)
        shaft = shaft + (250 - shaft) * streak[:, None]
    alpha = coverage[rows, columns, None].astype(np.float32) / 255
    image[box][rows, columns] += alpha * (shaft.astype(np.float32) - image[box][rows, columns])
    np.maximum(mask[box], coverage, out=mask[box])


def _position_across(hair: HairTruth, points: np.ndarray) -> np.ndarray:
    """Where each point (N, 2) lies across the shaft: -1 one edge, 0 axis, 1 the other edge."""
    steps = np.arange(0, len(hair.centre_line) - 1 + 1e-9, 0.125)
    index = np.arange(len(hair.centre_line))
    dense = np.stack([np.interp(steps, index, hair.centre_line[:, axis]) for axis in (0, 1)], axis=1)
    widths = np.interp(steps, index, hair.widths_px)
    _, nearest = cKDTree(dense).query(points)
    offset = np.sum((points - dense[nearest]) * normals_of(dense)[nearest], axis=1)
    return np.clip(offset / (widths[nearest] / 2), -1, 1)


def _photograph(rng: np.random.Generator, image: np.ndarray, look: PhantomLook) -> np.ndarray:
    """Blur, sensor noise, 8 bits, JPEG: in the order in which a camera adds them."""
    if look.blur_px > 0:
        image = cv2.GaussianBlur(image, (0, 0), look.blur_px)
    if look.noise > 0:
        image = image + rng.normal(0, look.noise, image.shape).astype(np.float32)
    picture = np.clip(np.round(image), 0, 255).astype(np.uint8)
    if look.jpeg_quality is None:
        return picture
    _, packed = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, look.jpeg_quality])
    return cv2.cvtColor(np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR)), cv2.COLOR_BGR2RGB)
