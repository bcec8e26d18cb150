"""FP32 ONNX -> int8: one calibration, two files of the same network.

`Flavour.U8S8` has unsigned activations, which ONNX Runtime runs fast on x86 and well on ARM; `Flavour.SYMMETRIC` has
all zero points 0 and float biases, as TensorRT accepts them. Rule of the ranges and layers left in float are chosen by
measured loss.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum

import numpy as np
import onnx
import onnxruntime as ort
from onnx import ModelProto, TensorProto, helper
from onnxruntime.quantization import QDQQuantizer, QuantType
from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData

from calibration.quantisation import (
    RANGE_RULES,
    Loss,
    RangeRule,
    Scored,
    Sensitivity,
    TensorHistogram,
    find_float_layers,
)
from device_app.engines.engine import Precision
from device_app.engines.goldens import mask_dice
from export.graph import session_of, shapes_of, sort_nodes

# Operators whose output is one of their inputs' values, moved or mixed: input and output share one range, so that the
# int8 kernels copy bytes instead of rescaling each.
_SAME_RANGE = ("Concat", "Resize", "MaxPool", "DepthToSpace")
# Of Relu and Clip (ReLU6) nothing is left where the range after them does their work.
_QUANTISED = ("Conv", "Relu", "Clip", "Concat", "Resize", "MaxPool", "Add", "DepthToSpace")
_USUAL_RULE = RangeRule("percentile 99.999", 99.999)
_MAX_BYTES = 1 << 30  # of activations held at once while ranges are collected
_Advance = Callable[[str], None]


class Flavour(Enum):
    """The two int8 files."""

    U8S8 = Precision.INT8_U8S8
    SYMMETRIC = Precision.INT8_SYMMETRIC


@dataclass(frozen=True)
class Quantised:
    """What a quantisation found and made.

    Attributes:
        models: the network by precision.
        rule: the rule of the ranges that lost least.
        rule_scores: the score of each rule that was tried, 0 = no loss.
        sensitivity: which groups of layers stayed in float, and why.
    """

    models: Mapping[Precision, ModelProto]
    rule: RangeRule
    rule_scores: Mapping[str, float]
    sensitivity: Sensitivity


def collect_ranges(
    model: ModelProto, inputs: Iterable[np.ndarray], advance: _Advance = lambda _: None
) -> dict[str, TensorHistogram]:
    """Run the FP32 network and keep a histogram of every activation.

    Args:
        model: FP32, fixed shapes.
        inputs: (1, planes, H, W) float32 network inputs; one at a time is held in memory.
        advance: called after each.

    Returns:
        The histogram of every float tensor, by name, the input among them.
    """
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    names = [name for node in model.graph.node for name in node.output]
    known = {out.name for out in model.graph.output}
    watched.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names if name not in known
    )
    session = session_of(watched)
    image = model.graph.input[0].name
    histograms = {name: TensorHistogram() for name in (image, *names)}
    parts = _within_memory(names, shapes_of(model))
    for tensor in inputs:
        histograms[image].add(tensor)
        for part in parts:
            for name, value in zip(part, session.run(part, {image: tensor}), strict=True):
                histograms[name].add(value)
        advance("ranges")
    return histograms


def _within_memory(names: Sequence[str], shapes: Mapping[str, tuple[int, ...]]) -> list[list[str]]:
    """The names in parts whose tensors take `_MAX_BYTES` together."""
    parts: list[list[str]] = [[]]
    filled = 0
    for name in names:
        size = 4 * int(np.prod(shapes[name]))
        if parts[-1] and filled + size > _MAX_BYTES:
            parts.append([])
            filled = 0
        parts[-1].append(name)
        filled += size
    return parts


def quantise(
    model: ModelProto,
    histograms: Mapping[str, TensorHistogram],
    rule: RangeRule,
    flavour: Flavour,
    float_nodes: frozenset[str] = frozenset(),
) -> ModelProto:
    """Insert quantise/dequantise pairs round everything that is worth it, weights per output channel.

    Args:
        model: FP32, as `export_onnx` makes it.
        histograms: from `collect_ranges`.
        rule: which range to take.
        flavour: unsigned or symmetric activations.
        float_nodes: names of nodes to leave in float. The sigmoid is always left.
    """
    symmetric = flavour is Flavour.SYMMETRIC
    ranges = {name: histogram.range(rule) for name, histogram in histograms.items()}
    _share_ranges(model, ranges, float_nodes)
    data = {
        name: TensorData(lowest=np.array(low, np.float32), highest=np.array(high, np.float32))
        for name, (low, high) in ranges.items()
    }
    source = onnx.ModelProto()
    source.CopyFrom(model)
    with _quiet():
        quantizer = QDQQuantizer(
            onnx.shape_inference.infer_shapes(source),
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QInt8 if symmetric else QuantType.QUInt8,
            tensors_range=TensorsData(CalibrationMethod.MinMax, data),
            nodes_to_quantize=[],
            nodes_to_exclude=sorted(float_nodes),
            op_types_to_quantize=list(_QUANTISED),
            extra_options={
                "ActivationSymmetric": symmetric,
                "WeightSymmetric": True,
                # For TensorRT a convolution and its ReLU are one: no quantisation between, no int32 bias.
                "OpTypesToExcludeOutputQuantization": ["Conv", "Add"] if symmetric else [],
                "QuantizeBias": not symmetric,
            },
        )
        quantizer.quantize_model()
    result = quantizer.model.model
    sort_nodes(result)
    onnx.checker.check_model(result)
    return result


def layer_groups(model: ModelProto) -> dict[str, tuple[frozenset[str], float]]:
    """Groups of nodes that stay in float or not together: each stage of the network, its first layer, and its ends.

    The sides are the convolutions of the side outputs, the fusion is all that follows them. What joins the stages
    (pooling, resizing, concatenation) is in no group: it moves values and loses little, and in float it would cost two
    conversions each.

    Returns:
        Names of the nodes and their share of all multiplications, by the group's name.
    """
    shapes = shapes_of(model)
    weights = {value.name: list(value.dims) for value in model.graph.initializer}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    names: dict[str, set[str]] = {}
    work: dict[str, float] = {}
    after_sides: set[str] = set()
    for node in model.graph.node:
        group = "first layer" if node is convolutions[0] else _stage_of(node.name)
        if group is None and (after_sides.intersection(node.input) or node.op_type == "Conv"):
            group = "fusion" if after_sides.intersection(node.input) else "sides"
            after_sides.update(node.output)
        if group is None:
            continue
        names.setdefault(group, set()).add(node.name)
        if node.op_type == "Conv":
            work[group] = work.get(group, 0.0) + float(
                np.prod(weights[node.input[1]]) * np.prod(shapes[node.output[0]][2:])
            )
    total = sum(work.values())
    return {group: (frozenset(names[group]), work[group] / total) for group in work}


def choose_and_quantise(
    model: ModelProto,
    calibration: Sequence[np.ndarray],
    held_out: Sequence[np.ndarray],
    threshold: float = 0.5,
    quick: bool = False,
    advance: _Advance = lambda _: None,
) -> Quantised:
    """The whole of it: ranges, the best rule, the layers that stay in float, both files.

    Args:
        model: FP32.
        calibration: network inputs for the ranges.
        held_out: other network inputs, on which loss is measured.
        threshold: probability from which a pixel is hair.
        quick: no search: the rule and the float layers that mostly win. For trying things out.
        advance: called with what is being done, once per step; `steps` says about how many there are.
    """
    reference = [_run(session_of(model), tensor) for tensor in held_out]

    def loss_of(candidate: ModelProto) -> Loss:
        session = session_of(candidate)
        outputs = [_run(session, tensor) for tensor in held_out]
        return Loss(
            tuple(mask_dice(a >= threshold, b >= threshold) for a, b in zip(outputs, reference, strict=True)),
            tuple(float(np.mean(np.abs(a - b))) for a, b in zip(outputs, reference, strict=True)),
        )

    return search(model, calibration, layer_groups(model), "fusion", loss_of, quick, advance)


def search(
    model: ModelProto,
    calibration: Sequence[np.ndarray],
    groups: Mapping[str, tuple[frozenset[str], float]],
    fragile: str,
    loss_of: Callable[[ModelProto], Scored],
    quick: bool = False,
    advance: _Advance = lambda _: None,
    always_float: frozenset[str] = frozenset(),
) -> Quantised:
    """Ranges, the best rule, the layers that stay in float, both files: by any measure of loss.

    Args:
        model: FP32, of one input picture.
        calibration: network inputs for the ranges.
        groups: nodes that stay in float or not together, and what that costs as a share of the whole, by name.
        fragile: the group that is in float while the rules are compared, and the only one looked at when `quick`.
        loss_of: how far a quantised network is from FP32.
        quick: no search.
        advance: as in `choose_and_quantise`.
        always_float: nodes that are never quantised.
    """
    rules = (_USUAL_RULE,) if quick else RANGE_RULES
    histograms = collect_ranges(model, calibration, advance)
    scores: dict[str, float] = {}
    for rule in rules:
        advance(f"rule {rule.name}")
        left = groups[fragile][0] | always_float
        scores[rule.name] = loss_of(quantise(model, histograms, rule, Flavour.U8S8, left)).score
    best = min(rules, key=lambda rule: scores[rule.name])

    def measure(names: frozenset[str]) -> Scored:
        return loss_of(quantise(model, histograms, best, Flavour.U8S8, _nodes(groups, names) | always_float))

    shares = {name: share for name, (_, share) in groups.items() if name == fragile or not quick}
    sensitivity = find_float_layers(shares, measure, report=advance)
    kept = _nodes(groups, frozenset(sensitivity.chosen)) | always_float
    models = {}
    for flavour in Flavour:
        advance(f"writing {flavour.value.value}")
        models[flavour.value] = quantise(model, histograms, best, flavour, kept)
    return Quantised(models, best, scores, sensitivity)


def steps(calibration: int) -> int:
    """About how many steps `choose_and_quantise` reports for a U²-Net."""
    groups = 6 + 5 + 3
    return calibration + len(RANGE_RULES) + groups + 4 + len(Flavour)


def _stage_of(name: str) -> str | None:
    """The stage a node belongs to, by torch's module path in its name, such as ``/network/stage3d/rebnconvin/...``."""
    return next((part for part in name.split("/") if part.startswith("stage")), None)


