"""The peers themselves: what people would otherwise run on the same frames, each the way its users run it.

Every choice is the usual one or the kinder one: evaluation mode, `torch.inference_mode`, as many threads as ours, our
own quick preprocessing, PyTorch's ordinary memory layout, ONNX Runtime with the options that it has by itself.
"""

from __future__ import annotations

import io
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

# Before ONNX Runtime is imported: see `device_app.engines.onnxruntime_engine`.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import cv2
import numpy as np
import onnx
import onnxruntime as ort
import torch
from torch import nn

from calibration.errors import ScalpScopeError
from device_app.bench.latency.peers import (
    EAGER,
    EAGER_GRADED,
    EAGER_PAPER,
    ONNXRUNTIME_FP32,
    REMBG,
    SCALE_UM_PER_PX,
)
from device_app.bundle import Bundle, HairEntry, Task
from device_app.engines.goldens import mask_dice
from device_app.vision.preprocess import to_classifier_input, to_network_input
from export.onnx import INPUT, OUTPUT, HairProbability, trace
from export.peers_naive import clean_naively, measure_naively
from export.peers_networks import grading_network, network_of_file, paper_network
from training.segmentation.checkpoint import load_network
from training.segmentation.u2net import U2Net

PAPER_SIDE = 320
_UNTRAINED = "its weights are drawn from a seed, which its time does not depend on"
_NAIVE = "then threshold, skeletonize, distance transform, label and regionprops"


@dataclass(frozen=True)
class Given:
    """What all peers work on.

    Attributes:
        bundle: whose networks.
        frames: (H, W, 3) uint8 RGB each.
        masks: (H, W) bool each: our mask of every frame.
        threads: of every network.
        measure: measure the hairs; False: the mask is the end.
        checkpoint: weights of the hair network; None: those in the bundle's file.
        folder: for files that are made on the way.
    """

    bundle: Bundle
    frames: Sequence[np.ndarray]
    masks: Sequence[np.ndarray]
    threads: int
    measure: bool
    checkpoint: Path | None
    folder: Path

    @property
    def entry(self) -> HairEntry:
        """The hair network's."""
        return self.bundle.model(Task.HAIR)

    @cached_property
    def network(self) -> U2Net:
        """The hair network, in PyTorch; in evaluation mode.

        Raises:
            ScalpScopeError: the bundle holds another network than ours.
        """
        if self.checkpoint is not None:
            return load_network(self.checkpoint)
        return network_of_file(self.bundle.file(next(iter(self.entry.files.values()))))

    def finish(self, frame: int, mask: np.ndarray) -> np.ndarray:
        """What every peer does with a mask (H, W) bool; returns it cleaned."""
        mask = clean_naively(mask)
        if self.measure:
            measure_naively(self.frames[frame], mask, SCALE_UM_PER_PX)
        return mask

    @property
    def ending(self) -> str:
        """What `finish` does, in words."""
        return f", {_NAIVE}" if self.measure else ", then a threshold"

    @property
    def untrained(self) -> str:
        """What to say of a network whose own masks are good for nothing."""
        return _UNTRAINED + (", so it measures our mask" if self.measure else "")


class Way(ABC):
    """One peer, opened.

    Attributes:
        name: as in the report; what: how it is run, in a sentence.
    """

    name: str
    what: str

    @abstractmethod
    def run(self, frame: int) -> tuple[float, float]:
        """One frame, by its number: milliseconds of the network alone, and from picture to figures."""


