"""An NVIDIA card's clocks, temperature, power and throttling, by NVIDIA's own management library (NVML).

A Jetson has it only in part, or not at all: there `tegrastats` and the kernel's files say more.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from types import ModuleType
from typing import Any

from device_app.bench.latency.readings import Readings
from device_app.engines.cuda_device import has_nvidia_gpu

_log = logging.getLogger(__name__)

_HELD_DOWN = {
    "SwPowerCap": "GPU at its power limit",
    "HwSlowdown": "GPU slowed down by its hardware",
    "SwThermalSlowdown": "GPU too hot",
    "HwThermalSlowdown": "GPU much too hot",
    "HwPowerBrakeSlowdown": "GPU slowed down by its power supply",
}
"""What counts as throttling. An idle GPU, and clocks that somebody has set, do not."""

_BUSY_AT_REST = 0.05


class NvmlSensors:
    """The card that CUDA takes first.

    Attributes:
        absent: what it cannot tell, with the reason.
        identity: ``gpu``, ``compute_capability``, ``driver``, ``cuda`` (the newest that the driver knows) and
            ``gpu_memory``.
    """

    def __init__(self) -> None:
        self.absent: dict[str, str] = {}
        self.identity: dict[str, str] = {}
        self._nvml: ModuleType | None = None
        self._card: Any = None
        try:
            import pynvml
        except ImportError:
            self._nothing("nvidia-ml-py is not installed: pip install 'scalpscope[bench]'" if has_nvidia_gpu() else "")
            return
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            self._nothing(f"NVML: {error}" if has_nvidia_gpu() else "")
            return
        self._nvml = pynvml
        try:
            self._card = _chosen_card(pynvml)
        except (pynvml.NVMLError, ValueError) as error:
            self._nothing(f"NVML: {error}")
            self.close()
            return
        self._identify(pynvml)
        for name, ask in self._questions(pynvml).items():
            if self._ask(ask) is None:
                self.absent[name] = "NVML does not tell it for this GPU"

    def read(self) -> Readings:
        """What the card says now."""
        if self._nvml is None:
            return Readings()
        told = {name: self._ask(ask) for name, ask in self._questions(self._nvml).items()}
        celsius, milliwatt, reasons = told["temperatures_c"], told["power_w"], told["throttled"] or 0
        return Readings(
            gpu_mhz=told["gpu_mhz"],
            memory_mhz=told["memory_mhz"],
            temperatures_c={} if celsius is None else {"gpu": float(celsius)},
            power_w={} if milliwatt is None else {"gpu": milliwatt / 1000},
            throttled=tuple(
                words
                for name, words in _HELD_DOWN.items()
                if int(reasons) & getattr(self._nvml, f"nvmlClocksThrottleReason{name}")
            ),
        )

    def busy(self) -> bool:
        """Whether somebody uses the card; asked while this process does not."""
        if self._nvml is None:
            return False
        nvml, card = self._nvml, self._card
        share = self._ask(lambda: float(nvml.nvmlDeviceGetUtilizationRates(card).gpu) / 100)
        return share is not None and share > _BUSY_AT_REST

    def close(self) -> None:
        """Give NVML back."""
        nvml, self._nvml = self._nvml, None
        if nvml is not None:
            try:
                nvml.nvmlShutdown()
            except nvml.NVMLError as error:
                _log.debug("NVML was not given back: %s", error)

    def _questions(self, nvml: ModuleType) -> dict[str, Callable[[], float]]:
        card = self._card

        def temperature() -> float:
            try:
                return float(nvml.nvmlDeviceGetTemperatureV(card, nvml.NVML_TEMPERATURE_GPU))
            except (nvml.NVMLError, AttributeError):  # an older driver, or an older package
                return float(nvml.nvmlDeviceGetTemperature(card, nvml.NVML_TEMPERATURE_GPU))

        def held_down() -> float:
            try:
                return int(nvml.nvmlDeviceGetCurrentClocksEventReasons(card))
            except (nvml.NVMLError, AttributeError):
                return int(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(card))

        return {
            "gpu_mhz": lambda: float(nvml.nvmlDeviceGetClockInfo(card, nvml.NVML_CLOCK_SM)),
            "memory_mhz": lambda: float(nvml.nvmlDeviceGetClockInfo(card, nvml.NVML_CLOCK_MEM)),
            "temperatures_c": temperature,
            "power_w": lambda: float(nvml.nvmlDeviceGetPowerUsage(card)),
            "throttled": held_down,
        }

    def _ask(self, question: Callable[[], float]) -> float | None:
        try:
            return question()
        except Exception as error:  # NVMLError, or a function that this driver's library lacks
            _log.debug("NVML does not answer: %s", error)
            return None

    def _identify(self, nvml: ModuleType) -> None:
        def text(value: object) -> str:
            return value.decode() if isinstance(value, bytes) else str(value)

        def cuda() -> str:
            version = int(nvml.nvmlSystemGetCudaDriverVersion())
            return f"{version // 1000}.{version % 1000 // 10}"

        asked: dict[str, Callable[[], str]] = {
            "gpu": lambda: text(nvml.nvmlDeviceGetName(self._card)),
            "compute_capability": lambda: "{}.{}".format(*nvml.nvmlDeviceGetCudaComputeCapability(self._card)),
            "driver": lambda: text(nvml.nvmlSystemGetDriverVersion()),
            "cuda": cuda,
            "gpu_memory": lambda: f"{nvml.nvmlDeviceGetMemoryInfo(self._card).total / 2**20:.0f} MiB",
        }
        for name, ask in asked.items():
            try:
                self.identity[name] = ask()
            except Exception as error:
                _log.debug("NVML does not tell %s: %s", name, error)

    def _nothing(self, reason: str) -> None:
        why = reason or "no NVIDIA GPU"
        self.absent = {"gpu_mhz": why} | ({"power_w": why, "temperatures_c": why} if reason else {})


def _chosen_card(nvml: ModuleType) -> object:
    """The first card that CUDA may see. NVML counts them by their place on the bus."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    if first.startswith("GPU-"):
        return nvml.nvmlDeviceGetHandleByUUID(first)
    return nvml.nvmlDeviceGetHandleByIndex(int(first) if first.isdigit() else 0)
