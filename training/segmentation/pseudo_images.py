"""Pseudo-images: hairs drawn over hair-free scalp, so that the mask is known without a single hand-drawn one.

Two styles. `paper` is the recipe of ScalpVision (arXiv 2406.17254, section 3.1) as it stands there. `shipped` spans
what real microscopes deliver: hairs from 1.5 to 75 px, in and out of focus, glued and crossing, among everything that
is not hair.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import cv2
import numpy as np

from calibration.errors import ScalpScopeError
from training.data.backgrounds import BackgroundPool
from training.segmentation import distractors
from training.segmentation.camera_effects import photograph
from training.segmentation.strands import (
    HairTruth,
    StrandLayer,
    sample_centre_line,
    sample_style,
    sample_widths,
)

_PAPER_COLOURS = np.array([(40, 60, 160), (95, 60, 35), (15, 15, 15), (240, 240, 240)])  # blue, brown, black, white


@dataclass(frozen=True)
class PseudoImageRecipe:
    """What pseudo-images look like. All shares are probabilities per picture.

    Attributes:
        style: ``shipped`` or ``paper``. The paper's style reads only the size, `hairs` and `thickness_px`.
        width, height: of the picture, pixels.
        hairs: fewest and most hairs in the paper's style.
        thickness_px: thinnest and thickest hair. In the shipped style a picture's typical hair is drawn from this
            range by its logarithm, its hairs vary around that.
        hairless_share: pictures without any hair, full of everything else.
        plain_share: clean strips on smooth skin, as a phantom or a drawing has them.
        dense_share: tangles and bundles that cover half the picture and more.
    """

    style: str = "shipped"
    width: int = 288
    height: int = 288
    hairs: tuple[int, int] = (1, 10)
    thickness_px: tuple[float, float] = (1.6, 48.0)
    hairless_share: float = 0.12
    plain_share: float = 0.10
    dense_share: float = 0.15

    def __post_init__(self) -> None:
        if self.style not in {"shipped", "paper"}:
            raise ScalpScopeError(f"Unknown style of pseudo-images {self.style!r}.", "Use 'shipped' or 'paper'.")
        if min(self.width, self.height) < 32 or not 0 < self.thickness_px[0] <= self.thickness_px[1]:
            raise ScalpScopeError("The pseudo-image recipe has an impossible size or thickness.", "Correct the recipe.")

    @classmethod
    def paper(cls) -> PseudoImageRecipe:
        """The paper's own numbers."""
        return cls(style="paper", width=640, height=480, hairs=(1, 10), thickness_px=(1, 7))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> PseudoImageRecipe:
        """From a recipe file's table; lists become tuples. Raises ScalpScopeError on an unknown key."""
        values = dict(values)
        base = cls.paper() if values.get("style") == "paper" else cls()
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            names = ", ".join(sorted(known))
            raise ScalpScopeError(f"Unknown pseudo-image setting {unknown[0]!r}.", f"Known ones: {names}.")
        merged = {name: getattr(base, name) for name in known} | values
        return cls(**{name: tuple(v) if isinstance(v, list) else v for name, v in merged.items()})


@dataclass(frozen=True)
class Chances:
    """How likely each thing is in a picture of the shipped style: what training sees, unless something else is asked.

    No recipe names them: they make the conditions that are tested one by one (`training.segmentation.conditions`).

    Attributes:
        spots, vessels, gloss, ink, flakes: lie under the hairs; twice as likely in a picture without hair.
        flakes_on_hair, glints, bubbles: lie over the hairs; twice as likely in a picture without hair.
        borders, text: of the picture.
        pale: of each hair to have the skin's own colour, a little darker or brighter.
        unfocused: of each depth to be out of focus, the nearest to focus too.
        sharp_lens, moved: of the camera to see sharply, and to have moved.
    """

    spots: float = 0.18
    vessels: float = 0.10
    gloss: float = 0.16
    ink: float = 0.03
    flakes: float = 0.30
    flakes_on_hair: float = 0.14
    glints: float = 0.25
    bubbles: float = 0.06
    borders: float = 0.12
    text: float = 0.06
    pale: float = 0.12
    unfocused: float = 0.12
    sharp_lens: float = 0.85
    moved: float = 0.1


