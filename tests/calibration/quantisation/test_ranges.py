"""Ranges from histograms, against the values themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from calibration.quantisation import RANGE_RULES, RangeRule, TensorHistogram
from calibration.quantisation.ranges import ENTROPY, MIN_MAX

_VALUES = stn.arrays(np.float32, st.integers(1, 50), elements=st.floats(-1e4, 1e4, width=32))


def histogram_of(*parts: np.ndarray) -> TensorHistogram:
    histogram = TensorHistogram()
    for part in parts:
        histogram.add(part)
    return histogram


@settings(max_examples=80, deadline=None)
@given(parts=st.lists(_VALUES, min_size=1, max_size=4), rule=st.sampled_from(RANGE_RULES))
def test_a_range_holds_zero_and_lies_within_the_values(parts: list[np.ndarray], rule: RangeRule) -> None:
    histogram = histogram_of(*parts)
    values = np.concatenate(parts)
    low, high = histogram.range(rule)
    assert min(0.0, float(values.min())) <= low <= 0 <= high <= max(0.0, float(values.max()))
    assert histogram.counts.sum() == values.size
    if values.any():
        assert low < high


@settings(max_examples=40, deadline=None)
@given(parts=st.lists(_VALUES, min_size=1, max_size=4))
def test_min_max_is_exact_in_any_order(parts: list[np.ndarray]) -> None:
    values = np.concatenate(parts)
    expected = (min(0.0, float(values.min())), max(0.0, float(values.max())))
    assert histogram_of(*parts).range(MIN_MAX) == expected
    assert histogram_of(*parts[::-1]).range(MIN_MAX) == expected


@pytest.mark.parametrize("percentile", [99.0, 99.9, 99.99])
def test_percentiles_are_those_of_the_values_to_a_bin(percentile: float) -> None:
    values = np.random.default_rng(0).normal(1, 3, 400_000).astype(np.float32)
    # In small pieces of growing reach, so that the histogram has to grow.
    histogram = histogram_of(*np.array_split(values[np.argsort(np.abs(values))], 20))
    low, high = histogram.range(RangeRule("p", percentile))
    tail = (100 - percentile) / 2
    bin_width = 2 * histogram.reach / 2048
    assert low == pytest.approx(np.percentile(values, tail), abs=2 * bin_width)
    assert high == pytest.approx(np.percentile(values, 100 - tail), abs=2 * bin_width)


def test_an_outlier_is_clipped_by_all_but_min_max() -> None:
    values = np.abs(np.random.default_rng(0).normal(0, 1, 200_000)).astype(np.float32)
    histogram = histogram_of(values, np.array([40.0], np.float32))
    reaches = {rule.name: histogram.range(rule)[1] for rule in RANGE_RULES}
    assert reaches["min-max"] == 40.0
    assert reaches["percentile 99.9"] < reaches["percentile 99.99"] < 40
    assert reaches["entropy"] < 20


def test_entropy_keeps_a_flat_distribution_whole() -> None:
    values = np.linspace(-1, 1, 200_001, dtype=np.float32)
    low, high = histogram_of(values).range(ENTROPY)
    assert low < -0.95 and high > 0.95


def test_what_cannot_be_counted() -> None:
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="finite"):
            histogram_of(np.array([0.0, bad], np.float32))
    with pytest.raises(ValueError, match="no values"):
        TensorHistogram().range(MIN_MAX)
    with pytest.raises(ValueError, match="no values"):
        histogram_of(np.zeros(0, np.float32)).range(MIN_MAX)
    assert histogram_of(np.zeros(5, np.float32)).range(MIN_MAX) == (0.0, 0.0)
