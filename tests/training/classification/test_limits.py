"""Limits of refusal: they keep to the stated share of good pictures, catch what they can, and say how."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.errors import ScalpScopeError
from device_app.vision.conditions import refusal_of
from training.classification.limits import MOST_GOOD_REFUSED, NEAREST, Doubt, choose_limits


def doubts(seed: int, count: int, bad: float = 0.0) -> Doubt:
    """Made-up pictures, the more doubtful the higher `bad`, 0..1."""
    rng = np.random.default_rng(seed)
    return Doubt(
        brightness=rng.uniform(60, 200, count),
        out_of_focus=np.clip(rng.beta(1, 12, count) + bad * rng.random(count), 0, 1),
        no_scalp=np.clip(rng.beta(1, 12, count) + bad * rng.random(count), 0, 1),
        distance=rng.gamma(9, 0.1, count) + bad * rng.gamma(4, 0.5, count),
    )


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 150), st.integers(0, 400), st.floats(0, 1), st.integers(0, 60))
def test_at_most_the_stated_share_of_each_kind_is_refused(
    seed: int, real: int, drawn: int, bad: float, ungradable: int
) -> None:
    good = {"real": doubts(seed, real), "drawn": doubts(seed + 1, drawn, 0.2)}
    limits = choose_limits(good, doubts(seed + 2, ungradable, bad))
    for one in good.values():
        assert one.refused(limits).sum() <= int(MOST_GOOD_REFUSED * len(one))
    brightness = Doubt.together(list(good.values())).brightness
    assert 0 < limits.darkest < brightness.min() <= brightness.max() < limits.brightest < 255


def test_what_can_be_told_apart_is_told_apart_with_room_on_both_sides() -> None:
    good = doubts(0, 100)
    blurred, things = doubts(1, 50), doubts(2, 50)
    ungradable = Doubt.together(
        [
            Doubt(blurred.brightness, np.full(50, 0.95), blurred.no_scalp, blurred.distance),
            Doubt(things.brightness, things.out_of_focus, np.full(50, 0.9), things.distance),
        ]
    )
    limits = choose_limits({"real": good}, ungradable)
    assert ungradable.refused(limits).all() and good.refused(limits).sum() <= 1
    assert limits.most_out_of_focus == pytest.approx((good.out_of_focus.max() + 0.95) / 2, abs=0.02)
    assert limits.most_no_scalp == pytest.approx((good.no_scalp.max() + 0.9) / 2, abs=0.02)
    # No ungradable picture needs the distance: it keeps well away from the good ones.
    assert limits.farthest > NEAREST * good.distance.max()


def test_an_outlier_among_good_pictures_is_given_up_where_that_pays() -> None:
    good, bad = doubts(0, 200), doubts(1, 100)
    distance = good.distance.copy()
    distance[7] = 50.0  # one picture in 200 is allowed to be refused, and then all of the bad can be
    good = Doubt(good.brightness, good.out_of_focus, good.no_scalp, distance)
    bad = Doubt(bad.brightness, bad.out_of_focus, bad.no_scalp, np.full(100, 20.0))
    limits = choose_limits({"real": good}, bad)
    assert bad.refused(limits).all()
    assert np.flatnonzero(good.refused(limits)).tolist() == [7]
    assert choose_limits({"real": good}, bad, share=0.0).farthest >= 50.0


def test_one_odd_ungradable_picture_does_not_squeeze_a_limit() -> None:
    good, bad = doubts(0, 100), doubts(1, 400)
    out_of_focus = np.full(400, 0.9)
    out_of_focus[0] = good.out_of_focus.max() + 0.001
    bad = Doubt(bad.brightness, out_of_focus, bad.no_scalp, bad.distance)
    limits = choose_limits({"real": good}, bad)
    assert limits.most_out_of_focus == pytest.approx((good.out_of_focus.max() + 0.9) / 2)
    assert 399 / 400 <= bad.refused(limits).mean()


def test_black_and_white_pictures_are_refused_by_their_brightness() -> None:
    plain = doubts(1, 2)
    black_and_white = Doubt(np.array([0.0, 255.0]), plain.out_of_focus, plain.no_scalp, plain.distance)
    assert black_and_white.refused(choose_limits({"drawn": doubts(0, 30)}, black_and_white)).all()


def test_the_rule_is_said_with_its_counts() -> None:
    limits = choose_limits({"real": doubts(0, 33), "drawn": doubts(1, 300)}, doubts(2, 80, 1.0))
    assert "at most 1 % of each kind" in limits.rule and "0 of 33 real" in limits.rule and "of 80" in limits.rule


def test_no_good_picture_is_an_error() -> None:
    with pytest.raises(ScalpScopeError, match="no validation picture"):
        choose_limits({"real": doubts(0, 0)}, doubts(1, 3))


def test_it_refuses_what_the_device_refuses() -> None:
    rng = np.random.default_rng(5)
    images = [np.full((24, 32, 3), level, np.uint8) for level in rng.integers(0, 256, 200)]
    logits = rng.normal(0, 3, (200, 3))
    distance = rng.gamma(9, 0.15, 200)
    doubt = Doubt.of(np.array([float(one.mean()) for one in images]), logits, distance)
    limits = choose_limits({"real": doubts(0, 100)}, doubts(2, 80, 0.7))
    device = [refusal_of(*row, limits) is not None for row in zip(images, logits, distance)]
    assert doubt.refused(limits).tolist() == device
    assert 0 < sum(device) < 200
    assert all(len(getattr(doubt, one.name)) == 200 for one in fields(doubt))
