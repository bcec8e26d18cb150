"""A classifier from torch to ONNX and int8: the same answers, laid out as the back ends want it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import ModelProto, numpy_helper

from calibration.errors import ScalpScopeError
from calibration.quantisation.ranges import MIN_MAX
from device_app.engines.engine import Precision
from device_app.manifest_parts import Task
from export.bundle_writer import NetworkFiles, write_bundle
from export.classifier_onnx import after_the_features, convolution_share, export_classifier, layer_groups
from export.golden_writer import logit_goldens
from export.graph import operators_of, session_of
from export.onnx import RELATIVE_PARITY, smooth_pictures, to_fp16
from export.quantise import Flavour, collect_ranges, quantise
from tests.support.mobile_classifier import (
    HEIGHT,
    WIDTH,
    fitted_unlikeness,
    make_classifier,
    mobile_config,
    stage_picture,
)
from training.classification.inputs import input_entry
from training.classification.network import Classifier, Unlikeness, feature_map

PLAIN = {
    *("Conv", "Clip", "Add", "ReduceMean", "ReduceLogSumExp", "ReduceSum", "Mul", "Sub", "Div", "Pow", "Sqrt", "Log"),
    *("MatMul", "Gemm", "Reshape", "Concat", "Sigmoid", "Softmax"),
}
"""All of them stand in TensorRT's operator table, with any input of fixed shape."""
REFUSED_BY_TENSORRT = {"OneHot", "ScatterND", "ScatterElements", "NonZero", "Loop", "If", "Unique", "Range"}


@pytest.fixture(scope="module")
def network() -> Classifier:
    return make_classifier()


@pytest.fixture(scope="module")
def unlikeness(network: Classifier) -> Unlikeness:
    return fitted_unlikeness(network)


@pytest.fixture(scope="module")
def fp32(network: Classifier, unlikeness: Unlikeness) -> ModelProto:
    model, difference = export_classifier(network, unlikeness)
    assert difference < RELATIVE_PARITY
    return model


@pytest.fixture(scope="module")
def inputs() -> list[np.ndarray]:
    return smooth_pictures(3, WIDTH, HEIGHT)


@pytest.fixture(scope="module", params=list(Flavour), ids=lambda flavour: flavour.value.value)
def flavour(request: pytest.FixtureRequest) -> Flavour:
    return request.param


@pytest.fixture(scope="module")
def int8(fp32: ModelProto, inputs: list[np.ndarray]) -> dict[Flavour, ModelProto]:
    histograms = collect_ranges(fp32, inputs)
    later = after_the_features(fp32)
    return {flavour: quantise(fp32, histograms, MIN_MAX, flavour, later) for flavour in Flavour}


def answers(model: ModelProto, tensor: np.ndarray) -> dict[str, np.ndarray]:
    session = session_of(model)
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, {"image": tensor}), strict=True))


def test_the_graph_answers_what_torch_does(
    network: Classifier, unlikeness: Unlikeness, fp32: ModelProto, inputs: list[np.ndarray]
) -> None:
    for tensor in inputs:
        with torch.no_grad():
            wanted = network(torch.from_numpy(tensor))
            distance = unlikeness(wanted.features)
        found = answers(fp32, tensor)
        assert list(found) == ["presence", "severity", "quality", "distance", "heat_map"]
        for name in ("presence", "severity", "quality"):
            assert np.allclose(found[name], getattr(wanted, name).numpy(), atol=1e-4), name
        assert np.allclose(found["distance"], distance.numpy(), rtol=1e-3)


