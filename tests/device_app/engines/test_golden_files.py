"""How goldens are packed: what is lost, and that nothing but that is."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from device_app.engines.golden_files import (
    SAMPLES,
    decode_codes,
    encode_codes,
    pack_decoder_goldens,
    pack_decoder_inputs,
    pack_encoder_golden,
    sample_step,
    sigmoid,
)

VALUES = arrays(np.float32, st.integers(1, 50), elements=st.floats(-1e6, 1e6, width=32))


@settings(max_examples=100, deadline=None)
@given(values=VALUES, wide=st.booleans())
def test_a_packed_value_is_half_a_step_off_at_most_and_packs_to_itself(values: np.ndarray, wide: bool) -> None:
    dtype = np.int16 if wide else np.int8
    if 0 < np.abs(values).max() < 1e-30:
        return  # beneath the steps that float32 holds
    codes, step = encode_codes(values, dtype)
    assert codes.dtype == dtype and codes.shape == values.shape
    back = decode_codes(codes, step)
    assert back.dtype == np.float32
    assert np.abs(back - values).max() <= 0.5001 * step
    again, _ = encode_codes(back, dtype)
    assert np.array_equal(again, codes)


def test_nothing_packs_to_nothing_and_what_is_no_number_is_refused() -> None:
    codes, step = encode_codes(np.zeros((2, 3), np.float32))
    assert not decode_codes(codes, step).any()
    assert encode_codes(np.zeros((0, 2), np.float32))[0].shape == (0, 2)
    for wrong in (np.nan, np.inf):
        with pytest.raises(ValueError, match="cannot be packed"):
            encode_codes(np.array([1, wrong], np.float32))


@settings(max_examples=200, deadline=None)
@given(size=st.integers(1, 50_000_000))
def test_a_sample_is_small_and_meets_every_column(size: int) -> None:
    step = sample_step(size)
    assert math.ceil(size / step) <= SAMPLES
    assert math.gcd(step, size) == 1
    if size > 100 * SAMPLES:
        assert size / step > SAMPLES / 2


def test_the_sampled_values_of_an_output_are_its_own() -> None:
    outputs = {"a": np.random.default_rng(0).normal(size=(2, 3, 100, 120)).astype(np.float32), "b": np.ones((2, 5))}
    packed = pack_encoder_golden(np.zeros((2, 8, 8, 3), np.uint8), outputs)
    step = int(packed["a_step"])
    assert packed["a"].dtype == np.float16
    np.testing.assert_allclose(packed["a"], outputs["a"].reshape(2, -1)[:, ::step], atol=2e-3)
    assert {index % 120 for index in range(0, 36_000, step)} == set(range(120))
    assert packed["b"].shape == (2, 5) and int(packed["b_step"]) == 1


def test_the_inputs_of_a_golden_are_the_values_that_fp32_was_given() -> None:
    rng = np.random.default_rng(1)
    inputs = {
        "image_embeddings": rng.normal(size=(1, 4, 3, 4)).astype(np.float32),
        "point_coords": rng.uniform(0, 640, (1, 7, 2)).astype(np.float32),
        "point_labels": np.array([[1, 0, 1, -1, 1, 0, 0]], np.float32),
    }
    packed, values = pack_decoder_inputs(inputs)
    assert np.array_equal(values["point_labels"], inputs["point_labels"])
    assert np.abs(values["point_coords"] - inputs["point_coords"]).max() < 0.02
    assert packed["image_embeddings"].dtype == np.int8
    for name, value in values.items():
        np.testing.assert_array_equal(value, decode_codes(packed[name], packed[f"{name}_step"]))
    answer = {"masks": np.zeros((1, 4, 2, 2), np.float32), "iou_predictions": np.ones((1, 4), np.float32)}
    stored = pack_decoder_goldens([(packed, answer), (packed, answer)])
    assert {name.split(".")[0] for name in stored} == {"0", "1"}
    assert np.abs(stored["1.probabilities"] / 255 - 0.5).max() <= 0.03 and stored["1.iou_predictions"].shape == (4,)


def test_no_logit_is_too_large() -> None:
    found = sigmoid(np.array([-1e30, -100, -1, 0, 1, 100, 1e30], np.float32))
    np.testing.assert_allclose(found, [0, 0, 1 / (1 + math.e), 0.5, 1 / (1 + math.exp(-1)), 1, 1], atol=1e-6)
    assert found.dtype == np.float32
