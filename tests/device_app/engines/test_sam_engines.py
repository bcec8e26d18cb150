"""SAM's engines: several inputs and outputs, any number of points, one precision, and their goldens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest

from calibration.errors import ScalpScopeError
from device_app.bundle import Bundle, SamDecoderEntry, Task, load_bundle
from device_app.engines.engine import Engine, Precision
from device_app.engines.goldens import check_goldens
from device_app.engines.onnxruntime_engine import OnnxRuntimeEngine
from device_app.engines.select import open_engine
from export.bundle_writer import NetworkFacts, NetworkFiles, entry_template, hair_network, write_bundle
from export.golden_writer import encoder_goldens
from tests.support.tiny_bundle import MEAN, STD, golden_picture, make_darkness_network
from tests.support.tiny_sam import make_sam_bundle

SIZE = (64, 48)
FACTS = NetworkFacts((1, 3, 48, 64), MEAN, STD, "a test", "Apache-2.0", "a test", demonstration_only=False)


@pytest.fixture(scope="module")
def sam(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(make_sam_bundle(tmp_path_factory.mktemp("sam") / "b", *SIZE))


def question(bundle: Bundle, points: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(points)
    return {
        spec.name: rng.uniform(-0.1, 0.1, [points if side == "points" else side for side in spec.shape]).astype(
            np.float32
        )
        for spec in bundle.model(Task.SAM_DECODER).inputs
    }


def test_a_decoder_takes_any_number_of_points(sam: Bundle) -> None:
    engine = open_engine(sam, Task.SAM_DECODER)
    for points in (1, 2, 300, 1024):
        answer = engine.run(question(sam, points))
        assert {name: value.shape for name, value in answer.items()} == {
            "masks": (1, 4, 24, 32),
            "iou_predictions": (1, 4),
        }


def test_an_encoder_answers_all_its_features(sam: Bundle) -> None:
    model = sam.model(Task.SAM_ENCODER)
    answer = open_engine(sam, Task.SAM_ENCODER).run({"image": np.zeros((1, 3, 48, 64), np.float32)})
    assert {spec.name: spec.shape for spec in model.features} == {name: value.shape for name, value in answer.items()}


def test_a_network_that_comes_in_one_precision_is_no_fallback(sam: Bundle) -> None:
    engine = open_engine(sam, Task.SAM_DECODER)
    assert engine.precision is Precision.FP16 and not engine.fallback
    assert len(engine.reasons) == 1 and engine.reasons[0].startswith("onnxruntime-cpu fp16: ")
    encoder = open_engine(sam, Task.SAM_ENCODER)
    assert encoder.precision is Precision.FP32 and not encoder.fallback
    with pytest.raises(ScalpScopeError, match=r"fp32 not used.*no such file"):
        open_engine(sam, Task.SAM_DECODER, Precision.FP32)


def test_the_goldens_of_sam_are_reproduced(sam: Bundle) -> None:
    encoder, decoder = open_engine(sam, Task.SAM_ENCODER).goldens, open_engine(sam, Task.SAM_DECODER).goldens
    assert encoder.mean_abs_diff < 1e-3 and encoder.mask_dice is None and encoder.iou_diff is None
    assert decoder.mean_abs_diff < 0.035  # the probabilities are kept in coarse steps
    assert decoder.mask_dice == 1.0
    assert decoder.iou_diff is not None and decoder.iou_diff < 1e-6
    assert "predicted IoU" in str(decoder) and "Dice" not in str(encoder)


class _Wrong:
    """The processor's engine, with what it answers changed."""

    backend = "onnxruntime-cpu"

    def __init__(self, inner: Engine, change: Mapping[str, Callable[[np.ndarray], np.ndarray]]) -> None:
        self.inner, self.change = inner, change
        self.precision = inner.precision

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: self.change.get(name, lambda x: x)(value) for name, value in self.inner.run(inputs).items()}

    def close(self) -> None:
        self.inner.close()


@pytest.mark.parametrize(
    ("task", "change", "said"),
    [
        (Task.SAM_ENCODER, {"image_embeddings": lambda x: 1.02 * x}, "relative difference 0.02"),
        (Task.SAM_ENCODER, {"fine_features": lambda x: x[..., ::-1]}, "relative difference"),
        (Task.SAM_ENCODER, {"fine_features": lambda x: x + 1}, "relative difference"),
        (Task.SAM_DECODER, {"masks": lambda x: x[:, ::-1]}, "mask Dice"),
        (Task.SAM_DECODER, {"masks": lambda x: x + 0.3}, "mean difference"),
        (Task.SAM_DECODER, {"iou_predictions": lambda x: x + 0.02}, "predicted IoU off by 0.02"),
    ],
)
def test_a_sam_that_computes_something_else_is_refused(
    sam: Bundle, task: Task, change: dict[str, Callable[[np.ndarray], np.ndarray]], said: str
) -> None:
    engine = open_engine(sam, task).engine
    check_goldens(engine, sam, sam.model(task))
    with pytest.raises(ScalpScopeError, match=f"computes something else.*{said}"):
        check_goldens(_Wrong(engine, change), sam, sam.model(task))


