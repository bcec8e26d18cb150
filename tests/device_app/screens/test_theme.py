"""Colours that can be read, and sizes that a gloved finger hits."""

from __future__ import annotations

import numpy as np
import pytest

from device_app.screens import theme
from device_app.vision.hairs import HairClass

MM_PER_INCH = 25.4
WINDOWS = [(800, 480, 7.0), (1280, 800, 10.1), (1920, 1080, 15.6)]  # pixels, and the smallest usual screen in inches


def test_contrast_is_the_ratio_of_wcag() -> None:
    white, black, grey = (1, 1, 1, 1), (0, 0, 0, 1), (119 / 255, 119 / 255, 119 / 255, 1)
    assert theme.contrast(white, black) == pytest.approx(21.0)
    assert theme.contrast(black, black) == 1.0
    assert theme.contrast(grey, white) == pytest.approx(4.48, abs=0.01)  # the well-known grey that just fails


@pytest.mark.parametrize("name", theme.TEXT_PAIRS)
def test_every_text_stands_out_from_its_ground(name: str) -> None:
    assert theme.contrast(*theme.TEXT_PAIRS[name]) >= 4.5


@pytest.mark.parametrize("name", theme.GRAPHIC_PAIRS)
def test_every_bar_stands_out_from_its_ground(name: str) -> None:
    assert theme.contrast(*theme.GRAPHIC_PAIRS[name]) >= 3.0


def _as_seen_without_red_or_green(colour: theme.Colour, cones: np.ndarray) -> np.ndarray:
    linear = np.array([value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in colour[:3]])
    return cones @ linear


@pytest.mark.parametrize(
    "cones",
    [
        # Viénot, Brettel and Mollon 1999, in linear RGB: protanopia and deuteranopia.
        np.array([[0.112, 0.888, 0.0], [0.112, 0.888, 0.0], [0.004, -0.004, 1.0]]),
        np.array([[0.293, 0.707, 0.0], [0.293, 0.707, 0.0], [-0.022, 0.022, 1.0]]),
    ],
    ids=["no red cones", "no green cones"],
)
def test_hair_classes_are_told_apart_by_colour_blind_eyes(cones: np.ndarray) -> None:
    seen = [_as_seen_without_red_or_green(theme.CLASS_COLOURS[kind], cones) for kind in HairClass]
    for first in range(3):
        for second in range(first):
            assert np.linalg.norm(seen[first] - seen[second]) > 0.25


@pytest.mark.parametrize(("width", "height", "inches"), WINDOWS)
def test_targets_are_9_mm_and_text_is_16_px_or_more(width: int, height: int, inches: float) -> None:
    layout = theme.layout_for(width, height)
    dots_per_mm = np.hypot(width, height) / inches / MM_PER_INCH
    assert layout.touch / dots_per_mm >= 9.0
    assert layout.body >= 16
    assert layout.figure > layout.title > layout.body


def test_a_small_window_folds_and_a_large_one_does_not() -> None:
    assert theme.layout_for(800, 480).folded
    assert not theme.layout_for(1280, 800).folded
    assert not theme.layout_for(1920, 1080).folded
    assert theme.layout_for(800, 480).unit == 8
