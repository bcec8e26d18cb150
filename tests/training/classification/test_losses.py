"""The classifier's losses against the formulas written out, and what a missing label may change: nothing."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.classification.losses import (
    FOUND_WEIGHT,
    UNKNOWN,
    Labels,
    LossWeights,
    class_loss,
    classifier_loss,
    location_loss,
    presence_loss,
)
from training.classification.network import Answer

PAPER = LossWeights()
ALL = LossWeights(quality=0.7, location=0.3)


def _answer(rng: np.random.Generator, count: int = 5, classes: int = 0) -> Answer:
    def normal(*shape: int) -> torch.Tensor:
        return torch.from_numpy(rng.normal(0, 2, shape)).requires_grad_()

    conditions = 0 if classes else 3
    return Answer(
        normal(count, conditions), normal(count, conditions, 4), normal(count, classes), normal(count, 3),
        normal(count, classes or 3, 2, 3), normal(count, 4),
    )  # fmt: skip


def _labels(rng: np.random.Generator, count: int = 5, unknown: float = 0.0) -> Labels:
    def some(high: int, *shape: int) -> torch.Tensor:
        values = rng.integers(0, high, shape)
        return torch.from_numpy(np.where(rng.random(shape) < unknown, UNKNOWN, values))

    return Labels(
        some(2, count, 3), some(4, count, 3), some(6, count), some(3, count),
        torch.from_numpy(rng.integers(0, 2, (count, 3, 8, 9)).astype(np.uint8) * 255),
        torch.from_numpy(rng.random((count, 3)) >= unknown),
    )  # fmt: skip


def _bce(logit: float, truth: int, found_weight: float = 1.0) -> float:
    probability = 1 / (1 + math.exp(-logit))
    return -found_weight * math.log(probability) if truth else -math.log(1 - probability)


def _cross_entropy(logits: list[float], label: int) -> float:
    return -math.log(math.exp(logits[label]) / sum(math.exp(one) for one in logits))


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _written_out(answer: Answer, labels: Labels, weights: LossWeights) -> float:
    """The sum of section 3.4 and our two further parts, one picture and one label at a time."""
    count = len(labels.presence)
    presences = [
        _bce(float(answer.presence[i, c]), int(labels.presence[i, c]))
        for i in range(count)
        for c in range(3)
        if labels.presence[i, c] != UNKNOWN
    ]
    total = weights.presence * _mean(presences)
    for c in range(3):
        known = [i for i in range(count) if labels.severity[i, c] != UNKNOWN]
        total += weights.severity * _mean(
            [_cross_entropy(answer.severity[i, c].tolist(), int(labels.severity[i, c])) for i in known]
        )
    known = [i for i in range(count) if labels.quality[i] != UNKNOWN]
    total += weights.quality * _mean(
        [_cross_entropy(answer.quality[i].tolist(), int(labels.quality[i])) for i in known]
    )
    cells = []
    for i in range(count):
        for c in range(3):
            if not labels.located[i, c]:
                continue
            for row, (top, bottom) in enumerate(((0, 4), (4, 8))):
                for column, (left, right) in enumerate(((0, 3), (3, 6), (6, 9))):
                    there = int(labels.regions[i, c, top:bottom, left:right].max() > 0)
                    cells.append(_bce(float(answer.maps[i, c, row, column]), there, FOUND_WEIGHT))
    return total + weights.location * _mean(cells)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), unknown=st.sampled_from([0.0, 0.3, 0.8]))
def test_the_loss_is_the_papers_sum_over_what_is_known(seed: int, unknown: float) -> None:
    rng = np.random.default_rng(seed)
    answer, labels = _answer(rng), _labels(rng, unknown=unknown)
    for weights in (PAPER, ALL):
        with torch.no_grad():
            assert float(classifier_loss(answer, labels, weights)) == pytest.approx(
                _written_out(answer, labels, weights)
            )


def test_with_the_papers_weights_neither_quality_nor_place_count() -> None:
    rng = np.random.default_rng(0)
    answer, labels = _answer(rng), _labels(rng)
    other = replace(labels, quality=(labels.quality + 1) % 3, regions=255 - labels.regions)
    assert torch.equal(classifier_loss(answer, labels, PAPER), classifier_loss(answer, other, PAPER))


def test_of_a_task_with_classes_the_loss_is_the_cross_entropy_of_its_classes() -> None:
    rng = np.random.default_rng(0)
    answer, labels = _answer(rng, classes=6), _labels(rng)
    expected = _mean([_cross_entropy(answer.classes[i].tolist(), int(labels.label[i])) for i in range(5)])
    assert float(classifier_loss(answer, labels, PAPER).detach()) == pytest.approx(expected)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6))
def test_what_is_answered_where_a_label_is_missing_changes_neither_loss_nor_gradient(seed: int) -> None:
    rng = np.random.default_rng(seed)
    answer, labels = _answer(rng), _labels(rng, unknown=0.5)
    loss = classifier_loss(answer, labels, ALL)
    loss.backward()
    assert not answer.presence.grad[labels.presence == UNKNOWN].any()
    assert not answer.severity.grad[labels.severity == UNKNOWN].any()
    assert not answer.quality.grad[labels.quality == UNKNOWN].any()
    assert not answer.maps.grad[~labels.located].any()
    with torch.no_grad():
        answer.presence[labels.presence == UNKNOWN] += 5
        answer.severity[labels.severity == UNKNOWN] -= 3
        answer.maps[~labels.located] *= -1
    assert torch.equal(classifier_loss(answer, labels, ALL), loss)


def test_a_head_without_any_label_adds_nothing_and_still_has_a_gradient() -> None:
    logits = torch.randn(4, 3, requires_grad=True)
    nothing = torch.full((4, 3), UNKNOWN)
    losses = (
        presence_loss(logits, nothing),
        class_loss(logits, nothing[:, 0]),
        location_loss(logits[..., None, None], torch.ones(4, 3, 2, 2), torch.zeros(4, 3, dtype=torch.bool)),
    )
    for loss in losses:
        assert float(loss.detach()) == 0
    sum(losses).backward()
    assert torch.equal(logits.grad, torch.zeros(4, 3))
