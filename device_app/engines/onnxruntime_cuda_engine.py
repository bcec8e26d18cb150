"""The ONNX Runtime back end on an NVIDIA GPU: for networks, or machines, that TensorRT cannot serve.

Needs the package onnxruntime-gpu in the place of onnxruntime. Every node runs on the GPU, or the network is refused:
ONNX Runtime would otherwise give single nodes, or all of them, to the processor and say nothing.
"""

from __future__ import annotations

from pathlib import Path

from calibration.errors import ScalpScopeError
from device_app.engines.backend import Unavailable
from device_app.engines.cuda_device import has_nvidia_gpu
from device_app.engines.engine import Engine, Precision
from device_app.engines.onnxruntime_engine import OnnxRuntimeEngine, ort
from device_app.manifest_parts import ModelEntry

_PROVIDER = "CUDAExecutionProvider"


class OnnxRuntimeCudaEngine(OnnxRuntimeEngine):
    """One network in an ONNX Runtime session on the GPU. See `OnnxRuntimeEngine`.

    Raises:
        ScalpScopeError: also when part of the network, or all of it, would run on the processor.
    """

    backend = "onnxruntime-cuda"
    providers = (_PROVIDER,)
    _if_it_does_not_load = "See that CUDA and cuDNN are those of this onnxruntime-gpu, or use another back end."

    def __init__(self, path: Path, model: ModelEntry, precision: Precision, threads: int = 2) -> None:
        super().__init__(path, model, precision, threads)
        assert self._session is not None
        # Where the provider's libraries do not load, the session is made for the processor, with a line in the log.
        if (found := self._session.get_providers()[:1]) != [_PROVIDER]:
            self.close()
            raise ScalpScopeError(
                f"ONNX Runtime {ort.__version__} gave {found} and not {_PROVIDER}: CUDA or cuDNN cannot be loaded.",
                "Install the CUDA and cuDNN that this onnxruntime-gpu was built for.",
            )
        self._session.disable_fallback()

    def _configure(self, options: ort.SessionOptions) -> None:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        options.log_severity_level = 4  # what it refuses is told by the error


class OnnxRuntimeCudaBackend:
    """See `device_app.engines.backend.Backend`.

    Args:
        root: where the system's own files are looked for.
    """

    name = "onnxruntime-cuda"

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def why_not(self) -> Unavailable | None:
        if _PROVIDER in ort.get_available_providers():
            return None
        if not has_nvidia_gpu(self._root):
            return Unavailable("no NVIDIA GPU", missed=False)
        return Unavailable(
            f"this ONNX Runtime {ort.__version__} was built without CUDA",
            remedy="Install onnxruntime-gpu in the place of onnxruntime.",
        )

    def preferences(self) -> tuple[tuple[Precision, str], ...]:
        """FP16 first. For int8 it has no kernels: it is computed in FP32 between the steps, still on the GPU."""
        return (
            (Precision.FP16, "FP16 runs on the GPU's matrix units"),
            (Precision.FP32, "exact, and slower than FP16"),
            (Precision.INT8_SYMMETRIC, "computed in FP32 on the GPU, for want of int8 kernels"),
            (Precision.INT8_U8S8, "computed in FP32 on the GPU, for want of int8 kernels"),
        )

    def open(self, path: Path, model: ModelEntry, precision: Precision, threads: int) -> Engine:
        return OnnxRuntimeCudaEngine(path, model, precision, threads)
