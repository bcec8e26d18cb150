"""Whatever moves a picture moves what lies over it; the baselines of Table 3 do what their papers say."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.classification.augment import (
    NOISE_DEVIATION,
    Augmentation,
    Layers,
    add_noise,
    augment,
    augmix,
    mirror,
    move,
    recolour,
    resize,
)

SIZE = (96, 72)


def _layers(seed: int, size: tuple[int, int] = (120, 90)) -> Layers:
    """Discs, each region's in one colour channel, and a hair mask that is where the third region is."""
    rng = np.random.default_rng(seed)
    regions = np.zeros((3, size[1], size[0]), np.uint8)
    for region in regions:
        centre = (int(rng.integers(size[0])), int(rng.integers(size[1])))
        cv2.circle(region, centre, int(rng.integers(8, 20)), 255, -1)
    return Layers(np.ascontiguousarray(regions.transpose(1, 2, 0)), regions, regions[2].copy())


def _agree(layers: Layers) -> None:
    """Away from edges, which are between 0 and 255 in the picture, all layers say the same."""
    for channel in range(3):
        colour = layers.image[..., channel]
        sure = cv2.erode(cv2.inRange(colour, 250, 255), np.ones((5, 5))) > 0
        empty = cv2.erode(cv2.inRange(colour, 0, 5), np.ones((5, 5))) > 0
        assert (layers.regions[channel][sure] == 255).all()
        assert (layers.regions[channel][empty] == 0).all()
    assert np.array_equal(layers.hair_mask, layers.regions[2])


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6))
def test_regions_and_hair_mask_move_with_the_picture(seed: int) -> None:
    for change in (move(_layers(seed), np.random.default_rng(seed), SIZE), resize(_layers(seed), SIZE),
                   mirror(_layers(seed, SIZE), np.random.default_rng(seed))):  # fmt: skip
        assert change.image.shape == (72, 96, 3) and change.regions.shape == (3, 72, 96)
        _agree(change)


def test_a_moved_picture_is_really_moved_and_has_no_empty_border() -> None:
    grey = Layers(np.full((90, 120, 3), 130, np.uint8))
    moved = [move(_layers(1), np.random.default_rng(seed), SIZE).image for seed in range(20)]
    assert len({picture.tobytes() for picture in moved}) == 20
    for seed in range(20):
        assert (move(grey, np.random.default_rng(seed), SIZE).image == 130).all()


@settings(deadline=None, max_examples=25)
@given(kind=st.sampled_from(list(Augmentation)), seed=st.integers(0, 10**6))
def test_the_same_generator_gives_the_same_picture_at_the_size_that_is_asked(kind: Augmentation, seed: int) -> None:
    one, two = (augment(_layers(3), kind, np.random.default_rng(seed), SIZE) for _ in range(2))
    assert one.image.shape == (72, 96, 3) and one.image.dtype == np.uint8
    assert np.array_equal(one.image, two.image) and np.array_equal(one.regions, two.regions)


def test_without_augmentation_the_picture_is_only_resized() -> None:
    layers = _layers(5)
    plain = augment(layers, Augmentation.NONE, np.random.default_rng(0), SIZE)
    assert np.array_equal(plain.image, cv2.resize(layers.image, SIZE, interpolation=cv2.INTER_AREA))


def test_noise_is_gaussian_of_the_stated_deviation() -> None:
    grey = np.full((200, 200, 3), 128, np.uint8)
    noise = add_noise(grey, np.random.default_rng(0)).astype(float) - 128
    assert noise.mean() == pytest.approx(0, abs=0.5)
    assert noise.std() == pytest.approx(NOISE_DEVIATION, rel=0.02)
    inside = np.abs(noise) < NOISE_DEVIATION
    assert inside.mean() == pytest.approx(0.683, abs=0.02)


def test_augmix_mixes_chains_into_the_picture_and_stays_near_it() -> None:
    rng = np.random.default_rng(0)
    picture = cv2.resize(rng.integers(0, 256, (9, 12, 3)).astype(np.uint8), (120, 90), interpolation=cv2.INTER_CUBIC)
    mixed = [augmix(picture, np.random.default_rng(seed)) for seed in range(30)]
    assert len({one.tobytes() for one in mixed}) == 30
    likeness = [np.corrcoef(one.ravel(), picture.ravel())[0, 1] for one in mixed]
    assert np.median(likeness) > 0.8
    assert min(likeness) < 0.999


def test_a_red_scalp_is_never_made_grey() -> None:
    red = np.full((60, 80, 3), (200, 90, 80), np.uint8)

    def greyed(keep_colour: bool) -> int:
        pictures = (recolour(red, np.random.default_rng(seed), keep_colour) for seed in range(60))
        return sum(float(np.ptp(one.reshape(-1, 3).mean(axis=0))) < 10 for one in pictures)

    assert greyed(keep_colour=True) == 0
    assert greyed(keep_colour=False) > 2
