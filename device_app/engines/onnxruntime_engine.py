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
from device_app.bundle import ModelEntry
from device_app.engines.engine import Engine, Precision

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

    def __init__(
        self, path: Path, model: ModelEntry, precision: Precision, threads: int = 2, spinning: bool = False
    ) -> None:
        self.precision = precision
        self._model = model
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
        try:
            self._session: ort.InferenceSession | None = ort.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's exceptions share no public base class
            raise ScalpScopeError(
                f"ONNX Runtime {ort.__version__} cannot load {path}: {str(error).splitlines()[0]}",
                "Export the bundle again, or update onnxruntime.",
            ) from error
        for kind, found, name, shape in (
            ("input", self._session.get_inputs(), model.input_name, model.input_shape),
            ("output", self._session.get_outputs(), model.output_name, model.output_shape),
        ):
            tensors = [(tensor.name, tuple(tensor.shape), _DTYPES.get(tensor.type, tensor.type)) for tensor in found]
            if tensors != [(name, tuple(shape), model.dtype)]:
                raise ScalpScopeError(
                    f"{path} has the {kind} {tensors}, and the manifest says {(name, tuple(shape), model.dtype)}.",
                    "Export the bundle again.",
                )

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """See `Engine.run`.

        Raises:
            ScalpScopeError: the input does not fit, ONNX Runtime failed, or the output is not finite.
        """
        if self._session is None:
            raise ScalpScopeError("The engine was closed.", "Open it again.")
        name = self._model.output_name
        try:
            (output,) = self._session.run([name], dict(inputs))
        except Exception as error:  # as above
            raise ScalpScopeError(
                f"ONNX Runtime failed on the {self.precision.value} network: {str(error).splitlines()[0]}",
                "Check the picture's size against the bundle, or use another precision.",
            ) from error
        if not np.isfinite(output).all():
            raise ScalpScopeError(
                f"The {self.precision.value} network answered with values that are not numbers.",
                "Use another precision, or export the bundle again.",
            )
        return {name: output}

    def close(self) -> None:
        self._session = None


class OnnxRuntimeBackend:
    """See `device_app.engines.select.Backend`."""

    name = "onnxruntime-cpu"

    def why_not(self) -> str | None:
        return None

    def preferences(self) -> tuple[tuple[Precision, str], ...]:
        """int8 with unsigned activations first, on every processor.

        On x86 only those have fast kernels: symmetric int8 runs at about the speed of FP32. On aarch64 the dot-product
        instructions take either sign at one speed, and asymmetric ranges lose less. FP16 is not in the list: the
        processor would cast it to FP32 and back.
        """
        return (
            (Precision.INT8_U8S8, f"the fastest precision of ONNX Runtime on {platform.machine()}"),
            (Precision.FP32, "exact on every processor, but slower than int8"),
        )

    def open(self, path: Path, model: ModelEntry, precision: Precision, threads: int) -> Engine:
        return OnnxRuntimeEngine(path, model, precision, threads)
