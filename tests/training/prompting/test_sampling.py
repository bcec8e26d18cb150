"""Prompts: where their points lie, and that everything follows from the seed."""

from __future__ import annotations

import numpy as np
import pytest

from training.prompting.dataset import collate, prompted
from training.prompting.examples import Example
from training.prompting.recipe import ExamplesSection
from training.prompting.sampling import (
    HAIR,
    SCALP,
    PromptKind,
    PromptShares,
    correction_points,
    damage,
    mask_prompt,
    sample_points,
)


@pytest.fixture
def example() -> Example:
    """Two hairs; the hair network misses one and invents a third."""
    coverage = np.zeros((96, 128), np.uint8)
    coverage[:, 20:26] = coverage[:, 60:66] = 255
    coarse = np.zeros_like(coverage)
    coarse[:, 20:26] = 240
    coarse[:, 100:106] = 230
    image = np.full((96, 128, 3), 180, np.uint8)
    image[coverage > 0] = 40
    return Example(image, coverage, coarse)


@pytest.mark.parametrize("kind", list(PromptKind))
def test_points_lie_in_the_picture_and_follow_from_the_seed(kind: PromptKind, example: Example) -> None:
    for seed in range(20):
        coords, labels = sample_points(np.random.default_rng(seed), kind, example.coverage, example.coarse, 64)
        again = sample_points(np.random.default_rng(seed), kind, example.coverage, example.coarse, 64)
        assert np.array_equal(coords, again[0]) and np.array_equal(labels, again[1])
        assert len(coords) == len(labels) <= 64
        assert set(labels.tolist()) <= {HAIR, SCALP}
        assert ((coords >= 0) & (coords <= (127, 95))).all()


def test_algorithm_1_is_drawn_from_the_coarse_mask_with_its_errors(example: Example) -> None:
    coords, labels = sample_points(np.random.default_rng(0), PromptKind.COARSE, example.coverage, example.coarse, 128)
    hair = coords[labels == HAIR]
    assert len(hair) and np.isin(np.round(hair[:, 0]).astype(int), [*range(18, 28), *range(98, 108)]).all()


def test_sampled_points_tell_the_truth_and_noisy_ones_do_not_always(example: Example) -> None:
    def wrong(kind: PromptKind) -> float:
        lies, total = 0, 0
        for seed in range(40):
            coords, labels = sample_points(np.random.default_rng(seed), kind, example.coverage, example.coarse, 64)
            x, y = coords.astype(int).T
            lies += int(((example.coverage[y, x] > 127) != (labels == HAIR)).sum())
            total += len(labels)
        return lies / total

    assert wrong(PromptKind.SAMPLED) == 0
    assert 0.05 < wrong(PromptKind.NOISY) < 0.3


def test_corrections_lie_on_errors_and_are_right(example: Example) -> None:
    coords, labels = correction_points(np.random.default_rng(0), example.coverage, example.coarse, 40)
    x = coords[:, 0]
    missed, invented = (x >= 60) & (x < 66), (x >= 100) & (x < 106)
    assert (missed | invented).all() and missed.any() and invented.any()
    assert (labels[missed] == HAIR).all() and (labels[invented] == SCALP).all()
    none = correction_points(np.random.default_rng(0), example.coverage, example.coverage, 4)
    assert len(none[0]) == len(none[1]) == 0


def test_damage_makes_masks_worse(example: Example) -> None:
    good = example.coarse > 127
    changed = [float(((damage(np.random.default_rng(s), example.coarse) > 0) != good).mean()) for s in range(20)]
    assert np.mean(changed) > 0.02


def test_a_mask_prompt_is_the_logit_of_the_probability() -> None:
    coarse = np.repeat(np.uint8([[0, 51, 204, 255]]), 4, 0).repeat(4, 1).repeat(4, 0)
    found = mask_prompt(coarse, 4, 4)
    assert found.shape == (4, 4) and found.dtype == np.float32
    assert found[0].tolist() == pytest.approx([-8.0, np.log(0.25), np.log(4), 8.0], abs=1e-4)


def test_points_of_a_part_count_in_the_whole_picture(example: Example) -> None:
    section = ExamplesSection(most_points=64)
    shares = PromptShares(damaged=0, sampled=0, noisy=0, mask=1, corrections=0)
    here = prompted(example, section, shares, np.random.default_rng(0))
    there = prompted(example, section, shares, np.random.default_rng(0), corner=(2, 3))
    used = here.prompts.labels >= 0
    assert used.any() and (here.prompts.labels == there.prompts.labels).all()
    moved = there.prompts.coords[used] - here.prompts.coords[used]
    assert moved.numpy() == pytest.approx(np.broadcast_to((48.0, 32.0), moved.shape))
    assert there.corner.tolist() == [2, 3]
    assert here.prompts.has_mask.item() == 1.0


def test_a_batch_keeps_every_point_and_little_padding(example: Example) -> None:
    section, shares = ExamplesSection(most_points=100), PromptShares()
    samples = [prompted(example, section, shares, np.random.default_rng(seed)) for seed in range(6)]
    counts = [int((sample.prompts.labels >= 0).sum()) for sample in samples]
    batch = collate(samples)
    assert batch.prompts.labels.shape == (6, max(1, *counts))
    assert [int((labels >= 0).sum()) for labels in batch.prompts.labels] == counts
    assert batch.image.shape == (6, 3, 96, 128) and batch.coverage.shape == (6, 1, 96, 128)
