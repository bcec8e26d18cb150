"""U²-Net (Qin et al. 2020, arXiv 2005.09007): the hair segmentation network, in any width.

Parameter names and shapes of the tables ``full`` and ``lite`` are those of the public checkpoints ``u2net.pth`` and
``u2netp.pth``. ``slim`` is ours: narrow where the pixels are many, wider where they are few, for small computers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from calibration.errors import ScalpScopeError

Widths = tuple[tuple[int, int], ...]

# (middle, output) channels of each stage: the encoder from stage 1 to 6, the decoder from stage 5d to 1d.
WIDTHS: Mapping[str, tuple[Widths, Widths]] = MappingProxyType(
    {
        "full": (
            ((32, 64), (32, 128), (64, 256), (128, 512), (256, 512), (256, 512)),
            ((256, 512), (128, 256), (64, 128), (32, 64), (16, 64)),
        ),
        "lite": (((16, 64),) * 6, ((16, 64),) * 5),
        # In `lite` one 128 -> 64 convolution of stage 1d is 40 % of all operations. The stages at the two finest
        # resolutions are narrowed, and the channels saved are spent where a pixel sees a whole hair and costs little.
        "slim": (
            ((16, 32), (16, 32), (24, 64), (32, 96), (32, 96), (32, 96)),
            ((32, 96), (32, 64), (24, 32), (16, 32), (16, 16)),
        ),
    }
)


@dataclass(frozen=True)
class U2NetConfig:
    """What one U²-Net is made of.

    Args:
        encoder: (middle, output) channels of stages 1 to 6.
        decoder: (middle, output) channels of stages 5d to 1d.
        fold: 1, or the side of the square of pixels that is folded into channels before stage 1 and unfolded from every
            output: with 2 the network works at half the resolution but sees and answers every pixel.
    """

    encoder: Widths
    decoder: Widths
    fold: int = 1

    def __post_init__(self) -> None:
        if len(self.encoder) != 6 or len(self.decoder) != 5:
            raise ValueError("a U²-Net has 6 encoder and 5 decoder stages")
        if self.fold < 1:
            raise ValueError("fold must be 1 or more")

    @classmethod
    def named(cls, variant: str, fold: int = 1) -> U2NetConfig:
        """One of the tables of ``WIDTHS``; raises ScalpScopeError for another name."""
        if variant not in WIDTHS:
            raise ScalpScopeError(f"There is no U²-Net named '{variant}'.", f"Use one of: {', '.join(WIDTHS)}.")
        encoder, decoder = WIDTHS[variant]
        return cls(encoder, decoder, fold)


def _size(x: Tensor) -> tuple[int, int]:
    """Height and width as plain integers, also while tracing, so that an exported graph computes no shapes."""
    return int(x.shape[2]), int(x.shape[3])


def _resize_like(x: Tensor, like: Tensor) -> Tensor:
    """Bilinear resize of (N, C, h, w) to the height and width of ``like``."""
    (height, width), target = _size(x), _size(like)
    if target == (height, width):
        return x
    if target == (2 * height, 2 * width):  # the same numbers, but exported as constant scales
        return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
    return F.interpolate(x, size=target, mode="bilinear", align_corners=False)


class ConvBlock(nn.Module):
    """3x3 convolution, batch normalisation, ReLU (REBNCONV in the paper's code)."""

    def __init__(self, inputs: int, outputs: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv_s1 = nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation)
        self.bn_s1 = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn_s1(self.conv_s1(x)), inplace=True)


class ResidualU(nn.Module):
    """A residual U-block, RSU-L: a small U-Net of ``depth`` levels whose input is added to its output.

    (N, inputs, h, w) -> (N, outputs, h, w).
    """

    def __init__(self, depth: int, inputs: int, middle: int, outputs: int) -> None:
        super().__init__()
        self.depth = depth
        self.rebnconvin = ConvBlock(inputs, outputs)
        self.rebnconv1 = ConvBlock(outputs, middle)
        for level in range(2, depth):
            self.add_module(f"rebnconv{level}", ConvBlock(middle, middle))
        self.add_module(f"rebnconv{depth}", ConvBlock(middle, middle, dilation=2))
        for level in range(depth - 1, 1, -1):
            self.add_module(f"rebnconv{level}d", ConvBlock(2 * middle, middle))
        self.rebnconv1d = ConvBlock(2 * middle, outputs)

    def forward(self, x: Tensor) -> Tensor:
        inside = self.rebnconvin(x)
        down = [self.rebnconv1(inside)]
        for level in range(2, self.depth):
            pooled = F.max_pool2d(down[-1], 2, stride=2, ceil_mode=True)
            down.append(self.get_submodule(f"rebnconv{level}")(pooled))
        up = self.get_submodule(f"rebnconv{self.depth}")(down[-1])
        for level in range(self.depth - 1, 0, -1):
            skip = down[level - 1]
            up = self.get_submodule(f"rebnconv{level}d")(torch.cat((_resize_like(up, skip), skip), 1))
        return up + inside


