"""Scalp pictures with dandruff, excess sebum and erythema at stated severities, drawn so that the truth is known.

What a severity means here, by the share of the visible skin (what no hair hides) that a condition covers:

| condition    | good        | mild      | moderate | severe  | and                                                 |
|--------------|-------------|-----------|----------|---------|-----------------------------------------------------|
| dandruff     | below 0.1 % | 0.4-1.0 % | 1.8-4 %  | 7-20 %  | fine scales and flakes, larger with the grade       |
| excess sebum | none        | 2-5 %     | 9-16 %   | 26-55 % | a glinting film; plugs from moderate                |
| erythema     | none        | 4-9 %     | 15-26 %  | 40-65 % | paler to deeper red; vessels from moderate, and     |
|              |             |           |          |         | pustules when severe                                |

Between the grades are gaps, so that they can be told apart by eye. These are the drawing's own definitions: no
clinical scale is meant, and what is trained on them must say so. A cast of light or a red complexion over the whole
picture is no erythema. Pictures of monochrome cameras are drawn only where there is no erythema: nobody could see it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from training.data.backgrounds import BackgroundPool
from training.data.lesions import draw_dandruff, draw_erythema, draw_sebum, draw_specks
from training.data.scalp_scene import Hairs, blend, calm_skin, grow_hairs, patch_skin, photograph_gently, shade_skin
from training.data.textures import texture
from training.segmentation import distractors

TEST_SEEDS = range(2_000)
"""Pictures that figures are reported on."""

VALIDATION_SEEDS = range(500_000, 502_000)
"""Pictures that thresholds, temperatures and the best weights are chosen on."""

FIRST_TRAINING_SEED = 1_000_000
"""From here on; nothing below is trained on."""

# Of the visible skin, by severity from mild on.
DANDRUFF_SHARES = ((0.004, 0.010), (0.018, 0.040), (0.07, 0.20))
SEBUM_SHARES = ((0.02, 0.05), (0.09, 0.16), (0.26, 0.55))
ERYTHEMA_SHARES = ((0.04, 0.09), (0.15, 0.26), (0.40, 0.65))
SHARES = (DANDRUFF_SHARES, SEBUM_SHARES, ERYTHEMA_SHARES)
"""Lowest and highest share by condition and severity, in the order of `device_app.vision.conditions.Condition`."""

_LARGEST_FLAKE_PX = ((10, 22), (14, 45), (20, 90))  # in a picture 448 wide
_PLUGS = ((0, 1), (2, 6), (5, 15))
_RED_STRENGTH = ((0.16, 0.22), (0.21, 0.29), (0.30, 0.42))
_VESSELS = ((0, 0), (2, 4), (4, 8))
_PUSTULES = ((0, 0), (0, 0), (2, 6))

_BACKGROUND_SHARE = 0.5
_MONOCHROME_SHARE = 0.12  # of pictures without erythema


@dataclass(frozen=True)
class GradedPicture:
    """A picture and its truth.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        presence: (3,) int64, 1 where the condition is there, in the order of `Condition`.
        severity: (3,) int64, 0 good .. 3 severe.
        regions: (3, H, W) uint8, 255 where the condition can be seen.
        hair_mask: (H, W) uint8, 255 where hair hides the skin.
        skin_mask: (H, W) uint8, 255 where the skin and what lies on it can be seen; the stated shares are of this.
    """

    image: np.ndarray
    presence: np.ndarray
    severity: np.ndarray
    regions: np.ndarray
    hair_mask: np.ndarray
    skin_mask: np.ndarray


def render_graded(
    seed: int,
    size: tuple[int, int],
    backgrounds: BackgroundPool | None = None,
    severity: tuple[int, int, int] | None = None,
) -> GradedPicture:
    """One picture with known grades; the same arguments give the same picture.

    Args:
        seed: see `TEST_SEEDS`, `VALIDATION_SEEDS` and `FIRST_TRAINING_SEED`.
        size: width and height in pixels.
        backgrounds: patches of scalps on which nobody saw any condition; half of the pictures use them as skin.
        severity: of each condition, 0..3; None: each drawn independently, all grades as often.
    """
    width, height = size
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, 4, 3)
    grades = drawn if severity is None else np.asarray(severity, np.int64)
    if backgrounds is not None and backgrounds.patches and rng.random() < _BACKGROUND_SHARE:
        picture = patch_skin(rng, height, width, backgrounds)
    else:
        picture = calm_skin(rng, height, width)
    hairs = grow_hairs(rng, height, width, picture[::8, ::8].mean(axis=(0, 1)))
    visible, frame = _frame(rng, height, width)
    skin = visible & ~hairs.covered
    if rng.random() < 0.15:
        _draw_moles(rng, picture)
    shade_skin(rng, picture, hairs)
    regions = np.zeros((3, height, width), bool)
    if grades[2]:
        regions[2] = _draw_erythema(rng, picture, skin, hairs, int(grades[2]) - 1)
    if grades[1]:
        regions[1] = _draw_sebum(rng, picture, skin, hairs, int(grades[1]) - 1)
    opacity = None
    if grades[0]:
        regions[0], opacity = _draw_dandruff(rng, picture, skin, hairs, int(grades[0]) - 1)
    elif rng.random() < 0.5:
        draw_specks(rng, picture, skin)
    on_hair = _lay_hair(rng, picture, hairs, opacity)
    on_hair &= regions[0] & visible
    regions &= skin
    regions[0] |= on_hair
    if rng.random() < 0.04:
        distractors.draw_text(rng, picture)
    grey = bool(grades[2] == 0 and rng.random() < _MONOCHROME_SHARE)
    image = photograph_gently(rng, picture, skin, grey)
    if frame is not None:  # put around the picture after it was taken
        image[~visible] = frame
    return GradedPicture(
        image=image,
        presence=(grades > 0).astype(np.int64),
        severity=grades.astype(np.int64),
        regions=regions.astype(np.uint8) * 255,
        hair_mask=(hairs.covered & visible & ~on_hair).astype(np.uint8) * 255,
        skin_mask=skin.astype(np.uint8) * 255,
    )


def contact_sheet(seed: int, size: tuple[int, int], examples: int = 2) -> np.ndarray:
    """A page to look at: per condition `examples` rows, one column per severity, no other condition in a picture.

    Args:
        seed: of the first picture; the next ones count up.
        size: width and height of each picture.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    rows = []
    for condition in range(3):
        for example in range(examples):
            grades = [tuple(grade if index == condition else 0 for index in range(3)) for grade in range(4)]
            first = seed + 4 * (condition * examples + example)
            rows.append(np.hstack([render_graded(first + at, size, None, g).image for at, g in enumerate(grades)]))
    return np.vstack(rows)


