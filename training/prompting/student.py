"""The student: a SAM small enough for the device (arXiv 2304.02643, sections 3 and A), for whole-hair-set masks.

The prompt encoder and the mask decoder are segment-anything's own classes; the image encoder is a timm backbone with a
neck to SAM's embedding. SAM's mask has a quarter of its input's resolution, where a thin hair is thinner than a
pixel: the student adds fine features of half the input's resolution and a head that answers every pixel.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
import torch.nn.functional as F
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor, nn

from calibration.errors import ScalpScopeError
from training.checkpoint import read_weights, save_atomically

PATCH = 16
"""Input pixels per cell of the embedding, along each side; SAM's own."""

EMBEDDING_CHANNELS = 256
MASK_TOKENS = 4  # one mask for a clear prompt, and three to choose from by predicted IoU


@dataclass(frozen=True)
class StudentConfig:
    """What one student is made of.

    Attributes:
        backbone: name of a timm model that gives features at strides 2, 4, 8 and 16.
        backbone_options: further arguments of that model, such as its channels.
        width, height: of the input, pixels; multiples of 16.
        fine_channels: channels of the fine features at half the input's resolution; 0: SAM's own mask, a quarter of the
            input's resolution, and no more.
        mlp_dim: width of the decoder's MLPs (SAM's own: 2048).
        frequencies: deviation of the frequencies of the positional encoding (SAM's own: 1). A higher one tells points
            apart that are near each other, and the points here lie hairs apart, not objects.
    """

    backbone: str = "resnet18d"
    backbone_options: dict[str, Any] = field(default_factory=dict)
    width: int = 640
    height: int = 480
    fine_channels: int = 16
    mlp_dim: int = 256
    frequencies: float = 4.0

    def __post_init__(self) -> None:
        if self.width % PATCH or self.height % PATCH:
            raise ScalpScopeError(
                f"The student's input is {self.width}x{self.height}.", f"Both sides must be multiples of {PATCH}."
            )

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of the embedding."""
        return self.height // PATCH, self.width // PATCH


class Prompts(NamedTuple):
    """What the decoder is asked with, for N pictures or parts of pictures.

    coords: (N, P, 2) float32, (x, y) in pixels of the whole input, centres at .0.
    labels: (N, P) float32: 1 hair, 0 scalp, -1 padding.
    mask: (N, 1, 4h, 4w) float32 logits of an earlier mask, (h, w) the embedding's grid.
    has_mask: (N,) float32, 1 where `mask` counts.
    """

    coords: Tensor
    labels: Tensor
    mask: Tensor
    has_mask: Tensor


class Masks(NamedTuple):
    """What the decoder answers.

    low: (N, 4, 4h, 4w) logits, SAM's own masks.  full: (N, 4, 16h, 16w) logits, with the fine features; None without.
    iou: (N, 4), the IoU that each mask is predicted to have with the truth.
    """

    low: Tensor
    full: Tensor | None
    iou: Tensor


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(True))


class ImageEncoder(nn.Module):
    """(N, 3, H, W) normalised RGB -> embedding (N, 256, H/16, W/16) and fine features (N, C, H/2, W/2) or None.

    The fine features come down from the coarse ones step by step, as in a feature pyramid (arXiv 1612.03144).
    """

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.backbone, channels = _backbone(config)
        at_2, at_4, at_8, at_16 = channels
        self.neck = nn.Sequential(nn.Conv2d(at_16, EMBEDDING_CHANNELS, 1, bias=False), LayerNorm2d(EMBEDDING_CHANNELS))
        self.has_fine = config.fine_channels > 0
        if self.has_fine:
            self.from_16 = _block(at_16, 64)
            self.to_8 = _block(64 + at_8, 64)
            self.to_4 = _block(64 + at_4, 48)
            self.to_2 = _block(48 + at_2, config.fine_channels)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor | None]:
        at_2, at_4, at_8, at_16 = self.backbone(image)
        embedding = self.neck(at_16)
        if not self.has_fine:
            return embedding, None
        x = self.from_16(at_16)
        for step, skip in ((self.to_8, at_8), (self.to_4, at_4), (self.to_2, at_2)):
            x = step(torch.cat((_double(x), skip), 1))
        return embedding, x


def _backbone(config: StudentConfig) -> tuple[nn.Module, list[int]]:
    try:
        plan = timm.create_model(
            config.backbone, pretrained=False, features_only=True, **_as_tuples(config.backbone_options)
        ).feature_info
        places = [plan.reduction().index(stride) for stride in (2, 4, 8, PATCH)]
        backbone = timm.create_model(
            config.backbone,
            pretrained=False,
            features_only=True,
            out_indices=places,
            **_as_tuples(config.backbone_options),
        )
    except (RuntimeError, ValueError, TypeError) as error:
        raise ScalpScopeError(
            f"The backbone '{config.backbone}' cannot be used: {error}.",
            "Use a timm model with features at strides 2, 4, 8 and 16, such as resnet18d, and options it knows.",
        ) from error
    return backbone, backbone.feature_info.channels()


def _as_tuples(options: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


class HairMaskDecoder(MaskDecoder):
    """SAM's mask decoder, one prompt set per picture, and beside its own masks such of the input's resolution."""

    def __init__(self, mlp_dim: int, fine_channels: int) -> None:
        super().__init__(
            num_multimask_outputs=MASK_TOKENS - 1,
            transformer=TwoWayTransformer(depth=2, embedding_dim=EMBEDDING_CHANNELS, mlp_dim=mlp_dim, num_heads=8),
            transformer_dim=EMBEDDING_CHANNELS,
        )
        self.fine_channels = fine_channels
        if fine_channels:
            self.narrow = nn.Conv2d(EMBEDDING_CHANNELS // 8, fine_channels, 1)
            self.mix = nn.Sequential(_block(2 * fine_channels, fine_channels), _block(fine_channels, fine_channels))
            self.fine_hypernetwork = nn.Sequential(
                nn.Linear(EMBEDDING_CHANNELS, 64), nn.ReLU(), nn.Linear(64, 4 * fine_channels)
            )

    def predict(self, embedding: Tensor, fine: Tensor | None, position: Tensor, sparse: Tensor, dense: Tensor) -> Masks:
        """The masks for N pictures with one prompt set each.

        The base class repeats one picture for many prompt sets; here picture and prompts go in step, which also
        leaves no `repeat_interleave` in the exported graph.

        Args:
            embedding: (N, 256, h, w).
            fine: (N, C, 8h, 8w), or None.
            position: (N or 1, 256, h, w), positional encoding of the grid.
            sparse: (N, P, 256), embedded points.
            dense: (N, 256, h, w), embedded mask prompt.
        """
        count, _, rows, columns = embedding.shape
        own = torch.cat([self.iou_token.weight, self.mask_tokens.weight], 0)[None]
        tokens = torch.cat((own.expand(count, -1, -1), sparse), 1)
        answers, image = self.transformer(embedding + dense, position.expand(count, -1, -1, -1), tokens)
        iou = self.iou_prediction_head(answers[:, 0])
        mask_answers = answers[:, 1 : 1 + self.num_mask_tokens]
        upscaled = self.output_upscaling(image.transpose(1, 2).reshape(count, -1, rows, columns))
        weights = torch.stack([mlp(mask_answers[:, i]) for i, mlp in enumerate(self.output_hypernetworks_mlps)], dim=1)
        low = (weights @ upscaled.flatten(2)).unflatten(2, (4 * rows, 4 * columns))
        if fine is None or not self.fine_channels:
            return Masks(low, None, iou)
        mixed = self.mix(torch.cat((_double(self.narrow(upscaled)), fine), 1))
        weights = self.fine_hypernetwork(mask_answers).reshape(count, 4 * self.num_mask_tokens, self.fine_channels)
        detail = (weights @ mixed.flatten(2)).unflatten(2, (8 * rows, 8 * columns))
        full = F.pixel_shuffle(detail, 2) + F.interpolate(low, scale_factor=4.0, mode="bilinear", align_corners=False)
        return Masks(low, full, iou)


class PromptedSam(nn.Module):
    """Image encoder, prompt encoder and mask decoder of one SAM, asked picture by picture with its own prompts.

    Args:
        image_encoder: (N, 3, H, W) -> embedding (N, 256, H/16, W/16) and fine features or None.
        prompt_encoder: SAM's own.
        mask_decoder: SAM's own, or with fine features.
    """

    def __init__(self, image_encoder: nn.Module, prompt_encoder: PromptEncoder, mask_decoder: HairMaskDecoder) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the input, pixels."""
        height, width = self.prompt_encoder.input_image_size
        return height, width

    def forward(self, image: Tensor, prompts: Prompts, corners: Tensor | None = None) -> Masks:
        """Masks of N pictures, or of N parts of pictures that are as large as each other.

        Args:
            image: (N, 3, H, W) normalised RGB, H and W multiples of 16 and at most the input's.
            prompts: their coordinates count in the whole input, also for a part.
            corners: (N, 2) int64, (row, column) of each part's first cell in the grid of the whole input. A part then
                has the very positional encoding it has within the whole. None: at the top left.
        """
        embedding, fine = self.image_encoder(image)
        return self.decode(embedding, fine, prompts, corners)

    def decode(self, embedding: Tensor, fine: Tensor | None, prompts: Prompts, corners: Tensor | None = None) -> Masks:
        """The masks from what the image encoder gave; arguments as in `forward`."""
        rows, columns = embedding.shape[2:]
        grid = self.prompt_encoder.get_dense_pe()
        if corners is None:
            position = grid[:, :, :rows, :columns]
        else:
            position = torch.cat([grid[:, :, r : r + rows, c : c + columns] for r, c in corners.tolist()])
        sparse = self.embed_points(prompts.coords, prompts.labels)
        return self.mask_decoder.predict(embedding, fine, position, sparse, self.embed_mask(prompts))

    def embed_points(self, coords: Tensor, labels: Tensor) -> Tensor:
        """(N, P, 2) and (N, P) -> (N, P, 256): SAM's own embedding of points, without the writes by index that no
        exporter takes."""
        encoder = self.prompt_encoder
        size = coords.new_tensor(self.input_size[::-1])
        place = encoder.pe_layer._pe_encoding((coords + 0.5) / size)
        kind = labels[..., None]
        hair, scalp = encoder.point_embeddings[1].weight, encoder.point_embeddings[0].weight
        embedded = (place + hair) * (kind == 1) + (place + scalp) * (kind == 0)
        return embedded + encoder.not_a_point_embed.weight * (kind == -1)

    def embed_mask(self, prompts: Prompts) -> Tensor:
        """(N, 256, h, w): the embedded mask prompt where there is one, SAM's embedding of "no mask" elsewhere."""
        encoder = self.prompt_encoder
        has_mask = prompts.has_mask.reshape(-1, 1, 1, 1)
        given = encoder.mask_downscaling(prompts.mask)
        return has_mask * given + (1 - has_mask) * encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)


