"""What TensorRT would refuse is found in the graph, before a file ships: one small broken graph for each rule."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper, parser

from calibration.errors import ScalpScopeError
from calibration.quantisation.ranges import MIN_MAX, TensorHistogram
from device_app.bundle import load_bundle
from device_app.engines.engine import Precision
from export.bundle_writer import NetworkFiles, write_bundle
from export.golden_writer import hair_goldens
from export.onnx import export_onnx
from export.quantise import Flavour, collect_ranges, layer_groups, quantise
from export.tensorrt_rules import SUPPORTED, check_for_tensorrt
from tests.support.tiny_bundle import golden_picture, make_darkness_network, make_tiny_bundle
from tests.support.tiny_network import CONFIG, HEIGHT, WIDTH
from training.segmentation.u2net import U2Net

SHIPPED = Path(__file__).resolve().parents[2] / "device_app" / "bundles" / "default"

QUANTISED = """
<ir_version: 8, opset_import: ["": 17]>
g (float[1,2,4,4] x) => (float[1,2,4,4] y)
<float s = {0.1}, int8 z = {0}, int8[2,2,1,1] w = {1,2,3,4}, float[2] ws = {0.1,0.2}, int8[2] wz = {0,0},
 float[2] b = {0.0,0.0}>
{
    xq = QuantizeLinear(x, s, z)
    xd = DequantizeLinear(xq, s, z)
    wd = DequantizeLinear<axis = 0>(w, ws, wz)
    c = Conv(xd, wd, b)
    r = Relu(c)
    rq = QuantizeLinear(r, s, z)
    rd = DequantizeLinear(rq, s, z)
    y = Add(rd, xd)
}
"""

FREE = """
<ir_version: 8, opset_import: ["": 17]>
g (float[1,points,2] x, float[1] k) => (float[points,2] y)
<int64[1] first = {1}, int64[1] two = {2}, int64[1] where = {0}>
{
    s = Shape(x)
    n = Gather(s, first)
    t = Concat<axis = 0>(n, two)
    e = Squeeze(x, where)
    y = Reshape(e, t)
}
"""

BROKEN = {
    "an unknown operator": (FREE, "y = Reshape(e, t)", "y = Det(e)", "does not know this operator"),
    "another domain": (FREE, "y = Reshape(e, t)", "y = com.microsoft.Gelu(e)", "of the domain com.microsoft"),
    "control flow": (
        FREE,
        "y = Reshape(e, t)",
        "c = Cast<to = 9>(first)\n y = If (c) <then_branch = a () => (float[points,2] p) { p = Identity(e) },"
        " else_branch = o () => (float[points,2] q) { q = Neg(e) }>",
        "control flow",
    ),
    "a size by values": (FREE, "y = Reshape(e, t)", "nz = NonZero(e)\n y = Reshape(e, t)", "depends on values"),
    "an old opset": (FREE, '"": 17', '"": 8', "written in opset 8"),
    "a new opset": (FREE, '"": 17', '"": 22', "written in opset 22"),
    "a shape by values": (
        FREE,
        "t = Concat<axis = 0>(n, two)",
        "i = Cast<to = 7>(k)\n t = Concat<axis = 0>(i, two)",
        "t says how large a tensor is, and depends on the values of k",
    ),
    "a shape by a layer": (
        FREE,
        "t = Concat<axis = 0>(n, two)",
        "m = CumSum(n, where)\n t = Concat<axis = 0>(m, two)",
        "which TensorRT does not compute for shapes",
    ),
    "a shape of free length": (
        FREE,
        "t = Concat<axis = 0>(n, two)",
        "o = Expand(two, n)\n t = Slice(o, where, n)",
        "its own length is not fixed",
    ),
    "free axes of a squeeze": (FREE, "Squeeze(x, where)", "Squeeze(x, n)", "n must be a constant"),
    "a nameless axis": (FREE, "float[1,points,2] x", "float[1,?,2] x", "neither a length nor a name"),
    "whole numbers in": (FREE, "float[1] k", "int64[1] k", "input k is INT64"),
    "whole numbers multiplied": (
        FREE,
        "t = Concat<axis = 0>(n, two)",
        "c = Clip(n, lo, hi)\n t = Concat<axis = 0>(n, two)",
        "takes INT64, and TensorRT's takes floating point only",
    ),
    "double": (FREE, "y = Reshape(e, t)", "d = Cast<to = 11>(e)\n y = Reshape(e, t)", "tensor d is DOUBLE"),
    "a cubic resize": (
        FREE,
        "e = Squeeze(x, where)",
        'u = Resize<mode = "cubic">(x, , sc)\n e = Squeeze(x, where)',
        "mode cubic is not supported",
    ),
    "a second output": (
        QUANTISED,
        "r = Relu(c)",
        "r = Relu(c)\n p, where = MaxPool<kernel_shape = [1,1]>(c)",
        "only the first output",
    ),
    "a pool with gaps": (
        QUANTISED,
        "r = Relu(c)",
        "r = Relu(c)\n p = MaxPool<kernel_shape = [2,2], dilations = [2,2]>(c)",
        "dilations",
    ),
    "a zero point": (QUANTISED, "int8 z = {0}", "int8 z = {3}", "its zero point must be 0"),
    "unsigned activations": (QUANTISED, "int8 z = {0}", "uint8 z = {0}", "its values are uint8"),
    "unsigned by default": (QUANTISED, "rq = QuantizeLinear(r, s, z)", "rq = QuantizeLinear(r, s)", "are uint8"),
    "a computed zero point": (
        QUANTISED,
        "rd = DequantizeLinear(rq, s, z)",
        "v = Identity(rq)\n rd = DequantizeLinear(rq, s, v)",
        "its zero point must be a constant",
    ),
    "a computed scale": (
        QUANTISED,
        "rq = QuantizeLinear(r, s, z)",
        "m = ReduceMax<keepdims = 0>(r)\n rq = QuantizeLinear(r, m, z)",
        "its scale must be a constant",
    ),
    "a scale of nothing": (QUANTISED, "float s = {0.1}", "float s = {0.0}", "its scale must be above 0"),
    "an activation by channel": (
        QUANTISED,
        "rq = QuantizeLinear(r, s, z)",
        "rq = QuantizeLinear(r, ws, wz)",
        "an activation has one scale",
    ),
    "int8 that goes elsewhere": (
        QUANTISED,
        "y = Add(rd, xd)",
        "i = Identity(rq)\n y = Add(rd, xd)",
        "to a DequantizeLinear and nowhere else",
    ),
    "quantised before the activation": (
        QUANTISED,
        "r = Relu(c)",
        "cq = QuantizeLinear(c, s, z)\n cd = DequantizeLinear(cq, s, z)\n r = Relu(cd)",
        "between Conv 'c' and its activation",
    ),
    "weights alone": (QUANTISED, "c = Conv(xd, wd, b)", "c = Conv(x, wd, b)", "and its input is not"),
    "the wrong axis": (QUANTISED, "DequantizeLinear<axis = 0>(w,", "DequantizeLinear<axis = 1>(w,", "along axis 1"),
    "something before the weights": (
        QUANTISED,
        "c = Conv(xd, wd, b)",
        "wt = Transpose<perm = [1,0,2,3]>(wd)\n c = Conv(xd, wt, b)",
        "Transpose 'wt' stands between it and its weights'",
    ),
    "a quantised bias": (
        QUANTISED,
        "c = Conv(xd, wd, b)",
        "bd = DequantizeLinear(wz, s)\n c = Conv(xd, wd, bd)",
        "its bias is quantised",
    ),
    "half an addition": (QUANTISED, "y = Add(rd, xd)", "y = Add(r, xd)", "one input is quantised and r is not"),
}
EXTRA = {
    "whole numbers multiplied": {"lo": np.int64(0), "hi": np.int64(9)},
    "a cubic resize": {"sc": np.float32([1, 2, 2])},
}


def _model(text: str, extra: dict[str, np.ndarray] | None = None) -> onnx.ModelProto:
    model = parser.parse_model(text)
    for name, value in (extra or {}).items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return model


@pytest.mark.parametrize("text", [QUANTISED, FREE])
def test_a_graph_that_keeps_the_rules_has_no_fault(text: str) -> None:
    assert check_for_tensorrt(_model(text)) == []


@pytest.mark.parametrize("name", BROKEN)
def test_each_rule_finds_the_graph_that_breaks_it(name: str) -> None:
    text, old, new, told = BROKEN[name]
    assert old in text, "the broken graph is the good one"

    faults = check_for_tensorrt(_model(text.replace(old, new), EXTRA.get(name)))

    assert [fault for fault in faults if told in fault], faults


def test_a_layer_that_is_left_in_float_breaks_no_rule() -> None:
    """Its weights are float, and it may read what other layers read quantised."""
    text = QUANTISED.replace("int8[2,2,1,1] w", "float[2,2,1,1] w").replace("{1,2,3,4}", "{1.0,2.0,3.0,4.0}")
    text = text.replace("wd = DequantizeLinear<axis = 0>(w, ws, wz)", "").replace("Conv(xd, wd, b)", "Conv(xd, w, b)")

    assert check_for_tensorrt(_model(text)) == []


def test_an_addition_may_take_a_layer_as_it_is_when_its_other_input_is_quantised() -> None:
    """NVIDIA's own form: layer, addition and activation become one kernel."""
    text = QUANTISED.replace("r = Relu(c)", "a = Add(c, xd)\n r = Relu(a)").replace("y = Add(rd, xd)", "y = Relu(rd)")

    assert check_for_tensorrt(_model(text)) == []


