"""How much arithmetic a SAM costs, counted and not timed: the same on every machine."""

from __future__ import annotations

import timm
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from training.prompting.student import EMBEDDING_CHANNELS, PATCH, PromptedSam, Prompts

NANOSAM_SIDE = 1024


@torch.no_grad()
def multiply_adds(module: nn.Module, *inputs: object) -> int:
    """Multiplications with addition of one call: those of convolutions and matrix products, half of torch's "flops"."""
    with FlopCounterMode(display=False) as counter:
        module(*inputs)
    return counter.get_total_flops() // 2


def encoder_multiply_adds(sam: PromptedSam) -> int:
    """Of the image encoder, for one picture."""
    height, width = sam.input_size
    return multiply_adds(sam.image_encoder, torch.zeros(1, 3, height, width))


@torch.no_grad()
def decoder_multiply_adds(sam: PromptedSam, points: int) -> int:
    """Of prompt encoder and mask decoder, for one picture and so many points."""
    height, width = sam.input_size
    embedding, fine = sam.image_encoder(torch.zeros(1, 3, height, width))
    prompts = Prompts(
        torch.zeros(1, points, 2),
        torch.ones(1, points),
        torch.zeros(1, 1, 4 * height // PATCH, 4 * width // PATCH),
        torch.ones(1),
    )
    with FlopCounterMode(display=False) as counter:
        sam.decode(embedding, fine, prompts)
    return counter.get_total_flops() // 2


class NanoSamEncoder(nn.Module):
    """The layers of the image encoder that NanoSAM ships, with random weights: for counting its operations alone.

    ResNet18 at 1024 px, its last features doubled in size and projected to the embedding. Layers as in
    ``nanosam/models/timm_image_encoder.py`` of github.com/NVIDIA-AI-IOT/nanosam (commit 3a7c4e0).
    """

    def __init__(self) -> None:
        super().__init__()
        self.backbone = timm.create_model("resnet18", pretrained=False, features_only=True)
        wide = EMBEDDING_CHANNELS
        inputs = self.backbone.feature_info.channels()[-1]
        threes = [nn.Conv2d(channels, wide, 3, padding=1) for channels in (inputs, wide, wide)]
        double = nn.ConvTranspose2d(wide, wide, 3, stride=2, padding=1, output_padding=1)
        project = [nn.Conv2d(wide, wide, 3, padding=1), nn.Conv2d(wide, wide, 1)]
        self.neck = nn.Sequential(*threes, double, *project)

    def forward(self, image: Tensor) -> Tensor:
        return self.neck(self.backbone(image)[-1])


def nanosam_multiply_adds() -> int:
    """Of NanoSAM's image encoder, for one picture of 1024x1024."""
    return multiply_adds(NanoSamEncoder().eval(), torch.zeros(1, 3, NANOSAM_SIDE, NANOSAM_SIDE))