@pytest.mark.parametrize("task", [Task.CONDITIONS, Task.SCALP_CONDITION])
def test_the_heat_map_is_the_class_activation_map(task: Task) -> None:
    """Zhou 2016: at each place the features times the class's weights; here computed by hand."""
    network = make_classifier(mobile_config(task), seed=3)
    model, _ = export_classifier(network, fitted_unlikeness(network))
    tensor = smooth_pictures(1, WIDTH, HEIGHT)[0]
    with torch.no_grad():
        features = feature_map(network.backbone, torch.from_numpy(tensor)).numpy()[0]
    weight, bias = network.map.weight.detach().numpy()[:, :, 0, 0], network.map.bias.detach().numpy()
    activation = np.einsum("kc,chw->khw", weight, features) + bias[:, None, None]
    powers = np.exp(activation - activation.max(axis=0))
    wanted = 1 / (1 + np.exp(-activation)) if task is Task.CONDITIONS else powers / powers.sum(axis=0)
    found = answers(model, tensor)["heat_map"][0]
    assert found.shape == (len(wanted), *network.grid)
    assert np.ptp(found) > 0.05
    assert np.allclose(found, wanted, atol=1e-4)


def test_the_graph_is_plain(fp32: ModelProto) -> None:
    """No shape arithmetic, no batch normalisation; every shape fixed; nothing that TensorRT refuses."""
    assert set(operators_of(fp32)) <= PLAIN
    assert fp32.opset_import[0].version >= 17
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*fp32.graph.input, *fp32.graph.output)
    }
    assert shapes == {
        "image": [1, 3, HEIGHT, WIDTH],
        "presence": [1, 3],
        "severity": [1, 3, 4],
        "quality": [1, 3],
        "distance": [1, 1],
        "heat_map": [1, 3, 2, 3],
    }


@pytest.mark.parametrize("backbone", ["test_efficientnet", "test_resnet", "test_vit"])
@pytest.mark.parametrize("options", [{}, {"hsv": True, "mask": True}], ids=["rgb", "seven planes"])
def test_any_backbone_and_any_planes(backbone: str, options: dict[str, bool]) -> None:
    network = make_classifier(mobile_config(Task.HAIR_LOSS_STAGE, backbone, **options))
    model, difference = export_classifier(network, fitted_unlikeness(network))
    assert difference < RELATIVE_PARITY
    assert not REFUSED_BY_TENSORRT & operators_of(model).keys()
    planes = network.config.planes
    assert answers(model, np.zeros((1, planes, HEIGHT, WIDTH), np.float32))["classes"].shape == (1, 5)


def test_a_transformer_is_not_worth_int8(fp32: ModelProto) -> None:
    vit = make_classifier(mobile_config(backbone="test_vit"))
    assert convolution_share(export_classifier(vit, fitted_unlikeness(vit))[0]) < 0.5
    assert convolution_share(fp32) > 0.9


def test_groups_hold_every_layer_before_the_heads(fp32: ModelProto) -> None:
    groups, later = layer_groups(fp32), after_the_features(fp32)
    assert {"conv_stem", "blocks.0", "blocks.6", "conv_head"} <= set(groups)
    grouped = frozenset().union(*(names for names, _ in groups.values()))
    assert not grouped & later
    assert grouped | later == {node.name for node in fp32.graph.node}
    assert all(0 < cost < 1 for _, cost in groups.values())
    assert sum(cost for _, cost in groups.values()) >= 1  # the larger of two shares each
    assert any(node.name in later and node.op_type == "Conv" for node in fp32.graph.node)  # the map


def test_int8_leaves_everything_after_the_features_alone(
    fp32: ModelProto, int8: dict[Flavour, ModelProto], flavour: Flavour
) -> None:
    later = after_the_features(fp32)
    before = {node.name: node for node in fp32.graph.node}
    model = int8[flavour]
    made_by = {name: node.op_type for node in model.graph.node for name in node.output}
    outside = {name for node in fp32.graph.node if node.name not in later for name in node.output}
    for node in model.graph.node:
        if node.name in later:
            inner = [name for name in before[node.name].input if name not in outside]
            assert set(inner) <= set(node.input), node.name  # its weights and the tensors among the heads are float
            assert "QuantizeLinear" not in {made_by.get(name) for name in node.input}


