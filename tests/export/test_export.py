"""From torch to what a device runs: what is exported computes the same, and is laid out as the back ends want it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from calibration.errors import ScalpScopeError
from calibration.quantisation import TensorHistogram
from calibration.quantisation.ranges import MIN_MAX
from device_app.bundle import Task, load_bundle
from device_app.engines.engine import Precision
from device_app.engines.select import open_engine
from export import quantise as quantise_module
from export.cli import app
from export.frames import choose_frame_set, golden_pictures
from export.graph import operators_of, simplify, sort_nodes
from export.onnx import PARITY, HairProbability, export_onnx, to_fp16, torch_difference
from export.quantise import Flavour, collect_ranges, layer_groups, quantise
from tests.support.tiny_network import HEIGHT, WIDTH, save_tiny_checkpoint, tiny_picture, train_tiny_network
from training.segmentation.dataset import normalise
from training.segmentation.u2net import U2Net, U2NetConfig


@pytest.fixture(scope="module")
def network() -> U2Net:
    return train_tiny_network()


@pytest.fixture(scope="module")
def fp32(network: U2Net) -> ModelProto:
    return export_onnx(network, WIDTH, HEIGHT)[0]


@pytest.fixture(scope="module")
def inputs() -> list[np.ndarray]:
    return [normalise(tiny_picture(seed)).numpy()[None] for seed in range(20, 24)]


@pytest.fixture(scope="module")
def histograms(fp32: ModelProto, inputs: list[np.ndarray]) -> dict[str, TensorHistogram]:
    return collect_ranges(fp32, inputs)


def run(model: ModelProto, tensor: np.ndarray, level: str = "ORT_ENABLE_ALL") -> np.ndarray:
    options = ort.SessionOptions()
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(["hair_probability"], {"image": tensor})[0]


def test_the_tiny_network_has_learnt_something(fp32: ModelProto, inputs: list[np.ndarray]) -> None:
    """Otherwise nothing below would prove anything."""
    dark = tiny_picture(20).mean(2) < 110
    found = run(fp32, inputs[0])[0, 0] >= 0.5
    assert 2 * (dark & found).sum() / (dark.sum() + found.sum()) > 0.7


def test_onnx_computes_what_torch_computes(network: U2Net, fp32: ModelProto, inputs: list[np.ndarray]) -> None:
    for tensor in inputs:
        with torch.no_grad():
            expected = torch.sigmoid(network(torch.from_numpy(tensor))[0]).numpy()
        for level in ("ORT_DISABLE_ALL", "ORT_ENABLE_ALL"):
            assert np.abs(run(fp32, tensor, level) - expected).max() < PARITY


def test_the_graph_is_plain(fp32: ModelProto) -> None:
    """No shape arithmetic, no batch normalisation, no transposes; fixed shapes and the manifest's names."""
    allowed = {"Conv", "Relu", "MaxPool", "Concat", "Resize", "Add", "DepthToSpace", "Sigmoid"}
    assert set(operators_of(fp32)) <= allowed
    assert fp32.opset_import[0].version >= 17
    (image,), (probability,) = fp32.graph.input, fp32.graph.output
    assert (image.name, probability.name) == ("image", "hair_probability")
    assert [d.dim_value for d in image.type.tensor_type.shape.dim] == [1, 3, HEIGHT, WIDTH]
    assert [d.dim_value for d in probability.type.tensor_type.shape.dim] == [1, 1, HEIGHT, WIDTH]


def test_weights_that_differ_are_noticed(network: U2Net, fp32: ModelProto) -> None:
    other = ModelProto()
    other.CopyFrom(fp32)
    bias = next(v for v in other.graph.initializer if len(v.dims) == 1)
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + 0.5, bias.name))
    assert torch_difference(HairProbability(network), other, WIDTH, HEIGHT) > PARITY


@pytest.mark.parametrize("fold", [1, 2, 3])
def test_any_fold_and_a_size_that_does_not_divide(fold: int) -> None:
    torch.manual_seed(fold)
    network = U2Net(U2NetConfig(((2, 4),) * 6, ((2, 4),) * 5, fold)).eval()
    model, difference = export_onnx(network, 70, 50)
    assert difference < PARITY
    assert run(model, np.zeros((1, 3, 50, 70), np.float32)).shape == (1, 1, 50, 70)


