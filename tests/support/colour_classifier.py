"""Tiny but real classifiers as ONNX files, made in a moment, added to a bundle that is there.

The conditions network looks at colours, so that its three answers can be told from the picture: dandruff is how much of
it is nearly white, excess sebum how much is yellow, erythema how much is red; the more, the worse (`graded_picture`).
Grey pictures are *out of focus* to it, blue ones *no scalp*. The networks with classes tell by the mean brightness: the
brighter, the higher the class.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from device_app.bundle import (
    MANIFEST_NAME,
    SCHEMA_VERSION,
    ClassEntry,
    ClassifierEntry,
    ConditionsEntry,
    Task,
    load_bundle,
    sha256_of,
)
from device_app.engines.engine import Precision
from device_app.engines.golden_files import pack_logit_goldens
from device_app.engines.onnxruntime_engine import OnnxRuntimeEngine
from device_app.vision.preprocess import to_classifier_input
from tests.support.tiny_bundle import golden_picture, make_tiny_bundle

SIDE = 64
"""Width and height of the input."""

GRID = 4
"""Rows and columns of a heat map."""

HEALTHY = (205, 160, 140)
FLAKE, GREASE, RED = (250, 250, 250), (230, 210, 90), (230, 60, 60)
"""Colours that the network takes for dandruff, excess sebum and erythema; `HEALTHY` skin is none of them."""

GREY, BLUE = (128, 128, 128), (40, 60, 220)
"""Pictures of these colours are out of focus and no scalp."""

SHARES = (0.0, 0.15, 0.4, 0.8)
"""How much of a picture's third is of a condition's colour when it is good, mild, moderate, severe."""

LIMITS = {
    "darkest": 20,
    "brightest": 252,
    "most_out_of_focus": 0.5,
    "most_no_scalp": 0.5,
    "farthest": 50,
    "rule": "written by hand",
}


def graded_picture(severities: Sequence[int] = (0, 0, 0), width: int = 160, height: int = 120) -> np.ndarray:
    """Skin with a block of each condition's colour, as large as its severity (0..3) wants.

    (height, width, 3) uint8 RGB. The blocks lie side by side, a third of the width for each.
    """
    image = np.full((height, width, 3), HEALTHY, np.uint8)
    for place, (severity, colour) in enumerate(zip(severities, (FLAKE, GREASE, RED), strict=True)):
        left, right = place * width // 3, (place + 1) * width // 3
        image[: round(height * SHARES[severity]), left:right] = colour
    return image


def make_conditions_network(path: Path, planes: int = 3, work: int = 0, fails_above: float | None = None) -> Path:
    """Write the conditions network. See the module.

    Args:
        path: the ONNX file.
        planes: of the input; only the first three are looked at, but for `distance`, to which all add.
        work: matrices of 512 x 512 multiplied for nothing, so that it takes its time.
        fails_above: mean of the first plane, -1..1, above which it answers with what is no number.
    """
    bases = (FLAKE, GREASE, RED, HEALTHY, GREY, BLUE)
    values = (np.array(bases) / 255 - 0.5) / 0.5
    constants: dict[str, np.ndarray] = {
        "from_0": np.array([0]),
        "to_3": np.array([3]),
        "axis_1": np.array([1]),
        "axis_2": np.array([2]),
        "flat": np.array([1, len(bases)]),
        "sides": np.array([2, 3]),
        "quality_of": np.array([3, 4, 5]),
        # The nearest colour has the largest vote: -|x - c|^2 without |x|^2.
        "weight": (80 * values).astype(np.float32).reshape(len(bases), 3, 1, 1),
        "bias": (-40 * (values**2).sum(axis=1)).astype(np.float32),
        "three": np.float32(3),
        "present_from": np.float32(0.07),
        "steep": np.float32(60),
        "narrow": np.float32(-400),
        "centres": np.array(SHARES, np.float32).reshape(1, 1, 4),
        "nothing": np.float32(0),
    }
    nodes = [
        helper.make_node("Slice", ["image", "from_0", "to_3", "axis_1"], ["colours"]),
        helper.make_node("Conv", ["colours", "weight", "bias"], ["votes"]),
        helper.make_node("Softmax", ["votes"], ["share_of_pixel"], axis=1),
        helper.make_node("GlobalAveragePool", ["share_of_pixel"], ["share_map"]),
        helper.make_node("Reshape", ["share_map", "flat"], ["shares"]),
        helper.make_node("Slice", ["shares", "from_0", "to_3", "axis_1"], ["thirds"]),
        helper.make_node("Mul", ["thirds", "three"], ["share"]),
        helper.make_node("Sub", ["share", "present_from"], ["beyond"]),
        helper.make_node("Mul", ["beyond", "steep"], ["present"]),
        helper.make_node("Unsqueeze", ["share", "axis_2"], ["column"]),
        helper.make_node("Sub", ["column", "centres"], ["away"]),
        helper.make_node("Mul", ["away", "away"], ["square"]),
        helper.make_node("Mul", ["square", "narrow"], ["severity"]),
        helper.make_node("Gather", ["shares", "quality_of"], ["quality_shares"], axis=1),
        helper.make_node("Mul", ["quality_shares", "steep"], ["quality"]),
        helper.make_node("ReduceMean", ["image", "sides"], ["means"], keepdims=0),
        helper.make_node("Mul", ["means", "means"], ["mean_squares"]),
        helper.make_node("ReduceSum", ["mean_squares", "axis_1"], ["distance"], keepdims=1),
        helper.make_node("Slice", ["share_of_pixel", "from_0", "to_3", "axis_1"], ["of_conditions"]),
        _pooled("of_conditions", "heat_map"),
    ]
    summed = ["present"]
    if work:
        constants |= {"matrix": np.full((512, 512), 1 / 512, np.float32), "large": np.array([512, 512])}
        nodes += [
            helper.make_node("Expand", ["distance", "large"], ["work_0"]),
            *(helper.make_node("MatMul", [f"work_{i}", "matrix"], [f"work_{i + 1}"]) for i in range(work)),
            helper.make_node("ReduceMean", [f"work_{work}"], ["worked"], keepdims=0),
            helper.make_node("Mul", ["worked", "nothing"], ["worked_nothing"]),
        ]
        summed.append("worked_nothing")
    if fails_above is not None:
        constants |= {"first_plane": np.array([0]), "fails_above": np.float32(fails_above)}
        nodes += [
            helper.make_node("Gather", ["means", "first_plane"], ["first_mean"], axis=1),
            helper.make_node("Sub", ["fails_above", "first_mean"], ["room"]),
            helper.make_node("Sqrt", ["room"], ["root"]),
            helper.make_node("Mul", ["root", "nothing"], ["nothing_or_nan"]),
        ]
        summed.append("nothing_or_nan")
    nodes.append(helper.make_node("Sum", summed, ["presence"]))
    outputs = {"presence": (1, 3), "severity": (1, 3, 4)}
    return _save(path, nodes, planes, {**outputs, **_common_outputs(3)}, constants)


def make_class_network(path: Path, classes: int) -> Path:
    """Write a network with classes: class k of K is likeliest at a mean brightness of (k + 0.5) / K."""
    centres = (2 * (np.arange(classes) + 0.5) / classes - 1).astype(np.float32)
    constants: dict[str, np.ndarray] = {
        "all": np.array([1, 2, 3]),
        "axis_1": np.array([1]),
        "from_0": np.array([0]),
        "to_1": np.array([1]),
        "one_by_one": np.array([1, 1]),
        "centres": centres.reshape(1, classes),
        "narrow": np.float32(-4.0 * classes**2),
        "weights": centres.reshape(1, classes, 1, 1),
        "nothing": np.float32(0),
        "gradable": np.array([[4, 0, 0]], np.float32),
    }
    nodes = [
        helper.make_node("ReduceMean", ["image", "all"], ["mean"], keepdims=0),
        helper.make_node("Sub", ["mean", "centres"], ["away"]),
        helper.make_node("Mul", ["away", "away"], ["square"]),
        helper.make_node("Mul", ["square", "narrow"], ["classes"]),
        helper.make_node("Slice", ["image", "from_0", "to_1", "axis_1"], ["plane"]),
        _pooled("plane", "pooled"),
        helper.make_node("Mul", ["pooled", "weights"], ["map_logits"]),
        helper.make_node("Softmax", ["map_logits"], ["heat_map"], axis=1),
        helper.make_node("Mul", ["mean", "mean"], ["mean_square"]),
        helper.make_node("Reshape", ["mean_square", "one_by_one"], ["distance"]),
        helper.make_node("Mul", ["distance", "nothing"], ["zero"]),
        helper.make_node("Add", ["zero", "gradable"], ["quality"]),
    ]
    return _save(path, nodes, 3, {"classes": (1, classes), **_common_outputs(classes)}, constants)


def add_conditions(
    folder: Path,
    *,
    hsv: bool = False,
    mask: bool = False,
    claimed: tuple[bool, bool, bool] = (True, True, True),
    limits: Mapping[str, Any] = LIMITS,
    refused: bool = False,
    **network: Any,
) -> Path:
    """Add the conditions network to the bundle in a folder; returns the folder.

    Args:
        folder: a bundle.
        hsv, mask, claimed, limits: what the manifest says.
        refused: its goldens are not its own, so that no engine passes them.
        network: more for `make_conditions_network`.
    """
    planes = 3 + 3 * hsv + mask
    path = make_conditions_network(folder / "conditions_fp32.onnx", planes, **network)
    ones = (1.0, 1.0, 1.0)
    facts = {
        "calibration": {"presence_temperature": ones, "presence_bias": (0.0,) * 3, "severity_temperature": ones},
        "hsv": hsv,
        "mask": mask,
        "claimed": claimed,
    }
    entry = ConditionsEntry.model_validate(_entry(Task.CONDITIONS, path, planes, limits) | facts)
    pictures = [graded_picture(levels, SIDE, SIDE) for levels in ((0, 1, 2), (3, 0, 1), (0, 0, 0))]
    return _add(folder, entry, path, pictures, spoil="presence" if refused else None)


def add_classes(
    folder: Path,
    task: Task = Task.HAIR_LOSS_STAGE,
    labels: Sequence[str] = ("0", "1", "2", "3", "4"),
    limits: Mapping[str, Any] = LIMITS,
) -> Path:
    """Add a network with classes to the bundle in a folder; returns the folder."""
    path = make_class_network(folder / f"{task.value}_fp32.onnx", len(labels))
    facts = {"labels": tuple(labels), "ordered": task is Task.HAIR_LOSS_STAGE, "temperature": 1.0}
    entry = ClassEntry.model_validate(_entry(task, path, 3, limits) | facts)
    return _add(folder, entry, path, [golden_picture(0, SIDE, SIDE), np.full((SIDE, SIDE, 3), 90, np.uint8)])


def make_classifier_bundle(
    folder: Path, width: int = 160, height: int = 120, *, overview: bool = False, **conditions: Any
) -> Path:
    """A bundle with the hair network of `make_tiny_bundle`, the conditions network, and with `overview` the hair-loss
    stage. Returns the folder.
    """
    add_conditions(make_tiny_bundle(folder, width, height), **conditions)
    return add_classes(folder) if overview else folder


def _entry(task: Task, path: Path, planes: int, limits: Mapping[str, Any]) -> dict[str, Any]:
    narrow = {"max_probability_diff": 0.001, "max_mean_map_diff": 0.001, "max_relative_distance_diff": 0.001}
    return {
        "task": task,
        "input_name": "image",
        "input_shape": (1, planes, SIDE, SIDE),
        "mean": (0.5,) * planes,
        "std": (0.5,) * planes,
        "map_size": (GRID, GRID),
        "limits": dict(limits),
        "files": {Precision.FP32: {"path": path.name, "sha256": sha256_of(path)}},
        "goldens": {"path": f"{task.value}_goldens.npz", "sha256": "0" * 64, "tolerance": {Precision.FP32: narrow}},
        "trained_on": "nothing: written by hand",
        "licence": "Apache-2.0",
        "credit": "ScalpScope tests",
        "demonstration_only": True,
    }


def _add(
    folder: Path, entry: ClassifierEntry, path: Path, pictures: Sequence[np.ndarray], spoil: str | None = None
) -> Path:
    """Make the goldens, and put the entry into the manifest."""
    engine = OnnxRuntimeEngine(path, entry, Precision.FP32, 1)
    masks = [cv2.inRange(picture, (0, 0, 0), (90, 90, 90)) for picture in pictures]
    answers = [
        engine.run({entry.input_name: to_classifier_input(picture, entry, mask)})
        for picture, mask in zip(pictures, masks, strict=True)
    ]
    outputs = {spec.name: np.concatenate([answer[spec.name] for answer in answers]) for spec in entry.outputs}
    if spoil is not None:
        outputs[spoil] = outputs[spoil] + 1
    goldens = folder / entry.goldens.path
    np.savez_compressed(
        goldens, **pack_logit_goldens(np.stack(pictures), outputs, np.stack(masks) if entry.mask else None)
    )
    content = json.loads((folder / MANIFEST_NAME).read_text())
    told = entry.model_dump(mode="json")
    told["goldens"]["sha256"] = sha256_of(goldens)
    content["models"].append(told)
    content["schema_version"] = SCHEMA_VERSION
    (folder / MANIFEST_NAME).write_text(json.dumps(content))
    load_bundle(folder)
    return folder


def _pooled(source: str, to: str) -> onnx.NodeProto:
    cell = [SIDE // GRID, SIDE // GRID]
    return helper.make_node("AveragePool", [source], [to], kernel_shape=cell, strides=cell)


def _common_outputs(maps: int) -> dict[str, tuple[int, ...]]:
    return {"quality": (1, 3), "distance": (1, 1), "heat_map": (1, maps, GRID, GRID)}


def _save(
    path: Path,
    nodes: list[onnx.NodeProto],
    planes: int,
    outputs: dict[str, tuple[int, ...]],
    constants: dict[str, np.ndarray],
) -> Path:
    graph = helper.make_graph(
        nodes,
        "colour-classifier",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, planes, SIDE, SIDE])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path