def test_a_decoder_that_is_not_the_manifests(sam: Bundle, tmp_path: Path) -> None:
    model = sam.model(Task.SAM_DECODER)
    path = sam.path / "sam_decoder_fp16.onnx"
    for change in ({"masks_shape": (1, 4, 48, 64)}, {"features": model.features[:1]}):
        with pytest.raises(ScalpScopeError, match="the manifest says"):
            OnnxRuntimeEngine(path, model.model_copy(update=change), Precision.FP16)
    with pytest.raises(ScalpScopeError, match="the manifest says"):
        OnnxRuntimeEngine(sam.path / "sam_encoder_fp32.onnx", model, Precision.FP16)
    network = onnx.load(path)
    for tensor in network.graph.input:
        if tensor.name == "point_coords":
            tensor.type.tensor_type.shape.dim[1].dim_value = 5
    onnx.save(network, tmp_path / "five.onnx")
    with pytest.raises(ScalpScopeError, match="the manifest says"):
        OnnxRuntimeEngine(tmp_path / "five.onnx", model, Precision.FP16)


def test_an_output_left_open_in_the_file_is_checked_in_every_answer(sam: Bundle, tmp_path: Path) -> None:
    """Here the masks have as many rows as five points allow for, or more."""
    network = onnx.load(sam.path / "sam_decoder_fp16.onnx")
    for node in network.graph.node:
        node.output[:] = ["all_rows" if name == "masks" else name for name in node.output]
    constant = onnx.numpy_helper.from_array(np.float32(10), "rows_per_point")
    network.graph.initializer.append(constant)
    network.graph.node.extend(
        [
            onnx.helper.make_node("Mul", ["count", "rows_per_point"], ["end"]),
            onnx.helper.make_node("Less", ["pixels_y", "end"], ["kept"]),
            onnx.helper.make_node("Compress", ["all_rows", "kept"], ["masks"], axis=2),
        ]
    )
    network.graph.output[0].type.tensor_type.shape.dim[2].dim_param = "rows"
    onnx.save(network, tmp_path / "open.onnx")
    engine = OnnxRuntimeEngine(tmp_path / "open.onnx", sam.model(Task.SAM_DECODER), Precision.FP16)
    assert engine.run(question(sam, 5))["masks"].shape == (1, 4, 24, 32)
    with pytest.raises(ScalpScopeError, match=r"'sam_decoder' answered with masks \(1, 4, 15, 32\)"):
        engine.run(question(sam, 3))


def test_a_bundle_of_sam_halves_is_not_written(sam: Bundle, tmp_path: Path) -> None:
    network = make_darkness_network(tmp_path / "n.onnx", *SIZE)
    hair = hair_network(FACTS, {Precision.FP32: network}, [golden_picture(1)])
    encoder = NetworkFiles(
        sam.model(Task.SAM_ENCODER),
        {Precision.FP32: sam.path / "sam_encoder_fp32.onnx"},
        encoder_goldens([golden_picture(1)]),
    )
    with pytest.raises(ScalpScopeError, match="one of them is missing"):
        write_bundle(tmp_path / "b", "x", "1", [hair, encoder])
    alone = NetworkFiles(encoder.entry, {Precision.FP16: sam.path / "sam_encoder_fp32.onnx"}, encoder.make_goldens)
    with pytest.raises(ScalpScopeError, match=r"needs the FP32 network \('sam_encoder'\)"):
        write_bundle(tmp_path / "b", "x", "1", [hair, alone])
    assert not (tmp_path / "b").exists()


def test_a_name_that_is_none_is_said(tmp_path: Path) -> None:
    network = make_darkness_network(tmp_path / "n.onnx", *SIZE)
    hair = hair_network(FACTS, {Precision.FP32: network}, [golden_picture(1)])
    with pytest.raises(ScalpScopeError, match="no name and version"):
        write_bundle(tmp_path / "b", "a/b", "1", [hair])
    with pytest.raises(ScalpScopeError, match=r"'sam_decoder' is not valid: .*Field required"):
        entry_template(SamDecoderEntry, features=())
