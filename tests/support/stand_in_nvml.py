"""A library that stands in for NVML, compiled on the spot, so that NVIDIA's own Python bindings run on any machine."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

_SOURCE = r"""
#include <string.h>
typedef struct { unsigned long long total, available, used; } memory_t;
typedef struct { unsigned int gpu, memory; } utilization_t;
#define NOT_SUPPORTED 3
int nvmlInitWithFlags(unsigned flags) { return INIT; }
int nvmlInit_v2(void) { return INIT; }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) { return code == 9 ? "Driver Not Loaded" : "Not Supported"; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **card) { *card = (void *)8; return index == CARD ? 0 : 2; }
int nvmlDeviceGetName(void *card, char *name, unsigned length) { strncpy(name, "Test GPU", length); return 0; }
int nvmlSystemGetDriverVersion(char *version, unsigned length) { strncpy(version, "575.51.03", length); return 0; }
int nvmlSystemGetCudaDriverVersion(int *version) { *version = 12090; return 0; }
int nvmlDeviceGetCudaComputeCapability(void *card, int *major, int *minor) { *major = 8; *minor = 7; return 0; }
int nvmlDeviceGetMemoryInfo(void *card, memory_t *memory) { memory->total = 8192ull << 20; return 0; }
int nvmlDeviceGetClockInfo(void *card, unsigned type, unsigned *mhz) { *mhz = type == 2 ? 5001 : 1410; return CLOCKS; }
int nvmlDeviceGetTemperature(void *card, unsigned sensor, unsigned *celsius) { *celsius = 61; return 0; }
int nvmlDeviceGetPowerUsage(void *card, unsigned *milliwatt) { *milliwatt = 71500; return 0; }
int nvmlDeviceGetUtilizationRates(void *card, utilization_t *use) { use->gpu = USE; use->memory = 0; return 0; }
int nvmlDeviceGetCurrentClocksThrottleReasons(void *card, unsigned long long *reasons) { *reasons = REASONS; return 0; }
"""
"""A driver of some years ago: newer questions (nvmlDeviceGetTemperatureV, ...EventReasons) are not in it."""


def compile_nvml(folder: Path, **values: int) -> Path:
    """Make ``libnvidia-ml.so.1`` in `folder`, which is then for LD_LIBRARY_PATH.

    Args:
        folder: where to.
        values: what it answers: INIT and CLOCKS (codes, 0 is success), CARD (the index that there is a card for), USE
            (percent), REASONS (bits).
    """
    answers: Mapping[str, int] = {"INIT": 0, "CLOCKS": 0, "CARD": 0, "USE": 0, "REASONS": 0, **values}
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / "libnvidia-ml.so.1"
    flags = [f"-D{name}={value}" for name, value in answers.items()]
    command = ["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(library), *flags]
    subprocess.run(command, input=_SOURCE, text=True, check=True, capture_output=True)
    return folder
