"""A SAM of segment-anything's own classes that is small enough to be asked in a moment."""

from __future__ import annotations

from functools import partial

import torch
from segment_anything.modeling import ImageEncoderViT, Sam
from torch import nn

from training.prompting.checkpoints import sam_with


def tiny_teacher(seed: int = 1, side: int = 128) -> Sam:
    """Untrained, but drawn from a seed: two blocks, one with windows, 32 channels, a grid of side / 16."""
    torch.manual_seed(seed)
    encoder = ImageEncoderViT(
        img_size=side,
        embed_dim=32,
        depth=2,
        num_heads=2,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=4,
        global_attn_indexes=(1,),
    )
    with torch.no_grad():
        for values in encoder.parameters():
            if values.ndim > 1:
                values.normal_(0, 0.15)
    return sam_with(encoder, side)
