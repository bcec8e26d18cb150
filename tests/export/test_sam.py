"""SAM from torch to what a device runs: the same answers, for any number of points, at every precision that ships."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, TensorProto, numpy_helper
from typer.testing import CliRunner

from calibration.errors import ScalpScopeError
from device_app.bundle import Combination, SamDecoderEntry, Task, TensorSpec, load_bundle
from device_app.engines.engine import Precision
from device_app.live.refiner import Refiner
from device_app.vision.prompts import PromptPoints
from export.cli import app
from export.graph import operators_of, session_of
from export.onnx import to_fp16
from export.sam import SamBuildSettings, build_sam
from export.sam_onnx import (
    PROMPTS,
    export_decoder,
    export_encoder,
    layer_groups,
    nodes_beyond_fp16,
)
from tests.support.tiny_bundle import make_tiny_bundle
from tests.support.tiny_student import HEIGHT, TINY, WIDTH, make_prompts, make_student, save_tiny_student
from tests.training.prompting.test_student import tiny_official_sam
from training.prompting.student import PromptedSam, Student, from_official

REFUSED_BY_TENSORRT = {"OneHot", "ScatterND", "ScatterElements", "NonZero", "Loop", "If", "Unique", "Range"}
"""What the exporters make of one-hot codes, repeat_interleave and writes by index (TensorRT's operator table)."""


@pytest.fixture(scope="module")
def student() -> Student:
    """With statistics of its normalisation that are no longer those of a new layer."""
    student = make_student().train()
    with torch.no_grad():
        for seed in range(3):
            image = torch.randn((2, 3, HEIGHT, WIDTH), generator=torch.Generator().manual_seed(seed))
            student(image, make_prompts(5, count=2, seed=seed))
    return student.eval()


@pytest.fixture(scope="module")
def encoder(student: Student) -> tuple[ModelProto, tuple[TensorSpec, ...]]:
    return export_encoder(student)


@pytest.fixture(scope="module")
def decoder(student: Student, encoder: tuple[ModelProto, tuple[TensorSpec, ...]]) -> ModelProto:
    return export_decoder(student, encoder[1])[0]


def question(sam: PromptedSam, features: tuple[TensorSpec, ...], points: int) -> dict[str, np.ndarray]:
    height, width = sam.input_size
    prompts = make_prompts(points, height, width, seed=points)
    random = torch.Generator().manual_seed(points)
    values = {spec.name: torch.randn([int(s) for s in spec.shape], generator=random) for spec in features}
    return {name: value.numpy() for name, value in {**values, **dict(zip(PROMPTS, prompts, strict=True))}.items()}


@pytest.mark.parametrize("points", [1, 2, 300, 1024])
def test_the_decoder_answers_any_number_of_points(
    points: int, student: Student, encoder: tuple[ModelProto, tuple[TensorSpec, ...]], decoder: ModelProto
) -> None:
    asked = question(student, encoder[1], points)
    masks, ious = session_of(decoder).run(["masks", "iou_predictions"], asked)
    assert masks.shape == (1, 4, HEIGHT, WIDTH) and ious.shape == (1, 4)
    with torch.no_grad():
        tensors = {name: torch.from_numpy(value) for name, value in asked.items()}
        prompts = make_prompts(points, seed=points)
        wanted = student.decode(tensors["image_embeddings"], tensors["fine_features"], prompts)
    assert wanted.full is not None
    assert np.allclose(masks, wanted.full.numpy(), atol=2e-3 * float(wanted.full.abs().max()))
    assert np.allclose(ious, wanted.iou.numpy(), atol=2e-3)


def test_no_operator_that_tensorrt_refuses(
    encoder: tuple[ModelProto, tuple[TensorSpec, ...]], decoder: ModelProto
) -> None:
    for model in (encoder[0], decoder):
        assert not REFUSED_BY_TENSORRT & operators_of(model).keys()


def test_only_the_points_are_a_free_axis(decoder: ModelProto) -> None:
    free = {
        value.name: [d.dim_param for d in value.type.tensor_type.shape.dim if d.dim_param]
        for value in decoder.graph.input
    }
    assert {name for name, axes in free.items() if axes} == {"point_coords", "point_labels"}


def test_groups_hold_every_weight_of_the_encoder(encoder: tuple[ModelProto, tuple[TensorSpec, ...]]) -> None:
    groups = layer_groups(encoder[0])
    assert {"conv1", "layer1", "layer2", "layer3", "neck", "fine"} <= set(groups)
    assert sum(share for _, share in groups.values()) == pytest.approx(1.0)
    convolutions = {node.name for node in encoder[0].graph.node if node.op_type == "Conv"}
    assert convolutions <= frozenset().union(*(names for names, _ in groups.values()))


def test_fp16_agrees_and_keeps_its_inputs_and_outputs(
    student: Student, encoder: tuple[ModelProto, tuple[TensorSpec, ...]], decoder: ModelProto
) -> None:
    asked = question(student, encoder[1], 40)
    half = to_fp16(decoder, None, nodes_beyond_fp16(decoder, [asked]))
    assert len(half.SerializeToString()) < 0.6 * len(decoder.SerializeToString())
    exact, found = session_of(decoder).run(None, asked), session_of(half).run(None, asked)
    assert found[0].dtype == np.float32
    assert np.abs(found[0] - exact[0]).max() < 0.02 * np.abs(exact[0]).max()


def test_a_layer_that_overflows_fp16_stays_in_fp32(
    student: Student, encoder: tuple[ModelProto, tuple[TensorSpec, ...]], decoder: ModelProto
) -> None:
    """One layer's values are made a million times larger and the next undoes it: FP16 would lose them."""
    large = ModelProto()
    large.CopyFrom(decoder)
    weights = {value.name: value for value in large.graph.initializer}

    def scale(layer: str, factor: float, channels: int | None) -> None:
        (node,) = (n for n in large.graph.node if n.op_type == "Conv" and layer in n.name)
        for name in node.input[1:] if channels is None else node.input[1:2]:
            value = numpy_helper.to_array(weights[name]).copy()
            value[(slice(None), slice(channels)) if value.ndim > 1 else ...] *= np.float32(factor)
            weights[name].CopyFrom(numpy_helper.from_array(value, name))

    scale("narrow", 1e6, None)
    scale("mix.0", 1e-6, TINY.fine_channels)
    asked = question(student, encoder[1], 10)
    beyond = nodes_beyond_fp16(large, [asked])
    assert any("narrow" in name for name in beyond)
    assert not nodes_beyond_fp16(decoder, [asked])
    blocked, lost = to_fp16(large, None, beyond), to_fp16(large, None)
    exact = session_of(large).run(["masks"], asked)[0]
    kept = session_of(blocked).run(["masks"], asked)[0]
    assert np.isfinite(kept).all()
    assert np.abs(kept - exact).max() < 0.02 * np.abs(exact).max()
    # ONNX Runtime's processor kernels compute FP16 in FP32 and would hide the loss: what counts is what stands there.
    for model, kind in ((blocked, TensorProto.FLOAT), (lost, TensorProto.FLOAT16)):
        (node,) = (n for n in model.graph.node if n.op_type == "Conv" and "narrow" in n.name)
        types = {value.name: value.data_type for value in model.graph.initializer}
        assert types[node.input[1]] == kind
    large_values = {name for n in large.graph.node if n.name in beyond and "narrow" in n.name for name in n.output}
    cast_away = {n.input[0] for n in blocked.graph.node if n.op_type == "Cast"}
    assert large_values and not large_values & cast_away


def test_an_official_sam_is_exported_without_fine_features() -> None:
    sam = from_official(tiny_official_sam())
    model, features = export_encoder(sam)
    assert [spec.name for spec in features] == ["image_embeddings"]
    decoder, shape = export_decoder(sam, features)
    assert shape == (1, 4, 16, 16)
    assert not REFUSED_BY_TENSORRT & operators_of(decoder).keys()
    assert [value.name for value in model.graph.output] == ["image_embeddings"]


# --- the whole way ---


@pytest.fixture(scope="module")
def hair_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("hair") / "tiny", WIDTH, HEIGHT)


