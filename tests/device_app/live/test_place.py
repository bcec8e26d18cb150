"""Whether the microscope is at the same place: a hand that trembles is, one that moved on is not."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest

from device_app.camera.phantom import render_phantom
from device_app.live.place import PlaceWatch
from tests.support.real_pictures import real_scalp_pictures

SIZE = (480, 360)
FAR, NEAR = 160, 60  # pixels of a scalp of 800 x 640


@pytest.fixture(scope="module")
def scalp() -> np.ndarray:
    """A scalp larger than a picture, (640, 800, 3), lit from one side."""
    image = render_phantom(3, 800, 640, 4.0, 60).image.astype(np.float32)
    light = np.linspace(0.7, 1.1, 800)[None, :, None]
    return np.clip(image * light, 0, 255).astype(np.uint8)


def seen(scalp: np.ndarray, x: int = 0, y: int = 0) -> np.ndarray:
    """The picture under a microscope whose corner is at (160 + x, 140 + y)."""
    return scalp[140 + y : 140 + y + SIZE[1], 160 + x : 160 + x + SIZE[0]]


def test_the_first_picture_is_the_first_place(scalp: np.ndarray) -> None:
    watch = PlaceWatch()
    assert watch.place == 0
    assert watch.see(seen(scalp)) == watch.see(seen(scalp)) == watch.place == 1


def test_tremor_noise_light_and_a_soft_focus_are_no_other_place(scalp: np.ndarray) -> None:
    watch, rng = PlaceWatch(), np.random.default_rng(0)
    for _ in range(12):
        x, y = rng.integers(-NEAR, NEAR + 1, 2)
        picture = cv2.GaussianBlur(seen(scalp, x, y), (0, 0), rng.uniform(0.3, 3)).astype(np.float32)
        picture = picture * rng.uniform(0.7, 1.1) + rng.normal(0, 8, picture.shape)
        assert watch.see(np.clip(picture, 0, 255).astype(np.uint8)) == 1


def test_a_slow_drift_becomes_another_place_in_the_end(scalp: np.ndarray) -> None:
    watch = PlaceWatch()
    places = [watch.see(seen(scalp, x)) for x in range(-FAR, FAR + 1, 16)]
    assert places[0] == 1 and places[3] == 1
    assert places[-1] > 1 and places == sorted(places)


def test_another_scalp_and_back_again_are_three_places(scalp: np.ndarray) -> None:
    watch = PlaceWatch()
    other = cv2.flip(seen(scalp), -1)
    assert [watch.see(picture) for picture in (seen(scalp), other, other, seen(scalp))] == [1, 2, 2, 3]


def test_bare_skin_is_one_place_whatever_its_noise_and_the_lid_another(scalp: np.ndarray) -> None:
    watch, rng = PlaceWatch(), np.random.default_rng(1)

    def bare(level: int) -> np.ndarray:
        return np.clip(level + rng.normal(0, 6, (*SIZE[::-1], 3)), 0, 255).astype(np.uint8)

    assert [watch.see(bare(170)) for _ in range(5)] == [1] * 5
    assert watch.see(seen(scalp)) == 2
    assert watch.see(bare(5)) == 3


def test_pictures_of_different_real_scalps_are_mostly_told_apart() -> None:
    pictures = [cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in real_scalp_pictures(12, "train")]
    moves = 0
    for first, second in itertools.pairwise(pictures):
        watch = PlaceWatch()
        watch.see(first)
        assert watch.see(np.roll(first, (9, -14), axis=(0, 1))) == 1
        moves += watch.see(second) - 1
    assert moves >= 0.8 * (len(pictures) - 1)


def test_a_picture_with_hairs_round_a_bare_middle_is_the_same_place_as_itself() -> None:
    picture = np.full((240, 320, 3), 180, np.uint8)
    picture[:, :40] = picture[:50] = 40
    watch = PlaceWatch()
    assert watch.see(picture) == watch.see(picture.copy()) == watch.see(np.roll(picture, 4, axis=1)) == 1
