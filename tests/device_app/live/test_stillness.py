"""Still or moving, told from drawn pictures: noise and light are no movement, a slow drift is."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_app.camera.demo import DemoScalp
from device_app.camera.phantom import render_phantom
from device_app.live.stillness import MOST_CHANGE, STILL_AFTER_S, Stillness, small_view

FPS = 20.0
SCALPS = {hairs: render_phantom(3, 640, 480, 3.0, hairs).image for hairs in (4, 20, 60)}
BARE = np.full((480, 640, 3), (205, 160, 140), np.uint8)


def watch(stillness: Stillness, pictures, start_s: float = 0.0) -> list[bool]:
    """Show it pictures at `FPS`; what it said to each."""
    return [stillness.see(picture, start_s + number / FPS) for number, picture in enumerate(pictures)]


def noisy(image: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    return np.clip(image + rng.normal(0, sigma, image.shape), 0, 255).astype(np.uint8)


def shifted(image: np.ndarray, pixels: int) -> np.ndarray:
    return np.roll(image, pixels, axis=1)


def change(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(small_view(first) - small_view(second)).mean())


@pytest.mark.parametrize("image", [*SCALPS.values(), BARE], ids=["few", "some", "many", "bare"])
@pytest.mark.parametrize("sigma", [0.0, 3.0, 10.0])
def test_a_picture_with_nothing_but_noise_stands_still_after_its_time_and_not_before(image, sigma):
    rng = np.random.default_rng(1)
    stillness = Stillness()
    pictures = [noisy(image, sigma, rng) for _ in range(5)]
    said = watch(stillness, pictures * 8)
    before = int(STILL_AFTER_S * FPS)
    assert not any(said[:before]) and all(said[before:])
    assert stillness.moment == 1


@pytest.mark.parametrize("hairs", SCALPS)
def test_a_hand_that_trembles_by_a_pixel_holds_still(hairs):
    image = SCALPS[hairs]
    stillness = Stillness()
    said = watch(stillness, (shifted(image, number % 2) for number in range(40)))
    assert said[-1] and stillness.moment == 1


@pytest.mark.parametrize("hairs", SCALPS)
def test_a_move_ends_the_moment_and_the_next_one_begins(hairs):
    image, moved = SCALPS[hairs], shifted(SCALPS[hairs], 10)
    stillness = Stillness()
    assert watch(stillness, [image] * 40)[-1]
    assert not stillness.see(moved, 40 / FPS)
    assert stillness.moment == 2
    assert watch(stillness, [moved] * 40, 41 / FPS)[-1]
    assert stillness.moment == 2


def test_a_drift_of_a_pixel_with_each_picture_is_a_movement_though_each_step_is_none():
    image = SCALPS[20]
    assert change(image, shifted(image, 1)) < MOST_CHANGE
    assert not any(watch(Stillness(), (shifted(image, number) for number in range(120))))


def test_neither_a_flickering_lamp_nor_exposure_control_counts_as_movement():
    image = SCALPS[20].astype(np.float32)
    lamp = (np.clip(image * (1.0 - 0.1 * (number % 3)), 0, 255).astype(np.uint8) for number in range(40))
    stillness = Stillness()
    assert watch(stillness, lamp)[-1] and stillness.moment == 1
    darker = (np.clip(image - 0.5 * number, 0, 255).astype(np.uint8) for number in range(40))
    stillness = Stillness()
    assert watch(stillness, darker)[-1] and stillness.moment == 1


def test_a_gap_begins_anew_and_so_does_another_picture():
    stillness = Stillness()
    assert watch(stillness, [SCALPS[20]] * 40)[-1]
    assert not stillness.see(SCALPS[20], 40 / FPS + 1.0)
    assert watch(stillness, [SCALPS[20]] * 40, 40 / FPS + 1.0)[-1]
    assert not stillness.see(SCALPS[4], 80 / FPS + 1.0)


@pytest.mark.parametrize("size", [(1280, 1024), (2592, 1944), (320, 240)])
def test_pictures_of_other_sizes_are_judged_alike(size):
    image = cv2.resize(SCALPS[20], size, interpolation=cv2.INTER_LINEAR)
    rng, one_in_640 = np.random.default_rng(2), size[0] / 640
    stillness = Stillness()
    tremor = [noisy(shifted(image, round(one_in_640) * (number % 2)), 3.0, rng) for number in range(5)]
    assert watch(stillness, tremor * 7)[-1] and stillness.moment == 1
    assert not stillness.see(shifted(image, round(10 * one_in_640)), 35 / FPS)


def test_the_moving_demo_scalp_never_stands_still():
    demo = DemoScalp(160, 120, seed=3)
    stillness = Stillness()
    assert not any(stillness.see(demo.picture_at(index), index / 30.0) for index in range(0, 900, 3))


@settings(deadline=None)  # it is about values, not about time
@given(
    st.integers(1, 40), st.integers(1, 40), st.sampled_from([0, 127, 255]), st.integers(1, 3), st.integers(0, 2**32 - 1)
)
def test_pictures_of_any_size_and_content_are_taken(height, width, level, pictures, seed):
    rng = np.random.default_rng(seed)
    stillness = Stillness()
    flat = np.full((height, width, 3), level, np.uint8)
    wild = rng.integers(0, 256, (height, width, 3), np.uint8)
    for number in range(pictures):
        assert not stillness.see(flat, number / FPS)
        assert not stillness.see(wild, number / FPS)
    assert np.isfinite(small_view(wild)).all() and small_view(flat).shape == (48, 64)
