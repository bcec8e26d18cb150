"""From masks to the table: counts, differences and conditions, on finders whose masks are known."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import pytest

from device_app.images import write_png_atomically
from training.evaluation.bootstrap import Bootstrap, Figure
from training.evaluation.evaluate import Tally, by_condition, differences, evaluate, score
from training.evaluation.finder import Found, Role, Row
from training.evaluation.mask_metrics import MaskCounts, pooled_scores, score_counts
from training.evaluation.pairs import Pair
from training.evaluation.report import said, said_difference, verdict

HAIR, COARSE, REFINED = Row("M", Role.HAIR, "b"), Row("M̂", Role.COARSE, "b"), Row("M_AP", Role.REFINED, "b")


def _tally(row: Row, jaccards: list[float]) -> Tally:
    """Pictures of 100 true hair pixels of which so many are found, and none is made up: Jaccard as given."""
    found = 100 * np.array(jaccards)
    counts = np.stack([found, 0 * found, 100 - found, 900 + 0 * found], axis=1)
    return Tally(row, counts, np.full(len(jaccards), 0.01))


class Scripted:
    """Gives the masks it was made with, whatever the picture."""

    def __init__(self, masks: dict[Row, list[np.ndarray]]) -> None:
        self._masks = masks

    @property
    def rows(self) -> tuple[Row, ...]:
        return tuple(self._masks)

    def find(self, image: np.ndarray, wanted: Collection[str]) -> Iterator[Found]:
        for row, masks in self._masks.items():
            yield from (Found(row.name, mask, 0.25) for mask in masks if row.name in wanted)


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """A picture whose left half is hair."""
    mask = np.zeros((20, 20), np.uint8)
    mask[:, :10] = 255
    write_png_atomically(tmp_path / "a.png", np.repeat(mask[..., None], 3, axis=2))
    write_png_atomically(tmp_path / "a_mask.png", mask)
    return Pair(tmp_path / "a.png", tmp_path / "a_mask.png")


def _columns(count: int) -> np.ndarray:
    mask = np.zeros((20, 20), np.uint8)
    mask[:, :count] = 255
    return mask


def test_an_oracle_is_scored_by_its_best_mask_and_all_its_time(pair: Pair) -> None:
    oracle, plain, silent = Row("oracle", Role.ORACLE), Row("plain"), Row("silent", Role.ORACLE)
    finders = [
        Scripted({oracle: [_columns(2), _columns(8), _columns(20)], silent: []}),
        Scripted({plain: [_columns(5)]}),
    ]
    tallies = evaluate(finders, [pair])
    assert [tally.row for tally in tallies] == [oracle, silent, plain]
    assert [float(tally.jaccard[0]) for tally in tallies] == pytest.approx([0.8, 0.0, 0.5])
    assert [float(tally.seconds[0]) for tally in tallies] == [0.75, 0.0, 0.25]
    scores = score(tallies[0], Bootstrap(1))
    assert scores.oracle
    assert scores.per_image["jaccard"] == Figure(pytest.approx(0.8), None, None)
    assert not score(tallies[2], Bootstrap(1)).oracle


def test_nothing_to_evaluate() -> None:
    with pytest.raises(ValueError, match="nothing"):
        evaluate([Scripted({HAIR: []})], [])


def test_scores_of_many_counts_are_those_of_each() -> None:
    counts = np.random.default_rng(0).integers(0, 5, (50, 4))
    each = [pooled_scores(MaskCounts(*row)) for row in counts.tolist()]
    assert score_counts(counts) == pytest.approx(np.array([[one.pixel_f1, one.jaccard, one.dice] for one in each]))


def test_means_and_pooled_figures_lie_in_their_intervals() -> None:
    tally = _tally(HAIR, [0.5, 0.7, 0.9, 0.6])
    scores = score(tally, Bootstrap(4))
    assert scores.per_image["jaccard"].value == pytest.approx(0.675)
    assert scores.pooled["jaccard"].value == pytest.approx(0.675)  # as much hair in each picture
    for figure in scores.figures.values():
        assert figure.low is not None and figure.high is not None
        assert figure.low < figure.value < figure.high


def test_differences_are_paired_and_against_the_best_classical_method() -> None:
    coarse = [0.4, 0.6, 0.8, 0.5, 0.7]
    tallies = [
        _tally(Row("shih", Role.CLASSICAL), [0.3] * 5),
        _tally(Row("kim", Role.CLASSICAL), [0.5] * 5),
        _tally(Row("best of SAM", Role.ORACLE), [0.99] * 5),
        _tally(COARSE, coarse),
        _tally(REFINED, [0.45] * 5),
        _tally(HAIR, [one + 0.04 for one in coarse]),
        _tally(Row("grown", Role.COMBINED, "b"), [one + 0.06 for one in coarse]),
        _tally(Row("M̂ of another", Role.COARSE, "other"), [0.1] * 5),
    ]
    found = {one.method: one.per_image["jaccard"] for one in differences(tallies, Bootstrap(5))}
    assert list(found) == ["M − M̂", "M − M_AP", "M − kim", "grown − M"]
    sure = found["M − M̂"]  # the pictures differ widely, the pairs do not
    assert [sure.value, sure.low, sure.high] == pytest.approx([0.04] * 3)
    assert found["grown − M"].value == pytest.approx(0.02)
    unsure = found["M − kim"]
    assert unsure.value == pytest.approx(0.14)
    assert unsure.low is not None and unsure.high is not None
    assert unsure.high - unsure.low > 0.1


def test_conditions_show_where_m_is_better_and_where_not() -> None:
    conditions = ["flakes"] * 6 + ["thin hairs"] * 6
    coarse = [0.5, 0.6, 0.7] * 4
    hair = [one + 0.1 for one in coarse[:6]] + [one - 0.1 for one in coarse[6:]]
    flakes, thin = by_condition([_tally(COARSE, coarse), _tally(HAIR, hair)], conditions)
    assert (flakes.condition, flakes.images, thin.condition, thin.images) == ("flakes", 6, "thin hairs", 6)
    assert flakes.jaccard["M"].value == pytest.approx(0.7)
    assert verdict(flakes.differences["M − M̂"]) == "better"
    assert verdict(thin.differences["M − M̂"]) == "worse"
    (mixed,) = by_condition([_tally(COARSE, coarse), _tally(HAIR, hair)], ["all"] * 12)
    assert verdict(mixed.differences["M − M̂"]) == "undecided"


@pytest.mark.parametrize(
    ("figure", "score_text", "difference_text"),
    [
        (Figure(0.649, 0.62, 0.678), ".649 (.620–.678)", "+.649 (+.620, +.678)"),
        (Figure(-0.02, -0.05, 0.01), "-.020 (-.050–.010)", "-.020 (-.050, +.010)"),
        (Figure(1.0), "1.000", "+1.000"),
        (Figure(0.99996), "1.000", "+1.000"),
        (Figure(float("nan")), "–", "–"),
    ],
)
def test_figures_in_words(figure: Figure, score_text: str, difference_text: str) -> None:
    assert said(figure) == score_text
    assert said_difference(figure) == difference_text