@pytest.mark.parametrize(
    ("task", "precision"),
    [
        (model.task, precision)
        for model in load_bundle(SHIPPED).manifest.models
        for precision in model.files
        if precision is not Precision.INT8_U8S8
    ],
    ids=str,
)
def test_what_ships_for_tensorrt_keeps_every_rule(task, precision) -> None:
    bundle = load_bundle(SHIPPED)

    assert check_for_tensorrt(onnx.load(bundle.file(bundle.model(task).files[precision]))) == []


def test_the_flavour_for_the_processor_is_none_for_tensorrt() -> None:
    bundle = load_bundle(SHIPPED)
    (model,) = (model for model in bundle.manifest.models if model.task.value == "sam_encoder")

    faults = check_for_tensorrt(onnx.load(bundle.file(model.files[Precision.INT8_U8S8])))

    assert any("its values are uint8" in fault for fault in faults)
    assert any("its bias is quantised" in fault for fault in faults)


@pytest.fixture(scope="module")
def network() -> tuple[onnx.ModelProto, dict[str, TensorHistogram]]:
    """A small U²-Net in FP32 with random weights, and the ranges of its activations."""
    torch.manual_seed(0)
    model, _ = export_onnx(U2Net(CONFIG).eval(), WIDTH, HEIGHT)
    picture = np.random.default_rng(0).normal(size=(1, 3, HEIGHT, WIDTH)).astype(np.float32)
    return model, collect_ranges(model, [picture])


