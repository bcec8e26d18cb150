"""From a picture to the network's input, as the manifest says."""

from __future__ import annotations

import numpy as np
import pytest

from device_app.bundle import ColourOrder, Task, load_bundle
from device_app.vision.preprocess import to_network_input


@pytest.fixture(scope="module")
def model(tiny_bundle):
    return load_bundle(tiny_bundle).model(Task.HAIR)


@pytest.mark.parametrize("shape", [(1, 1), (480, 640), (1024, 1280), (100, 2000)])
def test_shape_type_and_range(model, shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    tensor = to_network_input(image, model)
    assert tensor.shape == model.input_shape and tensor.dtype == np.float32 and tensor.flags.c_contiguous


@pytest.mark.parametrize("order", list(ColourOrder))
def test_every_channel_is_normalised_by_its_own_mean_and_deviation(model, order):
    width, height = model.input_size
    image = np.empty((height, width, 3), np.uint8)
    image[:] = (10, 100, 250)
    model = model.model_copy(update={"colour_order": order, "mean": (0.1, 0.5, 0.9), "std": (0.2, 0.3, 0.4)})
    colours = (10, 100, 250) if order is ColourOrder.RGB else (250, 100, 10)
    expected = [(colour / 255 - mean) / std for colour, mean, std in zip(colours, model.mean, model.std)]
    np.testing.assert_allclose(to_network_input(image, model)[0, :, 5, 7], expected, atol=1e-5)


def test_shrinking_averages_instead_of_picking(model):
    width, height = model.input_size
    board = np.indices((2 * height, 2 * width)).sum(axis=0) % 2 * 255
    tensor = to_network_input(np.repeat(board[..., None], 3, axis=2).astype(np.uint8), model)
    assert np.ptp(tensor[0, 0]) < 0.02  # every pixel the same grey


def test_the_picture_is_left_as_it_was(model):
    image = np.random.default_rng(1).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    before = image.copy()
    to_network_input(image, model)[...] = 0
    np.testing.assert_array_equal(image, before)