TRAINING_CHANCES = Chances()


@dataclass(frozen=True)
class PseudoImage:
    """A picture and its truth.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) uint8, how much of each pixel hair covers, 0..255.
        hairs: every hair drawn, back to front.
    """

    image: np.ndarray
    mask: np.ndarray
    hairs: tuple[HairTruth, ...]


def render_pseudo_image(
    seed: int, recipe: PseudoImageRecipe, backgrounds: BackgroundPool, chances: Chances = TRAINING_CHANCES
) -> PseudoImage:
    """One pseudo-image; the same seed, recipe, backgrounds and chances give the same picture."""
    rng = np.random.default_rng(seed)
    background = backgrounds.sample(rng, recipe.height, recipe.width)
    if recipe.style == "paper":
        return _render_paper(rng, recipe, background)
    if rng.random() < recipe.plain_share:
        return _render_plain(rng, recipe, background)
    return _render_shipped(rng, recipe, background, chances)


def _render_paper(rng: np.random.Generator, recipe: PseudoImageRecipe, background: np.ndarray) -> PseudoImage:
    """Section 3.1: lines and power functions in four colours, 1 to 7 px; white dots and flakes as noise, not masked."""
    image = np.clip(background, 0, 255).astype(np.uint8)
    mask = np.zeros(image.shape[:2], np.uint8)
    height, width = mask.shape
    hairs = []
    for _ in range(int(rng.integers(recipe.hairs[0], recipe.hairs[1] + 1))):
        thickness = int(rng.integers(round(recipe.thickness_px[0]), round(recipe.thickness_px[1]) + 1))
        x = np.linspace(*rng.uniform(0, width, 2), 64)
        start, end = rng.uniform(0, height, 2)
        t = np.linspace(0, 1, 64)
        exponent = 1.0 if rng.random() < 0.5 else rng.uniform(1.5, 4.0)
        line = np.stack([x, start + (end - start) * t**exponent], 1).astype(np.float32)
        points = [np.round(line * 16).astype(np.int32)]
        colour = tuple(int(v) for v in _PAPER_COLOURS[rng.integers(4)])
        cv2.polylines(image, points, False, colour, thickness, cv2.LINE_AA, 4)
        cv2.polylines(mask, points, False, 255, thickness, cv2.LINE_AA, 4)
        hairs.append(HairTruth(line, np.full(64, thickness, np.float32)))
    for _ in range(int(rng.integers(0, 40))):
        centre = tuple(int(v) for v in rng.uniform((0, 0), (width, height)))
        cv2.circle(image, centre, int(rng.integers(1, 4)), (255, 255, 255), -1, cv2.LINE_AA)
    for _ in range(int(rng.integers(0, 5))):
        around = rng.uniform((0, 0), (width, height)) + rng.normal(0, rng.uniform(4, 20), (int(rng.integers(5, 12)), 2))
        cv2.fillPoly(image, [cv2.convexHull(around.astype(np.int32))], (235, 235, 235), cv2.LINE_AA)
    return PseudoImage(image, mask, tuple(hairs))


def _render_plain(rng: np.random.Generator, recipe: PseudoImageRecipe, background: np.ndarray) -> PseudoImage:
    """Clean strips on even skin, as others draw phantoms: smooth ground, one look for all hairs, little noise."""
    height, width = background.shape[:2]
    level = background.mean(axis=(0, 1))
    picture = np.asarray(level + (background - level) * rng.uniform(0, 0.6), np.float32)
    layer = StrandLayer(height, width)
    typical = _log_uniform(rng, max(2.0, recipe.thickness_px[0]), recipe.thickness_px[1])
    style = sample_style(rng, level, typical)
    style = replace(style, rim=1.0, gloss=0.0 if rng.random() < 0.5 else style.gloss, roughness=0.0, opacity=1.0)
    hairs = []
    for _ in range(int(np.clip(rng.uniform(0.3, 3) * 0.12 * width * height / (typical * 0.5 * width), 1, 30))):
        line = sample_centre_line(rng, height, width, typical, rng.uniform(0, np.pi), bool(rng.random() < 0.5))
        hair = HairTruth(line, np.full(len(line), typical * rng.uniform(0.5, 1.6), np.float32))
        layer.paint(rng, hair, style)
        hairs.append(hair)
    colour, alpha, covered = layer.flatten(rng.uniform(0, 0.8))
    picture = picture * (1 - alpha[..., None]) + colour
    picture += rng.uniform(0, 8) * rng.standard_normal(picture.shape, dtype=np.float32)
    if rng.random() < 0.5:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.4, 2.0))
    image = np.clip(np.round(picture), 0, 255).astype(np.uint8)
    return PseudoImage(image, _to_mask(covered), tuple(hairs))


