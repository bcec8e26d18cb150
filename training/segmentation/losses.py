"""What U²-Net is trained to make small."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def deep_supervision_loss(
    logits: Sequence[Tensor], target: Tensor, weight: Tensor | None = None, dice_share: float = 0.0
) -> Tensor:
    """Sum over all maps of their binary cross-entropy (U²-Net, section 3.3), plus an optional soft Dice term.

    Args:
        logits: maps (N, 1, H, W), as ``U2Net`` gives them.
        target: hair coverage (N, 1, H, W) in 0..1; fractions at the edges are kept.
        weight: how much each pixel counts (N, 1, H, W); None counts all alike, as the paper does.
        dice_share: factor of the Dice term of each map; 0 leaves it out, as the paper does.
    """
    total = logits[0].new_zeros(())
    for one in logits:
        total = total + F.binary_cross_entropy_with_logits(one, target, weight=weight)
        if dice_share:
            total = total + dice_share * soft_dice_loss(one, target)
    return total


def soft_dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """1 minus the Dice coefficient of probabilities against coverage, over the whole batch at once.

    Over the batch and not per image: an image without any hair has no Dice, yet its false alarms must count.
    """
    probability = torch.sigmoid(logits)
    shared = (probability * target).sum()
    return 1 - (2 * shared + 1) / (probability.sum() + target.sum() + 1)
