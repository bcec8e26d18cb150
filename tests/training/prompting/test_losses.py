"""The losses on masks whose quality is known."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from training.prompting.losses import LossWeights, dice_loss, focal_loss, mask_iou, student_loss
from training.prompting.student import Masks


@pytest.fixture
def target() -> torch.Tensor:
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 8:16] = 1
    return mask


def _logits(mask: torch.Tensor, certainty: float = 6.0) -> torch.Tensor:
    return (2 * mask - 1) * certainty


def test_focal_without_gamma_is_cross_entropy(target: torch.Tensor) -> None:
    logits = torch.randn(1, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    wanted = F.binary_cross_entropy_with_logits(logits, target.expand_as(logits), reduction="none").mean((2, 3))
    assert torch.allclose(focal_loss(logits, target, 0.0), wanted)
    assert (focal_loss(logits, target, 2.0) < wanted).all()  # what is nearly right counts for less


def test_better_masks_lose_less(target: torch.Tensor) -> None:
    shifted = torch.roll(target, 3, dims=3)
    nothing = torch.zeros_like(target)
    masks = _logits(torch.cat([target, shifted, nothing], 1))
    for losses in (focal_loss(masks, target, 1.0)[0], dice_loss(masks, target)[0]):
        assert losses[0] < losses[1] < losses[2]
    assert mask_iou(masks, target)[0].tolist() == pytest.approx([1.0, 5 / 11, 0.0])


def test_an_empty_mask_of_an_empty_picture_is_right() -> None:
    empty = torch.zeros(1, 1, 16, 16)
    assert mask_iou(_logits(empty), empty).tolist() == [[1.0]]
    assert dice_loss(_logits(empty), empty).item() < 0.02


def test_only_the_best_of_three_is_corrected_in_earnest(target: torch.Tensor) -> None:
    start = torch.cat(
        [_logits(target, 1.0), _logits(target, 1.0), _logits(1 - target, 1.0), _logits(1 - target, 1.0)], 1
    )
    full = start.clone().requires_grad_()
    loss = student_loss(
        Masks(F.avg_pool2d(full, 4), full, torch.zeros(1, 4)), target, torch.ones_like(target), LossWeights(iou=0)
    )
    (gradient,) = torch.autograd.grad(loss, full)
    strength = gradient.abs().sum((0, 2, 3))
    assert strength[1] > 5 * strength[2]
    assert strength[2] > 0  # the others do not stop learning
    assert strength[0] > 5 * strength[2]  # the mask for a clear prompt always learns


def test_the_iou_head_is_drawn_to_the_true_iou(target: torch.Tensor) -> None:
    full = _logits(torch.cat([target, target, torch.roll(target, 3, dims=3), torch.zeros_like(target)], 1))
    guess = torch.zeros(1, 4, requires_grad=True)
    optimizer = torch.optim.Adam([guess], lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        student_loss(
            Masks(F.avg_pool2d(full, 4), full, guess), target, torch.ones_like(target), LossWeights()
        ).backward()
        optimizer.step()
    assert guess[0].tolist() == pytest.approx([1.0, 1.0, 5 / 11, 0.0], abs=0.02)