def _render_shipped(
    rng: np.random.Generator, recipe: PseudoImageRecipe, background: np.ndarray, chances: Chances
) -> PseudoImage:
    height, width = background.shape[:2]
    picture = background.astype(np.float32)
    skin = picture.mean(axis=(0, 1))
    hairless = rng.random() < recipe.hairless_share
    busy = 2.0 if hairless else 1.0  # a picture without hair must be full of everything else
    for share, draw in (
        (chances.spots, distractors.draw_spots),
        (chances.vessels, distractors.draw_vessels),
        (chances.gloss, distractors.draw_gloss),
        (chances.ink, distractors.draw_ink),
    ):
        if rng.random() < share * busy:
            draw(rng, picture)
    if rng.random() < chances.flakes * busy:
        distractors.draw_flakes(rng, picture)

    covered = np.zeros((height, width), np.float32)
    hairs: list[HairTruth] = []
    if not hairless:
        for depth_blur, layer_hairs in _sample_layers(rng, recipe, height, width, chances):
            layer = StrandLayer(height, width)
            mixed = rng.random() < 0.25
            family = sample_style(rng, skin, layer_hairs[0].diameter_px, chances.pale)
            for hair in layer_hairs:
                other = sample_style(rng, skin, hair.diameter_px, chances.pale)
                own = mixed or rng.random() < 0.12
                layer.paint(
                    rng,
                    hair,
                    other if own else replace(family, colour=np.clip(family.colour * rng.uniform(0.8, 1.25), 0, 255)),
                )
            colour, alpha, truth = layer.flatten(depth_blur)
            if rng.random() < 0.4:
                _cast_shadow(rng, picture, alpha)
            if rng.random() < 0.25:
                _root_halos(rng, picture, layer_hairs)
            picture = picture * (1 - alpha[..., None]) + colour
            covered = np.maximum(covered, truth)
            hairs += layer_hairs

    if rng.random() < chances.flakes_on_hair * busy:  # flakes that lie on the hairs hide them
        covered *= 1 - (distractors.draw_flakes(rng, picture) > 0.6)
    for share, draw in ((chances.glints, distractors.draw_glints), (chances.bubbles, distractors.draw_bubbles)):
        if rng.random() < share * busy:
            draw(rng, picture)
    if rng.random() < chances.borders:
        covered *= distractors.draw_borders(rng, picture) > 0.35
    if rng.random() < chances.text:
        distractors.draw_text(rng, picture)
    return PseudoImage(photograph(rng, picture, chances.sharp_lens, chances.moved), _to_mask(covered), tuple(hairs))


