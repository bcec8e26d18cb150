"""The back ends: their order, what each says where it cannot run, and how a new one comes in."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from calibration.errors import ScalpScopeError
from device_app.bundle import Task, load_bundle
from device_app.engines.cuda_device import driver_build, has_nvidia_gpu
from device_app.engines.engine import Precision
from device_app.engines.onnxruntime_cuda_engine import OnnxRuntimeCudaBackend, OnnxRuntimeCudaEngine
from device_app.engines.select import known_backends, open_engine
from device_app.engines.tensorrt_engine import TensorRtBackend
from tests.support.file_trees import write_tree
from tests.support.tiny_bundle import make_tiny_bundle

ROOT = Path(__file__).resolve().parents[3]
ENGINES = ROOT / "device_app" / "engines"
JETSON = {"etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n"}
OPEN_DRIVER = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build  (u@h)  Thu Jan\n"
CLOSED_DRIVER = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\nGCC 12.2.0\n"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("tiny") / "b", 64, 48)


@pytest.mark.parametrize(
    ("tree", "has"),
    [
        ({}, False),
        (
            {"dev/null": "", "sys/bus/pci/devices/0/vendor": "0x8086\n", "sys/bus/pci/devices/0/class": "0x030000\n"},
            False,
        ),
        ({"sys/bus/pci/devices/0/vendor": "0x10de\n", "sys/bus/pci/devices/0/class": "0x0c0330\n"}, False),  # its USB
        ({"sys/bus/pci/devices/0/vendor": "0x10de\n", "sys/bus/pci/devices/0/class": "0x030200\n"}, True),  # no driver
        ({"dev/nvidia0": ""}, True),
        ({"dev/nvidiactl": ""}, False),  # what a container may have without a GPU
        ({"dev/nvhost-gpu": ""}, True),
        ({"dev/nvgpu/igpu0/as": ""}, True),
        ({"proc/driver/nvidia/gpus/0000:01:00.0/information": ""}, True),
    ],
)
def test_a_gpu_is_seen_without_asking_cuda(tmp_path: Path, tree: dict[str, str], has: bool) -> None:
    write_tree(tmp_path, tree)
    assert has_nvidia_gpu(tmp_path) is has


@pytest.mark.parametrize(
    ("tree", "build"),
    [
        ({}, ""),
        (JETSON, "R36.4.3"),
        ({"proc/driver/nvidia/version": CLOSED_DRIVER}, "550.54.15"),
        ({"proc/driver/nvidia/version": OPEN_DRIVER}, "570.86.15"),
        ({**JETSON, "proc/driver/nvidia/version": OPEN_DRIVER}, "R36.4.3"),
        ({"proc/driver/nvidia/version": "something else\n"}, ""),
    ],
)
def test_the_driver_is_read_from_the_system(tmp_path: Path, tree: dict[str, str], build: str) -> None:
    write_tree(tmp_path, tree)
    assert driver_build(tmp_path) == build


def test_where_there_is_no_gpu_nothing_is_missed(tmp_path: Path, tiny: Path) -> None:
    for backend in (TensorRtBackend(root=tmp_path), OnnxRuntimeCudaBackend(tmp_path)):
        missing = backend.why_not()
        assert missing is not None and (missing.reason, missing.missed) == ("no NVIDIA GPU", False)


def test_a_gpu_without_what_uses_it_is_missed_with_a_remedy(tmp_path: Path) -> None:
    write_tree(tmp_path, {"dev/nvidia0": ""})
    for backend, remedy in (
        (TensorRtBackend(root=tmp_path), "docs/jetson.md"),
        (OnnxRuntimeCudaBackend(tmp_path), "gpu"),
    ):
        missing = backend.why_not()
        if missing is not None:  # a machine that has all of it misses nothing
            assert missing.missed and remedy in missing.remedy and not missing.reason.endswith(".")


def test_the_order_in_which_they_are_tried() -> None:
    assert [backend.name for backend in known_backends()] == ["tensorrt", "onnxruntime-cuda", "onnxruntime-cpu"]


@pytest.mark.skipif(has_nvidia_gpu(), reason="this machine has an NVIDIA GPU")
def test_a_machine_without_gpu_uses_its_processor_and_says_what_it_has_not(tiny: Path) -> None:
    engine = open_engine(load_bundle(tiny), Task.HAIR)
    assert engine.backend == "onnxruntime-cpu" and engine.build_commands == ()
    assert engine.absent == (
        "tensorrt not used: no NVIDIA GPU",
        "onnxruntime-cuda not used: no NVIDIA GPU",
    )
    assert not any("NVIDIA" in reason for reason in engine.reasons)


@pytest.mark.skipif(has_nvidia_gpu(), reason="this machine has an NVIDIA GPU")
@pytest.mark.parametrize("name", ["tensorrt", "tensorrt-dla0", "tensorrt-dla1", "onnxruntime-cuda"])
def test_asked_for_by_name_nothing_else_takes_its_place(tiny: Path, name: str) -> None:
    with pytest.raises(ScalpScopeError, match=f"{name} not used: no NVIDIA GPU"):
        open_engine(load_bundle(tiny), Task.HAIR, backend=name)


def test_an_unknown_name_is_answered_with_the_known_ones(tiny: Path) -> None:
    with pytest.raises(ScalpScopeError, match="no back end 'cuda'") as caught:
        open_engine(load_bundle(tiny), Task.HAIR, backend="cuda")
    assert "tensorrt, onnxruntime-cuda, onnxruntime-cpu, tensorrt-dla0, tensorrt-dla1" in caught.value.remedy


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_onnxruntime_never_falls_back_to_the_processor_unseen(tiny: Path) -> None:
    bundle = load_bundle(tiny)
    model = bundle.model(Task.HAIR)
    if OnnxRuntimeCudaBackend().why_not() is None:
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(ScalpScopeError, match="CPU EP has been explicitly disabled") as caught:
        OnnxRuntimeCudaEngine(bundle.file(model.files[Precision.FP32]), model, Precision.FP32)
    assert "CUDA" in caught.value.remedy


def test_nothing_of_nvidias_is_imported_without_a_gpu(tiny: Path) -> None:
    if has_nvidia_gpu():
        pytest.skip("this machine has an NVIDIA GPU")
    program = (
        "import sys; from pathlib import Path; from device_app.bundle import Task, load_bundle; "
        "from device_app.engines.select import open_engine; "
        f"open_engine(load_bundle(Path({str(tiny)!r})), Task.HAIR); "
        "print([name for name in ('tensorrt', 'cuda', 'torch', 'onnx') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- a back end of somebody else's ---

PLUGIN = '''
"""ONNX Runtime on one thread, under another name."""

from device_app.engines.engine import Precision
from device_app.engines.onnxruntime_engine import OnnxRuntimeEngine


class OneThread(OnnxRuntimeEngine):
    backend = "one-thread"


class OneThreadBackend:
    name = "one-thread"

    def why_not(self):
        return None

    def preferences(self):
        return ((Precision.FP32, "somebody wanted it so"),)

    def open(self, path, model, precision, threads):
        return OneThread(path, model, precision, 1)
'''


def install(folder: Path, module: str, source: str, entry: str) -> dict[str, str]:
    """Put a package with an entry point where a child process finds it; the child's environment."""
    information = folder / f"{module}-1.dist-info"
    information.mkdir(parents=True)
    (folder / f"{module}.py").write_text(source)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1\n")
    (information / "entry_points.txt").write_text(f"[scalpscope.backends]\n{module} = {module}:{entry}\n")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)])}


