"""The benchmark on phantoms: its arithmetic, its damaged masks, and the measuring's goals on a small run."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from support.strips import draw_strips
from typer.testing import CliRunner

from device_app.bench.phantom_masks import degraded_probability
from device_app.bench.phantoms import Masks, Tally, _finder, draw_phantom, looks_in_turn, match_hairs
from device_app.cli import app
from device_app.vision.masks import hair_mask
from device_app.vision.measure import measure_hairs


@pytest.fixture(scope="module")
def phantom():
    return draw_phantom(3, (640, 480), 5.0, looks_in_turn()[0])


def test_every_hair_matches_its_own_truth(phantom):
    found = measure_hairs(phantom.image, phantom.mask, 5.0).hairs
    matches = match_hairs(phantom, found)
    assert len(matches) == len(phantom.hairs)
    assert len({truth for truth, _ in matches}) == len({hair.id for _, hair in matches}) == len(matches)
    for truth, hair in matches:
        assert hair.diameter_px == pytest.approx(phantom.hairs[truth].diameter_px, abs=0.8)


def test_missed_hairs_count_against_the_count(phantom):
    tally = Tally(640, 480, 5.0)
    tally.add(phantom, 0, lambda phantom, seed: ())
    missed = tally.result()
    assert (missed.matched, missed.count_error_fraction, missed.met) == (0, -1.0, False)


def test_invented_hairs_match_nothing_and_count_against_the_count(phantom):
    picture, extra = draw_strips((640, 480), [((600, 20), (610, 460), 6)])
    bare = replace(phantom, image=picture, mask=extra, hairs=phantom.hairs[:1])
    beside = replace(bare.hairs[0], centre_line=np.array([[50.0, 50.0], [60.0, 400.0]]), widths_px=np.array([6.0, 6.0]))
    tally = Tally(640, 480, 5.0)
    tally.add(replace(bare, hairs=(beside,)), 0, lambda phantom, seed: measure_hairs(phantom.image, extra).hairs)
    both = np.maximum(extra, extra[:, ::-1])
    tally.add(replace(bare, hairs=(beside,)), 0, lambda phantom, seed: measure_hairs(phantom.image, both).hairs)
    result = tally.result()
    assert result.true_hairs == 2 and result.matched <= 1
    assert result.count_error_fraction == pytest.approx(0.5) and result.count_error_per_picture == pytest.approx(0.5)


def test_damaged_masks_are_damaged_and_still_of_that_picture(phantom):
    probability = degraded_probability(phantom, 1)
    assert probability.shape == (480, 640) and probability.dtype == np.float32
    mask = hair_mask(probability, (640, 480))
    both = np.count_nonzero((mask > 0) & (phantom.mask > 0))
    dice = 2 * both / (np.count_nonzero(mask) + np.count_nonzero(phantom.mask))
    assert 0.75 < dice < 0.99


@pytest.mark.parametrize("size", [(640, 480), (1280, 1024)])
@pytest.mark.parametrize("look", looks_in_turn(), ids=lambda look: str(look)[12:40])
def test_goals_are_met_on_true_masks_whatever_the_look(size, look):
    tally = Tally(*size, 5.0)
    for seed in (20, 21):
        tally.add(draw_phantom(seed, size, 5.0, look), seed, hairs_of_true_mask)
    result = tally.result()
    assert abs(result.bias_um) <= 1.0
    assert result.error_95_um <= 4.0
    assert abs(result.count_error_fraction) <= 0.08  # two pictures: one hair more or less is that much


def test_the_command_prints_and_writes_what_it_measured(tmp_path):
    report = tmp_path / "report.json"
    done = CliRunner().invoke(app, ["bench", "phantoms", "--masks", "truth", "--count", "1", "--report", str(report)])
    assert done.exit_code in (0, 1), done.output
    written = json.loads(report.read_text(encoding="utf-8"))
    assert len(written["cases"]) == 10 and written["masks"] == "the truth"
    assert written["over_all"]["true_hairs"] == sum(case["true_hairs"] for case in written["cases"])
    assert done.output.startswith("phantoms, masks: the truth")


def hairs_of_true_mask(phantom, seed):
    """Measured on the phantom's own mask."""
    return measure_hairs(phantom.image, phantom.mask).hairs


def test_refined_masks_are_measured_too(phantom):
    find_hairs, made_by = _finder(Masks.REFINED, None, None)
    assert made_by.endswith("refined")
    matched = match_hairs(phantom, find_hairs(phantom, 0))
    assert len(matched) >= 0.7 * len(phantom.hairs)
