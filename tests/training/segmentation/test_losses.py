"""The deep supervision loss, against its own formula written out."""

from __future__ import annotations

import math

import pytest
import torch

from training.segmentation.losses import deep_supervision_loss, soft_dice_loss


def test_sum_of_seven_cross_entropies() -> None:
    torch.manual_seed(0)
    maps = [torch.randn(2, 1, 5, 6) for _ in range(7)]
    target = torch.rand(2, 1, 5, 6)
    expected = 0.0
    for one in maps:
        p = torch.sigmoid(one)
        expected += float(-(target * p.log() + (1 - target) * (1 - p).log()).mean())
    assert float(deep_supervision_loss(maps, target)) == pytest.approx(expected, rel=1e-5)


def test_undecided_maps_cost_ln_2_each() -> None:
    maps = [torch.zeros(1, 1, 4, 4)] * 7
    assert float(deep_supervision_loss(maps, torch.ones(1, 1, 4, 4))) == pytest.approx(7 * math.log(2), rel=1e-6)


def test_weight_moves_the_gradient_to_the_heavy_pixel() -> None:
    logits = torch.zeros(1, 1, 1, 2, requires_grad=True)
    weight = torch.tensor([[[[1.0, 3.0]]]])
    deep_supervision_loss([logits], torch.ones(1, 1, 1, 2), weight).backward()
    assert logits.grad is not None
    assert float(logits.grad[0, 0, 0, 1] / logits.grad[0, 0, 0, 0]) == pytest.approx(3.0)


def test_dice_term_of_right_wrong_and_empty() -> None:
    truth = torch.zeros(1, 1, 20, 20)
    truth[..., :10] = 1
    right = (truth * 2 - 1) * 50
    assert float(soft_dice_loss(right, truth)) == pytest.approx(0, abs=1e-6)
    assert float(soft_dice_loss(-right, truth)) > 0.99
    assert float(soft_dice_loss(torch.full_like(truth, -50), torch.zeros_like(truth))) == pytest.approx(0, abs=1e-6)
    assert float(soft_dice_loss(right, torch.zeros_like(truth))) > 0.99
