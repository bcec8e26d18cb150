"""Temperatures and biases: they find what was put in, never reorder, never do harm, and stay home without pictures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_app.vision.conditions import class_probabilities, present_probability
from training.classification.temperature import (
    class_loss,
    fit_classes,
    fit_presence,
    fit_severity,
    originals_share,
    presence_loss,
)


def _sigmoid(value: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-value))


def test_a_known_temperature_and_bias_are_found_again() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 4, 20_000)
    truth = (rng.random(20_000) < _sigmoid(logits / 2.5 + 0.8)).astype(int)
    assert fit_presence(logits, truth) == pytest.approx((2.5, 0.8), abs=0.1)


def test_a_known_temperature_of_classes_is_found_again() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 3, (20_000, 4))
    chances = class_probabilities(logits, 0.5)
    truth = (chances.cumsum(axis=1) < rng.random((20_000, 1))).sum(axis=1)
    assert fit_classes(logits, truth) == pytest.approx(0.5, abs=0.05)


def test_severity_is_fitted_where_the_condition_is_there() -> None:
    rng = np.random.default_rng(2)
    logits = rng.normal(0, 3, (20_000, 4))
    chances = class_probabilities(logits[:, 1:], 2.0)
    truth = 1 + (chances.cumsum(axis=1) < rng.random((20_000, 1))).sum(axis=1)
    truth[:5000] = 0  # whatever the head says of these, it is not asked
    assert fit_severity(logits, truth) == pytest.approx(2.0, abs=0.15)


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 30))
def test_the_fit_never_does_harm_and_never_reorders(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    logits, truth = rng.normal(0, 5, count), rng.integers(-1, 2, count)
    weights = rng.uniform(0.1, 1, count)
    temperature, bias = fit_presence(logits, truth, weights)
    known = truth >= 0
    before = presence_loss(logits[known], truth[known], weights[known])
    after = presence_loss(logits[known] / temperature + bias, truth[known], weights[known])
    assert after <= before + 1e-9
    assert temperature > 0
    order = np.argsort(logits)
    assert (np.diff(present_probability(logits[order], temperature, bias)) >= 0).all()

    several, labels = rng.normal(0, 5, (count, 3)), rng.integers(0, 3, count)
    scale = fit_classes(several, labels, weights)
    assert class_loss(several / scale, labels, weights) <= class_loss(several, labels, weights) + 1e-9
    assert np.array_equal(class_probabilities(several, scale).argmax(axis=1), several.argmax(axis=1))


def test_without_a_label_nothing_is_changed() -> None:
    assert fit_presence(np.array([3.0]), np.array([-1])) == (1.0, 0.0)
    assert fit_classes(np.zeros((2, 3)), np.array([-1, -1])) == 1.0
    assert fit_severity(np.zeros((2, 4)), np.array([0, -1])) == 1.0


def test_few_pictures_move_it_little() -> None:
    # Separated: without a prior the temperature would go to 0, and a bias without positives to minus infinity.
    logits = np.array([-1.0, -2.0, 1.0, 2.0])
    temperature, bias = fit_presence(logits, np.array([0, 0, 1, 1]))
    assert 0.5 < temperature < 1.0 and abs(bias) < 0.1
    temperature, bias = fit_presence(logits, np.zeros(4, int))
    assert -1.5 < bias < 0
    assert present_probability(2.0, temperature, bias) > 0.3


def test_copies_of_an_original_count_as_one() -> None:
    rng = np.random.default_rng(3)
    logits, truth = rng.normal(0, 3, 12), rng.integers(0, 2, 12)
    groups = tuple(f"patient {number}" for number in range(12))
    copied = tuple(group for group in groups for _ in range(3))
    assert originals_share(groups).tolist() == [1.0] * 12
    once = fit_presence(logits, truth, originals_share(groups))
    thrice = fit_presence(np.repeat(logits, 3), np.repeat(truth, 3), originals_share(copied))
    assert thrice == pytest.approx(once, abs=1e-3)
