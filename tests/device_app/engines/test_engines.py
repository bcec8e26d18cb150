"""Engines: what they refuse, which is chosen, and that none goes live that does not reproduce its goldens."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from calibration.errors import ScalpScopeError
from device_app.bundle import MANIFEST_NAME, Bundle, ModelEntry, Task, load_bundle, sha256_of
from device_app.engines import select
from device_app.engines.backend import Unavailable
from device_app.engines.engine import Engine, Precision
from device_app.engines.goldens import mask_dice
from device_app.engines.onnxruntime_engine import OnnxRuntimeEngine
from device_app.engines.select import open_engine, register_backend
from device_app.vision.preprocess import to_network_input
from export.bundle_writer import NetworkFacts, hair_network, write_bundle
from tests.support.tiny_bundle import MEAN, STD, golden_picture, make_darkness_network, make_tiny_bundle

SIZE = (64, 48)
FACTS = NetworkFacts((1, 3, 48, 64), MEAN, STD, "a test", "Apache-2.0", "a test", demonstration_only=False)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(make_tiny_bundle(tmp_path_factory.mktemp("tiny") / "b", *SIZE))


@pytest.fixture
def both(tmp_path: Path) -> Path:
    """A bundle whose int8 file is (for the test's purpose) the same network."""
    network = make_darkness_network(tmp_path / "network.onnx", *SIZE)
    files = {Precision.FP32: network, Precision.INT8_U8S8: network}
    return write_bundle(tmp_path / "both", "both", "1", [hair_network(FACTS, files, [golden_picture(3)])]).path


def tamper(folder: Path, precision: Precision) -> None:
    """Put another network in the place of one, with a manifest that is right about its hash."""
    path = folder / f"hair_{precision.value}.onnx"
    old = sha256_of(path)
    make_darkness_network(path, *SIZE, dark_below=0.75)
    manifest = folder / MANIFEST_NAME
    text = manifest.read_text()
    start = text.index(f'"{precision.value}": {{\n          "path"')
    manifest.write_text(text[:start] + text[start:].replace(old, sha256_of(path), 1))


def make_network(path: Path, nodes: list[onnx.NodeProto], output: tuple[int, ...] = (1, 1, 48, 64)) -> Path:
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 48, 64])],
        [helper.make_tensor_value_info("hair_probability", TensorProto.FLOAT, list(output))],
        [helper.make_tensor("axes", TensorProto.INT64, [1], [1])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), str(path))
    return path


def test_it_computes_what_the_network_says(tiny: Bundle) -> None:
    engine = open_engine(tiny, Task.HAIR)
    image = np.full((48, 64, 3), 240, np.uint8)
    image[:, 20:30] = 20
    output = engine.run({"image": to_network_input(image, tiny.model(Task.HAIR))})["hair_probability"]
    assert output.shape == (1, 1, 48, 64) and output.dtype == np.float32
    expected = np.zeros((48, 64), bool)
    expected[:, 20:30] = True
    assert np.array_equal(output[0, 0] >= 0.5, expected)


def test_without_int8_fp32_is_used_and_said(tiny: Bundle) -> None:
    engine = open_engine(tiny, Task.HAIR)
    assert engine.precision is Precision.FP32 and engine.backend == "onnxruntime-cpu"
    assert engine.fallback
    assert any("int8_u8s8 not used" in reason and "no such file" in reason for reason in engine.reasons)


def test_int8_is_preferred_and_its_reason_kept(both: Path) -> None:
    engine = open_engine(load_bundle(both), Task.HAIR)
    assert engine.precision is Precision.INT8_U8S8 and not engine.fallback
    assert engine.reasons == (
        f"onnxruntime-cpu int8_u8s8: the fastest precision of ONNX Runtime on {platform.machine()}",
    )


def test_a_network_that_differs_from_its_goldens_is_passed_over_with_the_figures(both: Path) -> None:
    tamper(both, Precision.INT8_U8S8)
    engine = open_engine(load_bundle(both), Task.HAIR)
    assert engine.precision is Precision.FP32 and engine.fallback
    assert any("computes something else" in reason and "mask Dice" in reason for reason in engine.reasons)


