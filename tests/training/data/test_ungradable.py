"""What must be refused: too blurred, or no scalp."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.optics.focus import SHARP_ENOUGH, focus_score
from training.data.graded_scalp import render_graded
from training.data.ungradable import (
    ALL_FAMILIES,
    HELD_OUT_FAMILIES,
    TRAINING_FAMILIES,
    blurred,
    not_scalp,
)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**31), width=st.sampled_from((224, 320, 448)))
def test_a_blurred_picture_is_not_sharp_enough_to_be_measured(seed, width):
    image = render_graded(seed, (width, width * 3 // 4)).image
    result = blurred(np.random.default_rng(seed), image)
    assert result.shape == image.shape
    assert result.dtype == np.uint8
    assert focus_score(result) < min(SHARP_ENOUGH, focus_score(image))


@pytest.mark.parametrize("family", sorted(ALL_FAMILIES))
def test_each_family_draws_pictures_of_any_size_that_differ_and_come_again(family):
    sizes = ((160, 120), (65, 48), (100, 151))
    for width, height in sizes:
        first, again, other = (not_scalp(np.random.default_rng(seed), (width, height), {family}) for seed in (1, 1, 2))
        assert first.shape == (height, width, 3)
        assert first.dtype == np.uint8
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)


def test_families_held_out_are_never_drawn_in_training():
    assert TRAINING_FAMILIES | HELD_OUT_FAMILIES == ALL_FAMILIES
    assert not TRAINING_FAMILIES & HELD_OUT_FAMILIES
    assert len(HELD_OUT_FAMILIES) >= 3
    assert len(TRAINING_FAMILIES) >= 12


def test_families_are_drawn_about_as_often_as_each_other():
    """Light: the dark families and the white ones must both come up."""
    light = np.array([not_scalp(np.random.default_rng(seed), (64, 48)).mean() for seed in range(120)])
    assert (light < 40).mean() > 0.03
    assert (light > 170).mean() > 0.03
    assert np.std(light) > 35
