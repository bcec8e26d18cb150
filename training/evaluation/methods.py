"""The methods that can be evaluated, by the name one types: ``shih``, ``bundle:FOLDER``, ``checkpoint:FILE`` ..."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from calibration.errors import ScalpScopeError
from device_app.bundle import Task, default_bundle_path, load_bundle
from device_app.engines.engine import Precision
from device_app.engines.select import open_engine
from device_app.vision.masks import hair_mask
from device_app.vision.preprocess import to_network_input
from training.segmentation import baselines

Segmenter = Callable[[np.ndarray], np.ndarray]
"""Picture (H, W, 3) uint8 RGB -> hair mask (H, W) uint8, 0 or 255."""

_NETWORK_SIZE = (640, 480)  # what a checkpoint is run at where its spec names no other size


@dataclass(frozen=True)
class MethodKind:
    """One entry of the table: what stands after the colon (empty: nothing), what it is, and how it is opened."""

    argument: str
    description: str
    open: Callable[[str], Segmenter]


def _bundle(argument: str) -> Segmenter:
    """``FOLDER``, ``default``, or either with ``@fp32`` and the like for one precision: as the device runs it."""
    name, _, wanted = argument.rpartition("@")
    precision = None
    if name and wanted in {one.value for one in Precision}:
        argument, precision = name, Precision(wanted)
    bundle = load_bundle(default_bundle_path() if argument == "default" else Path(argument))
    model = bundle.model(Task.HAIR)
    engine = open_engine(bundle, Task.HAIR, precision)

    def segment(image: np.ndarray) -> np.ndarray:
        probability = engine.run({model.input_name: to_network_input(image, model)})[model.output_name]
        return hair_mask(probability[0, 0], (image.shape[1], image.shape[0]), model.threshold)

    return segment


def _checkpoint(argument: str) -> Segmenter:
    """``FILE``, or ``FILE@320x320`` to give the network that size; threshold 0.5, the device's own post-processing."""
    import torch  # only the methods that need it pay for it

    from training.segmentation.checkpoint import load_network
    from training.segmentation.dataset import normalise

    path, size = _with_size(argument)
    network = load_network(path)

    def segment(image: np.ndarray) -> np.ndarray:
        shrinks = image.shape[1] >= size[0] and image.shape[0] >= size[1]
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        with torch.inference_mode():
            probability = torch.sigmoid(network(normalise(small)[None])[0])[0, 0].numpy()
        return hair_mask(probability, (image.shape[1], image.shape[0]))

    return segment


def _with_size(argument: str) -> tuple[Path, tuple[int, int]]:
    path, _, size = argument.rpartition("@")
    width, _, height = size.partition("x")
    if path and width.isdigit() and height.isdigit():
        return Path(path), (int(width), int(height))
    return Path(argument), _NETWORK_SIZE


METHODS: dict[str, MethodKind] = {
    "shih": MethodKind("", "contrast stretching and threshold (Shih 2014)", lambda _: baselines.shih),
    "yue": MethodKind("", "morphology (Yue 2021)", lambda _: baselines.yue),
    "kim": MethodKind("", "Otsu's threshold (Kim 2017)", lambda _: baselines.kim),
    "black_hat": MethodKind("", "black-hat at three sizes", lambda _: baselines.black_hat),
    "bundle": MethodKind("default|FOLDER[@PRECISION]", "a bundle, as the device runs it", _bundle),
    "checkpoint": MethodKind("FILE[@WIDTHxHEIGHT]", "weights of a run, or u2net.pth / u2netp.pth", _checkpoint),
}
"""Another kind of method is one more entry here."""


def open_method(spec: str) -> Segmenter:
    """The method that ``spec`` names: ``NAME`` or ``NAME:ARGUMENT``.

    Raises:
        ScalpScopeError: there is no such method, its argument is missing or too much, or it cannot be opened.
    """
    name, colon, argument = spec.partition(":")
    kind = METHODS.get(name)
    if kind is None or bool(kind.argument) != bool(argument) or (colon and not argument):
        raise ScalpScopeError(f"There is no method '{spec}'.", f"Use {', '.join(method_forms())}.")
    return kind.open(argument)


def method_forms() -> list[str]:
    """How each method is typed."""
    return [f"{name}:{kind.argument}" if kind.argument else name for name, kind in METHODS.items()]
