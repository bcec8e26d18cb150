"""SAM -> two ONNX models: the image encoder, and prompt encoder with mask decoder for any number of points.

The exported decoder has no operator that TensorRT's parser refuses (one-hot, repeat_interleave, writes by index), gives
all four masks at the decoder's own resolution, and leaves the one resize to the device.
"""

from __future__ import annotations

import numpy as np
import onnx
import torch
from onnx import ModelProto
from torch import Tensor, nn

from device_app.bundle import TensorSpec
from export.graph import session_of, shapes_of, simplify
from export.onnx import compare_with_torch, trace
from training.prompting.student import PATCH, PromptedSam, Prompts

EMBEDDING, FINE = "image_embeddings", "fine_features"
PROMPTS = ("point_coords", "point_labels", "mask_input", "has_mask_input")
ANSWERS = ("masks", "iou_predictions")

_FP16_ROOM = 0.25  # of FP16's range: a layer that comes nearer to its end on the frames at hand stays in FP32
_FP16_MOST = 65504.0


class EncoderForExport(nn.Module):
    """(1, 3, H, W) float32 -> the embedding and, where there are any, the fine features."""

    def __init__(self, sam: PromptedSam) -> None:
        super().__init__()
        self.encoder = sam.image_encoder

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(one for one in self.encoder(image) if one is not None)


class DecoderForExport(nn.Module):
    """Features and prompts -> four masks as logits, and their predicted IoUs."""

    def __init__(self, sam: PromptedSam, has_fine: bool) -> None:
        super().__init__()
        self.sam, self.has_fine = sam, has_fine

    def forward(self, embedding: Tensor, *others: Tensor) -> tuple[Tensor, Tensor]:
        fine = others[0] if self.has_fine else None
        prompts = Prompts(*others[1:] if self.has_fine else others)
        masks = self.sam.decode(embedding, fine, prompts)
        return masks.low if masks.full is None else masks.full, masks.iou


def export_encoder(sam: PromptedSam) -> tuple[ModelProto, tuple[TensorSpec, ...]]:
    """The image encoder in FP32, and what it gives.

    Raises:
        ScalpScopeError: ONNX Runtime makes something else of it than torch.
    """
    height, width = sam.input_size
    module = EncoderForExport(sam).eval()
    image = torch.randn((1, 3, height, width), generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        outputs = module(image)
    names = [EMBEDDING, FINE][: len(outputs)]
    model = trace(module, (image,), ["image"], names)
    model = simplify(model)
    model.graph.name = "sam_encoder"
    compare_with_torch(model, {"image": image}, dict(zip(names, outputs, strict=True)))
    return model, tuple(
        TensorSpec(name=name, shape=tuple(value.shape)) for name, value in zip(names, outputs, strict=True)
    )


def export_decoder(sam: PromptedSam, features: tuple[TensorSpec, ...]) -> tuple[ModelProto, tuple[int, ...]]:
    """Prompt encoder and mask decoder in FP32, the axis of the points free, and the shape of the masks.

    Args:
        sam: in evaluation mode.
        features: what its encoder gives, of `export_encoder`.

    Raises:
        ScalpScopeError: ONNX Runtime makes something else of it than torch, for one point or for many.
    """
    module = DecoderForExport(sam, has_fine=len(features) > 1).eval()
    names = [spec.name for spec in features]
    example = _questions(sam, features, 5)
    with torch.no_grad():
        masks, _ = module(*example.values())
    model = trace(
        module,
        tuple(example.values()),
        [*names, *PROMPTS],
        list(ANSWERS),
        {"point_coords": {1: "points"}, "point_labels": {1: "points"}},
    )
    model = simplify(model)
    model.graph.name = "sam_decoder"
    for count in (1, 33):
        question = _questions(sam, features, count)
        with torch.no_grad():
            answer = module(*question.values())
        compare_with_torch(model, question, dict(zip(ANSWERS, answer, strict=True)))
    return model, tuple(masks.shape)


def layer_groups(model: ModelProto) -> dict[str, tuple[frozenset[str], float]]:
    """Groups of an encoder's nodes that stay in float or not together, by the first parts of torch's module path: the
    layers of the backbone, the way down to the fine features (``fine`` is its last step), and the neck.

    Returns:
        Names of the nodes and their share of all multiplications, by the group's name.
    """
    shapes = shapes_of(model)
    weights = {value.name: list(value.dims) for value in model.graph.initializer}
    names: dict[str, set[str]] = {}
    work: dict[str, float] = {}
    for node in model.graph.node:
        parts = [part for part in node.name.split("/") if part not in ("", "encoder", "backbone")]
        if len(parts) < 2:  # what joins the layers moves values and loses little
            continue
        group = {"to_2": "fine"}.get(parts[0], parts[0])
        names.setdefault(group, set()).add(node.name)
        work.setdefault(group, 0.0)
        if node.op_type == "Conv":
            work[group] += float(np.prod(weights[node.input[1]]) * np.prod(shapes[node.output[0]][2:]))
    total = sum(work.values())
    return {group: (frozenset(names[group]), work[group] / total) for group in names}


def nodes_beyond_fp16(model: ModelProto, questions: list[dict[str, np.ndarray]]) -> frozenset[str]:
    """The nodes that make or take values near the end of FP16's range on any of these inputs.

    Args:
        model: FP32.
        questions: inputs by name.
    """
    watched = ModelProto()
    watched.CopyFrom(model)
    known = {value.name for value in model.graph.output}
    made = [name for node in model.graph.node for name in node.output if name]
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in made if name not in known)
    session = session_of(watched)
    names = [value.name for value in session.get_outputs()]
    beyond = set()
    for question in questions:
        for name, value in zip(names, session.run(names, question), strict=True):
            if value.dtype == np.float32 and value.size and np.abs(value).max() > _FP16_ROOM * _FP16_MOST:
                beyond.add(name)
    return frozenset(node.name for node in model.graph.node if beyond.intersection((*node.input, *node.output)))


def _questions(sam: PromptedSam, features: tuple[TensorSpec, ...], points: int) -> dict[str, Tensor]:
    """Random inputs of the decoder by name, in the order that it takes them."""
    random = torch.Generator().manual_seed(points)
    height, width = sam.input_size
    values = {spec.name: torch.randn([int(side) for side in spec.shape], generator=random) for spec in features}
    coords = torch.rand((1, points, 2), generator=random) * torch.tensor([width, height])
    labels = torch.randint(0, 2, (1, points), generator=random).float()
    labels[:, points // 2 + 1 :: 3] = -1
    mask = torch.randn((1, 1, 4 * height // PATCH, 4 * width // PATCH), generator=random)
    return {**values, **dict(zip(PROMPTS, (coords, labels, mask, torch.ones(1)), strict=True))}
