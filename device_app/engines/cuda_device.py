"""Which NVIDIA GPU this machine has, if any, and what keeps it from being used."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from calibration.errors import ScalpScopeError
from device_app.engines.cuda import check, load_runtime, version_words

_NVIDIA = "0x10de"
_DISPLAY = "0x03"


@dataclass(frozen=True)
class CudaDevice:
    """One GPU.

    Attributes:
        name: such as ``Orin``.
        compute_capability: such as ``8.7``.
        driver: the newest CUDA that the driver knows, such as ``12.6``.
        driver_build: the driver itself, such as ``550.54.15``, or the Jetson's L4T, such as ``R36.4.3``; empty when
            neither is told.
        integrated: it shares the processor's memory.
        memory_mib: its memory; the whole board's where it is shared.
    """

    name: str
    compute_capability: str
    driver: str
    driver_build: str
    integrated: bool
    memory_mib: int

    @property
    def whole_driver(self) -> str:
        """Both in one, such as ``12.6 (R36.4.3)``."""
        return f"{self.driver} ({self.driver_build})" if self.driver_build else self.driver


def describe_device(ordinal: int = 0, root: Path = Path("/")) -> CudaDevice:
    """What CUDA says of a GPU.

    Args:
        ordinal: which, from 0.
        root: where the system's own files are looked for.

    Raises:
        ScalpScopeError: no bindings, no driver or one too old, no such GPU; says which.
    """
    runtime = load_runtime()
    # The first call that needs a driver says what is wrong with it.
    count = check(runtime, "cudaGetDeviceCount", runtime.cudaGetDeviceCount())
    if ordinal >= count:
        raise ScalpScopeError(f"CUDA finds no GPU {ordinal}.", "See what nvidia-smi says, and CUDA_VISIBLE_DEVICES.")
    driver = check(runtime, "cudaDriverGetVersion", runtime.cudaDriverGetVersion())
    found = check(runtime, "cudaGetDeviceProperties", runtime.cudaGetDeviceProperties(ordinal))
    name = found.name if isinstance(found.name, str) else bytes(found.name).split(b"\0")[0].decode(errors="replace")
    return CudaDevice(
        name=name,
        compute_capability=f"{found.major}.{found.minor}",
        driver=version_words(driver),
        driver_build=driver_build(root),
        integrated=bool(found.integrated),
        memory_mib=int(found.totalGlobalMem) >> 20,
    )


def driver_build(root: Path = Path("/")) -> str:
    """The driver's own version, or L4T's on a Jetson; empty when neither is told."""
    # On a Jetson the driver is part of the board's software, and /proc may name one that never changes.
    if found := re.search(r"R(\d+) .*REVISION: ([\d.]+)", _text(root / "etc/nv_tegra_release")):
        return f"R{found[1]}.{found[2]}"
    found = re.search(r"Kernel Module\b.*?\s(\d+\.\d[\d.]*)\s", _text(root / "proc/driver/nvidia/version"))
    return found[1] if found else ""


def has_nvidia_gpu(root: Path = Path("/")) -> bool:
    """Whether the system shows an NVIDIA GPU, with or without a driver; without asking CUDA."""
    traces = ("dev/nvidia[0-9]*", "dev/nvhost-gpu", "dev/nvgpu", "proc/driver/nvidia/gpus/*")
    return any(_any(root.glob(trace)) for trace in traces) or any(
        _text(device / "vendor").strip() == _NVIDIA and _text(device / "class").startswith(_DISPLAY)
        for device in root.glob("sys/bus/pci/devices/*")
    )


def _any(found: Iterable[Path]) -> bool:
    return next(iter(found), None) is not None


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
