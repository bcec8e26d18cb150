"""What an engine is: one network, loaded by one backend at one precision, proved by its goldens, ready to run."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Protocol, runtime_checkable

import numpy as np

from calibration.errors import ScalpScopeError


class Precision(str, Enum):
    """The arithmetic a network's file was written for."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8_U8S8 = "int8_u8s8"  # unsigned activations: what x86 ONNX Runtime runs fastest
    INT8_SYMMETRIC = "int8_symmetric"  # zero points all 0: what TensorRT accepts


class EngineNotBuilt(ScalpScopeError):
    """The back end could run this network, and has first to build an engine for this very device."""


class EngineLost(ScalpScopeError):
    """The accelerator failed in a way that nothing in this process can use it any more: the process has to end."""


class Engine(Protocol):
    """One loaded network.

    An engine may have `remarks`, a tuple of sentences on how it runs, such as why without a CUDA graph: they are told
    with the reasons for its choice.
    """

    @property
    def backend(self) -> str:
        """Where it runs, for the screen and the reports, such as ``onnxruntime-cpu``."""

    @property
    def precision(self) -> Precision:
        """The precision of the file it was made from."""

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run once. Arrays keyed by the manifest's input and output names, in its shapes and dtypes."""

    def close(self) -> None:
        """Free what the backend holds. Safe to call twice."""


@runtime_checkable
class TimedEngine(Engine, Protocol):
    """An engine that can tell the copies to and from an accelerator from the computing between them."""

    def run_timed(self, inputs: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, float]]:
        """The same as `run`, and the milliseconds of ``host_to_device``, ``compute`` and ``device_to_host``.

        On memory that processor and accelerator share, the copies are the processor's part alone.
        """
