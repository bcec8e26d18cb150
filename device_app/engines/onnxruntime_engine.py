"""The ONNX Runtime back end: the default on any processor, and the only one that needs no driver."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from pathlib import Path

import numpy as np

# Wheels from 1.29 on send telemetry unless this stands before the import.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime as ort

from calibration.errors import ScalpScopeError
from device_app.engines.engine import Engine, Precision
from device_app.manifest_parts import ModelEntry, TensorSpec

_DTYPES = {"tensor(float)": "float32"}


class OnnxRuntimeEngine:
    """One network in an ONNX Runtime session on the processor. Not for use by two threads at once.

    Args:
        path: the ONNX file.
        model: its entry in the manifest.
        precision: what the file was written for.
        threads: threads within one operator, >= 1.
        spinning: let idle threads wait in a busy loop. A few per cent faster alone; off by default, because the loop
            takes the cores that the picture and the measuring need.

    Raises:
        ScalpScopeError: the file is no network this ONNX Runtime can load, or its tensors are not the manifest's.
    """

    backend = "onnxruntime-cpu"
    providers: tuple[str, ...] = ("CPUExecutionProvider",)
    _if_it_does_not_load = "Export the bundle again, or update onnxruntime."

    def __init__(
        self, path: Path, model: ModelEntry, precision: Precision, threads: int = 2, spinning: bool = False
    ) -> None:
        self.precision = precision
        self._name = f"{precision.value} network for '{model.task.value}'"
        self._outputs = model.outputs
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
        self._configure(options)
        try:
            self._session: ort.InferenceSession | None = ort.InferenceSession(
                str(path), options, providers=list(self.providers)
            )
        except Exception as error:  # ONNX Runtime's exceptions share no public base class
            raise ScalpScopeError(
                f"ONNX Runtime {ort.__version__} cannot load {path}: {str(error).splitlines()[0]}",
                self._if_it_does_not_load,
            ) from error
        for kind, found, wanted in (
            ("input", self._session.get_inputs(), model.inputs),
            ("output", self._session.get_outputs(), model.outputs),
        ):
            has = {tensor.name: (tuple(tensor.shape), _DTYPES.get(tensor.type, tensor.type)) for tensor in found}
            if has.keys() != {spec.name for spec in wanted} or not all(
                _is_tensor(spec, *has[spec.name], free=kind == "output") for spec in wanted
            ):
                told = ", ".join(f"{spec.name} {spec.shape} {spec.dtype}" for spec in wanted)
                raise ScalpScopeError(
                    f"{path} has the {kind}s {has}, and the manifest says {told}.", "Export the bundle again."
                )

    def _configure(self, options: ort.SessionOptions) -> None:
        """For an engine that needs more options."""

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """See `Engine.run`.

        Raises:
            ScalpScopeError: an input does not fit, ONNX Runtime failed, or an output is not finite.
        """
        if self._session is None:
            raise ScalpScopeError("The engine was closed.", "Open it again.")
        try:
            answers = self._session.run([spec.name for spec in self._outputs], dict(inputs))
        except Exception as error:  # as above
            raise ScalpScopeError(
                f"ONNX Runtime failed on the {self._name}: {str(error).splitlines()[0]}",
                "Check the picture's size against the bundle, or use another precision.",
            ) from error
        for spec, answer in zip(self._outputs, answers, strict=True):
            if not spec.fits(answer.shape):
                raise ScalpScopeError(
                    f"The {self._name} answered with {spec.name} {answer.shape}, and the manifest says {spec.shape}.",
                    "Export the bundle again.",
                )
            if not np.isfinite(answer).all():
                raise ScalpScopeError(
                    f"The {self._name} answered with values that are not numbers.",
                    "Use another precision, or export the bundle again.",
                )
        return {spec.name: answer for spec, answer in zip(self._outputs, answers, strict=True)}

    def close(self) -> None:
        self._session = None


class OnnxRuntimeBackend:
    """See `device_app.engines.backend.Backend`."""

    name = "onnxruntime-cpu"

    def why_not(self) -> None:
        return None

    def preferences(self) -> tuple[tuple[Precision, str], ...]:
        """int8 with unsigned activations first, on every processor.

        On x86 only those have fast kernels: symmetric int8 runs at about the speed of FP32. On aarch64 the dot-product
        instructions take either sign at one speed, and asymmetric ranges lose less. FP16 comes last, for networks that
        have nothing else: ONNX Runtime casts it to FP32 and back where the processor has no kernels for it.
        """
        return (
            (Precision.INT8_U8S8, f"the fastest precision of ONNX Runtime on {platform.machine()}"),
            (Precision.FP32, "exact on every processor, but slower than int8"),
            (Precision.FP16, "as small as it comes; the processor computes it in FP32"),
        )

    def open(self, path: Path, model: ModelEntry, precision: Precision, threads: int) -> Engine:
        return OnnxRuntimeEngine(path, model, precision, threads)


def _is_tensor(spec: TensorSpec, shape: tuple[int | str | None, ...], dtype: str, free: bool) -> bool:
    """Whether a file's tensor is the manifest's. An output's side may be left open (`free`): each answer is checked."""
    if dtype != spec.dtype or len(shape) != len(spec.shape):
        return False
    return all(
        found == side or (free and not isinstance(found, int)) for found, side in zip(shape, spec.shape, strict=True)
    )