def test_merging_the_unshuffle_is_exact() -> None:
    torch.manual_seed(0)

    class Folded(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(12, 5, 3, padding=1)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return self.conv(torch.nn.functional.pixel_unshuffle(image, 2)).sum(1, keepdim=True)

    import io

    stream = io.BytesIO()
    names = {"input_names": ["image"], "output_names": ["hair_probability"]}
    picture = torch.randn(1, 3, 20, 28)
    torch.onnx.export(Folded().eval(), (picture,), stream, dynamo=False, opset_version=17, **names)
    before = onnx.load_from_string(stream.getvalue())
    after = simplify(before)
    assert "Transpose" not in operators_of(after) and "Reshape" not in operators_of(after)
    assert np.allclose(run(before, picture.numpy()), run(after, picture.numpy()), atol=1e-5)


def test_sorting_nodes() -> None:
    nodes = [helper.make_node("Relu", ["b"], ["c"]), helper.make_node("Relu", ["a"], ["b"])]
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "ac"]
    model = helper.make_model(helper.make_graph(nodes, "g", value[:1], value[1:]))
    sort_nodes(model)
    assert [node.output[0] for node in model.graph.node] == ["b", "c"]
    model.graph.node[0].input[0] = "c"
    with pytest.raises(ValueError, match="cycle"):
        sort_nodes(model)


def test_fp16_computes_in_halves_and_speaks_floats(fp32: ModelProto, inputs: list[np.ndarray]) -> None:
    half = to_fp16(fp32)
    tensors = (half.graph.input[0], half.graph.output[0])
    assert {t.type.tensor_type.elem_type for t in tensors} == {TensorProto.FLOAT}
    assert {v.data_type for v in half.graph.initializer if len(v.dims) == 4} == {TensorProto.FLOAT16}
    assert half.ByteSize() < 0.6 * fp32.ByteSize() + 100_000
    assert all(v.data_type != TensorProto.FLOAT16 for v in fp32.graph.initializer)  # the source is untouched
    assert np.abs(run(half, inputs[0]) - run(fp32, inputs[0])).mean() < 2e-3


def test_ranges_are_those_of_the_activations(
    fp32: ModelProto, inputs: list[np.ndarray], histograms: dict[str, TensorHistogram], monkeypatch: pytest.MonkeyPatch
) -> None:
    low, high = histograms["image"].range(MIN_MAX)
    assert low == min(float(x.min()) for x in inputs) and high == max(float(x.max()) for x in inputs)
    probabilities = np.concatenate([run(fp32, x) for x in inputs])
    assert histograms["hair_probability"].range(MIN_MAX)[1] == pytest.approx(float(probabilities.max()), abs=1e-4)
    relus = [node.output[0] for node in fp32.graph.node if node.op_type == "Relu"]
    assert all(histograms[name].low >= 0 for name in relus)
    # In small parts of memory the same is found.
    monkeypatch.setattr(quantise_module, "_MAX_BYTES", 200_000)
    again = collect_ranges(fp32, inputs)
    assert all(again[name].range(MIN_MAX) == histograms[name].range(MIN_MAX) for name in histograms)


@pytest.mark.parametrize("flavour", list(Flavour))
def test_int8_is_near_fp32(
    fp32: ModelProto, inputs: list[np.ndarray], histograms: dict[str, TensorHistogram], flavour: Flavour
) -> None:
    model = quantise(fp32, histograms, MIN_MAX, flavour)
    for tensor in inputs:
        assert np.abs(run(model, tensor) - run(fp32, tensor)).mean() < 0.05


def test_u8s8_is_laid_out_for_onnx_runtime(
    fp32: ModelProto, histograms: dict[str, TensorHistogram], tmp_path: Path
) -> None:
    model = quantise(fp32, histograms, MIN_MAX, Flavour.U8S8)
    values = {v.name: numpy_helper.to_array(v) for v in model.graph.initializer}
    points = [values[n.input[2]] for n in model.graph.node if n.op_type == "QuantizeLinear"]
    assert {p.dtype for p in points} == {np.dtype(np.uint8)}
    weights = [v for v in values.values() if v.ndim == 4]
    assert {w.dtype for w in weights} == {np.dtype(np.int8)}
    assert operators_of(model).get("Relu", 0) == 0  # the range does the clipping
    # What ONNX Runtime makes of it: every convolution in int8, nothing dequantised but resizes and the heads' end.
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 4
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    fused = operators_of(onnx.load(tmp_path / "optimised.onnx"))
    convolutions = operators_of(fp32)["Conv"]
    assert fused.get("QLinearConv", 0) == convolutions and "Conv" not in fused
    assert fused.get("QLinearConcat", 0) == operators_of(fp32)["Concat"]
    assert "Relu" not in fused and "MaxPool" not in {k for k in fused if k == "MaxPool" and fused[k] > 40}
    assert fused["DequantizeLinear"] <= operators_of(fp32)["Resize"] + 2