def test_asked_for_by_name_it_is_refused(both: Path) -> None:
    tamper(both, Precision.INT8_U8S8)
    with pytest.raises(ScalpScopeError, match="computes something else"):
        open_engine(load_bundle(both), Task.HAIR, Precision.INT8_U8S8)


def test_nothing_left_to_open_says_why_for_each(both: Path) -> None:
    for precision in (Precision.INT8_U8S8, Precision.FP32):
        tamper(both, precision)
    with pytest.raises(ScalpScopeError, match=r"int8_u8s8 not used.*fp32 not used"):
        open_engine(load_bundle(both), Task.HAIR)


def test_a_precision_the_bundle_has_not(tiny: Bundle) -> None:
    with pytest.raises(ScalpScopeError, match="no such file"):
        open_engine(tiny, Task.HAIR, Precision.INT8_SYMMETRIC)


def test_a_file_that_is_no_network(tiny: Bundle, tmp_path: Path) -> None:
    model = tiny.model(Task.HAIR)
    for content in (b"", b"no network", (tiny.path / "hair_fp32.onnx").read_bytes()[:100]):
        (tmp_path / "x.onnx").write_bytes(content)
        with pytest.raises(ScalpScopeError, match="cannot load"):
            OnnxRuntimeEngine(tmp_path / "x.onnx", model, Precision.FP32)


@pytest.mark.parametrize(
    "change",
    [
        {"input_shape": (1, 3, 24, 64)},
        {"output_shape": (1, 1, 24, 64)},
        {"input_name": "picture"},
        {"output_name": "mask"},
    ],
)
def test_a_network_that_is_not_the_manifests(tiny: Bundle, change: dict[str, object]) -> None:
    model = tiny.model(Task.HAIR).model_copy(update=change)
    with pytest.raises(ScalpScopeError, match="the manifest says"):
        OnnxRuntimeEngine(tiny.path / "hair_fp32.onnx", model, Precision.FP32)


def test_answers_that_are_no_numbers_are_an_error(tiny: Bundle, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMax", ["image", "axes"], ["high"], keepdims=1),
        helper.make_node("Log", ["high"], ["hair_probability"]),
    ]
    network = make_network(tmp_path / "nan.onnx", nodes)
    engine = OnnxRuntimeEngine(network, tiny.model(Task.HAIR), Precision.FP32)
    engine.run({"image": np.ones((1, 3, 48, 64), np.float32)})
    for value in (-1.0, 0.0):  # NaN and minus infinity
        with pytest.raises(ScalpScopeError, match="not numbers"):
            engine.run({"image": np.full((1, 3, 48, 64), value, np.float32)})


def test_a_wrong_input_and_a_closed_engine(tiny: Bundle) -> None:
    engine = open_engine(tiny, Task.HAIR)
    for wrong in (np.zeros((1, 3, 24, 64), np.float32), np.zeros((1, 3, 48, 64), np.float64)):
        with pytest.raises(ScalpScopeError, match="failed"):
            engine.run({"image": wrong})
    engine.close()
    engine.close()
    with pytest.raises(ScalpScopeError, match="closed"):
        engine.run({"image": np.zeros((1, 3, 48, 64), np.float32)})


class _Accelerator:
    """A back end for a device that this machine may not have: the door that TensorRT will use."""

    name = "accelerator"

    def __init__(self, missing: str | None, broken: bool = False) -> None:
        self.missing, self.broken = missing, broken

    def why_not(self) -> Unavailable | None:
        return None if self.missing is None else Unavailable(self.missing)

    def preferences(self) -> tuple[tuple[Precision, str], ...]:
        return ((Precision.FP32, "there is an accelerator"),)

    def open(self, path: Path, model: ModelEntry, precision: Precision, threads: int) -> Engine:
        return _AcceleratorEngine(OnnxRuntimeEngine(path, model, precision, threads), self.broken)


class _AcceleratorEngine:
    backend = "accelerator"
    precision = Precision.FP32

    def __init__(self, inner: OnnxRuntimeEngine, broken: bool) -> None:
        self.inner, self.broken = inner, broken

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: 1 - out if self.broken else out for name, out in self.inner.run(inputs).items()}

    def close(self) -> None:
        self.inner.close()


