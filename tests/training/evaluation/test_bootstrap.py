"""Bootstrap intervals, against what is known of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.evaluation.bootstrap import Bootstrap, Figure, GroupBootstrap


def _mean(values: np.ndarray, bootstrap: Bootstrap) -> Figure:
    (figure,) = bootstrap.figures(lambda weights: (weights @ values / len(values))[:, None])
    return figure


def test_two_pictures_of_which_one_succeeds() -> None:
    # Drawn twice from {0, 1}, the mean is 0 or 1 in a quarter of the cases each: far more than 2.5 %.
    assert _mean(np.array([0.0, 1.0]), Bootstrap(2)) == Figure(0.5, 0.0, 1.0)


def test_many_pictures_give_the_interval_of_the_textbook() -> None:
    values = np.random.default_rng(3).normal(0.6, 0.1, 400)
    figure = _mean(values, Bootstrap(400))
    reach = 1.96 * values.std() / np.sqrt(400)
    assert figure.low == pytest.approx(values.mean() - reach, abs=0.1 * reach)
    assert figure.high == pytest.approx(values.mean() + reach, abs=0.1 * reach)


def test_a_true_mean_lies_in_about_95_of_100_intervals() -> None:
    rng = np.random.default_rng(1)
    inside = 0
    for seed in range(200):
        figure = _mean(rng.normal(0.5, 0.2, 60), Bootstrap(60, seed, 500))
        assert figure.low is not None and figure.high is not None
        inside += figure.low <= 0.5 <= figure.high
    assert 178 <= inside <= 198


def test_one_picture_has_no_interval() -> None:
    figure = _mean(np.array([0.7]), Bootstrap(1))
    assert figure == Figure(0.7, None, None)
    assert figure.sign == 0


def test_the_same_pictures_give_the_same_interval_and_another_seed_another() -> None:
    values = np.random.default_rng(0).random(30)
    assert _mean(values, Bootstrap(30)) == _mean(values, Bootstrap(30))
    assert _mean(values, Bootstrap(30)) != _mean(values, Bootstrap(30, seed=1))


def test_a_pair_that_always_differs_by_the_same_is_sure() -> None:
    bootstrap = Bootstrap(20)
    values = np.random.default_rng(0).random(20)
    # Each alone varies widely; the difference, drawn from the same pictures, does not at all.
    assert np.ptp([_mean(values, bootstrap).low, _mean(values, bootstrap).high]) > 0.1
    (figure,) = bootstrap.figures(lambda w: ((w @ (values + 0.02)) / 20 - (w @ values) / 20)[:, None])
    assert [figure.value, figure.low, figure.high] == pytest.approx([0.02] * 3)
    assert figure.sign == 1


@pytest.mark.parametrize(("low", "high", "sign"), [(0.1, 0.2, 1), (-0.2, -0.1, -1), (-0.1, 0.1, 0), (0.0, 0.1, 0)])
def test_sign(low: float, high: float, sign: int) -> None:
    assert Figure((low + high) / 2, low, high).sign == sign


def test_a_ratio_over_nothing_does_not_count() -> None:
    part, whole = np.array([1.0, 0.0]), np.array([2.0, 0.0])
    with np.errstate(invalid="ignore"):
        (figure,) = Bootstrap(2).figures(lambda w: ((w @ part) / (w @ whole))[:, None])
    assert figure == Figure(0.5, 0.5, 0.5)


@settings(deadline=None)
@given(values=st.lists(st.floats(0, 1), min_size=2, max_size=12), move=st.floats(-1, 1))
def test_intervals_lie_among_the_values_and_move_with_them(values: list[float], move: float) -> None:
    bootstrap = Bootstrap(len(values), resamples=200)
    array = np.array(values)
    figure, moved = _mean(array, bootstrap), _mean(array + move, bootstrap)
    assert figure.low is not None and figure.high is not None
    assert min(values) - 1e-9 <= figure.low <= figure.high <= max(values) + 1e-9
    assert moved.low == pytest.approx(figure.low + move)
    assert moved.high == pytest.approx(figure.high + move)


class TestGroups:
    VALUES = np.random.default_rng(5).random(30)

    def mean(self, values: np.ndarray, groups: list[str]) -> Figure | None:
        return GroupBootstrap(groups).figures(lambda w: ((w @ values) / w.sum(axis=1))[:, None])[0]

    def check_same(self, one: Figure | None, other: Figure | None) -> None:
        assert one is not None and other is not None
        assert [one.value, one.low, one.high] == pytest.approx([other.value, other.low, other.high])

    def test_pictures_that_are_their_own_groups_are_a_plain_bootstrap(self) -> None:
        groups = [f"{number:02}" for number in range(30)]
        self.check_same(self.mean(self.VALUES, groups), _mean(self.VALUES, Bootstrap(30)))

    def test_copies_of_an_original_are_drawn_together(self) -> None:
        once = self.mean(self.VALUES, [f"{number:02}" for number in range(30)])
        thrice = self.mean(np.repeat(self.VALUES, 3), [f"{number:02}" for number in range(30) for _ in range(3)])
        self.check_same(once, thrice)

    def test_every_weight_of_a_group_is_the_same_and_they_are_drawn_whole(self) -> None:
        groups = ["b", "a", "b", "c", "a"]
        seen: list[np.ndarray] = []
        GroupBootstrap(groups, resamples=50).figures(lambda w: (seen.append(w), w[:, :1])[1])
        weights = np.concatenate(seen)
        assert np.array_equal(weights[:, 0], weights[:, 2]) and np.array_equal(weights[:, 1], weights[:, 4])
        assert (weights[1:, [0, 1, 3]].sum(axis=1) == 3).all()

    def test_one_group_has_no_interval_and_what_is_not_defined_is_none(self) -> None:
        assert self.mean(np.array([0.0, 1.0]), ["a", "a"]) == Figure(0.5, None, None)
        assert GroupBootstrap(["a", "b"]).figures(lambda w: np.full((len(w), 1), np.nan)) == [None]

    def test_many_pictures_are_weighed_in_parts_to_the_same_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        groups = [f"{number % 7}" for number in range(30)]
        whole = self.mean(self.VALUES, groups)
        monkeypatch.setattr(GroupBootstrap, "_MOST_WEIGHTS", 100)
        self.check_same(self.mean(self.VALUES, groups), whole)