def test_symmetric_is_what_tensorrt_accepts(fp32: ModelProto, histograms: dict[str, TensorHistogram]) -> None:
    model = quantise(fp32, histograms, MIN_MAX, Flavour.SYMMETRIC)
    values = {v.name: numpy_helper.to_array(v) for v in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    users: dict[str, list[str]] = {}
    for node in model.graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node.op_type)
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            point = values[node.input[2]]
            assert point.dtype == np.int8 and not point.any()
    for node in model.graph.node:
        if node.op_type == "Conv":
            assert all(makers[name].op_type == "DequantizeLinear" for name in node.input[:2])
            assert values[node.input[2]].dtype == np.float32  # no int32 bias
        if node.op_type == "Relu":  # nothing between a convolution and its ReLU
            assert makers[node.input[0]].op_type == "Conv"
        if node.op_type == "Add":
            assert all(makers[name].op_type == "DequantizeLinear" for name in node.input)


def test_parts_of_one_tensor_share_one_scale(fp32: ModelProto, histograms: dict[str, TensorHistogram]) -> None:
    model = quantise(fp32, histograms, MIN_MAX, Flavour.U8S8)
    values = {v.name: numpy_helper.to_array(v) for v in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    users = {name: node for node in model.graph.node for name in node.input}
    checked = 0
    for node in model.graph.node:
        if node.op_type == "Concat":
            scales = {float(values[makers[name].input[1]]) for name in node.input}
            scales.add(float(values[users[node.output[0]].input[1]]))
            assert len(scales) == 1
            checked += 1
    assert checked == operators_of(fp32)["Concat"]


def test_layers_left_in_float_are(fp32: ModelProto, histograms: dict[str, TensorHistogram]) -> None:
    groups = layer_groups(fp32)
    assert {"first layer", "sides", "fusion", "stage1", "stage6", "stage1d"} <= set(groups)
    assert sum(share for _, share in groups.values()) == pytest.approx(1)
    convolutions = [node.name for node in fp32.graph.node if node.op_type == "Conv"]
    assert sum(len(names & set(convolutions)) for names, _ in groups.values()) == len(convolutions)
    kept = groups["sides"][0] | groups["fusion"][0]
    model = quantise(fp32, histograms, MIN_MAX, Flavour.U8S8, kept)
    values = {v.name: v.data_type for v in model.graph.initializer}
    floats = {n.name for n in model.graph.node if n.op_type == "Conv" and values.get(n.input[1]) == TensorProto.FLOAT}
    assert floats == kept & set(convolutions)


def test_frames_of_one_original_stay_together(tmp_path: Path) -> None:
    import cv2

    for number in range(6):
        for copy in range(3):
            picture = np.roll(tiny_picture(number), copy, axis=1)
            cv2.imwrite(str(tmp_path / f"p{number}.rf.{copy}.png"), picture[..., ::-1])
    frames = choose_frame_set(tmp_path, WIDTH, HEIGHT, calibration=3, held_out=2)
    originals = [name.split(".rf.")[0] for name in frames.real_names]
    assert len(originals) == len(set(originals)) == 5
    assert len(frames.calibration) == 3 + 2 and len(frames.held_out) == 2 + 2
    assert choose_frame_set(tmp_path, WIDTH, HEIGHT, 3, 2).real_names == frames.real_names
    few = choose_frame_set(tmp_path, WIDTH, HEIGHT, 100, 50)
    assert len(few.real_names) == 6
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(ScalpScopeError):
        choose_frame_set(tmp_path, WIDTH, HEIGHT)


def test_goldens_are_small_and_always_the_same() -> None:
    first, again = golden_pictures(640, 480), golden_pictures(640, 480)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], first[1])


