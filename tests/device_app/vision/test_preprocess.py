"""From a picture to the network's input, as the manifest says."""

from __future__ import annotations

import colorsys
import math
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_app.bundle import ClassEntry, ColourOrder, ResizeRule, Task, load_bundle
from device_app.vision.preprocess import (
    mask_from_input,
    mask_to_input,
    picture_part,
    points_to_input,
    to_classifier_input,
    to_network_input,
)


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


# -- SAM's rule: as large as fits, the rest empty ----------------------------------------------------------------------

SIZES = st.tuples(st.integers(1, 900), st.integers(1, 900))


@pytest.fixture(scope="module")
def fitting(model):
    return model.model_copy(update={"resize": ResizeRule.FIT})


@pytest.mark.parametrize(
    ("size", "part"),
    [
        ((320, 240), (320, 240)),
        ((640, 240), (320, 120)),
        ((100, 240), (100, 240)),
        ((3, 3), (240, 240)),
        ((999, 1), (320, 1)),
    ],
)
def test_the_longest_side_fills_the_input_and_the_rest_is_zero(fitting, size, part):
    assert fitting.input_size == (320, 240)
    assert picture_part(size, (320, 240), ResizeRule.FIT) == part
    tensor = to_network_input(np.full((size[1], size[0], 3), 250, np.uint8), fitting)
    assert tensor.shape == fitting.input_shape and tensor.flags.c_contiguous
    seen = tensor[0].all(axis=0)
    assert seen[: part[1], : part[0]].all()
    assert not tensor[0, :, part[1] :].any() and not tensor[0, :, :, part[0] :].any()


def test_where_it_fits_whole_it_is_stretching(model, fitting):
    image = np.random.default_rng(2).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    np.testing.assert_array_equal(to_network_input(image, fitting), to_network_input(image, model))


@settings(max_examples=60, deadline=None)
@given(size=SIZES, rule=st.sampled_from(ResizeRule))
def test_the_corners_of_the_picture_are_the_corners_of_its_part(tiny_bundle, size, rule):
    model = load_bundle(tiny_bundle).model(Task.HAIR).model_copy(update={"resize": rule})
    part = picture_part(size, model.input_size, rule)
    corners = np.array([(-0.5, -0.5), (size[0] - 0.5, size[1] - 0.5)])
    np.testing.assert_allclose(
        points_to_input(corners, size, model), [(-0.5, -0.5), (part[0] - 0.5, part[1] - 0.5)], atol=1e-3
    )


@pytest.mark.parametrize("rule", list(ResizeRule))
@pytest.mark.parametrize("size", [(640, 480), (333, 480), (640, 101), (160, 120)])
def test_a_point_moves_with_the_picture(model, rule, size):
    model = model.model_copy(update={"resize": rule, "mean": (0.0, 0.0, 0.0)})
    image = np.zeros((size[1], size[0], 3), np.uint8)
    at = np.array([0.4 * size[0], 0.7 * size[1]])
    y, x = np.mgrid[: size[1], : size[0]]
    image[...] = (255 * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / 200))[..., None]
    light = to_network_input(image, model)[0, 0].astype(np.float64)
    y, x = np.indices(light.shape)
    centre = [(light * x).sum() / light.sum(), (light * y).sum() / light.sum()]
    np.testing.assert_allclose(points_to_input(at[None], size, model)[0], centre, atol=0.3)


@pytest.mark.parametrize("rule", list(ResizeRule))
@pytest.mark.parametrize("size", [(640, 480), (333, 480), (640, 101), (1000, 31), (30, 300)])
def test_a_mask_comes_back_from_the_input_as_it_went(model, rule, size):
    """A smooth map of the picture, there at the input's resolution and back at half of it."""
    model = model.model_copy(update={"resize": rule})
    y, x = (np.mgrid[: size[1], : size[0]] + 0.5) / np.array(size[::-1])[:, None, None]
    truth = np.float32(0.5 + 0.3 * np.sin(3 * x) * np.cos(2 * y))
    there = mask_to_input(truth, size, model, (160, 120), outside=0.0)
    assert there.shape == (120, 160)
    back = mask_from_input(there, size, model)
    assert back.dtype == np.float32
    shown = cv2.resize(back, size, interpolation=cv2.INTER_LINEAR)
    assert np.abs(shown - truth).mean() < 0.02
    part = picture_part(size, model.input_size, rule)
    assert back.shape == (math.ceil(part[1] / 2), math.ceil(part[0] / 2))


def test_what_the_picture_leaves_free_stays_out_of_its_mask(fitting):
    mask = np.ones((120, 160), np.float32)
    mask[60:] = np.nan
    back = mask_from_input(mask, (640, 240), fitting)
    assert back.shape == (60, 160) and np.isfinite(back[:-1]).all()


# -- Classifiers: further planes ---------------------------------------------------------------------------------------