def _sample_layers(
    rng: np.random.Generator, recipe: PseudoImageRecipe, height: int, width: int, chances: Chances
) -> list[tuple[float, list[HairTruth]]]:
    """One to three depths, far to near: each its defocus (sigma, px) and its hairs, until enough is covered."""
    typical = _log_uniform(rng, *recipe.thickness_px)
    dense = rng.random() < recipe.dense_share
    coverage = rng.uniform(0.35, 1.1) if dense else rng.uniform(0.02, 0.4)
    layers = int(rng.choice((1, 2, 3), p=(0.4, 0.4, 0.2)))
    focus = int(rng.integers(layers))
    direction = rng.uniform(0, np.pi)
    disorder = float(rng.choice((0.08, 0.3, 1.6)))
    depth_of_field = rng.uniform(0.06, 0.45)
    result = []
    for index in range(layers):
        distance = abs(index - focus)
        blur = 0.0 if distance == 0 else distance * depth_of_field * typical * rng.uniform(0.5, 1.5)
        if rng.random() < chances.unfocused:  # nothing is in focus
            blur += rng.uniform(0.5, 3.0)
        hairs: list[HairTruth] = []
        area = 0.0
        nearness = 1.0 + 0.25 * (index - focus)
        while not hairs or (len(hairs) < 45 and area < coverage / layers * height * width):
            thickness = typical * nearness * np.exp(rng.normal(0, 0.28))
            if rng.random() < 0.12:
                thickness *= rng.uniform(0.25, 0.6)  # a vellus hair among terminal ones
            thickness = float(np.clip(thickness, recipe.thickness_px[0] * 0.8, recipe.thickness_px[1] * 1.6))
            own = direction + (rng.normal(0, disorder) if rng.random() < 0.85 else rng.uniform(0, np.pi))
            line = sample_centre_line(rng, height, width, thickness, own, bool(rng.random() < 0.65))
            bundle = int(rng.integers(2, 6)) if rng.random() < (0.3 if dense else 0.12) else 1
            for strand in range(bundle):  # wet hair glues into bundles
                turn = rng.normal(0, 0.02)
                rotation = np.float32([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
                across = np.float32([-np.sin(own), np.cos(own)]) * strand * thickness * rng.uniform(0.7, 1.5)
                middle = line.mean(axis=0)
                moved = ((line - middle) @ rotation.T + middle + across).astype(np.float32)
                hair = HairTruth(moved, sample_widths(rng, len(moved), thickness * float(np.exp(rng.normal(0, 0.1)))))
                hairs.append(hair)
                area += _visible_area(hair, height, width)
        result.append((float(blur), hairs))
    return result


def _visible_area(hair: HairTruth, height: int, width: int) -> float:
    inside = ((hair.centre_line > 0) & (hair.centre_line < (width, height))).all(axis=1)
    steps = np.linalg.norm(np.diff(hair.centre_line, axis=0), axis=1)
    return float((steps * inside[1:] * hair.widths_px[1:]).sum()) + 1.0


def _cast_shadow(rng: np.random.Generator, picture: np.ndarray, alpha: np.ndarray) -> None:
    """The hair's shadow on the skin, beside it: dark, soft, and not hair."""
    shift = rng.normal(0, 6, 2)
    move = np.float32([[1, 0, shift[0]], [0, 1, shift[1]]])
    shadow = cv2.warpAffine(alpha, move, (alpha.shape[1], alpha.shape[0]))
    picture *= 1 - rng.uniform(0.05, 0.3) * cv2.GaussianBlur(shadow, (0, 0), rng.uniform(1.5, 8))[..., None]


def _root_halos(rng: np.random.Generator, picture: np.ndarray, hairs: list[HairTruth]) -> None:
    """Round the place where a hair leaves the skin: a bluish dark spot (the root shines through) or a pale ring."""
    height, width = picture.shape[:2]
    tone = np.array((60, 75, 90) if rng.random() < 0.6 else (225, 225, 225), np.float32)
    strength = rng.uniform(0.15, 0.6)
    for hair in hairs:
        x, y = hair.centre_line[0]
        if not (0 < x < width and 0 < y < height):
            continue
        reach = hair.diameter_px * rng.uniform(0.8, 2.2)
        top, left = max(0, int(y - 3 * reach)), max(0, int(x - 3 * reach))
        part = picture[top : int(y + 3 * reach) + 1, left : int(x + 3 * reach) + 1]
        rows, columns = np.mgrid[top : top + part.shape[0], left : left + part.shape[1]].astype(np.float32)
        glow = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * reach**2))
        part += (tone - part) * (strength * glow)[..., None]


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _to_mask(covered: np.ndarray) -> np.ndarray:
    return np.round(np.clip(covered, 0, 1) * 255).astype(np.uint8)
