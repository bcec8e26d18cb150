"""MobileSAM's image encoder: TinyViT (arXiv 2207.10666) with 5 million weights and SAM's neck (arXiv 2306.14289).

The blocks are timm's; here they are put in the order and under the names that `mobile_sam.pt` knows them by.
"""

from __future__ import annotations

from collections import OrderedDict

from segment_anything.modeling.common import LayerNorm2d
from timm.models.tiny_vit import ConvNorm, TinyVit
from torch import Tensor, nn

WIDTHS = (64, 128, 160, 320)
"""Channels of the four stages."""


class _Stage(nn.Module):
    """The blocks of one stage, and the merging that leads to the next one (none after the last)."""

    def __init__(self, blocks: nn.Module, downsample: nn.Module | None, channels_last: bool) -> None:
        super().__init__()
        self.blocks = blocks
        self.downsample = downsample
        self.channels_last = channels_last

    def forward(self, x: Tensor) -> Tensor:
        # Attention works on (N, H, W, C), convolutions on (N, C, H, W).
        x = self.blocks(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) if self.channels_last else self.blocks(x)
        return x if self.downsample is None else self.downsample(x)


class TinyVitEncoder(nn.Module):
    """(N, 3, H, W) normalised RGB -> (N, 256, H/16, W/16), H and W multiples of 16; SAM gives it 1024 x 1024.

    The third merging keeps the resolution, so that the grid is SAM's, a cell for 16 pixels, and not half as fine
    (MobileSAM's own change of TinyViT). Names and shapes of all weights are those of the official file, the unused
    classifier (`norm_head`, `head`) among them.
    """

    img_size = 1024

    def __init__(self) -> None:
        super().__init__()
        body = TinyVit(
            embed_dims=WIDTHS,
            depths=(2, 2, 6, 2),
            num_heads=(2, 4, 5, 10),
            window_sizes=(7, 7, 14, 7),
            drop_path_rate=0.0,
        )
        body.stages[3].downsample.conv2.conv.stride = (1, 1)
        for name, module in list(body.named_modules()):
            if isinstance(module, ConvNorm):
                body.set_submodule(name, nn.Sequential(OrderedDict(c=module.conv, bn=module.bn)))
        self.patch_embed = nn.ModuleDict(
            {"seq": nn.Sequential(body.patch_embed.conv1, body.patch_embed.act, body.patch_embed.conv2)}
        )
        merging = [stage.downsample for stage in body.stages[1:]]
        self.layers = nn.ModuleList(
            _Stage(stage.blocks, after, channels_last=place > 0)
            for place, (stage, after) in enumerate(zip(body.stages, [*merging, None], strict=True))
        )
        self.norm_head, self.head = nn.LayerNorm(WIDTHS[-1]), nn.Linear(WIDTHS[-1], 1000)
        self.neck = nn.Sequential(
            nn.Conv2d(WIDTHS[-1], 256, 1, bias=False),
            LayerNorm2d(256),
            nn.Conv2d(256, 256, 3, padding=1, bias=False),
            LayerNorm2d(256),
        )

    def forward(self, image: Tensor) -> Tensor:
        x = self.patch_embed["seq"](image)
        for stage in self.layers:
            x = stage(x)
        return self.neck(x)
