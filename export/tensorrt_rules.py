"""What TensorRT refuses of an ONNX file, and where it would leave int8 unused: found before the file ships.

Sources: the operator tables and change logs of onnx-tensorrt (`docs/operators.md`, `docs/Changelog.md`; 8.5 with all
that was added up to 10.3, the oldest version that builds engines here), and of NVIDIA's TensorRT documentation the
pages "Explicit Quantization" (Q/DQ placement), "IQuantizeLayer" and "Dynamic Shapes" (shape tensors).

A layer that is left in float may read a dequantised tensor: that is what leaving it in float means. What is reported is
what no one means.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, shape_inference

OPSETS = range(9, 21)
"""Versions of ONNX's operators that the parser of TensorRT 10.3 reads."""

_PARSER_READS = """
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast Ceil Celu Clip Concat
    Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum DeformConv DepthToSpace DequantizeLinear Div Dropout
    Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor GRU Gather GatherElements GatherND Gemm GlobalAveragePool
    GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GridSample GroupNormalization HardSigmoid HardSwish Identity
    InstanceNormalization IsInf IsNaN LRN LSTM LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax
    LpNormalization LpPool MatMul Max MaxPool Mean MeanVarianceNormalization Min Mod Mul Neg NonMaxSuppression NonZero
    Not OneHot Or PRelu Pad Pow QuantizeLinear RNN RandomNormal RandomNormalLike RandomUniform RandomUniformLike Range
    Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
    ReduceSumSquare Relu Reshape Resize ReverseSequence RoiAlign Round Scatter ScatterElements ScatterND Selu Shape
    Shrink Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh
    ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Upsample Where Xor
"""
SUPPORTED = frozenset(_PARSER_READS.split())
"""Operators that the parser of TensorRT 10.3 reads. If, Loop and Scan, which it reads too, are not looked into here."""

_DATA_DEPENDENT = ("NonMaxSuppression", "NonZero")
_FLOAT_ONLY = ("Clip", "CumSum", "Einsum", "Erf", "Gemm", "MatMul", "NonZero", "PRelu", "Resize")
"""Operators whose ONNX takes whole numbers and whose TensorRT does not."""

_REDUCTIONS = frozenset(name for name in SUPPORTED if name.startswith("Reduce"))
_SHAPE_INPUTS = {
    "ConstantOfShape": (0,),
    "Expand": (1,),
    "Pad": (1,),
    "Range": (0, 1, 2),
    "Reshape": (1,),
    "Resize": (2, 3),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Tile": (1,),
    "TopK": (1,),
    "Upsample": (1,),
}
"""Inputs that say how large a tensor is: TensorRT computes them on the processor, from shapes and constants alone."""

_CONSTANT_INPUTS = {"CumSum": (1,), "OneHot": (1,), "Squeeze": (1,), "Unsqueeze": (1,)} | dict.fromkeys(
    _REDUCTIONS, (1,)
)
_PROCESSOR_COMPUTES = """
    Abs Add And Cast Ceil Concat ConstantOfShape Div Equal Expand Floor Gather Greater GreaterOrEqual Identity Less
    LessOrEqual Max Min Mod Mul Neg Not Or Range ReduceMax ReduceMin ReduceProd ReduceSum Reshape Slice Squeeze Sub
    Unsqueeze Where
"""
_SHAPE_ARITHMETIC = frozenset(_PROCESSOR_COMPUTES.split())
_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_ACTIVATIONS = ("Clip", "Elu", "HardSigmoid", "HardSwish", "LeakyRelu", "Relu", "Sigmoid", "Softplus", "Tanh")
_WHOLE = (TensorProto.INT64, TensorProto.INT32)


def check_for_tensorrt(model: ModelProto) -> list[str]:
    """Every rule of TensorRT 10.3 to 11.4 that a graph breaks, one sentence each; empty when it keeps them all.

    Args:
        model: as it ships, with names of nodes where it has them.
    """
    faults = _versions(model)
    graph = _Graph.of(model)
    for check in (_tensors, _operators, _shapes, _quantisation, _weights, _joins):
        faults += check(graph)
    return list(dict.fromkeys(faults))


