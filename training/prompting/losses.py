"""What the student is trained to make small (Segment Anything, section A: focal, Dice and predicted IoU).

Masks of hair are soft at their edges: the target is how much of a pixel hair covers, and both losses take fractions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from training.prompting.student import Masks

_OTHERS_SHARE = 0.1  # of the masks that were not the best of the three: without it they would stop learning
_DICE_SMOOTH_PX = 50.0


@dataclass(frozen=True)
class LossWeights:
    """Factors of the parts. `low` is that of SAM's own masks where there are full ones too."""

    focal: float = 5.0
    gamma: float = 1.0
    dice: float = 1.0
    iou: float = 1.0
    low: float = 0.5


def focal_loss(logits: Tensor, target: Tensor, gamma: float, weight: Tensor | None = None) -> Tensor:
    """Binary cross-entropy times (distance from the target) ** gamma: (N, K, H, W) -> (N, K), means over the pixels.

    With a target of 0 or 1 this is the focal loss (arXiv 1708.02002) without its class weight.
    """
    entropy = F.binary_cross_entropy_with_logits(logits, target.expand_as(logits), reduction="none")
    loss = entropy * (torch.sigmoid(logits) - target).abs() ** gamma
    return (loss if weight is None else loss * weight).mean((2, 3))


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """1 - Dice of each mask: (N, K, H, W) -> (N, K)."""
    probability = torch.sigmoid(logits)
    shared = (probability * target).sum((2, 3))
    return 1 - (2 * shared + _DICE_SMOOTH_PX) / (probability.sum((2, 3)) + target.sum((2, 3)) + _DICE_SMOOTH_PX)


@torch.no_grad()
def mask_iou(logits: Tensor, target: Tensor) -> Tensor:
    """IoU of each mask at 0.5: (N, K, H, W) and (N, 1, H, W) -> (N, K); 1 where both are empty."""
    found, true = logits >= 0, target >= 0.5
    shared = (found & true).sum((2, 3)).float()
    either = (found | true).sum((2, 3)).float()
    return torch.where(either > 0, shared / either.clamp(min=1), torch.ones_like(shared))


def student_loss(masks: Masks, coverage: Tensor, weight: Tensor, weights: LossWeights) -> Tensor:
    """The whole loss of a batch.

    Of the three masks to choose from, the one with the least loss is corrected, the others a little; the one for a
    clear prompt always; and every predicted IoU is drawn to the true one, for it is what picks the mask on the device.

    Args:
        masks: of the student.
        coverage: (N, 1, H, W) in 0..1.
        weight: (N, 1, H, W), how much each pixel counts.
    """

    def each(logits: Tensor, target: Tensor, pixels: Tensor) -> Tensor:
        return weights.focal * focal_loss(logits, target, weights.gamma, pixels) + weights.dice * dice_loss(
            logits, target
        )

    final = masks.low if masks.full is None else masks.full
    scale = coverage.shape[-1] // final.shape[-1]
    target = coverage if scale == 1 else F.avg_pool2d(coverage, scale)
    pixels = weight if scale == 1 else F.avg_pool2d(weight, scale)
    loss = each(final, target, pixels)
    if masks.full is not None and weights.low:
        small, light = F.avg_pool2d(coverage, 4), F.avg_pool2d(weight, 4)
        loss = loss + weights.low * each(masks.low, small, light)
    choice = loss[:, 1:]
    chosen = choice.min(1).values + _OTHERS_SHARE * choice.mean(1)
    predicted = F.mse_loss(masks.iou, mask_iou(final, target))
    return (chosen + loss[:, 0]).mean() + weights.iou * predicted
