"""NVML through NVIDIA's own bindings, over a library that stands in for the driver's."""

from __future__ import annotations

import json
import subprocess
import sys
from ctypes.util import find_library
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import ROOT, environment
from tests.support.stand_in_nvml import compile_nvml

_PROGRAM = """
import dataclasses, json
from device_app.bench.latency import nvml
nvml.has_nvidia_gpu = lambda: True  # the device files are no part of the stand-in
sensors = nvml.NvmlSensors()
told = {
    "readings": dataclasses.asdict(sensors.read()), "busy": sensors.busy(), "absent": sensors.absent,
    "identity": sensors.identity,
}
sensors.close()
sensors.close()
told["closed"] = dataclasses.asdict(sensors.read())
print(json.dumps(told))
"""


def told(folder: Path, **changes: str | None) -> dict[str, Any]:
    env = environment(LD_LIBRARY_PATH=str(folder), **changes)
    run = subprocess.run([sys.executable, "-c", _PROGRAM], env=env, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    answer: dict[str, Any] = json.loads(run.stdout)
    return answer


def test_a_card_is_named_and_read(tmp_path: Path) -> None:
    answer = told(compile_nvml(tmp_path, USE=40, REASONS=0x4 | 0x40 | 0x1))
    readings = answer["readings"]
    assert (readings["gpu_mhz"], readings["memory_mhz"]) == (1410.0, 5001.0)
    assert (readings["temperatures_c"], readings["power_w"]) == ({"gpu": 61.0}, {"gpu": 71.5})
    assert readings["throttled"] == ["GPU at its power limit", "GPU much too hot"]  # an idle GPU is not throttled
    assert answer["identity"] == {
        "gpu": "Test GPU",
        "compute_capability": "8.7",
        "driver": "575.51.03",
        "cuda": "12.9",
        "gpu_memory": "8192 MiB",
    }
    assert answer["busy"] and answer["absent"] == {}
    assert answer["closed"]["gpu_mhz"] is None


def test_what_a_card_does_not_tell_is_named(tmp_path: Path) -> None:
    answer = told(compile_nvml(tmp_path, CLOCKS=3))
    assert set(answer["absent"]) == {"gpu_mhz", "memory_mhz"}
    assert answer["readings"]["gpu_mhz"] is None and answer["readings"]["power_w"] == {"gpu": 71.5}
    assert answer["readings"]["throttled"] == [] and not answer["busy"]


@pytest.mark.parametrize(
    ("values", "changes", "reason"),
    [
        ({"INIT": 9}, {}, "Driver Not Loaded"),
        ({"CARD": 1}, {}, "NVML"),
        (None, {}, "NVML"),
    ],
    ids=["no driver", "no such card", "no library"],
)
def test_a_card_that_cannot_be_asked_is_absent_with_the_reason(
    tmp_path: Path, values: dict[str, int] | None, changes: dict[str, str | None], reason: str
) -> None:
    if values is not None:
        compile_nvml(tmp_path, **values)
    elif find_library("nvidia-ml"):
        pytest.skip("this machine has NVML")
    answer = told(tmp_path, **changes)
    assert reason in answer["absent"]["gpu_mhz"] and reason in answer["absent"]["power_w"]
    assert answer["readings"]["gpu_mhz"] is None and answer["identity"] == {} and not answer["busy"]


def test_the_card_is_the_one_that_cuda_takes(tmp_path: Path) -> None:
    assert told(compile_nvml(tmp_path, CARD=1), CUDA_VISIBLE_DEVICES="1,0")["identity"]["gpu"] == "Test GPU"
