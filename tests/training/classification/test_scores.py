"""The figures of the evaluation, against literal definitions, tables worked out by hand, and what must hold always."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from training.classification import scores, table3

LABELS = st.lists(st.tuples(st.integers(-1, 3), st.integers(0, 3)), min_size=1, max_size=40)
SCORED = st.lists(st.tuples(st.integers(-1, 1), st.integers(-6, 6)), min_size=1, max_size=40)


def auroc_by_pairs(truth: Sequence[int], score: Sequence[float]) -> float:
    """The definition: over all pairs of one with and one without."""
    pairs = [(p, n) for p, a in zip(score, truth) if a == 1 for n, b in zip(score, truth) if b == 0]
    return sum((p > n) + 0.5 * (p == n) for p, n in pairs) / len(pairs) if pairs else float("nan")


def kappa_by_disagreement(truth: Sequence[int], found: Sequence[int]) -> float:
    """The definition: 1 - mean squared distance of the pairs, over that of all pairs that could have met."""
    pairs = [(t, f) for t, f in zip(truth, found) if t >= 0]
    by_chance = [(t - f) ** 2 for t, _ in pairs for _, f in pairs]
    if not pairs or not sum(by_chance):
        return float("nan")
    return 1 - (sum((t - f) ** 2 for t, f in pairs) / len(pairs)) / (sum(by_chance) / len(by_chance))


def f1_by_counts(truth: Sequence[int], found: Sequence[int], label: int) -> float:
    pairs = [(t, f) for t, f in zip(truth, found) if t >= 0]
    true = sum(t == label and f == label for t, f in pairs)
    wrong = sum((t == label) != (f == label) for t, f in pairs)
    return 2 * true / (2 * true + wrong) if true + wrong else float("nan")


class TestConfusion:
    TRUTH = np.array([0, 0, 0, 1, 1, 2, -1])
    FOUND = np.array([0, 0, 1, 1, 2, 2, 2])

    def test_a_table_worked_out_by_hand(self) -> None:
        table = scores.confusion(self.TRUTH, self.FOUND, 4)
        assert table.tolist() == [[2, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
        assert scores.precision(table)[:3].tolist() == [1.0, 0.5, 0.5]
        assert scores.recall(table)[:3] == pytest.approx([2 / 3, 0.5, 1.0])
        assert scores.f1(table)[:3] == pytest.approx([0.8, 0.5, 2 / 3])
        assert np.isnan([scores.precision(table)[3], scores.recall(table)[3], scores.f1(table)[3]]).all()
        assert scores.macro(scores.f1(table)) == pytest.approx((0.8 + 0.5 + 2 / 3) / 3)
        assert scores.accuracy(table) == pytest.approx(4 / 6)

    def test_weights_are_how_often_a_picture_counts(self) -> None:
        rng = np.random.default_rng(0)
        weights = rng.integers(0, 3, (5, len(self.TRUTH)))
        tables = scores.confusion(self.TRUTH, self.FOUND, 4, weights.astype(np.float64))
        for row, table in zip(weights, tables):
            assert np.array_equal(table, scores.confusion(np.repeat(self.TRUTH, row), np.repeat(self.FOUND, row), 4))

    def test_a_class_that_is_there_and_never_found_has_an_f1_of_0(self) -> None:
        assert scores.f1(scores.confusion(np.array([0, 3]), np.array([0, 0]), 4))[3] == 0.0

    @settings(deadline=None)
    @given(LABELS)
    def test_f1_and_kappa_are_their_definitions(self, pairs: list[tuple[int, int]]) -> None:
        truth, found = (np.array(column) for column in zip(*pairs))
        table = scores.confusion(truth, found, 4)
        expected = [f1_by_counts(truth.tolist(), found.tolist(), label) for label in range(4)]
        assert scores.f1(table) == pytest.approx(expected, nan_ok=True)
        expected_kappa = kappa_by_disagreement(truth.tolist(), found.tolist())
        assert float(scores.quadratic_kappa(table)) == pytest.approx(expected_kappa, nan_ok=True, abs=1e-9)

    @settings(deadline=None)
    @given(st.lists(st.integers(0, 3), min_size=2, max_size=30))
    def test_kappa_is_1_for_a_perfect_answer(self, truth: list[int]) -> None:
        assume(len(set(truth)) > 1)
        labels = np.array(truth)
        assert float(scores.quadratic_kappa(scores.confusion(labels, labels, 4))) == pytest.approx(1.0)

    def test_kappa_is_0_for_chance_and_worse_the_farther_off(self) -> None:
        by_chance = np.outer([10, 20, 30, 40], [10, 20, 30, 40]).astype(float)
        assert float(scores.quadratic_kappa(by_chance)) == pytest.approx(0.0)
        near = np.diag([9.0] * 4) + np.diag([1.0] * 3, 1)
        far = np.diag([9.0] * 4)
        far[0, 3] += 3
        assert float(scores.quadratic_kappa(near)) > float(scores.quadratic_kappa(far))

    @settings(deadline=None)
    @given(LABELS)
    def test_macro_f1_is_a_share(self, pairs: list[tuple[int, int]]) -> None:
        truth, found = (np.array(column) for column in zip(*pairs))
        value = float(scores.macro(scores.f1(scores.confusion(truth, found, 4))))
        assert np.isnan(value) or 0.0 <= value <= 1.0


class TestAuroc:
    @settings(deadline=None)
    @given(SCORED)
    def test_it_is_its_definition(self, rows: list[tuple[int, int]]) -> None:
        truth, score = (np.array(column) for column in zip(*rows))
        expected = auroc_by_pairs(truth.tolist(), score.tolist())
        assert float(scores.auroc(truth, score.astype(float))) == pytest.approx(expected, nan_ok=True)

    @settings(deadline=None)
    @given(SCORED)
    def test_only_the_order_matters(self, rows: list[tuple[int, int]]) -> None:
        truth, score = (np.array(column) for column in zip(*rows))
        plain = scores.auroc(truth, score.astype(float))
        assert np.array_equal(plain, scores.auroc(truth, np.exp(score / 3.0) - 5), equal_nan=True)
        mirrored = scores.auroc(truth, -score.astype(float))
        assert float(mirrored) == pytest.approx(1 - float(plain), nan_ok=True)

    @settings(deadline=None)
    @given(SCORED, st.integers(0, 99))
    def test_weights_are_how_often_a_picture_counts(self, rows: list[tuple[int, int]], seed: int) -> None:
        truth, score = (np.array(column) for column in zip(*rows))
        weights = np.random.default_rng(seed).integers(0, 3, (3, len(truth)))
        found = scores.auroc(truth, score.astype(float), weights.astype(float))
        for row, value in zip(weights, found):
            again = scores.auroc(np.repeat(truth, row), np.repeat(score, row).astype(float))
            assert float(value) == pytest.approx(float(again), nan_ok=True)

    def test_known_values(self) -> None:
        assert float(scores.auroc(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8]))) == 0.75
        assert float(scores.auroc(np.array([0, 1, -1]), np.array([0.5, 0.5, 9]))) == 0.5
        assert np.isnan(scores.auroc(np.array([1, 1]), np.array([0.5, 0.6])))


class TestCalibrationError:
    def test_bins_hold_as_many_pictures_each_and_equal_values_share_one(self) -> None:
        values = np.random.default_rng(0).random(90)
        bins = scores.calibration_bins(values)
        assert np.bincount(bins).tolist() == [15] * 6
        assert (np.diff(bins[np.argsort(values)]) >= 0).all()
        assert len(set(scores.calibration_bins(np.full(90, 0.3)).tolist())) == 1
        assert len(np.bincount(scores.calibration_bins(np.linspace(0, 1, 5000)))) == scores.MOST_BINS

    @settings(deadline=None)
    @given(st.lists(st.sampled_from([0.0, 0.1, 0.5, 0.9]), min_size=1, max_size=80), st.integers(0, 9))
    def test_bins_do_not_depend_on_the_order_of_pictures(self, values: list[float], seed: int) -> None:
        own = np.array(values)
        order = np.random.default_rng(seed).permutation(len(own))
        assert np.array_equal(scores.calibration_bins(own)[order], scores.calibration_bins(own[order]))

    def test_a_value_worked_out_by_hand(self) -> None:
        # Two bins of 15: in one 0.2 was foretold and 6 of 15 came true, in the other 0.8 and 12 of 15.
        probability = np.repeat([0.2, 0.8], 15)
        truth = np.r_[np.ones(6), np.zeros(9), np.ones(12), np.zeros(3)].astype(int)
        assert float(scores.calibration_error(truth, probability)) == pytest.approx(0.5 * 0.2)

    def test_it_is_0_for_certainties_that_come_true_and_1_for_those_that_never_do(self) -> None:
        truth = np.arange(60) % 2
        assert float(scores.calibration_error(truth, truth.astype(float))) == 0.0
        assert float(scores.calibration_error(truth, 1.0 - truth)) == 1.0
        assert np.isnan(scores.calibration_error(np.array([-1]), np.array([0.5])))

    def test_an_unknown_label_does_not_count(self) -> None:
        rng = np.random.default_rng(1)
        truth, probability = rng.integers(0, 2, 50), rng.random(50)
        more = scores.calibration_error(np.r_[truth, -1, -1], np.r_[probability, 0.9, 0.1])
        assert float(more) == pytest.approx(float(scores.calibration_error(truth, probability)))

    def test_a_perfect_models_error_is_what_it_shows_on_so_few_pictures(self) -> None:
        rng = np.random.default_rng(2)
        probability = rng.random(93)
        perfect = scores.perfect_calibration_error(probability)
        assert perfect is not None and 0.03 < perfect.mean < 0.12 and perfect.mean < perfect.most
        seen = [
            float(scores.calibration_error((rng.random(93) < probability).astype(int), probability)) for _ in range(300)
        ]
        assert np.mean(seen) == pytest.approx(perfect.mean, rel=0.1)
        assert 0.9 < np.mean(np.array(seen) <= perfect.most) < 0.99
        many = scores.perfect_calibration_error(rng.random(5000))
        assert many is not None and many.mean < perfect.mean / 3
        assert scores.perfect_calibration_error(np.array([])) is None

    def test_weights_of_one_are_no_weights(self) -> None:
        rng = np.random.default_rng(3)
        truth, probability = rng.integers(-1, 2, 70), rng.random(70)
        weighted = scores.calibration_error(truth, probability, np.ones((2, 70)))
        assert weighted == pytest.approx([float(scores.calibration_error(truth, probability))] * 2)

    def test_the_curve_is_what_the_error_is_made_of(self) -> None:
        rng = np.random.default_rng(4)
        truth, probability = rng.integers(-1, 2, 120), rng.random(120)
        curve = scores.reliability(truth, probability)
        assert sum(one.count for one in curve) == (truth >= 0).sum()
        error = sum(one.count * abs(one.foretold - one.observed) for one in curve) / (truth >= 0).sum()
        assert error == pytest.approx(float(scores.calibration_error(truth, probability)))
        assert all(one.low <= one.observed <= one.high for one in curve)
        assert scores.reliability(np.array([-1]), np.array([0.5])) == []


def test_wilsons_interval() -> None:
    assert scores.wilson(0.5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert scores.wilson(1.0, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)


class TestTable3:
    def test_the_macro_of_each_of_the_papers_rows_is_the_mean_of_its_twelve(self) -> None:
        for name, row in table3.PAPER.items():  # AugMix: so it stands in the paper
            assert row[0] == pytest.approx(np.mean(row[1:]), abs=0.005 if name == "+ AugMix" else 0.0006)

    def test_twelve_columns_in_the_papers_order(self) -> None:
        truth = np.array([[0, 1, 2], [3, 1, -1], [0, 0, 2]])
        found = np.array([[0, 1, 2], [3, 2, 0], [1, 0, 2]])
        twelve = table3.twelve_f1(truth, found)
        expected = [
            f1_by_counts(truth[:, place].tolist(), found[:, place].tolist(), label)
            for place in range(3)
            for label in range(4)
        ]
        assert twelve == pytest.approx(expected, nan_ok=True)
        assert float(table3.macro_f1(truth, found)) == pytest.approx(np.nanmean(expected))

    @settings(deadline=None)
    @given(st.integers(0, 999))
    def test_macro_f1_is_a_share_and_1_when_all_is_right(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        truth, found = rng.integers(-1, 4, (20, 3)), rng.integers(0, 4, (20, 3))
        assert 0.0 <= float(table3.macro_f1(truth, found)) <= 1.0
        assert float(table3.macro_f1(truth, np.maximum(truth, 0))) == pytest.approx(1.0)

    def test_markdown_in_the_papers_layout(self) -> None:
        text = table3.table_3({"ours | new": [0.9, *([0.5] * 11), None]}, paper=True)
        lines = text.splitlines()
        assert len(lines) == 2 + len(table3.PAPER) + 1
        assert lines[0].startswith("| model | macro-F1 | dandruff good | dandruff mild | dandruff moderate |")
        assert "| DenseNet169 (paper) | .582 | .796 | .514 | .592 | .614 | .554 | .601 | .641 | .000 |" in lines[2]
        assert lines[-1] == "| ours \\| new | .900 |" + " .500 |" * 11 + " – |"
        with pytest.raises(ValueError, match="3 figures"):
            table3.table_3({"short": [0.1, 0.2, 0.3]})
