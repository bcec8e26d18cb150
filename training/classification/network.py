"""The classifier: a timm backbone, a map of where each condition is, and heads that judge the whole picture.

ScalpVision, section 3.4, has a presence head and a severity head for each condition on the pooled features. Here the
presence head is a 1x1 convolution over the last feature map, pooled afterwards: with the mean as pooling that is
the very same linear head, and its map before pooling is the class activation map, so a device can show where the
network looked without any gradient. Pooled by log-mean-exp a small flake is not drowned by a large clean scalp.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import timm
import torch
from torch import Tensor, nn

from calibration.errors import ScalpScopeError
from device_app.manifest_parts import CONDITIONS, QUALITIES, SEVERITIES, Task

COMPONENTS = 32
"""Directions of the features that the distance from the training pictures is measured along."""

RGB_MEAN, RGB_STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
"""Of the values 0..1 of every plane; further planes (hue, saturation, value, mask) take 0.5 too."""

PRESENCE_START = -2.0
"""Bias that the maps start with: most places of most pictures have nothing."""


@dataclass(frozen=True)
class ClassifierConfig:
    """What a classifier is made of.

    Attributes:
        task: conditions (presence and severity), or one class of several.
        backbone: any timm model with a feature map or tokens.
        height, width: of the input, pixels.
        hsv, mask: planes beside red, green and blue; see `device_app.manifest_classifiers.ClassifierEntry`.
        labels: classes of a task that has classes; () for conditions.
        pooling: ``mean`` (the paper's) or ``lse``, log-mean-exp of the map.
        dropout: of the features, while training.
        drop_path: of the backbone's blocks, while training.
    """

    task: Task
    backbone: str
    height: int
    width: int
    hsv: bool = False
    mask: bool = False
    labels: tuple[str, ...] = ()
    pooling: Literal["mean", "lse"] = "mean"
    dropout: float = 0.2
    drop_path: float = 0.0

    @property
    def planes(self) -> int:
        """Planes of the input."""
        return 3 + 3 * self.hsv + self.mask

    @property
    def maps(self) -> int:
        """Heat maps: one for each condition or class."""
        return CONDITIONS if self.task is Task.CONDITIONS else len(self.labels)


class Answer(NamedTuple):
    """What a classifier answers for a batch of N pictures; all but the last two are logits.

    Attributes:
        presence: (N, 3); empty (N, 0) for a task with classes.
        severity: (N, 3, 4); empty (N, 0, 4) for a task with classes.
        classes: (N, K); empty (N, 0) for conditions.
        quality: (N, 3): gradable, out of focus, no scalp.
        maps: (N, maps, h, w): where each condition or class is.
        features: (N, C) pooled features.
    """

    presence: Tensor
    severity: Tensor
    classes: Tensor
    quality: Tensor
    maps: Tensor
    features: Tensor


class Classifier(nn.Module):
    """See the module. Input (N, planes, height, width) float, output `Answer`.

    Raises:
        ScalpScopeError: timm has no such backbone, or it does not take pictures of this size.
    """

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = make_backbone(config.backbone, config.planes, (config.height, config.width), config.drop_path)
        with torch.no_grad():
            probe = torch.zeros(1, config.planes, config.height, config.width)
            try:
                channels, *grid = feature_map(self.backbone.eval(), probe).shape[1:]
            except (RuntimeError, AssertionError, ValueError) as error:
                raise ScalpScopeError(
                    f"The backbone {config.backbone} does not take pictures of {config.width} x {config.height}: "
                    f"{str(error).splitlines()[0]}",
                    "Set width and height to multiples of 32, or to what the backbone was made for.",
                ) from error
        self.backbone.train()
        self.grid: tuple[int, int] = (grid[0], grid[1])
        self.dropout = nn.Dropout(config.dropout)
        self.map = nn.Conv2d(channels, config.maps, 1)
        nn.init.normal_(self.map.weight, std=0.01)
        nn.init.constant_(self.map.bias, PRESENCE_START if config.task is Task.CONDITIONS else 0.0)
        if config.pooling == "lse":
            self.pool_scale = nn.Parameter(torch.ones(config.maps))
            self.pool_bias = nn.Parameter(torch.zeros(config.maps))
        self.quality = nn.Linear(channels, QUALITIES)
        if config.task is Task.CONDITIONS:
            # How much of the picture its map calls diseased goes in beside the features: severity is largely that.
            self.severity = nn.Linear(channels + 2 * config.maps, CONDITIONS * SEVERITIES)

    def forward(self, pictures: Tensor) -> Answer:
        """(N, planes, height, width) float -> `Answer`."""
        features = feature_map(self.backbone, pictures)
        kept = self.dropout(features)
        maps = self.map(kept)
        pooled, judged = features.mean(dim=(2, 3)), self._pool(maps)
        quality = self.quality(pooled)
        count = len(pictures)
        if self.config.task is not Task.CONDITIONS:
            nothing = judged.new_zeros(count, 0)
            return Answer(nothing, judged.new_zeros(count, 0, SEVERITIES), judged, quality, maps, pooled)
        covered = torch.sigmoid(maps).mean(dim=(2, 3))
        seen = torch.cat([kept.mean(dim=(2, 3)), covered, torch.log(covered + 1e-3)], dim=1)
        severity = self.severity(seen).reshape(count, CONDITIONS, SEVERITIES)
        return Answer(judged, severity, judged.new_zeros(count, 0), quality, maps, pooled)

    def _pool(self, maps: Tensor) -> Tensor:
        """(N, maps, h, w) -> (N, maps) logits of the whole picture."""
        if self.config.pooling == "mean":
            return maps.mean(dim=(2, 3))
        cells = maps.shape[2] * maps.shape[3]
        soft_maximum = torch.logsumexp(maps.flatten(2), dim=2) - math.log(cells)
        return soft_maximum * self.pool_scale + self.pool_bias


class Unlikeness(nn.Module):
    """How unlike the training pictures a picture's features are: 1 for a typical one, more for others.

    The root mean square of the whitened features along their main directions and of what is left beside those. Buffers,
    filled by `fit`: mean (C,), directions (C, K) and their standard deviations (K,), and the typical rest.
    """

    mean: Tensor
    directions: Tensor
    deviations: Tensor
    rest: Tensor

    def __init__(self, channels: int, components: int = COMPONENTS) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("directions", torch.zeros(channels, components))
        self.register_buffer("deviations", torch.ones(components))
        self.register_buffer("rest", torch.ones(()))

    @torch.no_grad()
    def fit(self, features: Tensor) -> None:
        """Learn from the features (N, C) of training pictures, N > 1."""
        self.mean.copy_(features.mean(dim=0))
        centred = features - self.mean
        _, spread, rows = torch.linalg.svd(centred, full_matrices=False)
        count = min(self.directions.shape[1], len(features) - 1, rows.shape[0])
        self.directions.zero_()
        self.directions[:, :count] = rows[:count].T
        self.deviations.fill_(1.0)
        self.deviations[:count] = (spread[:count] / math.sqrt(len(features) - 1)).clamp_min(1e-6)
        left = centred - centred @ self.directions @ self.directions.T
        self.rest.copy_((left**2).sum(dim=1).mean().clamp_min(1e-12))

    def forward(self, features: Tensor) -> Tensor:
        """(N, C) -> (N, 1)."""
        centred = features - self.mean
        along = centred @ self.directions
        # The matrix as it is, not transposed: an exported graph then holds it once.
        left = centred - nn.functional.linear(along, self.directions)
        whitened = ((along / self.deviations) ** 2).mean(dim=1, keepdim=True)
        return torch.sqrt(0.5 * (whitened + (left**2).sum(dim=1, keepdim=True) / self.rest))


def make_backbone(name: str, planes: int, size: tuple[int, int], drop_path: float = 0.0) -> nn.Module:
    """A timm model without its head, untrained.

    Args:
        name: of timm.  planes: of the input.  size: (height, width) of the input, for those that must know.
        drop_path: share of blocks left out while training, for those that can.

    Raises:
        ScalpScopeError: timm has no such model, or it cannot be made for this size.
    """
    if name not in timm.list_models():
        near = ", ".join(timm.list_models(f"*{name.split('_')[0]}*")[:6]) or "resnet18, efficientnet_lite0"
        raise ScalpScopeError(f"timm has no backbone named '{name}'.", f"Use one of its names, such as {near}.")
    asked = {"pretrained": False, "in_chans": planes, "num_classes": 0, "global_pool": ""}
    for extra in (
        {"img_size": size, "drop_path_rate": drop_path},
        {"drop_path_rate": drop_path},
        {"img_size": size},
        {},
    ):
        try:
            backbone: nn.Module = timm.create_model(name, **asked, **extra)
        except TypeError:
            continue
        if hasattr(backbone, "pre_logits"):
            backbone.pre_logits = nn.Identity()  # VGG's hidden layers belong to its head: nine tenths of all weights
        return backbone
    raise ScalpScopeError(f"timm cannot make the backbone '{name}' without its head.", "Use another backbone.")


def feature_map(backbone: nn.Module, pictures: Tensor) -> Tensor:
    """The last feature map of any backbone: (N, planes, H, W) -> (N, C, h, w). Tokens are put back on their grid."""
    features = backbone.forward_features(pictures)  # type: ignore[operator]
    if features.ndim == 3:
        prefix = int(getattr(backbone, "num_prefix_tokens", 0))
        tokens = features[:, prefix:]
        grid = _token_grid(backbone, tokens.shape[1], pictures.shape[2] / pictures.shape[3])
        return tokens.transpose(1, 2).reshape(len(tokens), tokens.shape[2], *grid)
    channels = int(backbone.num_features)  # type: ignore[arg-type]
    return features.permute(0, 3, 1, 2) if features.shape[1] != channels and features.shape[3] == channels else features


def _token_grid(backbone: nn.Module, count: int, aspect: float) -> tuple[int, int]:
    """(rows, columns) of `count` tokens of a picture as high as `aspect` times its width."""
    grid = getattr(getattr(backbone, "patch_embed", None), "grid_size", None)
    if grid is not None and grid[0] * grid[1] == count:
        return int(grid[0]), int(grid[1])
    pairs = [(rows, count // rows) for rows in range(1, count + 1) if count % rows == 0]
    return min(pairs, key=lambda pair: abs(math.log(pair[0] / pair[1] / aspect)))


def freeze_unused(backbone: nn.Module, planes: int, size: tuple[int, int]) -> None:
    """Stop training what no feature depends on, such as layers that belong to a head that is left out.

    Several processes would wait for gradients that never come.

    Args:
        size: (height, width) of the input.
    """
    training = backbone.training
    used = [one for one in backbone.parameters() if one.requires_grad]
    features = feature_map(backbone.eval(), torch.zeros(1, planes, *size))
    gradients = torch.autograd.grad(features.sum(), used, allow_unused=True)
    for parameter, gradient in zip(used, gradients, strict=True):
        parameter.requires_grad_(gradient is not None)
    backbone.train(training)