def test_each_channel_has_a_scale_of_its_own(
    fp32: ModelProto, int8: dict[Flavour, ModelProto], flavour: Flavour
) -> None:
    """Of depthwise convolutions above all: their channels' weights differ a hundredfold."""
    later, model = after_the_features(fp32), int8[flavour]
    values = {value.name: numpy_helper.to_array(value) for value in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    depthwise = 0
    for node in model.graph.node:
        if node.op_type == "Conv" and node.name not in later:
            weight = makers[node.input[1]]
            codes = values[weight.input[0]]
            assert weight.op_type == "DequantizeLinear" and codes.dtype == np.int8
            assert values[weight.input[1]].shape == (codes.shape[0],)
            depthwise += codes.shape[1] == 1
    assert depthwise == sum(
        a.i > 1 for node in fp32.graph.node if node.op_type == "Conv" for a in node.attribute if a.name == "group"
    )
    assert depthwise > 10


def test_u8s8_is_all_integers_in_onnx_runtime(
    fp32: ModelProto, int8: dict[Flavour, ModelProto], tmp_path: Path
) -> None:
    """Every convolution of the backbone becomes one integer kernel, and of ReLU6 nothing is left."""
    model = int8[Flavour.U8S8]
    assert "Clip" in operators_of(fp32) and "Clip" not in operators_of(model)
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 4
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    fused, plain = operators_of(onnx.load(tmp_path / "optimised.onnx")), operators_of(fp32)
    later = after_the_features(fp32)
    sums = sum(node.op_type == "Add" and node.name not in later for node in fp32.graph.node)
    assert fused["QLinearConv"] == plain["Conv"] - 1  # all but the map's
    assert fused.get("QLinearAdd", 0) == sums > 0
    assert fused["QuantizeLinear"] == 1 and fused["DequantizeLinear"] <= 2


def test_symmetric_is_what_tensorrt_accepts(fp32: ModelProto, int8: dict[Flavour, ModelProto]) -> None:
    model, later = int8[Flavour.SYMMETRIC], after_the_features(fp32)
    values = {value.name: numpy_helper.to_array(value) for value in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            point = values[node.input[2]]
            assert point.dtype == np.int8 and not point.any()
        if node.op_type == "Conv" and node.name not in later:
            assert all(makers[name].op_type == "DequantizeLinear" for name in node.input[:2])
            assert values[node.input[2]].dtype == np.float32  # no int32 bias
        if node.op_type == "Clip":  # nothing between a convolution and its ReLU6
            assert makers[node.input[0]].op_type == "Conv"


def test_int8_and_fp16_are_near(
    fp32: ModelProto, int8: dict[Flavour, ModelProto], inputs: list[np.ndarray], flavour: Flavour
) -> None:
    half = to_fp16(fp32, None, after_the_features(fp32))
    assert int8[flavour].ByteSize() < half.ByteSize() < 0.7 * fp32.ByteSize()
    for tensor in inputs:
        exact = answers(fp32, tensor)
        for model, most in ((half, 0.02), (int8[flavour], 0.15)):
            found = answers(model, tensor)
            assert np.abs(found["heat_map"] - exact["heat_map"]).mean() < most
            assert found["presence"].dtype == np.float32


def test_a_network_far_from_fp32_is_not_written(
    network: Classifier, unlikeness: Unlikeness, fp32: ModelProto, tmp_path: Path
) -> None:
    other = make_classifier(seed=9)
    with torch.no_grad():
        other.map.bias += 6
    for name, model in (("good", fp32), ("bad", export_classifier(other, unlikeness)[0])):
        onnx.save(model, str(tmp_path / f"{name}.onnx"))
    entry = input_entry(network.config).model_copy(update={"map_size": network.grid})
    images = [stage_picture(stage, 0, (WIDTH, HEIGHT)) for stage in (1, 3)]
    files = {Precision.FP32: tmp_path / "good.onnx", Precision.INT8_U8S8: tmp_path / "bad.onnx"}
    goldens = logit_goldens(images, [np.zeros((HEIGHT, WIDTH), np.uint8)] * 2)
    with pytest.raises(ScalpScopeError, match=r"int8_u8s8 network is too far from FP32: a probability differs by"):
        write_bundle(tmp_path / "b", "b", "1", [NetworkFiles(entry, files, goldens)])
    assert not (tmp_path / "b").exists()
