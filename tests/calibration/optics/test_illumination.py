"""Light and colour: evened out from white paper, everything else refused, extremes told apart."""

from __future__ import annotations

import pickle

import cv2
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from support.real_pictures import real_scalp_pictures
from support.rulers import RulerScene, render_ruler

from calibration.errors import ScalpScopeError
from calibration.optics.illumination import Exposure, FlatField, exposure_state
from calibration.pictures import read_image


def light(
    width: int = 640,
    height: int = 480,
    centre: tuple[float, float] = (0.45, 0.4),
    fall_off: float = 0.5,
    colour: tuple[float, float, float] = (1.0, 0.9, 0.75),
) -> np.ndarray:
    """(height, width, 3) how much of each colour falls on each place, at most 1: a lamp off the middle, warm."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    distance = ((x / width - centre[0]) ** 2 + (y / height - centre[1]) ** 2) / 0.5
    return (1.0 / (1.0 + fall_off * distance) ** 2)[..., None] * np.array(colour)


def photograph(reflectance: np.ndarray | float, lamp: np.ndarray, noise: float = 3.0, seed: int = 0) -> np.ndarray:
    level = 230.0 * reflectance * lamp + np.random.default_rng(seed).normal(0.0, noise, lamp.shape)
    return np.clip(np.round(level), 0, 255).astype(np.uint8)


@settings(max_examples=20, deadline=None, derandomize=True, phases=(Phase.explicit, Phase.generate))
@given(
    x=st.floats(0.35, 0.65),
    y=st.floats(0.35, 0.65),
    fall_off=st.floats(0.0, 0.6),
    red=st.floats(0.7, 1.0),
    blue=st.floats(0.6, 1.0),
)
def test_paper_becomes_even_and_white(x: float, y: float, fall_off: float, red: float, blue: float) -> None:
    lamp = light(centre=(x, y), fall_off=fall_off, colour=(red, 0.95, blue))
    field = FlatField.from_white_picture(photograph(1.0, lamp))
    corrected = cv2.GaussianBlur(field.correct(photograph(1.0, lamp, seed=1)), (0, 0), 8).astype(float)
    assert corrected.max() - corrected.min() < 0.04 * corrected.mean()
    assert np.ptp(corrected.reshape(-1, 3).mean(axis=0)) < 2.0


def test_grey_and_coloured_things_get_their_own_reflectance_everywhere() -> None:
    lamp = light()
    field = FlatField.from_white_picture(photograph(1.0, lamp))
    skin = np.array([0.7, 0.5, 0.42])
    corrected = field.correct(photograph(skin, lamp)).astype(float)
    white = field.correct(photograph(1.0, lamp)).astype(float).reshape(-1, 3).mean(axis=0)
    for rows, columns in (
        (slice(0, 60), slice(0, 60)),
        (slice(200, 260), slice(280, 340)),
        (slice(-60, None), slice(-60, None)),
    ):
        seen = corrected[rows, columns].reshape(-1, 3).mean(axis=0) / white
        assert seen == pytest.approx(skin, abs=0.02)


def test_the_field_serves_other_sizes_of_the_same_view() -> None:
    field = FlatField.from_white_picture(photograph(1.0, light()))
    large = field.correct(photograph(1.0, light(1280, 960)))
    assert large.shape == (960, 1280, 3)
    smooth = cv2.GaussianBlur(large, (0, 0), 12).astype(float)
    assert smooth.max() - smooth.min() < 0.04 * smooth.mean()


def test_correcting_leaves_the_picture_alone_and_keeps_glints_white() -> None:
    field = FlatField.from_white_picture(photograph(1.0, light()))
    picture = np.full((480, 640, 3), 255, np.uint8)
    corrected = field.correct(picture)
    assert (picture == 255).all()
    assert (corrected == 255).all()
    assert corrected is not picture
    assert field.gains.min() >= 1.0


def test_no_correction_changes_nothing() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    assert (FlatField.from_gains(None, None).correct(picture) == picture).all()


def test_a_field_travels_to_another_process() -> None:
    picture = photograph(1.0, light())
    field = FlatField.from_white_picture(picture)
    expected = field.correct(picture)
    assert (pickle.loads(pickle.dumps(field)).correct(picture) == expected).all()


def test_the_grain_of_the_paper_does_not_count() -> None:
    fibres = 1.0 + cv2.GaussianBlur(np.random.default_rng(3).normal(0, 0.05, (480, 640, 1)), (0, 0), 1.5)[..., None]
    field = FlatField.from_white_picture(photograph(fibres, light()))
    smooth = cv2.GaussianBlur(field.correct(photograph(1.0, light())), (0, 0), 8).astype(float)
    assert smooth.max() - smooth.min() < 0.04 * smooth.mean()


def _with_hair(picture: np.ndarray) -> np.ndarray:
    return cv2.line(picture.copy(), (100, 0), (500, 479), (60, 50, 40), 8)


@pytest.mark.parametrize(
    ("picture", "said"),
    [
        (photograph(0.1, light()), "too dark.*lamp"),
        (np.zeros((480, 640, 3), np.uint8), "too dark"),
        (np.full((480, 640, 3), 255, np.uint8), "saturated.*Lower"),
        (np.clip(photograph(1.0, light()).astype(int) + 60, 0, 255).astype(np.uint8), "saturated"),
        (photograph(1.0, light(colour=(1.0, 0.35, 0.3))), "coloured"),
        (photograph(1.0, light(fall_off=2.5)), "times darker|texture"),
        (_with_hair(photograph(1.0, light())), "texture, print or an object"),
        (render_ruler(RulerScene(numbers=True)), "texture, print or an object"),
        (np.random.default_rng(0).integers(0, 240, (480, 640, 3)).astype(np.uint8), "texture"),
    ],
)
def test_what_is_not_white_paper_is_refused(picture: np.ndarray, said: str) -> None:
    with pytest.raises(ScalpScopeError, match=said):
        FlatField.from_white_picture(picture)


def test_real_scalp_is_not_white_paper() -> None:
    for path in real_scalp_pictures(24):
        with pytest.raises(ScalpScopeError):
            FlatField.from_white_picture(read_image(path))


def test_exposure_of_extremes() -> None:
    assert exposure_state(np.zeros((480, 640, 3), np.uint8)) is Exposure.TOO_DARK
    assert exposure_state(np.full((480, 640, 3), 30, np.uint8)) is Exposure.TOO_DARK
    assert exposure_state(np.full((480, 640, 3), 255, np.uint8)) is Exposure.TOO_BRIGHT
    assert exposure_state(np.full((480, 640, 3), 128, np.uint8)) is Exposure.OK
    # Saturated red alone is a reddened scalp, not an overexposed picture.
    assert exposure_state(np.full((480, 640, 3), (255, 120, 110), np.uint8)) is Exposure.OK


def test_real_pictures_are_well_exposed_until_they_are_spoilt() -> None:
    for path in real_scalp_pictures(24):
        image = read_image(path)
        assert exposure_state(image) is Exposure.OK
        assert exposure_state((image * 0.1).astype(np.uint8)) is Exposure.TOO_DARK
        assert exposure_state(np.clip(image.astype(int) + 200, 0, 255).astype(np.uint8)) is Exposure.TOO_BRIGHT
