"""A streak of gloss makes one hair look like two; two hairs side by side stay two."""

from __future__ import annotations

import numpy as np
import pytest

from device_app.camera.strands import strand_coverage
from device_app.vision.measure import measure_hairs

SKIN = np.array([190.0, 150.0, 125.0])
HAIR = np.array([60.0, 50.0, 45.0])


def paint(image: np.ndarray, line: np.ndarray, width: float, colour: np.ndarray) -> np.ndarray:
    """Lay a strand of one colour over the picture; returns its coverage."""
    covered = strand_coverage(image.shape[:2], line, width)
    share = covered[..., None] / 255
    image[...] = image * (1 - share) + colour * share
    return covered


def line_at(offset: float) -> np.ndarray:
    """A slightly bent line across the picture, moved sideways by `offset`."""
    x = np.linspace(60, 340, 40)
    return np.stack([x, 150 + offset + 12 * np.sin(x / 120)], axis=1)


@pytest.mark.parametrize("gloss", [(225, 225, 225), (150, 150, 152), (235, 215, 200)])
def test_the_flanks_of_a_glossy_hair_are_one_hair_of_the_full_width(gloss):
    image = np.tile(SKIN, (300, 400, 1))
    body = paint(image, line_at(0), 24, HAIR)
    streak = paint(image, line_at(0), 9, np.array(gloss, float))
    mask = np.uint8((body > 127) & (streak < 128)) * 255
    image = np.uint8(image + np.random.default_rng(0).normal(0, 2, image.shape))
    measured = measure_hairs(image, mask)
    assert measured.hair_count == 1
    assert measured.hairs[0].diameter_px == pytest.approx(24, abs=1.0)


def test_two_hairs_side_by_side_stay_two():
    image = np.tile(SKIN, (300, 400, 1))
    mask = np.zeros((300, 400), np.uint8)
    for offset in (-9, 9):
        mask |= np.uint8(paint(image, line_at(offset), 8, HAIR) > 127) * 255
    image = np.uint8(image + np.random.default_rng(0).normal(0, 2, image.shape))
    measured = measure_hairs(image, mask)
    assert measured.hair_count == 2
    assert [hair.diameter_px for hair in measured.hairs] == pytest.approx([8, 8], abs=0.8)
