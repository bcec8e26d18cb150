"""What the machine is, by name: what does not change while something is timed on it."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import platform
import re
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

from device_app.bench.latency.jetson import find_jetson, installed_jetpack, power_mode
from device_app.bench.latency.readings import read_text
from device_app.bench.latency.sysfs import governor, is_virtual, mains
from device_app.engines.cuda_device import describe_device, has_nvidia_gpu

_log = logging.getLogger(__name__)

_ARM_CORES = {0xD42: "Cortex-A78AE", 0xD40: "Neoverse-V1", 0xD4F: "Neoverse-V2", 0xD83: "Neoverse-V3AE"}
"""Names of Arm's part numbers that Jetsons and their neighbours have."""

_PACKAGES = {
    "numpy": ("numpy",),
    "opencv": ("opencv-python", "opencv-python-headless"),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "tensorrt": ("tensorrt", "tensorrt-cu12", "tensorrt-cu13"),
    "cuda_bindings": ("cuda-bindings",),
}


def identify(cores: Collection[int], card: Mapping[str, str], root: Path = Path("/")) -> dict[str, str]:
    """The machine, by name. What there is none of is left out.

    Args:
        cores: the processor cores that are used.
        card: what NVML says of the GPU; empty without.
        root: where ``sys``, ``proc`` and ``etc`` are, for tests.
    """
    identity = {
        "processor": processor(root),
        "cores": f"{len(cores)} of {os.cpu_count() or len(cores)}",
        "memory": _memory(root),
        "governor": governor(cores, root) or "",
        "virtual_machine": "yes" if is_virtual(root) else "",
        **mains(root),
        "os": _system(root),
        "kernel": platform.release(),
        "python": platform.python_version(),
        **{name: _version(names) for name, names in _PACKAGES.items()},
        **card,
    }
    if (jetson := find_jetson(root)) is not None:
        identity |= {
            "board": jetson.board,
            "l4t": jetson.l4t,
            "jetpack": installed_jetpack() or jetson.jetpack or "",
            "power_mode": power_mode() or "",
        }
    if not card:
        identity |= _cuda_device()
    loaded = getattr(sys.modules.get("tensorrt"), "__version__", None)
    if loaded:  # what runs, where it stands beside a package of another version
        identity["tensorrt"] = str(loaded)
    return {name: value for name, value in identity.items() if value}


def processor(root: Path = Path("/")) -> str:
    """The processor's own name, or what Arm calls its cores, or at least its architecture."""
    text = read_text(root / "proc/cpuinfo") or ""
    if (named := re.search(r"^model name\s*:\s*(\S.*)$", text, re.MULTILINE)) is not None:
        return " ".join(named[1].split())
    parts = {int(part, 16) for part in re.findall(r"^CPU part\s*:\s*(0x[0-9a-fA-F]+)$", text, re.MULTILINE)}
    names = [_ARM_CORES.get(part, f"Arm part {part:#x}") for part in sorted(parts)]
    return ", ".join(names) or platform.machine()


def _memory(root: Path) -> str:
    found = re.search(r"^MemTotal:\s*(\d+) kB", read_text(root / "proc/meminfo") or "", re.MULTILINE)
    return "" if found is None else f"{int(found[1]) / 2**20:.1f} GiB"


def _system(root: Path) -> str:
    found = re.search(r'^PRETTY_NAME="?([^"\n]*)"?$', read_text(root / "etc/os-release") or "", re.MULTILINE)
    return platform.system() if found is None else found[1]


def _version(distributions: tuple[str, ...]) -> str:
    for name in distributions:
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""


def _cuda_device() -> dict[str, str]:
    """The GPU as CUDA has it, where NVML does not know it: a Jetson's."""
    if not has_nvidia_gpu():
        return {}
    try:
        device = describe_device()
    except Exception as error:  # whatever is wrong with it is the back end's to say
        _log.debug("the GPU cannot be described: %s", error)
        return {}
    return {
        "gpu": device.name,
        "compute_capability": device.compute_capability,
        "driver": device.driver_build,
        "cuda": device.driver,
        "gpu_memory": f"{device.memory_mib:.0f} MiB" + (" (the board's own memory)" if device.integrated else ""),
    }