@settings(max_examples=6, deadline=None, derandomize=True)
@given(st.data())
def test_whatever_is_left_in_float_the_symmetric_file_keeps_every_rule(network, data: st.DataObject) -> None:
    model, histograms = network
    groups = layer_groups(model)
    left = data.draw(st.sets(st.sampled_from(sorted(groups))))
    nodes = frozenset().union(*(groups[name][0] for name in left))

    assert check_for_tensorrt(quantise(model, histograms, MIN_MAX, Flavour.SYMMETRIC, nodes)) == []


def test_a_bundle_is_not_written_with_a_file_that_tensorrt_refuses(tmp_path: Path) -> None:
    network = make_darkness_network(tmp_path / "network.onnx", 64, 64)
    model = onnx.load(network)
    model.graph.node.append(onnx.helper.make_node("Hardmax", ["logit"], ["hardest"], name="odd"))
    onnx.save(model, odd := tmp_path / "odd.onnx")
    facts = load_bundle(make_tiny_bundle(tmp_path / "tiny", 64, 64)).manifest.models[0]

    def write(precision: Precision) -> None:
        files = NetworkFiles(facts, {precision: odd}, hair_goldens([golden_picture()]), reference=network)
        write_bundle(tmp_path / precision.value, "odd", "1", [files])

    for precision in (Precision.FP16, Precision.INT8_SYMMETRIC):
        with pytest.raises(ScalpScopeError, match=r"TensorRT would not take .* for 'hair': Hardmax 'odd'"):
            write(precision)
        assert not (tmp_path / precision.value).exists()
    write(Precision.INT8_U8S8)


def test_every_operator_in_the_list_is_one_of_onnx_or_of_the_parsers_own() -> None:
    known = {schema.name for schema in onnx.defs.get_all_schemas_with_history()}

    assert SUPPORTED - known == set()
