"""Confidence intervals against published values and against what they promise."""

from __future__ import annotations

import numpy as np
import pytest

from device_app.vision.intervals import (
    deviation_interval,
    mean_interval,
    poisson_interval,
    share_interval,
    sum_interval,
)


@pytest.mark.parametrize(("count", "low", "high"), [(0, 0.0, 3.689), (1, 0.025, 5.572), (10, 4.795, 18.39)])
def test_garwood(count, low, high):
    assert poisson_interval(count) == pytest.approx((low, high), abs=0.005)


@pytest.mark.parametrize(("count", "total", "low", "high"), [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634)])
def test_wilson(count, total, low, high):
    assert share_interval(count, total) == pytest.approx((low, high), abs=2e-4)


def test_the_scales_uncertainty_widens_every_interval_of_lengths():
    sizes = np.random.default_rng(1).normal(60, 12, 40)
    for interval in (mean_interval, deviation_interval, sum_interval):
        narrow, wide = interval(sizes), interval(sizes, 0.05)
        assert wide[0] < narrow[0] < narrow[1] < wide[1]
    # With no scatter at all only the scale is left: 1.96 x 5 % of 60.
    assert mean_interval(np.full(30, 60.0), 0.05) == pytest.approx((60 - 5.88, 60 + 5.88), abs=0.01)


@pytest.mark.parametrize("figure", ["mean", "deviation", "sum"])
def test_nineteen_of_twenty_intervals_hold_the_truth(figure):
    rng = np.random.default_rng(7)
    held = 0
    for _ in range(600):
        if figure == "sum":
            low, high = sum_interval(rng.normal(60, 12, rng.poisson(40)))
            held += low <= 60 * 40 <= high
        else:
            interval, truth = (mean_interval, 60) if figure == "mean" else (deviation_interval, 12)
            low, high = interval(rng.normal(60, 12, 25))
            held += low <= truth <= high
    assert 0.92 <= held / 600 <= 0.98