class HairWay(Way):
    """The bundle's hair network in some framework, at its own size, measuring the mask that it finds itself.

    Args:
        name, what: see `Way`.
        given: the frames.
        look: (1, 3, h, w) float32 -> (h, w) float32 probability: all that counts as the network.
    """

    def __init__(self, name: str, what: str, given: Given, look: Callable[[np.ndarray], np.ndarray]) -> None:
        self._given, self._look = given, look
        dice = [mask_dice(self._mask(frame)[0], mask) for frame, mask in enumerate(given.masks)]
        self.name, self.what = name, f"{what}{given.ending}; Dice of its masks with ours {np.median(dice):.3f}"

    def _mask(self, frame: int) -> tuple[np.ndarray, float]:
        """The mask (H, W) bool, and what the network took."""
        image, entry = self._given.frames[frame], self._given.entry
        tensor = to_network_input(image, entry)
        began = time.perf_counter()
        probability = self._look(tensor)
        network_ms = (time.perf_counter() - began) * 1000
        probability = cv2.resize(probability, (image.shape[1], image.shape[0]))
        return probability >= entry.threshold, network_ms

    def run(self, frame: int) -> tuple[float, float]:
        """See `Way.run`."""
        began = time.perf_counter()
        mask, network_ms = self._mask(frame)
        self._given.finish(frame, mask)
        return network_ms, (time.perf_counter() - began) * 1000


class GradedWay(Way):
    """Another way, and conditions graded in every frame by PyTorch."""

    name = EAGER_GRADED

    def __init__(self, given: Given, hair: Way) -> None:
        self._given, self._hair = given, hair
        self._entry = given.bundle.model(Task.CONDITIONS)
        self._network = grading_network(self._entry)
        self.what = (
            "as the one above, and conditions graded in every frame by the shipped recipe's network, on both sides "
            "(the live loop grades twice a second); its weights are drawn from a seed"
        )

    def run(self, frame: int) -> tuple[float, float]:
        """See `Way.run`."""
        hair_ms, whole_ms = self._hair.run(frame)
        began = time.perf_counter()
        tensor = to_classifier_input(self._given.frames[frame], self._entry, np.uint8(self._given.masks[frame]))
        grades = time.perf_counter()
        with torch.inference_mode():
            answer = self._network(torch.from_numpy(tensor))
            graded = time.perf_counter()
            for found in (answer.presence.sigmoid(), answer.severity.softmax(2), answer.quality.softmax(1)):
                found.numpy()
            answer.maps.sigmoid().numpy()
        return hair_ms + (graded - grades) * 1000, whole_ms + (time.perf_counter() - began) * 1000


class PaperWay(Way):
    """U²-Net as its paper has it, in PyTorch, measuring our mask."""

    name = EAGER_PAPER

    def __init__(self, given: Given) -> None:
        self._given = given
        self._entry = given.entry.model_copy(update={"input_shape": (1, 3, PAPER_SIDE, PAPER_SIDE)})
        self._network = paper_network()
        self.what = (
            f"U²-Net as in its paper, {_millions(self._network)}, {PAPER_SIDE} x {PAPER_SIDE}, eager, inference_mode"
            f"{given.ending}; {given.untrained}"
        )

    def run(self, frame: int) -> tuple[float, float]:
        """See `Way.run`."""
        image = self._given.frames[frame]
        began = time.perf_counter()
        tensor = to_network_input(image, self._entry)
        before = time.perf_counter()
        with torch.inference_mode():
            probability = torch.sigmoid(self._network(torch.from_numpy(tensor))[0])[0, 0].numpy()
        after = time.perf_counter()
        found = cv2.resize(probability, (image.shape[1], image.shape[0])) >= self._entry.threshold
        del found  # of untrained weights
        self._given.finish(frame, self._given.masks[frame])
        return (after - before) * 1000, (time.perf_counter() - began) * 1000