def _draw_erythema(
    rng: np.random.Generator, picture: np.ndarray, skin: np.ndarray, hairs: Hairs, grade: int
) -> np.ndarray:
    """Of grade 0 mild .. 2 severe; where it is, (H, W) bool."""
    share, strength = _within(rng, ERYTHEMA_SHARES[grade]), _within(rng, _RED_STRENGTH[grade])
    vessels, pustules = _count(rng, _VESSELS[grade]), _count(rng, _PUSTULES[grade])
    return draw_erythema(rng, picture, skin, hairs, share, strength, vessels, pustules)


def _draw_sebum(
    rng: np.random.Generator, picture: np.ndarray, skin: np.ndarray, hairs: Hairs, grade: int
) -> np.ndarray:
    """Of grade 0 mild .. 2 severe; where it is, (H, W) bool."""
    share, plugs = _within(rng, SEBUM_SHARES[grade]), _count(rng, _PLUGS[grade])
    return draw_sebum(rng, picture, skin, hairs, share, plugs)


def _draw_dandruff(
    rng: np.random.Generator, picture: np.ndarray, skin: np.ndarray, hairs: Hairs, grade: int
) -> tuple[np.ndarray, np.ndarray]:
    """Of grade 0 mild .. 2 severe; where it is, (H, W) bool, and how opaque, (H, W) float32."""
    largest = _within(rng, _LARGEST_FLAKE_PX[grade]) * picture.shape[1] / 448
    return draw_dandruff(rng, picture, skin, hairs, _within(rng, DANDRUFF_SHARES[grade]), largest)