@dataclass(frozen=True)
class _Graph:
    """A graph with its look-ups.

    Attributes:
        producers, users: of each tensor.
        constants: values of the tensors that are known when the engine is built.
        types: element type by tensor, of ``TensorProto.DataType``, where it is known.
        shapes: by tensor, where it is known; a side that is not known is None.
    """

    nodes: tuple[NodeProto, ...]
    inputs: dict[str, onnx.ValueInfoProto]
    outputs: dict[str, onnx.ValueInfoProto]
    producers: dict[str, NodeProto]
    users: dict[str, list[NodeProto]]
    constants: dict[str, np.ndarray]
    types: dict[str, int]
    shapes: dict[str, tuple[int | None, ...]]

    @classmethod
    def of(cls, model: ModelProto) -> _Graph:
        try:
            graph = shape_inference.infer_shapes(model, data_prop=True).graph
        except Exception:  # what ONNX cannot infer is checked without
            graph = model.graph
        constants = {value.name: numpy_helper.to_array(value) for value in graph.initializer}
        users: dict[str, list[NodeProto]] = defaultdict(list)
        for node in graph.node:
            for name in filter(None, node.input):
                users[name].append(node)
            if node.op_type == "Constant" and (found := _attributes(node).get("value")) is not None:
                constants[node.output[0]] = numpy_helper.to_array(found)
        infos = (*graph.input, *graph.value_info, *graph.output)
        types = {info.name: info.type.tensor_type.elem_type for info in infos}
        types |= {value.name: value.data_type for value in graph.initializer}
        shapes: dict[str, tuple[int | None, ...]] = {
            info.name: tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in shape.dim)
            for info in infos
            if (shape := info.type.tensor_type.shape) is not None and info.type.tensor_type.HasField("shape")
        }
        shapes |= {name: value.shape for name, value in constants.items()}
        return cls(
            tuple(graph.node),
            {info.name: info for info in graph.input if info.name not in constants},
            {info.name: info for info in graph.output},
            {name: node for node in graph.node for name in node.output},
            users,
            constants,
            types,
            shapes,
        )

    def made_by(self, tensor: str, *operators: str) -> NodeProto | None:
        """The node that makes a tensor, if it is one of these operators."""
        node = self.producers.get(tensor)
        return node if node is not None and node.op_type in operators else None

    def is_quantised(self, tensor: str) -> bool:
        """Whether a tensor comes straight from its dequantisation."""
        return self.made_by(tensor, "DequantizeLinear") is not None


def _versions(model: ModelProto) -> list[str]:
    version = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if version in OPSETS:
        return []
    return [f"it is written in opset {version}, and TensorRT 10.3 reads {OPSETS[0]} to {OPSETS[-1]}"]


def _tensors(graph: _Graph) -> Iterator[str]:
    for kind, infos in (("input", graph.inputs), ("output", graph.outputs)):
        for name, info in infos.items():
            told = TensorProto.DataType.Name(info.type.tensor_type.elem_type)
            if told != "FLOAT":
                # The engine's buffers are float32 as the manifest says; INT64 at an edge was INT32 before TensorRT 9.
                yield f"{kind} {name} is {told}, and an engine takes and gives FLOAT"
    for name, info in graph.inputs.items():
        if not info.type.tensor_type.HasField("shape"):
            yield f"input {name} has no shape"
        elif any(not dim.HasField("dim_value") and not dim.dim_param for dim in info.type.tensor_type.shape.dim):
            yield f"input {name} has an axis with neither a length nor a name"
    for name, kind in graph.types.items():
        if kind == TensorProto.DOUBLE:
            yield f"tensor {name} is DOUBLE, which TensorRT cuts down to FLOAT"


def _operators(graph: _Graph) -> Iterator[str]:
    for node in graph.nodes:
        named = _named(node)
        attributes = _attributes(node)
        if node.op_type in ("If", "Loop", "Scan"):
            yield f"{named}: control flow is not looked into"
        elif node.domain not in ("", "ai.onnx"):
            yield f"{named}: the parser knows no operators of the domain {node.domain}"
        elif node.op_type not in SUPPORTED:
            yield f"{named}: the parser of TensorRT 10.3 does not know this operator"
        elif node.op_type in _DATA_DEPENDENT:
            yield f"{named}: the size of its answer depends on values"
        if node.op_type in _FLOAT_ONLY:
            for name in node.input[:1]:
                if graph.types.get(name) in _WHOLE:
                    kind = TensorProto.DataType.Name(graph.types[name])
                    yield f"{named}: takes {kind}, and TensorRT's takes floating point only"
        if node.op_type == "Resize" and (reason := _resize_fault(attributes)):
            yield f"{named}: {reason}"
        if node.op_type in ("MaxPool", "LayerNormalization", "Dropout") and any(node.output[1:]):
            yield f"{named}: only the first output is supported"
        if node.op_type in ("AveragePool", "LpPool", "MaxPool") and set(attributes.get("dilations", [1])) != {1}:
            yield f"{named}: a pool with gaps (dilations) is not supported"


