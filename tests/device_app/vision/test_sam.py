"""What SAM is asked and what is taken of its answer."""

from __future__ import annotations

import numpy as np
import pytest

from device_app.bundle import ResizeRule, Task, load_bundle
from device_app.vision.sam import MOST_LOGIT, choose_mask, mask_prompt


@pytest.mark.parametrize(("ious", "choice"), [((0.9, 0.1, 0.2, 0.3), 3), ((0, 0.5, 0.4, 0.5), 1), ((1, -2, -1, -3), 2)])
def test_the_first_mask_is_never_taken(ious, choice):
    assert choose_mask(np.array(ious, np.float32)) == choice


@pytest.mark.parametrize("rule", list(ResizeRule))
def test_the_coarse_mask_as_a_prompt(tiny_bundle, rule):
    encoder = load_bundle(tiny_bundle).model(Task.HAIR).model_copy(update={"resize": rule})
    probability = np.zeros((100, 100), np.float32)
    probability[:, :50] = 1.0
    probability[0, 99] = np.nan
    prompt = mask_prompt(probability, (300, 300), encoder, (80, 60))
    assert prompt.shape == (1, 1, 60, 80) and prompt.dtype == np.float32
    assert prompt.min() == pytest.approx(-MOST_LOGIT) and prompt.max() == pytest.approx(MOST_LOGIT)
    # Square, it fills the input when stretched and 60 of 80 columns when it is to fit.
    edge = 40 if rule is ResizeRule.STRETCH else 30
    assert (prompt[0, 0, :, : edge - 1] > 5).all() and (prompt[0, 0, :, edge + 1 :] < -5).all()


def test_half_a_probability_is_no_logit(tiny_bundle):
    encoder = load_bundle(tiny_bundle).model(Task.HAIR)
    prompt = mask_prompt(np.full((10, 10), 0.5, np.float32), (320, 240), encoder, (80, 60))
    np.testing.assert_allclose(prompt, 0, atol=1e-5)
