"""The TensorRT back end: the fastest on an NVIDIA GPU, with engines that are built on the very device."""

from __future__ import annotations

import sys
from functools import cached_property
from pathlib import Path

from calibration.errors import ScalpScopeError
from device_app.engines.backend import Unavailable
from device_app.engines.cuda_device import CudaDevice, describe_device, has_nvidia_gpu
from device_app.engines.engine import Engine, Precision
from device_app.engines.engine_cache import EngineCache, EngineKey, options_for
from device_app.engines.tensorrt_execution import TensorRtEngine
from device_app.engines.tensorrt_library import load_tensorrt
from device_app.manifest_parts import ModelEntry

__all__ = ["DLA_CORES", "TensorRtBackend", "TensorRtEngine"]

DLA_CORES = (0, 1)
"""The deep-learning accelerators that a Jetson may have; used only when asked for by name."""


class TensorRtBackend:
    """See `device_app.engines.backend.Backend` and `BuildsEngines`.

    Args:
        dla_core: run on this deep-learning accelerator instead of the GPU; None for the GPU.
        cache: None for the user's own, see `EngineCache`.
        root: where the system's own files are looked for.
    """

    def __init__(self, dla_core: int | None = None, cache: EngineCache | None = None, root: Path = Path("/")) -> None:
        self.name = "tensorrt" if dla_core is None else f"tensorrt-dla{dla_core}"
        self._dla_core = dla_core
        self._given_cache = cache
        self._root = root

    def why_not(self) -> Unavailable | None:
        """Nothing of NVIDIA's is imported where there is no GPU; asked again, it knows."""
        return self._unavailable

    @cached_property
    def _unavailable(self) -> Unavailable | None:
        if not has_nvidia_gpu(self._root):
            return Unavailable("no NVIDIA GPU", missed=False)
        try:
            load_tensorrt()
            _ = self.device
        except ScalpScopeError as error:
            return Unavailable(error.what.rstrip("."), remedy=error.remedy)
        return None

    @cached_property
    def device(self) -> CudaDevice:
        """The GPU it runs on. Raises as `describe_device` does."""
        return describe_device(root=self._root)

    @property
    def cache(self) -> EngineCache:
        """Where its engines are kept. Raises as `EngineCache` does."""
        return EngineCache() if self._given_cache is None else self._given_cache

    def preferences(self) -> tuple[tuple[Precision, str], ...]:
        """Symmetric int8 first: the only int8 TensorRT takes. The deep-learning accelerator knows no FP32."""
        choices = (
            (Precision.INT8_SYMMETRIC, "int8 runs on the GPU's matrix units at their highest rate"),
            (Precision.FP16, "FP16 runs on the GPU's matrix units"),
            (Precision.FP32, "exact, and slower than FP16"),
        )
        return choices if self._dla_core is None else choices[:2]

    def key_for(self, model: ModelEntry, precision: Precision) -> EngineKey:
        """What an engine of this network has to hold for, on this device as it is now.

        Raises:
            ScalpScopeError: no TensorRT, no GPU, or no such file in the bundle.
        """
        if precision not in model.files:
            raise ScalpScopeError(
                f"The bundle has no {precision.value} file for '{model.task.value}'.", "Use another precision."
            )
        device = self.device
        return EngineKey(
            task=model.task.value,
            model_sha256=model.files[precision].sha256,
            precision=precision,
            tensorrt=str(load_tensorrt().__version__),
            gpu=device.name,
            compute_capability=device.compute_capability,
            driver=device.whole_driver,
            options=options_for(model, self._dla_core),
        )

    def open(self, path: Path, model: ModelEntry, precision: Precision, threads: int) -> Engine:
        """The engine that was built of this network on this device. `path` and `threads` are of no use to it.

        Raises:
            EngineNotBuilt: there is none that may be used; the message says why.
            EngineLost, ScalpScopeError: see `TensorRtEngine`.
        """
        if precision is Precision.INT8_U8S8:
            raise ScalpScopeError(
                "TensorRT takes no int8 with unsigned activations, whose zero points are not 0.",
                "Use int8_symmetric, which is made from the same calibration.",
            )
        return self.open_plan(self.cache.read(self.key_for(model, precision)), model, precision)

    def open_plan(self, plan: bytes, model: ModelEntry, precision: Precision) -> TensorRtEngine:
        """The engine of a plan that this process built or read from the cache. Raises as `TensorRtEngine` does."""
        return TensorRtEngine(plan, model, precision, self.name, self._dla_core)

    def build_command(self, bundle: Path) -> tuple[str, ...]:
        """See `BuildsEngines`."""
        command = [sys.executable, "-m", "export", "engines", str(bundle), "--progress", "json"]
        if self._given_cache is not None:
            command += ["--cache", str(self._given_cache.folder)]
        if self._dla_core is not None:
            command += ["--dla", str(self._dla_core)]
        return tuple(command)