def _lay_hair(rng: np.random.Generator, picture: np.ndarray, hairs: Hairs, flakes: np.ndarray | None) -> np.ndarray:
    """Hairs over the skin, and in some pictures some of the flakes over the hairs in focus.

    Args:
        flakes: how opaque flakes are, (H, W) float32; None: there are none.

    Returns:
        where flakes that are there lie over hair, (H, W) bool.
    """
    height, width = picture.shape[:2]
    bare = picture.copy()
    on_hair = np.zeros((height, width), bool)
    for depth, layer in enumerate(hairs.layers):
        blend(picture, layer.colour, layer.alpha)
        if depth == 0 and flakes is not None and rng.random() < 0.5:
            on_hair = texture(rng, height, width, 0.4 * width) > 0.8
            blend(picture, bare, flakes * on_hair)
            on_hair &= hairs.covered
        elif depth > 0:
            on_hair &= layer.alpha < 0.4
    return on_hair


def _within(rng: np.random.Generator, limits: tuple[float, float]) -> float:
    """Log-uniform between the limits, a little inside of them: rounding to pixels must not leave the stated range."""
    low, high = limits
    return float(np.exp(rng.uniform(np.log(1.04 * low), np.log(0.96 * high))))


def _count(rng: np.random.Generator, limits: tuple[int, int]) -> int:
    return int(rng.integers(limits[0], limits[1] + 1))


def _frame(rng: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, int | None]:
    """What the camera's picture fills: (H, W) bool, and the grey of what lies around it; None: it fills everything."""
    visible = np.ones((height, width), bool)
    chance = rng.random()
    if chance > 0.2:
        return visible, None
    if chance < 0.06:  # a round field of view
        visible[:] = False
        centre = (round(width * rng.uniform(0.4, 0.6)), round(height * rng.uniform(0.4, 0.6)))
        field = visible.astype(np.uint8)
        cv2.circle(field, centre, round(rng.uniform(0.5, 0.62) * width), 1, -1)
        return field.astype(bool), 0
    for _ in range(int(rng.integers(1, 3))):
        strip = int(rng.uniform(0.02, 0.12) * min(height, width)) + 1
        side = [np.s_[:strip], np.s_[-strip:], np.s_[:, :strip], np.s_[:, -strip:]][rng.integers(4)]
        visible[side] = False
    return visible, int(rng.choice((0, 255, 255, 255, 225, 200)))


def _draw_moles(rng: np.random.Generator, picture: np.ndarray) -> None:
    """A few brown spots; they are no condition."""
    height, width = picture.shape[:2]
    layer = np.zeros((height, width), np.uint8)
    for _ in range(int(rng.integers(1, 5))):
        x, y = (rng.uniform(0, 1, 2) * (width, height) * 16).astype(int).tolist()
        axes = (rng.uniform(2, 12, 2) * width / 448 * 16).astype(int).tolist()
        cv2.ellipse(layer, (x, y), axes, rng.uniform(0, 180), 0, 360, 255, -1, cv2.LINE_AA, 4)
    soft = cv2.GaussianBlur(layer, (0, 0), rng.uniform(0.8, 2.5)).astype(np.float32) * np.float32(1 / 255)
    blend(picture, cv2.transform(picture, np.diag([0.6, 0.55, 0.5])), soft * np.float32(rng.uniform(0.3, 0.9)))
