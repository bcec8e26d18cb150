"""A clinician's word is in the mask, within its reach and nowhere else."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_app.vision.corrections import heed
from device_app.vision.prompts import PromptPoints

REACH = 24.0
NONE = np.zeros((0, 2), np.float32)


@pytest.fixture
def scalp() -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 3, (120, 160, 3))
    return np.clip(np.float32((200, 165, 145)) + noise, 0, 255).astype(np.uint8)


def tap(*places: tuple[float, float]) -> PromptPoints:
    return PromptPoints(np.float32(places), NONE)


def long_press(*places: tuple[float, float]) -> PromptPoints:
    return PromptPoints(NONE, np.float32(places))


@pytest.mark.parametrize("offset", [0, 1, 3])
@pytest.mark.parametrize("colour", [(40, 40, 45), (240, 240, 240)])
def test_a_tap_on_a_missed_hair_adds_it_although_the_finger_is_a_little_off(
    scalp: np.ndarray, offset: int, colour: tuple[int, int, int]
) -> None:
    cv2.line(scalp, (80, 0), (80, 119), colour, 3)
    found = heed(np.zeros((120, 160), np.uint8), scalp, tap((80 + offset, 60)), REACH)
    hair = np.zeros((120, 160), bool)
    hair[60 - 24 : 60 + 25, 79:82] = True
    assert (found[hair] > 0).mean() > 0.9
    assert np.count_nonzero(found[~hair]) < 0.75 * np.count_nonzero(hair)  # its soft edges and the place of the finger


def test_a_long_press_takes_away_what_is_there_and_leaves_the_neighbour(scalp: np.ndarray) -> None:
    mask = np.zeros((120, 160), np.uint8)
    cv2.circle(mask, (60, 60), 8, 255, cv2.FILLED)
    mask[:, 75:79] = 255
    found = heed(mask, scalp, long_press((62, 58)), REACH)
    assert not found[50:71, 50:71].any()
    assert (found[:, 75:79] == 255).all()
    assert mask[60, 60] == 255, "the mask given stays as it is"


def test_of_a_long_hair_only_what_is_in_reach_goes(scalp: np.ndarray) -> None:
    mask = np.zeros((120, 160), np.uint8)
    mask[58:62] = 255
    found = heed(mask, scalp, long_press((80, 60)), REACH)
    assert not found[58:62, 60:101].any()
    assert (found[58:62, :50] == 255).all() and (found[58:62, 110:] == 255).all()


def test_where_nothing_stands_out_a_tap_draws_a_dot(scalp: np.ndarray) -> None:
    scalp[:] = 180
    found = heed(np.zeros((120, 160), np.uint8), scalp, tap((30, 30)), REACH)
    assert found[30, 30] == 255 and 0 < np.count_nonzero(found) < 60


def test_what_the_mask_says_already_is_left_alone(scalp: np.ndarray) -> None:
    mask = np.zeros((120, 160), np.uint8)
    mask[:, 80:84] = 255
    both = PromptPoints(np.float32([[81, 40]]), np.float32([[20, 20]]))
    np.testing.assert_array_equal(heed(mask, scalp, both, REACH), mask)


@given(x=st.integers(0, 63), y=st.integers(0, 47), hair=st.booleans(), full=st.booleans(), seed=st.integers(0, 99))
def test_the_word_holds_at_its_place_and_nothing_changes_beyond_its_reach(
    x: int, y: int, hair: bool, full: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    mask = np.full((48, 64), 255, np.uint8) if full else (rng.random((48, 64)) < 0.5).astype(np.uint8) * 255
    place = tap((x, y)) if hair else long_press((x, y))
    found = heed(mask, image, place, 10.0)
    assert (found[y, x] > 0) == hair
    rows, columns = np.nonzero(found != mask)
    assert (np.hypot(columns - x, rows - y) <= 10).all()
    assert set(np.unique(found)) <= {0, 255}