def choose(bundle: Path, environment: dict[str, str], backend: str | None = None) -> dict[str, object]:
    program = (
        "import json, logging; from pathlib import Path; from device_app.bundle import Task, load_bundle; "
        "from device_app.engines.select import open_engine; logging.basicConfig(level='WARNING')\n"
        f"engine = open_engine(load_bundle(Path({str(bundle)!r})), Task.HAIR, backend={backend!r})\n"
        "print(json.dumps([engine.backend, engine.reasons, engine.fallback]))"
    )
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    backend_, reasons, fallback = json.loads(done.stdout)
    return {"backend": backend_, "reasons": reasons, "fallback": fallback, "log": done.stderr}


def test_a_new_back_end_is_one_small_file_that_every_process_finds(tiny: Path, tmp_path: Path) -> None:
    assert len(PLUGIN.splitlines()) < 150
    environment = install(tmp_path, "one_thread", PLUGIN, "OneThreadBackend")
    chosen = choose(tiny, environment)
    assert (chosen["backend"], chosen["fallback"]) == ("one-thread", False)
    assert chosen["reasons"] == ["one-thread fp32: somebody wanted it so"]
    assert choose(tiny, environment, "onnxruntime-cpu")["backend"] == "onnxruntime-cpu"


def test_a_back_end_that_cannot_be_loaded_is_named_and_left_out(tiny: Path, tmp_path: Path) -> None:
    environment = install(tmp_path, "broken_one", "raise OSError('no such device')", "Backend")
    chosen = choose(tiny, environment)
    assert chosen["backend"] == "onnxruntime-cpu"
    assert "the back end 'broken_one' cannot be loaded: OSError: no such device" in str(chosen["log"])


@pytest.mark.parametrize("name", ["onnxruntime_engine.py", "onnxruntime_cuda_engine.py", "tensorrt_engine.py"])
def test_our_own_back_ends_are_small_files_too(name: str) -> None:
    tree = ast.parse((ENGINES / name).read_text())
    assert any(isinstance(node, ast.ClassDef) and node.name.endswith("Backend") for node in tree.body)
    assert len((ENGINES / name).read_text().splitlines()) < 150
