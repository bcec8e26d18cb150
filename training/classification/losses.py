"""The classifier's losses, all on logits. ScalpVision, section 3.4: the sum of presence's and the severities'.

The paper's sum knows every label. Here one may be missing: each part is the mean over the labels that are known, and 0
where none is. Quality of the picture and place of the conditions are further parts of our own; with a weight of 0 the
loss is the paper's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from training.classification.network import Answer
from training.recipes import Section

UNKNOWN = -1
"""A label that nobody knows, in every tensor of labels."""

FOUND_WEIGHT = 3.0
"""A cell of the map with the condition counts so much beside one without: most cells are without."""


class LossWeights(Section):
    """How much each part counts."""

    presence: float = Field(1.0, ge=0)
    severity: float = Field(1.0, ge=0)  # of each of the three
    classes: float = Field(1.0, ge=0)
    quality: float = Field(0.0, ge=0)  # 0, as in the paper: the network does not learn what it cannot judge
    location: float = Field(0.0, ge=0)  # 0, as in the paper: where a condition was outlined or drawn is not told


@dataclass(frozen=True)
class Labels:
    """What is known of a batch of N pictures; `UNKNOWN` where nothing is.

    presence: (N, 3) int64, 0 or 1.  severity: (N, 3) int64, 0..3.  label: (N,) int64.  quality: (N,) int64.
    regions: (N, 3, H, W) uint8, not 0 where a condition is; None where no loss asks for it.
    located: (N, 3) bool, whether `regions` says where the condition is, or that it is nowhere.
    """

    presence: Tensor
    severity: Tensor
    label: Tensor
    quality: Tensor
    regions: Tensor | None
    located: Tensor


def classifier_loss(answer: Answer, labels: Labels, weights: LossWeights) -> Tensor:
    """The weighted sum of all parts that the answer has heads for."""
    loss = weights.quality * class_loss(answer.quality, labels.quality)
    if answer.classes.shape[1]:
        return loss + weights.classes * class_loss(answer.classes, labels.label)
    loss = loss + weights.presence * presence_loss(answer.presence, labels.presence)
    for index in range(answer.severity.shape[1]):
        loss = loss + weights.severity * class_loss(answer.severity[:, index], labels.severity[:, index])
    if weights.location and labels.regions is not None:
        loss = loss + weights.location * location_loss(answer.maps, labels.regions, labels.located)
    return loss


def presence_loss(logits: Tensor, presence: Tensor) -> Tensor:
    """Binary cross-entropy of logits (N, 3), the mean over the presences (N, 3) that are known."""
    known = presence != UNKNOWN
    if not known.any():
        return logits.sum() * 0.0  # and not a constant: every head keeps its place in the graph
    return F.binary_cross_entropy_with_logits(logits[known], presence[known].to(logits.dtype))


def class_loss(logits: Tensor, label: Tensor) -> Tensor:
    """Cross-entropy of logits (N, K), the mean over the labels (N,) that are known."""
    known = label != UNKNOWN
    if not known.any():
        return logits.sum() * 0.0
    return F.cross_entropy(logits[known], label[known])


def location_loss(maps: Tensor, regions: Tensor, located: Tensor) -> Tensor:
    """Binary cross-entropy of maps (N, 3, h, w) against where conditions are, the mean over all cells of known ones.

    A cell has a condition if any pixel of ``regions`` (N, 3, H, W) in it has; it then counts `FOUND_WEIGHT` times.
    """
    if not located.any():
        return maps.sum() * 0.0
    there = F.adaptive_max_pool2d((regions > 0).to(maps.dtype), maps.shape[2:])
    weight = torch.tensor(FOUND_WEIGHT, dtype=maps.dtype, device=maps.device)
    return F.binary_cross_entropy_with_logits(maps[located], there[located], pos_weight=weight)
