"""MobileSAM's image encoder written down as the two papers describe it, straight from a file's weights.

Step by step, window by window and head by head, to hold the shipped one against. Published figures used: stages of
2, 2, 6 and 2 blocks, windows of 7, 14 and 7 cells, heads of 32 channels (arXiv 2207.10666, section 4 and appendix).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

DEPTHS = (2, 2, 6, 2)
WINDOWS = (0, 7, 14, 7)
HEAD = 32


def encode(image: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
    """(N, 3, H, W) -> (N, 256, H/16, W/16), with the weights of `image_encoder` under the official names."""
    x = F.gelu(_conv(image, weights, "patch_embed.seq.0", stride=2))
    x = _conv(x, weights, "patch_embed.seq.2", stride=2)
    for stage, depth in enumerate(DEPTHS):
        for block in range(depth):
            name = f"layers.{stage}.blocks.{block}"
            x = _attention_block(x, weights, name, WINDOWS[stage]) if stage else _convolution_block(x, weights, name)
        if stage < 3:
            name = f"layers.{stage}.downsample"
            x = F.gelu(_conv(x, weights, f"{name}.conv1"))
            # The last merging keeps the resolution: MobileSAM's embedding has SAM's grid.
            x = F.gelu(_conv(x, weights, f"{name}.conv2", stride=1 if stage == 2 else 2))
            x = _conv(x, weights, f"{name}.conv3")
    x = _channel_norm(F.conv2d(x, weights["neck.0.weight"]), weights, "neck.1")
    return _channel_norm(F.conv2d(x, weights["neck.2.weight"], padding=1), weights, "neck.3")


def _conv(x: Tensor, weights: Mapping[str, Tensor], name: str, stride: int = 1) -> Tensor:
    """Convolution and batch normalisation by the stored statistics; depthwise where the weights are."""
    kernel = weights[f"{name}.c.weight"]
    groups = x.shape[1] // kernel.shape[1]
    x = F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2, groups=groups)
    mean, variance, gain, shift = (
        weights[f"{name}.bn.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / torch.sqrt(variance + 1e-5) * gain + shift


def _convolution_block(x: Tensor, weights: Mapping[str, Tensor], name: str) -> Tensor:
    inner = F.gelu(_conv(x, weights, f"{name}.conv1"))
    inner = F.gelu(_conv(inner, weights, f"{name}.conv2"))
    return F.gelu(x + _conv(inner, weights, f"{name}.conv3"))


def _attention_block(x: Tensor, weights: Mapping[str, Tensor], name: str, side: int) -> Tensor:
    rows, columns = x.shape[2:]
    padded = F.pad(x, (0, -columns % side, 0, -rows % side))
    attended = torch.empty_like(padded)
    for top in range(0, padded.shape[2], side):
        for left in range(0, padded.shape[3], side):
            window = (..., slice(top, top + side), slice(left, left + side))
            attended[window] = _attend(padded[window], weights, f"{name}.attn")
    x = _conv(x + attended[..., :rows, :columns], weights, f"{name}.local_conv")
    cells = _token_norm(x.permute(0, 2, 3, 1), weights, f"{name}.mlp.norm")
    cells = F.gelu(_linear(cells, weights, f"{name}.mlp.fc1"))
    return x + _linear(cells, weights, f"{name}.mlp.fc2").permute(0, 3, 1, 2)


def _attend(window: Tensor, weights: Mapping[str, Tensor], name: str) -> Tensor:
    """Attention among the cells of one window, with a learned bias for each distance (rows apart, columns apart)."""
    count, channels, side, _ = window.shape
    tokens = _token_norm(window.flatten(2).transpose(1, 2), weights, f"{name}.norm")
    mixed = _linear(tokens, weights, f"{name}.qkv")
    place = torch.arange(side * side)
    row, column = place // side, place % side
    # Distances are numbered as they first occur, seen from the first cell: by rows, then columns.
    distance = (row[:, None] - row).abs() * side + (column[:, None] - column).abs()
    answers = []
    for head in range(channels // HEAD):
        query, key, value = mixed[..., 3 * HEAD * head : 3 * HEAD * (head + 1)].split(HEAD, -1)
        score = query @ key.transpose(1, 2) / HEAD**0.5 + weights[f"{name}.attention_biases"][head][distance]
        answers.append(score.softmax(-1) @ value)
    out = _linear(torch.cat(answers, -1), weights, f"{name}.proj")
    return out.transpose(1, 2).reshape(count, channels, side, side)


def _linear(x: Tensor, weights: Mapping[str, Tensor], name: str) -> Tensor:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def _token_norm(x: Tensor, weights: Mapping[str, Tensor], name: str) -> Tensor:
    """Over the last axis."""
    x = (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, keepdim=True, unbiased=False) + 1e-5)
    return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def _channel_norm(x: Tensor, weights: Mapping[str, Tensor], name: str) -> Tensor:
    x = (x - x.mean(1, keepdim=True)) / torch.sqrt(x.var(1, keepdim=True, unbiased=False) + 1e-6)
    return x * weights[f"{name}.weight"][:, None, None] + weights[f"{name}.bias"][:, None, None]