@pytest.fixture(scope="module")
def checkpoint(student: Student, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from training.prompting.student import save_student

    path = tmp_path_factory.mktemp("run") / "best.pt"
    save_student(student, path, {}, 0)
    return path


def settings(checkpoint: Path, bundle: Path, out: Path) -> SamBuildSettings:
    return SamBuildSettings(
        checkpoint=checkpoint, bundle=bundle, out=out, frames=None, version="2", trained_on="nothing",
        licence="Apache-2.0", credit="nobody", demonstration_only=True, combination=Combination.MEAN,
        mask_prompt=True, calibration=2, held_out=2, quick=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def built(checkpoint: Path, hair_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("built") / "new"
    build_sam(settings(checkpoint, hair_bundle, out))
    return out


def test_a_bundle_with_sam_refines(built: Path) -> None:
    bundle = load_bundle(built)
    decoder = bundle.model(Task.SAM_DECODER)
    assert isinstance(decoder, SamDecoderEntry)
    assert (decoder.combination, decoder.mask_prompt, decoder.max_points) == (Combination.MEAN, True, 1024)
    refiner = Refiner(bundle)
    image = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    points = PromptPoints(np.float32([[20, 20]]), np.float32([[60, 40]]))
    refined = refiner.decode(refiner.embed(image), points, np.zeros((HEIGHT, WIDTH), np.float32))
    assert refined.probability.shape == (HEIGHT, WIDTH) and refined.choice in (1, 2, 3)


def test_the_hair_network_is_taken_over_as_it_is(built: Path, hair_bundle: Path) -> None:
    old, new = load_bundle(hair_bundle), load_bundle(built)
    before, after = old.model(Task.HAIR), new.model(Task.HAIR)
    assert {p: f.sha256 for p, f in before.files.items()} == {p: f.sha256 for p, f in after.files.items()}


def test_the_report_says_what_was_kept_and_why(built: Path) -> None:
    report = json.loads((built.parent / "new-parity" / "sam.json").read_text())
    judged = {(one["part"], one["precision"]): one for one in report["agreements"]}
    assert ("decoder", "fp16") in judged and ("encoder", "int8_u8s8") in judged
    bundle = load_bundle(built)
    for task, part in ((Task.SAM_ENCODER, "encoder"), (Task.SAM_DECODER, "decoder")):
        for precision in bundle.model(task).files:
            if precision is not Precision.FP32:
                assert judged[part, precision.value]["kept"]


def test_a_folder_that_is_there_is_left_alone(built: Path, checkpoint: Path, hair_bundle: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in built.iterdir()}
    with pytest.raises(ScalpScopeError, match="already there"):
        build_sam(settings(checkpoint, hair_bundle, built))
    with pytest.raises(ScalpScopeError, match="no bundle"):
        build_sam(settings(checkpoint, tmp_path / "none", tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    assert before == {path: path.read_bytes() for path in built.iterdir()}


def test_the_command_says_what_it_did(hair_bundle: Path, tmp_path: Path) -> None:
    path = save_tiny_student(tmp_path / "weights.pt")
    result = CliRunner().invoke(
        app,
        ["sam", "--checkpoint", str(path), "--bundle", str(hair_bundle), "--out", str(tmp_path / "out"), "--quick",
         "--calibration", "2", "--held-out", "2"],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "decoder fp16: mask IoU with FP32" in result.output
    assert onnx.load(tmp_path / "out" / "sam_decoder_fp16.onnx").graph.name == "sam_decoder"
