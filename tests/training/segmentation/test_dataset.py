"""Samples follow from their index alone, and what the network is given is what the device gives it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from support.tiny_bundle import make_tiny_bundle

from device_app.bundle import Task, load_bundle
from device_app.vision.preprocess import to_network_input
from training.data.backgrounds import BackgroundPool
from training.segmentation.dataset import MEAN, STD, PseudoImageSet, collate, normalise, thin_hair_weights
from training.segmentation.pseudo_images import PseudoImageRecipe, render_pseudo_image
from training.segmentation.recipe import DataSection

RECIPE = PseudoImageRecipe(width=80, height=64)


def _set(validation: bool = False, seed: int = 1, **data: object) -> PseudoImageSet:
    return PseudoImageSet(RECIPE, DataSection(**data), BackgroundPool(), seed, validation)


def test_the_same_index_gives_the_same_sample_in_another_object() -> None:
    first, again = _set(crop=48)[7], _set(crop=48)[7]
    for name in ("image", "mask", "weight"):
        assert torch.equal(getattr(first, name), getattr(again, name))
    assert not torch.equal(first.image, _set(crop=48)[8].image)
    assert not torch.equal(first.image, _set(crop=48, seed=2)[7].image)


def test_shapes_and_ranges() -> None:
    batch = collate([_set(crop=48, thin_hair_weight=2.0)[index] for index in range(3)])
    assert batch.image.shape == (3, 3, 48, 48)
    assert batch.mask.shape == batch.weight.shape == (3, 1, 48, 48)
    assert batch.image.dtype == batch.mask.dtype == batch.weight.dtype == torch.float32
    assert 0 <= float(batch.mask.min()) and float(batch.mask.max()) <= 1
    assert set(batch.weight.unique().tolist()) <= {1.0, 3.0}


def test_a_picture_smaller_than_the_crop_is_mirrored_out() -> None:
    assert _set(crop=96)[0].image.shape == (3, 96, 96)


def test_resize_before_crop_stretches_to_a_square() -> None:
    assert _set(resize=72)[0].image.shape == (3, 72, 72)


def test_uncropped_unmirrored_sample_is_the_rendered_picture() -> None:
    data = _set(mirror=False)
    drawn = render_pseudo_image(data.image_seed(5), RECIPE, BackgroundPool())
    assert torch.equal(data[5].image, normalise(drawn.image))
    assert np.array_equal(np.round(data[5].mask[0].numpy() * 255), drawn.mask)


def test_validation_seeds_are_no_training_seeds_and_the_same_for_every_run() -> None:
    validation = {_set(validation=True, seed=seed).image_seed(index) for seed in (1, 9) for index in range(500)}
    training = {_set(seed=seed).image_seed(index) for seed in (0, 1, 9) for index in range(500)}
    assert len(validation) == 500
    assert len(training) == 1500
    assert not validation & training
    assert torch.equal(_set(validation=True, seed=1)[3].image, _set(validation=True, seed=9)[3].image)


def test_a_fixed_set_is_shown_whole_every_epoch_in_another_order() -> None:
    data = _set(images=20)
    epochs = [[data.image_seed(20 * epoch + index) for index in range(20)] for epoch in range(3)]
    assert len(set(epochs[0])) == 20
    assert all(set(epoch) == set(epochs[0]) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_normalisation_is_the_devices_own(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    model = load_bundle(make_tiny_bundle(tmp_path / "bundle")).model(Task.HAIR)
    model = model.model_copy(update={"mean": MEAN, "std": STD, "input_shape": (1, 3, 48, 64)})
    np.testing.assert_allclose(normalise(image).numpy(), to_network_input(image, model)[0], atol=1e-5)


@pytest.mark.parametrize(("thickness", "weight"), [(3, 3.0), (11, 1.0)])
def test_only_thin_hairs_weigh_more(thickness: int, weight: float) -> None:
    mask = np.zeros((60, 60), np.uint8)
    mask[20 : 20 + thickness, :] = 255
    weights = thin_hair_weights(mask, extra=2.0, thin_px=5)
    assert (weights[20 : 20 + thickness, 10:50] == weight).all()
    assert (weights[40:, :] == 1).all()
    assert weights.dtype == np.float32


def test_no_extra_weight_leaves_all_alike() -> None:
    assert (thin_hair_weights(np.full((9, 9), 255, np.uint8), 0.0, 5) == 1).all()
