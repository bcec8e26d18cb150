"""Passes over an ONNX graph that change its cost and not its values: constants computed, whole slices dropped, and the
folding of pixels into channels merged into the first convolution.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import ModelProto, NodeProto, numpy_helper, shape_inference


def simplify(model: ModelProto) -> ModelProto:
    """The same network with constants computed, batch normalisations folded and no shape arithmetic left.

    ONNX Runtime's own basic optimisations do the computing; they leave standard operators only.
    """
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "simplified.onnx")
        ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        simpler = onnx.load(options.optimized_model_filepath)
    _drop_whole_slices(simpler)
    _merge_pixel_unshuffle(simpler)
    _tidy(simpler)
    return shape_inference.infer_shapes(simpler, strict_mode=True)


def session_of(model: ModelProto) -> ort.InferenceSession:
    """A network that runs on the processor."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 2
    options.log_severity_level = 3
    # On cores shared with a training run, threads that wait in a loop are all that gets done.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def sort_nodes(model: ModelProto) -> None:
    """Put every node after those it takes its inputs from, in place; the order stays where it was right."""
    made = {value.name for value in (*model.graph.input, *model.graph.initializer)} | {""}
    waiting, ordered = list(model.graph.node), []
    while waiting:
        later = []
        for node in waiting:
            if made.issuperset(node.input):
                ordered.append(node)
                made.update(node.output)
            else:
                later.append(node)
        if len(later) == len(waiting):
            raise ValueError("the graph has a cycle or an input that nothing makes")
        waiting = later
    del model.graph.node[:]
    model.graph.node.extend(ordered)


def shapes_of(model: ModelProto) -> dict[str, tuple[int, ...]]:
    """The fixed shape of every named tensor whose shape is known."""
    graph = shape_inference.infer_shapes(model).graph
    return {
        info.name: tuple(dim.dim_value for dim in info.type.tensor_type.shape.dim)
        for info in (*graph.input, *graph.value_info, *graph.output)
    }


def operators_of(model: ModelProto) -> dict[str, int]:
    """How often each operator occurs."""
    counts: dict[str, int] = defaultdict(int)
    for node in model.graph.node:
        counts[node.op_type] += 1
    return dict(counts)


def _drop_whole_slices(model: ModelProto) -> None:
    """Remove slices whose output is as large as their input: leftovers of cropping what needed no crop."""
    shapes = shapes_of(model)
    for node in [n for n in model.graph.node if n.op_type == "Slice"]:
        before = shapes.get(node.input[0], ())
        if all(before) and shapes.get(node.output[0]) == before:  # a side that is not known counts as 0
            _rewire(model, node.output[0], node.input[0])
            model.graph.node.remove(node)


def _merge_pixel_unshuffle(model: ModelProto) -> None:
    """Turn pixel unshuffle (reshape, transpose, reshape) + convolution into one strided convolution with a larger
    kernel.

    Exact: each tap of the larger kernel is one weight of the small one. The transpose alone costs as much as two
    convolutions.
    """
    shapes, producers, users, values = shapes_of(model), _producers(model), _users(model), _initializers(model)
    for conv in [n for n in model.graph.node if n.op_type == "Conv"]:
        chain: list[NodeProto] = []
        tensor = conv.input[0]
        for wanted in ("Reshape", "Transpose", "Reshape"):
            node = producers.get(tensor)
            if node is None or node.op_type != wanted or len(users[node.output[0]]) != 1:
                break
            chain.append(node)
            tensor = node.input[0]
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in conv.attribute}
        if len(chain) != 3 or len(shapes.get(tensor, ())) != 4:
            continue
        _, channels, height, _ = shapes[tensor]
        fold = height // shapes[conv.input[0]][2]
        split = shapes[chain[2].output[0]]
        permutation = next(onnx.helper.get_attribute_value(a) for a in chain[1].attribute if a.name == "perm")
        plain = attributes.get("dilations", [1, 1]) == [1, 1] and attributes.get("strides", [1, 1]) == [1, 1]
        unshuffle = split[1::2] == (channels, fold, fold) and list(permutation) == [0, 1, 3, 5, 2, 4]
        if not (plain and unshuffle and attributes.get("group", 1) == 1):
            continue
        weight = values[conv.input[1]]
        outputs, _, rows, columns = weight.shape
        weight = weight.reshape(outputs, channels, fold, fold, rows, columns).transpose(0, 1, 4, 2, 5, 3)
        weight = np.ascontiguousarray(weight.reshape(outputs, channels, rows * fold, columns * fold))
        name = f"{conv.input[1]}_unfolded"
        model.graph.initializer.append(numpy_helper.from_array(weight, name))
        pads = [pad * fold for pad in attributes.get("pads", [0, 0, 0, 0])]
        merged = onnx.helper.make_node(
            "Conv",
            [tensor, name, *conv.input[2:]],
            list(conv.output),
            name=conv.name,
            kernel_shape=[rows * fold, columns * fold],
            strides=[fold, fold],
            pads=pads,
        )
        model.graph.node[list(model.graph.node).index(conv)].CopyFrom(merged)


def _rewire(model: ModelProto, old: str, new: str) -> None:
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            if name == old:
                node.input[index] = new


def _tidy(model: ModelProto) -> None:
    """Drop nodes and initializers nothing uses."""
    while True:
        used = {name for node in model.graph.node for name in node.input} | {out.name for out in model.graph.output}
        idle = [node for node in model.graph.node if not used.intersection(node.output)]
        if not idle:
            break
        for node in idle:
            model.graph.node.remove(node)
    for value in [v for v in model.graph.initializer if v.name not in used]:
        model.graph.initializer.remove(value)
    del model.graph.value_info[:]


def _producers(model: ModelProto) -> dict[str, NodeProto]:
    return {name: node for node in model.graph.node for name in node.output}


def _users(model: ModelProto) -> dict[str, list[NodeProto]]:
    users: dict[str, list[NodeProto]] = defaultdict(list)
    for node in model.graph.node:
        for name in node.input:
            users[name].append(node)
    return users


def _initializers(model: ModelProto) -> dict[str, np.ndarray]:
    return {value.name: numpy_helper.to_array(value) for value in model.graph.initializer}
