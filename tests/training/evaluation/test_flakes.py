"""The flake test, on masks whose false hair is counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tests.training.evaluation.test_scores import COARSE, HAIR, REFINED, Scripted
from training.data.backgrounds import BackgroundPool
from training.evaluation.flakes import Cluttered, cluttered_pictures, count_false_hair, flake_test, goal_line
from training.segmentation.conditions import Condition


def _block(left: int, right: int) -> np.ndarray:
    """40 rows and 100 columns; hair in the columns from `left` on, `right` excluded."""
    mask = np.zeros((40, 100), np.uint8)
    mask[:, left:right] = 255
    return mask


def test_false_hair_near_an_edge_is_not_far() -> None:
    # 10 columns of hair of which 5 are found, 20 made up: 3 of them within 3 px of the hair.
    assert count_false_hair(_block(15, 40), _block(10, 20) > 0) == (800, 680, 200, 400, 4000)


def test_the_ratio_is_of_all_areas_together() -> None:
    finder = Scripted({COARSE: [_block(0, 40)], REFINED: [_block(0, 30)], HAIR: [_block(0, 15)]})
    pictures = [Cluttered(Condition.CLUTTER, np.zeros((40, 100, 3), np.uint8), _block(0, 10) > 0) for _ in range(3)]
    pictures += [Cluttered(Condition.CLUTTER_HAIRLESS, p.image, np.zeros_like(p.truth)) for p in pictures]
    hair, bare, both = flake_test(finder, pictures)
    assert [one.group for one in (hair, bare, both)] == ["clutter", "clutter, no hair", "all"]
    assert [figure.value for figure in hair.false_share] == pytest.approx([0.3, 0.2, 0.05])
    assert hair.ratio.value == pytest.approx(5 / 20)
    assert [figure.value for figure in hair.found_share] == pytest.approx([1, 1, 1])
    assert hair.far_share[2].value == pytest.approx(0.02)  # columns 13 and 14
    assert bare.ratio.value == pytest.approx(15 / 30)
    assert np.isnan(bare.found_share[0].value)
    assert both.ratio.value == pytest.approx(20 / 50)
    assert both.ratio.low is not None and both.ratio.high is not None
    assert 5 / 20 <= both.ratio.low < both.ratio.value < both.ratio.high <= 15 / 30
    assert not both.reached
    assert hair.reached
    assert "of M_AP: 0.400 (" in goal_line([hair, bare, both])
    assert "the goal, at most 1/3, is missed" in goal_line([hair, bare, both])
    assert "is reached" in goal_line([hair])


def test_nothing_made_up_is_nothing_to_compare() -> None:
    finder = Scripted({COARSE: [_block(0, 10)], REFINED: [_block(0, 10)], HAIR: [_block(0, 10)]})
    scores = flake_test(finder, [Cluttered(Condition.CLUTTER, np.zeros((40, 100, 3), np.uint8), _block(0, 10) > 0)])
    assert "makes up no hair" in goal_line(scores)
    assert scores[-1].reached


def test_half_of_the_pictures_have_no_hair_and_no_seed_comes_twice() -> None:
    pictures = list(cluttered_pictures(3, 20, BackgroundPool(), (96, 64)))
    assert [picture.condition for picture in pictures] == [Condition.CLUTTER] * 3 + [Condition.CLUTTER_HAIRLESS] * 3
    assert all(picture.image.shape == (64, 96, 3) for picture in pictures)
    assert any(picture.truth.any() for picture in pictures[:3])
    assert not any(picture.truth.any() for picture in pictures[3:])
    assert len({picture.image.tobytes() for picture in pictures}) == 6
