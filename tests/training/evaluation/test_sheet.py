"""The page of pictures: which ones are on it, and that errors are tinted where they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from device_app.images import read_image
from training.evaluation.sheet import FALSE, MISSED, Case, draw_sheet, pick_pictures, tint_errors


def test_the_worst_and_the_middling_pictures_are_picked() -> None:
    jaccard = np.array([0.9, 0.1, 0.5, 0.8, 0.6, 0.2, 0.7, 0.3, 0.4])
    picked = pick_pictures(jaccard)
    assert [index for index, which in picked if which == "worst"] == [1, 5, 7]
    assert [index for index, which in picked if which == "median"] == [8, 2, 4]


@pytest.mark.parametrize("count", range(1, 12))
def test_no_picture_is_picked_twice(count: int) -> None:
    picked = [index for index, _ in pick_pictures(np.random.default_rng(count).random(count))]
    assert len(set(picked)) == len(picked) == min(count, 6)


def test_missed_hair_is_blue_and_false_hair_orange() -> None:
    image = np.random.default_rng(0).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    truth, found = np.zeros((4, 4), bool), np.zeros((4, 4), np.uint8)
    truth[0, :2] = True
    found[0, 1:3] = 255
    tinted = tint_errors(image, found, truth)
    assert tuple(tinted[0, 0]) == MISSED
    assert tuple(tinted[0, 2]) == FALSE
    right = np.ones((4, 4), bool)
    right[0, [0, 2]] = False
    assert (np.ptp(tinted[right], axis=1) == 0).all()  # grey


def test_a_sheet_is_a_picture_with_both_tints(tmp_path: Path) -> None:
    image = np.full((30, 40, 3), 150, np.uint8)
    truth = np.zeros((30, 40), bool)
    truth[:, :10] = True
    found = np.zeros((30, 40), np.uint8)
    found[:, 20:] = 255
    masks = {"M̂, Jaccard 0.000": found, "M_AP": found, "M": found}
    draw_sheet([Case("worst: a.png", image, truth, masks)] * 2, tmp_path / "sheet.png")
    sheet = read_image(tmp_path / "sheet.png")
    for tint in (MISSED, FALSE):
        assert np.count_nonzero((np.abs(sheet.astype(int) - tint) < 8).all(axis=2)) > 1000
