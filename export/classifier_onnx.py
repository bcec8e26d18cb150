"""Classifier -> one ONNX model that judges a picture, says where it looked and how unlike its training the picture is.

The heat map is a class activation map: the map head over the last feature map, so no gradient is needed on the device.
"""

from __future__ import annotations

import onnx
import torch
from onnx import ModelProto
from torch import Tensor, nn

from device_app.manifest_parts import Task
from export.graph import shapes_of, simplify
from export.onnx import INPUT, compare_with_torch, smooth_pictures, trace
from training.classification.network import Classifier, Unlikeness

JUDGED = ("quality", "distance", "heat_map")
"""The outputs that every classifier has, after those of its task."""


class ClassifierForExport(nn.Module):
    """(1, planes, H, W) float32 -> the outputs that `manifest_classifiers.ClassifierEntry` names, in its order."""

    def __init__(self, network: Classifier, unlikeness: Unlikeness) -> None:
        super().__init__()
        self.network, self.unlikeness = network, unlikeness
        self.conditions = network.config.task is Task.CONDITIONS

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        answer = self.network(image)
        judged = answer.quality, self.unlikeness(answer.features)
        if self.conditions:
            return answer.presence, answer.severity, *judged, torch.sigmoid(answer.maps)
        return answer.classes, *judged, torch.softmax(answer.maps, dim=1)


def export_classifier(network: Classifier, unlikeness: Unlikeness) -> tuple[ModelProto, float]:
    """Export in FP32 at the input size of the network's configuration.

    Args:
        network: put into evaluation mode.
        unlikeness: fitted to its features.

    Returns:
        The model, and the largest difference of an output between torch and ONNX Runtime, relative to the output's
        largest value.

    Raises:
        ScalpScopeError: ONNX Runtime makes something else of it than torch.
    """
    config = network.config
    module = ClassifierForExport(network, unlikeness).eval()
    own = ("presence", "severity") if module.conditions else ("classes",)
    names = (*own, *JUDGED)
    pictures = [torch.from_numpy(one) for one in smooth_pictures(2, config.width, config.height, config.planes)]
    model = simplify(trace(module, (pictures[0],), [INPUT], names))
    model.graph.name = config.task.value
    model.doc_string = "Judges a whole picture; see the bundle's manifest."
    onnx.checker.check_model(model, full_check=True)
    worst = 0.0
    for picture in pictures:
        with torch.no_grad():
            wanted = dict(zip(names, module(picture), strict=True))
        worst = max(worst, compare_with_torch(model, {INPUT: picture}, wanted))
    return model, worst


def after_the_features(model: ModelProto) -> frozenset[str]:
    """The nodes that come after the last feature map: map, pooling, heads, distance.

    They stay in float at every precision: they are a hundredth of the work, they answer values that are not pictures
    (logits, a distance), and each error of theirs goes straight into a probability.
    """
    known = {next(node.input[0] for node in model.graph.node if node.name.endswith("/map/Conv"))}
    nodes = set()
    for node in model.graph.node:
        if known.intersection(node.input):
            known.update(node.output)
            nodes.add(node.name)
    return frozenset(nodes)


def layer_groups(model: ModelProto) -> dict[str, tuple[frozenset[str], float]]:
    """Groups of a backbone's nodes that stay in float or not together, by torch's module path: its stem and its blocks.

    What is no convolution (activations, sums) belongs to the one before it. Nothing after the last feature map is in a
    group.

    Returns:
        Names of the nodes and what the group costs in float, by its name: its share of all multiplications or of all
        weights, whichever is larger, for the late blocks cost next to no time and most of the file.
    """
    shapes = shapes_of(model)
    weights = {value.name: int(torch.Size(value.dims).numel()) for value in model.graph.initializer}
    later = after_the_features(model)
    groups: dict[str, set[str]] = {}
    owner: dict[str, str] = {}  # of each tensor
    work: dict[str, float] = {}
    size: dict[str, float] = {}
    for node in model.graph.node:
        if node.name in later:
            continue
        if node.op_type == "Conv":
            group = _group_of(node.name)
            cells = shapes[node.output[0]][2] * shapes[node.output[0]][3]
            work[group] = work.get(group, 0.0) + weights[node.input[1]] * cells
            size[group] = size.get(group, 0.0) + weights[node.input[1]]
        else:
            known = [owner[name] for name in node.input if name in owner]
            if not known:
                continue
            group = known[0]
        groups.setdefault(group, set()).add(node.name)
        owner.update(dict.fromkeys(node.output, group))
    whole_work, whole_size = sum(work.values()), sum(size.values())
    return {
        group: (frozenset(groups[group]), max(work[group] / whole_work, size[group] / whole_size)) for group in work
    }


def convolution_share(model: ModelProto) -> float:
    """The share of a backbone's weights that are convolutions': what int8 makes smaller and faster."""
    sizes = {value.name: int(torch.Size(value.dims).numel()) for value in model.graph.initializer}
    later = after_the_features(model)
    whole = sum(sizes.get(name, 0) for node in model.graph.node if node.name not in later for name in node.input)
    own = sum(sizes[node.input[1]] for node in model.graph.node if node.op_type == "Conv" and node.name not in later)
    return own / whole


def _group_of(name: str) -> str:
    """``blocks.2`` of ``/network/blocks/blocks.2/blocks.2.0/conv_dw/Conv``; ``conv1`` of ``/network/conv1/Conv``."""
    parts = [part for part in name.split("/") if part and part not in ("network", "backbone", "features")]
    deeper = len(parts) > 2 and parts[1].startswith(f"{parts[0]}.")
    return parts[1] if deeper else parts[0]