@pytest.fixture
def backends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(select, "_BACKENDS", list(select._BACKENDS))


@pytest.mark.usefixtures("backends")
def test_a_registered_back_end_is_tried_first(tiny: Bundle) -> None:
    register_backend(_Accelerator(None))
    engine = open_engine(tiny, Task.HAIR)
    assert engine.backend == "accelerator" and engine.reasons == ("accelerator fp32: there is an accelerator",)


@pytest.mark.usefixtures("backends")
@pytest.mark.parametrize(
    ("backend", "said"),
    [(_Accelerator("no driver"), "no driver"), (_Accelerator(None, broken=True), "computes something else")],
)
def test_a_back_end_that_is_missing_or_wrong_is_passed_over(tiny: Bundle, backend: _Accelerator, said: str) -> None:
    register_backend(backend)
    engine = open_engine(tiny, Task.HAIR, Precision.FP32)
    assert engine.backend == "onnxruntime-cpu" and engine.fallback
    assert any(reason.startswith("accelerator") and said in reason for reason in engine.reasons)


def test_an_engine_leaves_the_processors_arithmetic_alone(tiny: Bundle) -> None:
    engine = open_engine(tiny, Task.HAIR)
    engine.run({"image": np.zeros((1, 3, 48, 64), np.float32)})
    assert np.float64(5e-324) * np.float64(1.0) > 0  # not flushed to zero in the caller's thread


def test_telemetry_is_off_and_nothing_heavy_is_loaded() -> None:
    program = (
        "import os, sys; import device_app.engines.onnxruntime_engine; "
        "print(os.environ['ORT_DISABLE_TELEMETRY'], 'torch' in sys.modules, 'onnx' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "False", "False"]


def test_dice_of_masks() -> None:
    empty, full = np.zeros((4, 4), bool), np.ones((4, 4), bool)
    half = empty.copy()
    half[:2] = True
    assert mask_dice(empty, empty) == 1.0 and mask_dice(full, full) == 1.0
    assert mask_dice(empty, full) == 0.0
    assert mask_dice(half, full) == pytest.approx(2 / 3)


def test_a_bundle_is_not_written_over_another(both: Path, tmp_path: Path) -> None:
    network = make_darkness_network(tmp_path / "n.onnx", *SIZE)
    before = sorted((p.name, p.stat().st_mtime_ns) for p in both.iterdir())
    networks = [hair_network(FACTS, {Precision.FP32: network}, [golden_picture(1)])]
    with pytest.raises(ScalpScopeError, match="already there"):
        write_bundle(both, "x", "1", networks)
    assert sorted((p.name, p.stat().st_mtime_ns) for p in both.iterdir()) == before
    written = write_bundle(both, "x", "2", networks, overwrite=True)
    assert (written.name, written.version) == ("x", "2")
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_a_network_far_from_fp32_is_not_written(tmp_path: Path) -> None:
    good = make_darkness_network(tmp_path / "good.onnx", *SIZE)
    other = make_darkness_network(tmp_path / "other.onnx", *SIZE, dark_below=0.75)
    with pytest.raises(ScalpScopeError, match="too far from FP32"):
        files = {Precision.FP32: good, Precision.FP16: other}
        write_bundle(tmp_path / "b", "x", "1", [hair_network(FACTS, files, [golden_picture(1)])])
    assert not (tmp_path / "b").exists() and not [p for p in tmp_path.iterdir() if p.is_dir()]


def test_fp16_is_the_last_choice_of_a_network_that_has_more(tmp_path: Path) -> None:
    network = make_darkness_network(tmp_path / "n.onnx", *SIZE)
    files = dict.fromkeys((Precision.FP16, Precision.FP32), network)
    bundle = write_bundle(tmp_path / "b", "x", "1", [hair_network(FACTS, files, [golden_picture(1)])])
    assert open_engine(bundle, Task.HAIR).precision is Precision.FP32
    tamper(bundle.path, Precision.FP32)
    engine = open_engine(load_bundle(bundle.path), Task.HAIR)
    assert engine.precision is Precision.FP16 and engine.fallback
    assert any("computes something else" in reason for reason in engine.reasons)
