"""Spreads and ratios: against their definitions, and against intervals with a known truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_app.bench.latency.spread import PERCENTILES, ratio_of_medians, spread_of

TIMES = st.lists(st.floats(1e-3, 1e5), min_size=1, max_size=200)


@given(TIMES)
def test_every_percentile_is_a_time_that_was_measured_and_that_enough_of_them_do_not_exceed(times):
    spread = spread_of(times)
    in_order = sorted(times)
    for name, percent in PERCENTILES.items():
        value = getattr(spread, f"{name}_ms")
        assert value in times
        # Nearest rank: the least value that this share does not exceed.
        assert value == in_order[max(1, math.ceil(percent / 100 * len(times) - 1e-9)) - 1]
    figures = [spread.min_ms, spread.p50_ms, spread.p90_ms, spread.p95_ms, spread.p99_ms, spread.p99_9_ms]
    assert figures == sorted(figures) and spread.p99_9_ms <= spread.max_ms
    assert (spread.count, spread.min_ms, spread.max_ms) == (len(times), min(times), max(times))


@given(TIMES.filter(lambda times: len(times) > 1), st.floats(0.01, 100))
def test_the_coefficient_of_variation_knows_no_unit(times, factor):
    mean = sum(times) / len(times)
    expected = math.sqrt(sum((t - mean) ** 2 for t in times) / (len(times) - 1)) / mean
    assert spread_of(times).cv == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert spread_of([t * factor for t in times]).cv == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("times", [[], [1.0, float("nan")], [float("inf")]])
def test_no_spread_of_nothing_and_of_no_numbers(times):
    with pytest.raises(ValueError, match="finite"):
        spread_of(times)


@settings(max_examples=20)
@given(st.floats(0.2, 5.0), st.integers(0, 1000))
def test_a_ratio_that_is_exact_has_an_interval_round_it(factor, seed):
    ours = np.random.default_rng(seed).gamma(50, 0.5, 300)
    ratio = ratio_of_medians(ours, ours * factor, draws=200)
    assert ratio.ratio == pytest.approx(factor)
    assert ratio.low <= factor <= ratio.high


def test_the_interval_holds_the_truth_about_as_often_as_it_says_though_neighbours_are_alike():
    """Slow waves, as clocks make them: an interval from single frames would miss the truth far more often."""
    rng = np.random.default_rng(5)

    def run() -> np.ndarray:
        wave = np.convolve(rng.normal(0, 1, 430), np.ones(31) / 31, "valid")
        return 10 + 2 * wave + rng.normal(0, 0.2, 400)

    trials = 60
    held = alone = 0
    for _ in range(trials):
        first, second = run(), run()
        ratio = ratio_of_medians(first, second, draws=150)
        held += ratio.low <= 1.0 <= ratio.high
        # In an order that was drawn no neighbours are alike any more: the interval is that of single frames.
        ratio = ratio_of_medians(rng.permutation(first), rng.permutation(second), draws=150)
        alone += ratio.low <= 1.0 <= ratio.high
    assert held >= 0.75 * trials
    assert alone < 0.6 * trials


def test_a_faster_run_has_a_ratio_above_one():
    rng = np.random.default_rng(0)
    ratio = ratio_of_medians(rng.normal(10, 1, 100), rng.normal(20, 2, 100))
    assert 1.8 < ratio.low < ratio.ratio < ratio.high < 2.2
    with pytest.raises(ValueError, match="both sides"):
        ratio_of_medians([], [1.0])
