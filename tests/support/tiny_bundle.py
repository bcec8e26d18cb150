"""A real bundle with a tiny real network, made in a moment, for tests that need a bundle and not a good one."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from device_app.engines.engine import Precision
from export.bundle_writer import NetworkFacts, hair_network, write_bundle

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DARK_BELOW = 0.35  # luminance, 0..1


def make_darkness_network(path: Path, width: int = 640, height: int = 480, dark_below: float = DARK_BELOW) -> Path:
    """An ONNX file that calls every pixel of luminance below `dark_below` hair: a 1x1 convolution and a sigmoid."""
    luminance = np.array([0.299, 0.587, 0.114])
    steepness = 60.0
    weight = (-steepness * luminance * STD).astype(np.float32).reshape(1, 3, 1, 1)
    bias = np.array([steepness * (dark_below - float(luminance @ MEAN))], np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "weight", "bias"], ["logit"], name="dark"),
            helper.make_node("Sigmoid", ["logit"], ["hair_probability"], name="probability"),
        ],
        "darkness",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, height, width])],
        [helper.make_tensor_value_info("hair_probability", TensorProto.FLOAT, [1, 1, height, width])],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(bias, "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def golden_picture(seed: int = 0, width: int = 320, height: int = 240) -> np.ndarray:
    """Skin with a few dark strokes, (height, width, 3) uint8 RGB."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), (205, 160, 140), np.uint8)
    for _ in range(6):
        start, end = rng.integers(0, (width, height), (2, 2)).tolist()
        cv2.line(image, start, end, (45, 35, 30), int(rng.integers(2, 8)), cv2.LINE_AA)
    return image


def make_tiny_bundle(folder: Path, width: int = 640, height: int = 480, dark_below: float = DARK_BELOW) -> Path:
    """Write a bundle into `folder` (made, must not be there) whose FP32 hair network calls dark pixels hair.

    Returns the folder. The only precision is FP32, so `open_engine` falls back to it with a reason.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    network = make_darkness_network(folder.parent / f"{folder.name}-network.onnx", width, height, dark_below)
    facts = NetworkFacts(
        input_shape=(1, 3, height, width),
        mean=MEAN,
        std=STD,
        trained_on="nothing: a threshold written by hand",
        licence="Apache-2.0",
        credit="ScalpScope tests",
        demonstration_only=True,
    )
    hair = hair_network(facts, {Precision.FP32: network}, [golden_picture(0), golden_picture(1)])
    write_bundle(folder, "tiny", "1", [hair])
    network.unlink()
    return folder
