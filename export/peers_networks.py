"""The peers' networks: the bundle's own hair network back in PyTorch, and U²-Net as its paper has it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import ModelProto, NodeProto, numpy_helper
from torch import Tensor, nn

from calibration.errors import ScalpScopeError
from device_app.manifest_classifiers import ConditionsEntry
from training.classification.network import Classifier
from training.classification.recipe import load_recipe
from training.segmentation.u2net import U2Net, U2NetConfig

_MODULE = "/network/"  # before a module's name in the names of the nodes that `export.onnx` writes


def network_of_file(path: Path) -> U2Net:
    """The hair network of a bundle's file, in PyTorch, in evaluation mode.

    What the export folded is unfolded: the weights come back from int8 or FP16 to FP32, batch normalisations do
    nothing any more but are there and take their time, and the convolution that swallowed the folding of pixels gives
    it back. The masks of both are the same but for the rounding of the file's precision.

    Args:
        path: any precision of a hair network that `export` wrote.

    Raises:
        ScalpScopeError: it holds another network.
    """
    try:
        return _rebuilt(onnx.load(path))
    except (KeyError, ValueError, IndexError, AttributeError, RuntimeError) as error:
        raise ScalpScopeError(
            f"{path.name} is no U²-Net that scalpscope-export wrote ({type(error).__name__}: {error}).",
            "Give the network's weights with --checkpoint.",
        ) from error


def paper_network(seed: int = 0) -> U2Net:
    """U²-Net as in its paper, 44 million parameters, weights drawn from a seed, in evaluation mode.

    Its time does not depend on them: no value in it is so near zero that a processor would be slow with it.
    """
    torch.manual_seed(seed)
    return U2Net(U2NetConfig.named("full")).eval()


def grading_network(entry: ConditionsEntry, seed: int = 0) -> Classifier:
    """The shipped recipe's network for conditions, for the input of a bundle's, weights drawn from a seed.

    Raises:
        ScalpScopeError: timm has no such backbone.
    """
    torch.manual_seed(seed)
    width, height = entry.input_size
    config = load_recipe("conditions").classifier.config(labels=())
    return Classifier(replace(config, width=width, height=height, hsv=entry.hsv, mask=entry.mask)).eval()


def _rebuilt(model: ModelProto) -> U2Net:
    values = _values(model)
    weights: dict[str, Tensor] = {}
    for node in model.graph.node:
        if node.op_type == "Conv" and node.name.startswith(_MODULE):
            name = node.name.removeprefix(_MODULE).removesuffix("/Conv").replace("/", ".")
            weights[f"{name}.weight"] = torch.from_numpy(values[node.input[1]].copy())
            weights[f"{name}.bias"] = torch.from_numpy(values[node.input[2]].copy())
    config = _config(weights)
    first = "stage1.rebnconvin.conv_s1.weight"
    weights[first] = _unmerged(weights[first], config.fold)
    network = U2Net(config)
    state = {**_idle_normalisations(network), **weights}
    network.load_state_dict(state)
    return network.eval()


def _values(model: ModelProto) -> dict[str, np.ndarray]:
    """Every constant as FP32, also those that a DequantizeLinear or a Cast makes of a smaller one."""
    values = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Cast" and node.input[0] in values:
            values[node.output[0]] = values[node.input[0]]
        elif node.op_type == "DequantizeLinear" and node.input[0] in values:
            values[node.output[0]] = _dequantised(node, values)
    return {name: np.asarray(value, np.float32) for name, value in values.items()}


def _dequantised(node: NodeProto, values: dict[str, np.ndarray]) -> np.ndarray:
    value = values[node.input[0]].astype(np.float32)
    scale = values[node.input[1]].astype(np.float32)
    zero = values[node.input[2]].astype(np.float32) if len(node.input) > 2 and node.input[2] else np.float32(0)
    axis = next((onnx.helper.get_attribute_value(item) for item in node.attribute if item.name == "axis"), 1)
    if scale.ndim == 1 and value.ndim > 0 and scale.size > 1:
        shape = [1] * value.ndim
        shape[axis] = scale.size
        scale, zero = scale.reshape(shape), np.reshape(zero, shape) if np.size(zero) > 1 else zero
    return (value - zero) * scale


def _config(weights: dict[str, Tensor]) -> U2NetConfig:
    """What the network is made of, from the shapes of its weights."""

    def widths(stage: str) -> tuple[int, int]:
        middle, outer = (
            weights[f"stage{stage}.{block}.conv_s1.weight"].shape[0] for block in ("rebnconv1", "rebnconvin")
        )
        return middle, outer

    return U2NetConfig(
        tuple(widths(str(number)) for number in range(1, 7)),
        tuple(widths(f"{number}d") for number in range(5, 0, -1)),
        fold=round(weights["side1.weight"].shape[0] ** 0.5),
    )


def _unmerged(weight: Tensor, fold: int) -> Tensor:
    """The small kernel over folded pixels, from the large strided one that `export.graph` made of it."""
    if fold == 1 or weight.shape[2] == 3:
        return weight
    outputs, channels, rows, columns = weight.shape
    split = weight.reshape(outputs, channels, rows // fold, fold, columns // fold, fold)
    return split.permute(0, 1, 3, 5, 2, 4).reshape(outputs, channels * fold**2, rows // fold, columns // fold)


def _idle_normalisations(network: U2Net) -> dict[str, Tensor]:
    """A state in which every batch normalisation hands its input through."""
    state = network.state_dict()
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            state[f"{name}.running_mean"] = torch.zeros_like(module.running_mean)
            state[f"{name}.running_var"] = torch.ones_like(module.running_var) - module.eps
            state[f"{name}.weight"] = torch.ones_like(module.weight)
            state[f"{name}.bias"] = torch.zeros_like(module.bias)
    return state