class DilatedResidualU(nn.Module):
    """RSU-4F: the residual U-block of the deepest stages, dilated (1, 2, 4, 8) instead of pooled."""

    def __init__(self, inputs: int, middle: int, outputs: int) -> None:
        super().__init__()
        self.rebnconvin = ConvBlock(inputs, outputs)
        self.rebnconv1 = ConvBlock(outputs, middle)
        self.rebnconv2 = ConvBlock(middle, middle, dilation=2)
        self.rebnconv3 = ConvBlock(middle, middle, dilation=4)
        self.rebnconv4 = ConvBlock(middle, middle, dilation=8)
        self.rebnconv3d = ConvBlock(2 * middle, middle, dilation=4)
        self.rebnconv2d = ConvBlock(2 * middle, middle, dilation=2)
        self.rebnconv1d = ConvBlock(2 * middle, outputs)

    def forward(self, x: Tensor) -> Tensor:
        inside = self.rebnconvin(x)
        first = self.rebnconv1(inside)
        second = self.rebnconv2(first)
        third = self.rebnconv3(second)
        up = self.rebnconv3d(torch.cat((self.rebnconv4(third), third), 1))
        up = self.rebnconv2d(torch.cat((up, second), 1))
        return self.rebnconv1d(torch.cat((up, first), 1)) + inside


def _stage(number: int, inputs: int, widths: tuple[int, int]) -> nn.Module:
    """The block of stage ``number`` (1 to 6): RSU-7, 6, 5, 4, 4F, 4F."""
    if number >= 5:
        return DilatedResidualU(inputs, *widths)
    return ResidualU(8 - number, inputs, *widths)


class U2Net(nn.Module):
    """RGB picture -> seven maps of hair logits.

    ``forward`` takes a normalised float picture (N, 3, H, W) of any size and returns a list of seven float tensors of
    logits (N, 1, H, W): the fused map first, then the six side outputs from the finest to the coarsest.
    """

    def __init__(self, config: U2NetConfig) -> None:
        super().__init__()
        self.config = config
        answers = config.fold**2
        inputs = 3 * config.fold**2
        for number, widths in enumerate(config.encoder, start=1):
            self.add_module(f"stage{number}", _stage(number, inputs, widths))
            inputs = widths[1]
        side_inputs = {6: inputs}
        for number, widths in zip(range(5, 0, -1), config.decoder, strict=True):
            self.add_module(f"stage{number}d", _stage(number, inputs + config.encoder[number - 1][1], widths))
            inputs = side_inputs[number] = widths[1]
        for number in range(1, 7):
            self.add_module(f"side{number}", nn.Conv2d(side_inputs[number], answers, 3, padding=1))
        self.outconv = nn.Conv2d(6 * answers, answers, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        height, width = _size(x)
        fold = self.config.fold
        if fold > 1:
            missing = (-width % fold, -height % fold)
            if any(missing):
                x = F.pad(x, (0, missing[0], 0, missing[1]), mode="replicate")
            x = F.pixel_unshuffle(x, fold)

        down = [x]
        for number in range(1, 7):
            if number > 1:
                x = F.max_pool2d(x, 2, stride=2, ceil_mode=True)
            x = self.get_submodule(f"stage{number}")(x)
            down.append(x)
        levels = {6: x}
        for number in range(5, 0, -1):
            skip = down[number]
            x = self.get_submodule(f"stage{number}d")(torch.cat((_resize_like(x, skip), skip), 1))
            levels[number] = x

        sides = [self.get_submodule(f"side{number}")(levels[number]) for number in range(1, 7)]
        sides = [sides[0], *(_resize_like(side, sides[0]) for side in sides[1:])]
        maps = [self.outconv(torch.cat(sides, 1)), *sides]
        if fold > 1:
            maps = [F.pixel_shuffle(m, fold)[:, :, :height, :width] for m in maps]
        return maps