@pytest.fixture(scope="module")
def built(network: U2Net, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle made by the command itself, from a checkpoint on the disk."""
    folder = tmp_path_factory.mktemp("built")
    checkpoint = save_tiny_checkpoint(network, folder / "weights.pt")
    pictures = folder / "pictures"
    pictures.mkdir()
    import cv2

    for number in range(30, 36):
        cv2.imwrite(str(pictures / f"{number}.png"), tiny_picture(number)[..., ::-1])
    options = ["--checkpoint", checkpoint, "--frames", pictures, "--out", folder / "b", "--width", WIDTH]
    options += ["--height", HEIGHT, "--calibration", 4, "--held-out", 2, "--name", "tiny", "--version", "7"]
    # A network of a minute is no steady one; what is proved here is that everything is made and measured.
    options += ["--least-dice", 0.5]
    result = CliRunner().invoke(app, ["bundle", *map(str, options)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return folder / "b"


def test_a_bundle_from_a_checkpoint(built: Path) -> None:
    bundle = load_bundle(built)
    model = bundle.model(Task.HAIR)
    assert (bundle.name, bundle.version, bundle.demonstration_only) == ("tiny", "7", True)
    assert set(model.files) == set(Precision)
    assert model.quality["int8_u8s8_mask_dice_median"] > 0.5
    for precision in Precision:
        engine = open_engine(bundle, Task.HAIR, precision)
        assert engine.precision is precision
        engine.close()
    assert not open_engine(bundle, Task.HAIR).fallback
    assert model.goldens.path and (built / model.goldens.path).stat().st_size < 1_500_000
    report = json.loads((built.parent / "b-parity" / "parity.json").read_text())
    assert report["torch_difference"] < PARITY
    assert {row["precision"] for row in report["results"]} == {p.value for p in Precision}
    assert report["int8"]["rule"] in report["int8"]["rule_scores"]
    text = (built.parent / "b-parity" / "parity.md").read_text()
    assert "int8_u8s8" in text and "Left in float" in text


def test_verify_proves_and_refuses(built: Path, tmp_path: Path) -> None:
    import shutil

    result = CliRunner().invoke(app, ["verify", str(built)])
    assert result.exit_code == 0 and "is whole" in result.output
    assert all(precision.value in result.output for precision in Precision)
    copy = Path(shutil.copytree(built, tmp_path / "copy"))
    (copy / "hair_fp32.onnx").write_bytes(b"x")
    result = CliRunner().invoke(app, ["verify", str(copy)])
    assert isinstance(result.exception, ScalpScopeError) and "was changed" in str(result.exception)


def test_parity_onnx_and_quantise_commands(built: Path, tmp_path: Path) -> None:
    pictures = str(built.parent / "pictures")
    runner = CliRunner()
    result = runner.invoke(app, ["parity", str(built), "--frames", pictures, "--out", str(tmp_path / "p")])
    assert result.exit_code == 0 and "int8_symmetric" in result.output
    assert json.loads((tmp_path / "p" / "parity.json").read_text())["results"][0]["pictures"] == 6
    checkpoint, out = str(built.parent / "weights.pt"), tmp_path / "hair.onnx"
    size = ["--width", str(WIDTH), "--height", str(HEIGHT)]
    result = runner.invoke(app, ["onnx", "--checkpoint", checkpoint, "--out", str(out), *size])
    assert result.exit_code == 0 and out.is_file()
    options = ["--out", str(tmp_path / "q"), "--calibration", "2", "--held-out", "1", "--quick"]
    result = runner.invoke(app, ["quantise", str(out), "--frames", pictures, *options])
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "q").glob("*.onnx"))) == 2


def test_what_a_user_may_get_wrong(built: Path, tmp_path: Path) -> None:
    runner, checkpoint = CliRunner(), str(built.parent / "weights.pt")
    (tmp_path / "text.onnx").write_text("no network")
    for arguments, said in (
        (["bundle", "--checkpoint", checkpoint, "--out", str(built)], "already there"),
        (["bundle", "--checkpoint", str(tmp_path / "none.pt"), "--out", str(tmp_path / "b")], "no file"),
        (["verify", str(tmp_path)], "no bundle"),
        (["verify", str(built), "--precision", "int4"], "no precision"),
        (["quantise", str(tmp_path / "text.onnx"), "--out", str(tmp_path)], "cannot be read"),
        (["parity", str(built), "--frames", str(tmp_path / "none"), "--out", str(tmp_path)], "none"),
    ):
        result = runner.invoke(app, arguments)
        assert isinstance(result.exception, ScalpScopeError), (arguments, result.output)
        assert said in str(result.exception)
    assert not (tmp_path / "b").exists()
