"""A tiny but real SAM: an encoder and a decoder as ONNX files, made in a moment, in a bundle with a tiny hair network.

The encoder is strided convolutions that keep darkness. The decoder calls dark pixels hair, round a positive point
also those that are not quite so dark, and round a negative point none. So what it answers can be told from the picture
and the points, as with a SAM that works, and a point in the wrong place is seen.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from device_app.bundle import Combination, ResizeRule, SamDecoderEntry, SamEncoderEntry, TensorSpec
from device_app.engines.engine import Precision
from export.bundle_writer import NetworkFacts, NetworkFiles, entry_template, hair_network, write_bundle
from export.golden_writer import decoder_goldens, encoder_goldens
from tests.support.tiny_bundle import DARK_BELOW, MEAN, STD, golden_picture, make_darkness_network

STRIDE = 16
"""Of the embedding; the fine features have a stride of 2, and so has the mask."""

IOUS = (0.99, 0.6, 0.9, 0.7)
"""What the decoder predicts. Mask 0 is never taken, so mask 2 is."""

CHOICE = 2
PULL = 14.0
REACH_PX = 6.0


def features_of(width: int, height: int) -> tuple[TensorSpec, TensorSpec]:
    """The encoder's outputs for an input of this size."""
    return (
        TensorSpec(name="image_embeddings", shape=(1, 2, height // STRIDE, width // STRIDE)),
        TensorSpec(name="fine_features", shape=(1, 1, height // 2, width // 2)),
    )


def make_sam_encoder(path: Path, width: int = 640, height: int = 480) -> Path:
    """Darkness (positive where darker than `DARK_BELOW`) at two resolutions; width and height are multiples of 16."""
    luminance = np.array([0.299, 0.587, 0.114])
    weight = (-luminance * STD).astype(np.float32).reshape(1, 3, 1, 1)
    fine = np.repeat(np.repeat(weight, 2, 2), 2, 3) / 4
    coarse = np.concatenate([np.full((1, 1, 8, 8), 1 / 64), np.full((1, 1, 8, 8), -1 / 64)]).astype(np.float32)
    bias = np.array([DARK_BELOW - float(luminance @ MEAN)], np.float32)
    embedding, fine_spec = features_of(width, height)
    nodes = [
        helper.make_node("Conv", ["image", "fine", "bias"], ["fine_features"], strides=[2, 2]),
        helper.make_node("Conv", ["fine_features", "coarse"], ["image_embeddings"], strides=[8, 8]),
    ]
    constants = {"fine": fine, "bias": bias, "coarse": coarse}
    inputs = {"image": (1, 3, height, width)}
    return _save(path, nodes, inputs, {embedding.name: embedding.shape, fine_spec.name: fine_spec.shape}, constants)


def make_sam_decoder(path: Path, width: int = 640, height: int = 480, fails_from: int | None = None) -> Path:
    """Logits: darkness times 60, plus `PULL` round a positive point and minus `PULL` round a negative one, fading over
    `REACH_PX` of the input; plus half the mask prompt. Of the four masks only mask `CHOICE` is right.

    With `fails_from` so many points or more give values that are no numbers.
    """
    embedding, fine = features_of(width, height)
    nodes = []
    for axis in ("x", "y"):
        # exp(-(pixel - point)^2 / 2 reach^2), (1, points, pixels of the mask)
        nodes += [
            helper.make_node("Gather", ["point_coords", f"index_{axis}"], [f"at_{axis}"], axis=2),
            helper.make_node("Sub", [f"at_{axis}", f"pixels_{axis}"], [f"away_{axis}"]),
            helper.make_node("Mul", [f"away_{axis}", f"away_{axis}"], [f"square_{axis}"]),
            helper.make_node("Mul", [f"square_{axis}", "fading"], [f"power_{axis}"]),
            helper.make_node("Exp", [f"power_{axis}"], [f"near_{axis}"]),
        ]
    nodes += [
        # 1 for hair, -1 for scalp, 0 for padding
        helper.make_node("Relu", ["point_labels"], ["positive"]),
        helper.make_node("Abs", ["point_labels"], ["not_scalp"]),
        helper.make_node("Sub", ["not_scalp", "one"], ["minus_scalp"]),
        helper.make_node("Add", ["positive", "minus_scalp"], ["sign"]),
        helper.make_node("Unsqueeze", ["sign", "last"], ["signs"]),
        helper.make_node("Mul", ["near_y", "signs"], ["signed_y"]),
        helper.make_node("Transpose", ["signed_y"], ["columns"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["columns", "near_x"], ["pulls"]),
        helper.make_node("Mul", ["pulls", "pull"], ["points_say"]),
        helper.make_node("Mul", ["fine_features", "steep"], ["picture_says"]),
        helper.make_node("Resize", ["mask_input", "", "doubled"], ["prompt"], mode="nearest"),
        helper.make_node("Mul", ["prompt", "has_mask_input"], ["prompted"]),
        helper.make_node("Mul", ["prompted", "half"], ["prompt_says"]),
        helper.make_node("ReduceMean", ["image_embeddings"], ["mean_embedding"], keepdims=0),
        helper.make_node("Mul", ["mean_embedding", "zero"], ["nothing"]),
        helper.make_node("Shape", ["point_labels"], ["shape"]),
        helper.make_node("Gather", ["shape", "last_axis"], ["whole_count"], axis=0),
        helper.make_node("Cast", ["whole_count"], ["count"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["limit", "count"], ["room"]),
        helper.make_node("Sqrt", ["room"], ["root"]),
        helper.make_node("Mul", ["root", "zero"], ["nothing_or_nan"]),
        helper.make_node("Sum", ["picture_says", "points_say", "prompt_says", "nothing", "nothing_or_nan"], ["logit"]),
        helper.make_node("Mul", ["logit", "answers"], ["masks"]),
        helper.make_node("Add", ["ious", "nothing"], ["iou_predictions"]),
    ]
    answers = np.array([-1, -1, -1, -1], np.float32)
    answers[CHOICE] = 1
    constants = {
        "index_x": np.array([0], np.int64),
        "index_y": np.array([1], np.int64),
        # A pixel of the mask is two of the input: half-pixel centres.
        "pixels_x": (2 * np.arange(width // 2, dtype=np.float32) + np.float32(0.5)),
        "pixels_y": (2 * np.arange(height // 2, dtype=np.float32) + np.float32(0.5)),
        "fading": np.float32(-1 / (2 * REACH_PX**2)),
        "one": np.float32(1),
        "zero": np.float32(0),
        "half": np.float32(0.5),
        "last": np.array([2], np.int64),
        "last_axis": np.array(1, np.int64),
        "pull": np.float32(PULL),
        "steep": np.float32(60),
        "doubled": np.array([1, 1, 2, 2], np.float32),
        "limit": np.float32(1e6 if fails_from is None else fails_from - 0.5),
        "answers": answers.reshape(1, 4, 1, 1),
        "ious": np.array([IOUS], np.float32),
    }
    inputs = {
        embedding.name: embedding.shape,
        fine.name: fine.shape,
        "point_coords": (1, "points", 2),
        "point_labels": (1, "points"),
        "mask_input": (1, 1, 4 * height // STRIDE, 4 * width // STRIDE),
        "has_mask_input": (1,),
    }
    outputs = {"masks": (1, 4, height // 2, width // 2), "iou_predictions": (1, 4)}
    return _save(path, nodes, inputs, outputs, constants)


def make_sam_bundle(
    folder: Path,
    width: int = 640,
    height: int = 480,
    resize: ResizeRule = ResizeRule.STRETCH,
    combination: Combination = Combination.PRODUCT,
    mask_prompt: bool = False,
    max_points: int = 1024,
    decoder_precision: Precision = Precision.FP16,
    fails_from: int | None = None,
) -> Path:
    """Write a bundle with the hair network of `make_tiny_bundle` and a tiny SAM, all for inputs of one size.

    The decoder ships in one precision only, as the real one does. Returns the folder.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = [folder.parent / f"{folder.name}-{part}.onnx" for part in ("hair", "encoder", "decoder")]
    make_darkness_network(scratch[0], width, height)
    make_sam_encoder(scratch[1], width, height)
    make_sam_decoder(scratch[2], width, height, fails_from)
    source = {
        "trained_on": "nothing: written by hand",
        "licence": "Apache-2.0",
        "credit": "ScalpScope tests",
        "demonstration_only": True,
    }
    pictures = [golden_picture(0), golden_picture(1)]
    facts = NetworkFacts(input_shape=(1, 3, height, width), mean=MEAN, std=STD, **source)
    encoder = entry_template(
        SamEncoderEntry,
        input_name="image",
        input_shape=(1, 3, height, width),
        mean=MEAN,
        std=STD,
        resize=resize,
        features=features_of(width, height),
        **source,
    )
    decoder = entry_template(
        SamDecoderEntry,
        features=features_of(width, height),
        masks_shape=(1, 4, height // 2, width // 2),
        max_points=max_points,
        mask_prompt=mask_prompt,
        combination=combination,
        **source,
    )
    question = {
        spec.name: np.zeros([5 if side == "points" else side for side in spec.shape], np.float32)
        for spec in decoder.inputs
    }
    rng = np.random.default_rng(0)
    for name in ("image_embeddings", "fine_features"):
        question[name] = rng.normal(0, 0.2, question[name].shape).astype(np.float32)
    question["point_coords"] = rng.uniform(0, min(width, height), (1, 5, 2)).astype(np.float32)
    question["point_labels"] = np.array([[1, 1, 1, 0, -1]], np.float32)
    write_bundle(
        folder,
        "tiny-sam",
        "1",
        [
            hair_network(facts, {Precision.FP32: scratch[0]}, pictures),
            NetworkFiles(encoder, {Precision.FP32: scratch[1]}, encoder_goldens(pictures)),
            NetworkFiles(decoder, {decoder_precision: scratch[2]}, decoder_goldens([question]), reference=scratch[2]),
        ],
    )
    for path in scratch:
        path.unlink()
    return folder


def _save(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: dict[str, tuple[int | str, ...]],
    outputs: dict[str, tuple[int | str, ...]],
    constants: dict[str, np.ndarray | np.float32],
) -> Path:
    def told(tensors: dict[str, tuple[int | str, ...]]) -> list[onnx.ValueInfoProto]:
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name, shape in tensors.items()]

    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny-sam", told(inputs), told(outputs), initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path