def _resize_fault(attributes: dict[str, object]) -> str:
    allowed = {
        "mode": (b"nearest", b"linear"),
        "coordinate_transformation_mode": (
            b"half_pixel",
            b"pytorch_half_pixel",
            b"tf_half_pixel_for_nn",
            b"asymmetric",
            b"align_corners",
        ),
        "antialias": (0,),
        "keep_aspect_ratio_policy": (b"stretch",),
    }
    for name, values in allowed.items():
        if (found := attributes.get(name, values[0])) not in values:
            told = found.decode() if isinstance(found, bytes) else found
            return f"{name} {told} is not supported"
    return ""


def _shapes(graph: _Graph) -> Iterator[str]:
    known: dict[str, str] = {}
    for node in graph.nodes:
        for place in _CONSTANT_INPUTS.get(node.op_type, ()):
            name = node.input[place] if place < len(node.input) else ""
            if name and not _is_fixed(graph, name):
                yield f"{_named(node)}: {name} must be a constant"
        for place in _SHAPE_INPUTS.get(node.op_type, ()):
            name = node.input[place] if place < len(node.input) else ""
            if not name or name in graph.constants:
                continue
            if reason := _not_a_shape(graph, name, known):
                yield f"{_named(node)}: {name} says how large a tensor is, and {reason}"
            elif None in graph.shapes.get(name, ()):
                yield f"{_named(node)}: {name} says how large a tensor is, and its own length is not fixed"


def _not_a_shape(graph: _Graph, tensor: str, known: dict[str, str]) -> str:
    """Why a tensor cannot be computed from shapes and constants alone; empty when it can."""
    if tensor not in known:
        known[tensor] = ""  # ONNX has no cycles
        node = graph.producers.get(tensor)
        if tensor in graph.constants or (node is not None and node.op_type in ("Shape", "Size", "Constant")):
            pass
        elif node is None:
            known[tensor] = f"depends on the values of {tensor}"
        elif node.op_type not in _SHAPE_ARITHMETIC:
            known[tensor] = f"is made by {_named(node)}, which TensorRT does not compute for shapes"
        else:
            reasons = (_not_a_shape(graph, name, known) for name in node.input if name)
            known[tensor] = next(filter(None, reasons), "")
    return known[tensor]


def _is_fixed(graph: _Graph, tensor: str) -> bool:
    """Whether a tensor is a constant, or made of constants alone."""
    node = graph.producers.get(tensor)
    if tensor in graph.constants:
        return True
    return (
        node is not None
        and node.op_type in (_SHAPE_ARITHMETIC | {"Constant"})
        and all(_is_fixed(graph, name) for name in node.input if name)
    )


def _quantisation(graph: _Graph) -> Iterator[str]:
    for node in graph.nodes:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        named = _named(node)
        scale = graph.constants.get(node.input[1])
        if scale is None:
            yield f"{named}: its scale must be a constant"
        elif not (np.isfinite(scale).all() and (scale > 0).all()):
            yield f"{named}: its scale must be above 0"
        if len(node.input) > 2 and node.input[2]:
            zero = graph.constants.get(node.input[2])
            if zero is None:
                yield f"{named}: its zero point must be a constant"
            elif zero.dtype != np.int8:
                yield f"{named}: its values are {zero.dtype}, and TensorRT quantises to int8 with a sign"
            elif zero.any():
                yield f"{named}: its zero point must be 0"
        elif node.op_type == "QuantizeLinear":
            yield f"{named}: without a zero point its values are uint8, and TensorRT quantises to int8 with a sign"
        elif graph.types.get(node.input[0], TensorProto.INT8) != TensorProto.INT8:
            yield f"{named}: its values are not int8"
        is_weight = node.input[0] in graph.constants
        if scale is not None and scale.size > 1 and not is_weight and not _is_weight_pair(graph, node):
            yield f"{named}: an activation has one scale, not one for each channel"
        if node.op_type == "QuantizeLinear":
            others = [user.op_type for user in graph.users[node.output[0]] if user.op_type != "DequantizeLinear"]
            if others or node.output[0] in graph.outputs or not graph.users[node.output[0]]:
                yield f"{named}: its int8 values must go to a DequantizeLinear and nowhere else"
            yield from _between_layer_and_activation(graph, node)