class Student(PromptedSam):
    """A SAM for hair, made as `StudentConfig` says."""

    def __init__(self, config: StudentConfig) -> None:
        prompt_encoder = PromptEncoder(
            embed_dim=EMBEDDING_CHANNELS,
            image_embedding_size=config.grid,
            input_image_size=(config.height, config.width),
            mask_in_chans=16,
        )
        prompt_encoder.pe_layer.positional_encoding_gaussian_matrix *= config.frequencies
        decoder = HairMaskDecoder(config.mlp_dim, config.fine_channels)
        super().__init__(ImageEncoder(config), prompt_encoder, decoder)
        self.config = config


class _EmbeddingAlone(nn.Module):
    """SAM's own image encoder in the form of the student's: without fine features."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, image: Tensor) -> tuple[Tensor, None]:
        return self.encoder(image), None


def from_official(sam: Sam) -> PromptedSam:
    """An official SAM in the student's form, in evaluation mode: the same weights, asked in the same way."""
    mlp_dim = sam.mask_decoder.transformer.mlp_dim
    decoder = HairMaskDecoder(mlp_dim, fine_channels=0)
    decoder.load_state_dict(sam.mask_decoder.state_dict())
    return PromptedSam(_EmbeddingAlone(sam.image_encoder), sam.prompt_encoder, decoder).eval()


def save_student(student: Student, path: Path, recipe: dict[str, Any], step: int) -> None:
    """The weights with what is needed to rebuild the student: what `load_student` and the export read."""
    weights = {name: value.detach().cpu() for name, value in student.state_dict().items()}
    save_atomically({"student": asdict(student.config), "weights": weights, "recipe": recipe, "step": step}, path)


def load_student(path: Path) -> Student:
    """A student in evaluation mode from ``weights.pt`` or ``best.pt`` of a run.

    Raises:
        ScalpScopeError: the file is missing, damaged, or holds no student.
    """
    content = read_weights(path)
    if "student" not in content:
        raise ScalpScopeError(f"{path} holds no student.", "Give weights.pt or best.pt of a prompting run.")
    student = Student(StudentConfig(**content["student"]))
    try:
        student.load_state_dict(content["weights"])
    except (RuntimeError, TypeError) as error:
        raise ScalpScopeError(f"{path} does not fit its student: {error}.", "Give another file.") from error
    return student.eval()