class RembgWay(Way):
    """rembg's `remove` with a session of its own class for U²-Net, measuring our mask.

    Args:
        given: the frames.
        network: in the place of the paper's.
    """

    name = REMBG

    def __init__(self, given: Given, network: U2Net | None = None) -> None:
        import rembg

        self._given = given
        network = network or paper_network()
        folder = given.folder / "rembg"
        folder.mkdir()
        # rembg takes networks from its own folder alone, by default in the home directory.
        os.environ["U2NET_HOME"] = str(folder)
        path = folder / "u2net_custom.onnx"
        onnx.save(traced(network, PAPER_SIDE, PAPER_SIDE), path)
        options = ort.SessionOptions()
        options.intra_op_num_threads = given.threads
        self._remove = rembg.remove
        self._session = rembg.new_session("u2net_custom", sess_opts=options, model_path=str(path))
        path.unlink()  # 170 MB, and loaded
        self._clock = self._session.inner_session = _Clocked(self._session.inner_session)
        self.what = (
            f"rembg {version('rembg')}: remove(only_mask=True) with its session class for U²-Net, "
            f"{_millions(network)}, ONNX Runtime FP32, {PAPER_SIDE} x {PAPER_SIDE}{given.ending}; {given.untrained}"
        )

    def run(self, frame: int) -> tuple[float, float]:
        """See `Way.run`."""
        began = time.perf_counter()
        found = self._remove(self._given.frames[frame], session=self._session, only_mask=True) >= 128
        del found  # of untrained weights
        self._given.finish(frame, self._given.masks[frame])
        return self._clock.run_ms, (time.perf_counter() - began) * 1000


class _Clocked:
    """An ONNX Runtime session that tells how long its last run took."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session = session
        self.run_ms = 0.0

    def run(self, *arguments: Any, **named: Any) -> Any:
        began = time.perf_counter()
        answer = self._session.run(*arguments, **named)
        self.run_ms = (time.perf_counter() - began) * 1000
        return answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


def open_way(name: str, given: Given) -> Way:
    """Open a peer by its name. Raises whatever stands in its way."""
    openers: dict[str, Callable[[], Way]] = {
        EAGER: lambda: _eager(given),
        EAGER_GRADED: lambda: GradedWay(given, _eager(given)),
        EAGER_PAPER: lambda: PaperWay(given),
        ONNXRUNTIME_FP32: lambda: _onnxruntime(given),
        REMBG: lambda: RembgWay(given),
    }
    return openers[name]()


def traced(network: U2Net, width: int, height: int) -> onnx.ModelProto:
    """A network as PyTorch's own exporter writes it, untouched."""
    return trace(HairProbability(network).eval(), (torch.zeros(1, 3, height, width),), [INPUT], [OUTPUT])


def _eager(given: Given) -> Way:
    network: nn.Module = HairProbability(given.network).eval()

    def look(tensor: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return network(torch.from_numpy(tensor))[0, 0].numpy()

    width, height = given.entry.input_size
    what = f"the same hair network at {width} x {height}, {_weights(given)}, PyTorch {torch.__version__} eager"
    return HairWay(EAGER, f"{what}, inference_mode", given, look)


def _onnxruntime(given: Given) -> Way:
    width, height = given.entry.input_size
    stream = io.BytesIO()
    onnx.save(traced(given.network, width, height), stream)
    options = ort.SessionOptions()
    options.intra_op_num_threads = given.threads
    session = ort.InferenceSession(stream.getvalue(), options, providers=["CPUExecutionProvider"])

    def look(tensor: np.ndarray) -> np.ndarray:
        return session.run([OUTPUT], {INPUT: tensor})[0][0, 0]

    what = (
        f"the same hair network, {_weights(given)}, as torch.onnx.export writes it, ONNX Runtime {ort.__version__} FP32"
    )
    return HairWay(ONNXRUNTIME_FP32, f"{what}, default options", given, look)


def _weights(given: Given) -> str:
    return "the bundle's weights in FP32" if given.checkpoint is None else f"weights of {given.checkpoint.name}"


def _millions(network: nn.Module) -> str:
    return f"{sum(value.numel() for value in network.parameters()) / 1e6:.1f} million parameters"


def hold_threads(threads: int) -> None:
    """Let PyTorch and OpenCV use so many threads and no more."""
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)


def why_missing(error: Exception) -> str:
    """Why a peer cannot be run, in one sentence."""
    if isinstance(error, ModuleNotFoundError):
        return f"{error.name} is not installed"
    if isinstance(error, ScalpScopeError):
        return str(error)
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
