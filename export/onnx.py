"""torch -> ONNX: the fused map and its sigmoid alone, no shape arithmetic, compared with torch."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import ModelProto, TensorProto
from onnxruntime.transformers.float16 import convert_float_to_float16
from torch import Tensor, nn

from calibration.errors import ScalpScopeError
from export.graph import operators_of, session_of, simplify, sort_nodes
from training.segmentation.u2net import U2Net

INPUT, OUTPUT = "image", "hair_probability"
OPSET = 17
PARITY = 1e-4  # largest difference of a probability between torch and ONNX
RELATIVE_PARITY = 2e-3
"""Largest difference of other values between torch and ONNX, relative to the largest value of the output."""


class HairProbability(nn.Module):
    """A U²-Net as the device wants it: (1, 3, H, W) float32 -> (1, 1, H, W) float32 in 0..1, no side outputs."""

    def __init__(self, network: U2Net) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        return torch.sigmoid(self.network(image)[0])


def export_onnx(network: U2Net, width: int, height: int) -> tuple[ModelProto, float]:
    """Export in FP32 at one input size. A free batch size is not offered: it would bring the shape arithmetic back.

    Args:
        network: in evaluation mode.
        width, height: of the input, pixels.

    Returns:
        The network, and the largest difference of a probability between torch and ONNX Runtime.

    Raises:
        ScalpScopeError: what ONNX Runtime makes of the file differs from torch by more than `PARITY`.
    """
    wrapped = HairProbability(network).eval()
    example = smooth_pictures(1, width, height)[0]
    model = simplify(trace(wrapped, (torch.from_numpy(example),), [INPUT], [OUTPUT]))
    model.graph.name = "hair"
    model.doc_string = "Hair probability of a scalp picture; see the bundle's manifest."
    onnx.checker.check_model(model, full_check=True)
    difference = torch_difference(wrapped, model, width, height)
    if not difference <= PARITY:
        raise ScalpScopeError(
            f"The exported network differs from torch by {difference:.2g} (at most {PARITY:g} is right).",
            "Another onnx, onnxruntime or torch version may help; the tested ones stand in constraints.txt.",
        )
    return model, difference


def trace(
    module: nn.Module,
    example: tuple[Tensor, ...],
    inputs: Sequence[str],
    outputs: Sequence[str],
    free: Mapping[str, Mapping[int, str]] | None = None,
) -> ModelProto:
    """A module in evaluation mode as an ONNX graph, as the exporter makes it.

    Args:
        example: what it takes; all sizes are fixed to these.
        inputs, outputs: names of the tensors.
        free: axes of any length, by input and place, with their names.
    """
    stream = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        # The fixed sizes are meant, and the older exporter is the one that needs no further package.
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        warnings.filterwarnings("ignore", category=DeprecationWarning)
        warnings.filterwarnings("ignore", category=UserWarning)
        torch.onnx.export(
            module,
            example,
            stream,
            dynamo=False,
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes=free,
        )
    return onnx.load_from_string(stream.getvalue())


def compare_with_torch(model: ModelProto, inputs: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> float:
    """Ask ONNX Runtime what torch was asked.

    Args:
        model: ONNX.
        inputs: by name.
        wanted: by name, what torch answers.

    Returns:
        The largest difference of an output, relative to the output's largest value.

    Raises:
        ScalpScopeError: one of them is beyond `RELATIVE_PARITY`.
    """
    found = session_of(model).run(list(wanted), {name: value.numpy() for name, value in inputs.items()})
    worst = 0.0
    for name, value in zip(wanted, found, strict=True):
        expected = wanted[name].numpy()
        difference = float(np.abs(value - expected).max() / max(np.abs(expected).max(), 1e-6))
        if not difference <= RELATIVE_PARITY:
            raise ScalpScopeError(
                f"The exported {model.graph.name} differs from torch in {name} by {difference:.2g} of its size "
                f"(at most {RELATIVE_PARITY:g} is right).",
                "Another onnx, onnxruntime or torch version may help; the tested ones stand in constraints.txt.",
            )
        worst = max(worst, difference)
    return worst


def torch_difference(network: nn.Module, model: ModelProto, width: int, height: int, pictures: int = 2) -> float:
    """The largest absolute difference of a probability between torch and ONNX Runtime on smooth random pictures."""
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    worst = 0.0
    for picture in smooth_pictures(pictures, width, height):
        with torch.no_grad():
            expected = network(torch.from_numpy(picture)).numpy()
        (found,) = session.run([OUTPUT], {INPUT: picture})
        worst = max(worst, float(np.abs(found - expected).max()))
    return worst


def to_fp16(
    model: ModelProto, float_operators: Sequence[str] | None = ("Sigmoid",), float_nodes: frozenset[str] = frozenset()
) -> ModelProto:
    """The same network computing in FP16, with FP32 inputs and outputs and the casts between in the graph.

    Args:
        model: FP32.
        float_operators: what stays in FP32; None: the converter's own list. The sigmoid, because probabilities near 1
            have steps of 0.0005 in FP16.
        float_nodes: names of nodes that stay in FP32 as well.
    """
    source = ModelProto()
    source.CopyFrom(model)
    half = convert_float_to_float16(
        source,
        keep_io_types=True,
        op_block_list=None if float_operators is None else list(float_operators),
        node_block_list=sorted(float_nodes),
    )
    _drop_twins(half)
    _drop_round_trips(half)
    sort_nodes(half)
    onnx.checker.check_model(half, full_check=True)
    return half


def _drop_twins(model: ModelProto) -> None:
    """Keep one of the casts that the converter writes again for each FP32 node that takes one FP16 tensor."""
    made = set()
    for node in list(model.graph.node):
        if made.intersection(node.output):
            model.graph.node.remove(node)
        made.update(node.output)


def _drop_round_trips(model: ModelProto) -> None:
    """Hand FP32 values from one FP32 node to the next as they are: the converter casts them to FP16 and back."""
    casts = {
        node.output[0]: (node.input[0], attribute.i)
        for node in model.graph.node
        if node.op_type == "Cast"
        for attribute in node.attribute
        if attribute.name == "to"
    }
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            half, to = casts.get(name, ("", 0))
            source, between = casts.get(half, ("", 0))
            if to == TensorProto.FLOAT and between == TensorProto.FLOAT16:
                node.input[place] = source
    used = {name for node in model.graph.node for name in node.input} | {value.name for value in model.graph.output}
    for node in [n for n in model.graph.node if n.op_type == "Cast" and n.output[0] not in used]:
        model.graph.node.remove(node)


def describe(path: Path) -> str:
    """One line about an ONNX file: inputs, size, operators."""
    model = onnx.load(path)
    (image,) = model.graph.input
    shape = "x".join(str(dim.dim_value) for dim in image.type.tensor_type.shape.dim)
    kind = TensorProto.DataType.Name(image.type.tensor_type.elem_type).lower()
    operators = ", ".join(f"{count} {name}" for name, count in sorted(operators_of(model).items()))
    return f"{path.name}: {image.name} {kind} {shape}, {path.stat().st_size / 1e6:.2f} MB, {operators}"


def smooth_pictures(count: int, width: int, height: int, planes: int = 3) -> list[np.ndarray]:
    """Smooth normalised noise, (1, planes, height, width) float32 each, the same every time."""
    generator = torch.Generator().manual_seed(7)
    coarse = torch.randn((count, planes, max(1, height // 8), max(1, width // 8)), generator=generator)
    smooth = nn.functional.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False)
    return [np.ascontiguousarray(picture[None]) for picture in smooth.numpy().astype(np.float32)]