def _is_weight_pair(graph: _Graph, node: NodeProto) -> bool:
    """Whether a DequantizeLinear follows the QuantizeLinear of a constant."""
    first = graph.made_by(node.input[0], "QuantizeLinear")
    return first is not None and first.input[0] in graph.constants


def _between_layer_and_activation(graph: _Graph, node: NodeProto) -> Iterator[str]:
    layer = graph.made_by(node.input[0], *_WEIGHTED)
    if layer is None:
        return
    after = [user for pair in graph.users[node.output[0]] for user in graph.users[pair.output[0]]]
    activation = next((user for user in after if user.op_type in _ACTIVATIONS), None)
    if activation is not None:
        yield f"{_named(node)}: it stands between {_named(layer)} and its activation, which are one in TensorRT"


def _weights(graph: _Graph) -> Iterator[str]:
    for node in graph.nodes:
        if node.op_type not in _WEIGHTED:
            continue
        named = _named(node)
        pair = graph.made_by(node.input[1], "DequantizeLinear")
        if pair is not None and _constant_behind(graph, pair) is not None:
            if not graph.is_quantised(node.input[0]):
                yield f"{named}: its weights are quantised and its input is not"
            if reason := _channel_fault(graph, node, pair):
                yield f"{named}: {reason}"
        elif node.op_type in ("Conv", "ConvTranspose") and (between := _between(graph, node.input[1])) is not None:
            yield f"{named}: {_named(between)} stands between it and its weights' DequantizeLinear"
        if node.op_type != "MatMul" and len(node.input) > 2 and graph.is_quantised(node.input[2]):
            yield f"{named}: its bias is quantised, and TensorRT adds it in float"


def _between(graph: _Graph, tensor: str) -> NodeProto | None:
    """The node after a weights' DequantizeLinear on the way to a tensor, where there is one."""
    node = graph.producers.get(tensor)
    while node is not None and node.op_type not in ("DequantizeLinear", "QuantizeLinear") and node.input:
        pair = graph.made_by(node.input[0], "DequantizeLinear")
        if pair is not None and _constant_behind(graph, pair) is not None:
            return node
        node = graph.producers.get(node.input[0])
    return None


def _constant_behind(graph: _Graph, pair: NodeProto) -> np.ndarray | None:
    """The weights that a DequantizeLinear stands for, when it does: int8 in the file, or float and quantised there."""
    first = graph.made_by(pair.input[0], "QuantizeLinear")
    return graph.constants.get(pair.input[0] if first is None else first.input[0])


def _channel_fault(graph: _Graph, node: NodeProto, pair: NodeProto) -> str:
    """Weights have one scale, or one for each output channel."""
    scale, weights = graph.constants.get(pair.input[1]), _constant_behind(graph, pair)
    if scale is None or weights is None or scale.size == 1:
        return ""
    axis = int(_attributes(pair).get("axis", 1)) % weights.ndim
    outputs = {"Conv": 0, "ConvTranspose": 1, "MatMul": weights.ndim - 1}.get(node.op_type)
    if outputs is None:  # Gemm
        outputs = 0 if _attributes(node).get("transB", 0) else 1
    if axis != outputs:
        return f"its weights' scales run along axis {axis}, and its output channels along axis {outputs}"
    if scale.shape != (weights.shape[axis],):
        return f"its weights have {weights.shape[axis]} output channels and {scale.size} scales"
    return ""


def _joins(graph: _Graph) -> Iterator[str]:
    """Additions of two activations: quantised both, or one of them and the other what a layer computes just before.

    The second form is a layer, its addition and its activation in one kernel; the first is an addition in int8.
    """
    for node in graph.nodes:
        if node.op_type not in ("Add", "Sum") or any(name in graph.constants for name in node.input):
            continue
        quantised = [graph.is_quantised(name) for name in node.input]
        if all(quantised) or not any(quantised):
            continue
        plain = [name for name, is_quantised in zip(node.input, quantised, strict=True) if not is_quantised]
        if any(graph.made_by(name, *_WEIGHTED) is None for name in plain):
            yield f"{_named(node)}: one input is quantised and {plain[0]} is not"


def _attributes(node: NodeProto) -> dict[str, object]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _named(node: NodeProto) -> str:
    return f"{node.op_type} '{node.name or (node.output[0] if node.output else '')}'"