def classifier(hsv: bool = False, mask: bool = False, **changes: Any) -> ClassEntry:
    planes = 3 + 3 * hsv + mask
    facts = {
        "task": Task.SCALP_CONDITION,
        "input_name": "image",
        "input_shape": (1, planes, 48, 64),
        "mean": tuple(0.1 * (place + 1) for place in range(planes)),
        "std": tuple(0.5 + 0.1 * place for place in range(planes)),
        "hsv": hsv,
        "mask": mask,
        "map_size": (3, 4),
        "limits": {
            "darkest": 1,
            "brightest": 254,
            "most_out_of_focus": 1,
            "most_no_scalp": 1,
            "farthest": 9,
            "rule": "none",
        },
        "labels": ("a", "b"),
        "ordered": False,
        "temperature": 1,
        "files": {"fp32": {"path": "x.onnx", "sha256": "0" * 64}},
        "goldens": {
            "path": "x.npz",
            "sha256": "0" * 64,
            "tolerance": {"fp32": {"max_probability_diff": 1, "max_mean_map_diff": 1, "max_relative_distance_diff": 1}},
        },
        "trained_on": "",
        "licence": "",
        "credit": "",
        "demonstration_only": True,
    }
    return ClassEntry.model_validate(facts | changes)


@settings(max_examples=30, deadline=None)
@given(size=st.tuples(st.integers(1, 200), st.integers(1, 200)), fit=st.booleans(), seed=st.integers(0, 9))
def test_a_classifiers_colours_are_those_of_every_network(size, fit, seed):
    resize = ResizeRule.FIT if fit else ResizeRule.STRETCH
    entry = classifier(hsv=True, mask=True, resize=resize)
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    tensor = to_classifier_input(image, entry, rng.integers(0, 2, size).astype(np.uint8) * 255)
    assert tensor.shape == (1, 7, 48, 64) and tensor.dtype == np.float32 and tensor.flags.c_contiguous
    np.testing.assert_array_equal(tensor[:, :3], to_network_input(image, entry))
    width, height = picture_part((size[1], size[0]), entry.input_size, resize)
    back = tensor[0] * np.reshape(entry.std, (7, 1, 1)) + np.reshape(entry.mean, (7, 1, 1))
    assert back[3:, :height, :width].min() > -1e-5 and back[3:, :height, :width].max() < 1 + 1e-5
    free = np.ones((48, 64), bool)
    free[:height, :width] = False
    assert not tensor[0][:, free].any()


@pytest.mark.parametrize(
    ("colour", "hsv"),
    [
        ((255, 0, 0), (0, 1, 1)),
        ((0, 255, 0), (1 / 3, 1, 1)),
        ((0, 0, 255), (2 / 3, 1, 1)),
        ((128, 128, 128), (0, 0, 128 / 255)),
        ((200, 100, 100), (0, 0.5, 200 / 255)),
        ((100, 200, 200), (0.5, 0.5, 200 / 255)),
    ],
)
def test_hue_saturation_and_value_are_the_textbooks(colour, hsv):
    assert colorsys.rgb_to_hsv(*(channel / 255 for channel in colour)) == pytest.approx(hsv)
    entry = classifier(hsv=True)
    tensor = to_classifier_input(np.full((48, 64, 3), colour, np.uint8), entry)
    expected = [(value - mean) / std for value, mean, std in zip(hsv, entry.mean[3:], entry.std[3:])]
    np.testing.assert_allclose(tensor[0, 3:, 10, 20], expected, atol=1e-5)


@pytest.mark.parametrize("hsv", [False, True])
@pytest.mark.parametrize("value", [1, 255, True])
def test_the_mask_is_the_last_plane_and_a_pixel_of_it_the_share_that_is_hair(hsv, value):
    entry = classifier(hsv=hsv, mask=True)
    mask = np.zeros((96, 128), bool if value is True else np.uint8)
    mask[:, 1::4] = value  # every other pixel of the input has one hairy column of two
    tensor = to_classifier_input(np.full((96, 128, 3), 99, np.uint8), entry, mask)
    shares = tensor[0, -1] * entry.std[-1] + entry.mean[-1]
    np.testing.assert_allclose(shares[:, 0::2], 0.5, atol=1e-6)
    np.testing.assert_allclose(shares[:, 1::2], 0.0, atol=1e-6)


def test_a_mask_that_is_wanted_and_not_there_is_an_error_and_one_that_is_not_wanted_is_none():
    image = np.zeros((30, 40, 3), np.uint8)
    with pytest.raises(ValueError, match="takes the hair mask"):
        to_classifier_input(image, classifier(mask=True))
    with pytest.raises(ValueError, match=r"\(40, 30\)"):
        to_classifier_input(image, classifier(mask=True), np.zeros((40, 30), np.uint8))
    plain = to_classifier_input(image, classifier())
    np.testing.assert_array_equal(plain, to_classifier_input(image, classifier(), np.zeros((1, 1), np.uint8)))