def _nodes(groups: Mapping[str, tuple[frozenset[str], float]], chosen: frozenset[str]) -> frozenset[str]:
    return frozenset().union(*(groups[name][0] for name in chosen))


def _share_ranges(model: ModelProto, ranges: dict[str, tuple[float, float]], float_nodes: frozenset[str]) -> None:
    """Give tensors that are parts or copies of each other the union of their ranges, in place."""
    leader = {name: name for name in ranges}

    def find(name: str) -> str:
        while leader[name] != name:
            name = leader[name]
        return name

    for node in model.graph.node:
        if node.op_type in _SAME_RANGE and node.name not in float_nodes:
            parts = [*node.input, *node.output] if node.op_type == "Concat" else [node.input[0], node.output[0]]
            for part in parts[1:]:
                leader[find(part)] = find(parts[0])
    union: dict[str, tuple[float, float]] = {}
    for name, (low, high) in ranges.items():
        known = union.get(find(name), (low, high))
        union[find(name)] = (min(low, known[0]), max(high, known[1]))
    for name in ranges:
        ranges[name] = union[find(name)]


def _run(session: ort.InferenceSession, tensor: np.ndarray) -> np.ndarray:
    (output,) = session.run(None, {session.get_inputs()[0].name: tensor})
    return output


@contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser warns of things that are meant here, through the root logger."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
