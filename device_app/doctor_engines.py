"""The checks of `scalpscope doctor` that are about running networks: the accelerator, the engines, their cache."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from calibration.errors import ScalpScopeError
from device_app.doctor import Finding, State, nearest_folder
from device_app.settings import DeviceSettings

if TYPE_CHECKING:
    from device_app.bundle import Bundle
    from device_app.engines.engine import Precision

_TENSORRT_RANGE = ((10, 3), (12, 0))
_WITHOUT = "It works without, on the processor."
_LESS = "It works, with less than the best."


def check_accelerator(settings: DeviceSettings) -> Sequence[Finding]:
    """The GPU, its driver, CUDA's bindings and TensorRT. A machine without a GPU lacks nothing."""
    return accelerator_findings()


def accelerator_findings(root: Path = Path("/")) -> Sequence[Finding]:
    """The same, for a machine whose files are under `root`."""
    from device_app.bench.latency.jetson import find_jetson
    from device_app.engines.cuda_device import has_nvidia_gpu

    jetson = find_jetson(root)
    if not has_nvidia_gpu(root) and jetson is None:
        return [Finding("accelerator", State.OK, "no NVIDIA GPU: the networks run on the processor")]
    generation = None if jetson is None else jetson.generation
    if generation is not None:
        remedy = f"make link-tensorrt, or .venv/bin/pip install -e '.[jetpack{generation}]'; see docs/jetson.md."
    else:
        remedy = "pip install 'scalpscope[tensorrt-cu12]' or [tensorrt-cu13], as the driver; see docs/jetson.md."
    return [_device(remedy), _tensorrt(remedy)]


def _device(remedy: str) -> Finding:
    if not _installed("cuda.bindings"):
        return Finding("accelerator", State.WARN, "NVIDIA GPU; CUDA's Python bindings are not installed", remedy)
    from device_app.engines.cuda_device import describe_device

    try:
        device = describe_device()
    except ScalpScopeError as error:
        return Finding("accelerator", State.WARN, error.what, error.remedy)
    memory = "of the board's own memory" if device.integrated else "of its own memory"
    return Finding(
        "accelerator",
        State.OK,
        f"{device.name}, compute capability {device.compute_capability}, {device.memory_mib:.0f} MiB {memory}, "
        f"driver {device.driver_build or 'unknown'} for CUDA {device.driver}",
    )


def _tensorrt(remedy: str) -> Finding:
    if not _installed("tensorrt"):
        found = "TensorRT is not installed, or the virtual environment does not see it"
        return Finding("tensorrt", State.WARN, found, remedy)
    try:
        version = str(importlib.import_module("tensorrt").__version__)
        numbers = tuple(int(part) for part in version.split(".")[:2])
    except Exception as error:  # a library of it that is missing, or of another version
        found = f"TensorRT cannot be loaded: {' '.join(str(error).split())}"
        return Finding("tensorrt", State.WARN, found, "Install TensorRT again, whole and of one version.")
    if not _TENSORRT_RANGE[0] <= numbers < _TENSORRT_RANGE[1]:
        return Finding("tensorrt", State.WARN, f"TensorRT {version} is not tested", "Use TensorRT 10.3 to 11.x.")
    return Finding("tensorrt", State.OK, f"TensorRT {version}")


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # a package above it is not there, or is no package
        return False


def check_cache(settings: DeviceSettings) -> Sequence[Finding]:
    """Where engines that are built for this very device are kept. Without a GPU there are none."""
    from device_app.engines.cuda_device import has_nvidia_gpu
    from device_app.engines.engine_cache import default_cache_folder

    return [cache_finding(default_cache_folder())] if has_nvidia_gpu() else []


def cache_finding(folder: Path) -> Finding:
    """Whether engines can be kept in a folder, and how many are there. Makes nothing."""
    if not folder.exists():
        parent = nearest_folder(folder)
        if not os.access(parent, os.W_OK | os.X_OK):
            remedy = f"Make {parent} writable for you, or set XDG_CACHE_HOME to a folder of your own."
            return Finding("engine cache", State.WARN, f"{folder} cannot be made: {parent} may not be written", remedy)
        return Finding("engine cache", State.OK, f"no engine was built yet; they will be kept in {folder}")
    from device_app.engines.engine_cache import EngineCache

    try:
        EngineCache(folder)  # looks whether the folder may be trusted
    except ScalpScopeError as error:
        return Finding("engine cache", State.WARN, error.what, error.remedy)
    if not os.access(folder, os.W_OK | os.X_OK):
        remedy = "Make it writable for you, or set XDG_CACHE_HOME to a folder of your own."
        return Finding("engine cache", State.WARN, f"{folder} may not be written", remedy)
    plans = list(folder.glob("*.plan"))
    size_mib = sum(path.stat().st_size for path in plans) / 2**20
    return Finding("engine cache", State.OK, f"engines built: {len(plans)}, {size_mib:.0f} MiB, in {folder}")


def check_networks(bundle: Bundle, settings: DeviceSettings) -> Sequence[Finding]:
    """The engine of each network, proved by its goldens, and what was passed over for it."""
    from device_app.bundle import Task
    from device_app.engines.engine import Precision
    from device_app.engines.select import open_engine

    precision = None if settings.precision is None else Precision(settings.precision)
    backend = settings.backend
    try:
        engine = open_engine(bundle, Task.HAIR, precision, backend=backend)
    except ScalpScopeError as error:
        return [Finding("engine", State.FAIL, error.what, error.remedy)]
    text = f"{engine.backend} {engine.precision.value}; goldens reproduced: {engine.goldens}"
    findings = [_judged("engine", text, engine.reasons[1:] if engine.fallback else (), engine.build_commands, bundle)]
    engine.close()
    findings += [_refinement(bundle, precision, backend), *_classifiers(bundle, precision, backend)]
    if engine.absent:
        findings.append(Finding("back ends", State.OK, "; ".join(engine.absent)))
    return findings


def _judged(
    name: str, text: str, passed_over: Sequence[str], builders: Iterable[Sequence[str]], bundle: Bundle
) -> Finding:
    """A finding on an engine that runs: OK, or with what was passed over and what can be done about it."""
    if not passed_over:
        return Finding(name, State.OK, text)
    remedy = _LESS
    if any(builders):
        remedy = (
            "The app builds the better engine at its next start, which takes some minutes; or now: "
            f"scalpscope-export engines {bundle.path}"
        )
    return Finding(name, State.WARN, f"{text}; {'; '.join(passed_over)}", remedy)


def _refinement(bundle: Bundle, precision: Precision | None, backend: str | None) -> Finding:
    from device_app.live.refiner import Refiner, refinement_missing

    if missing := refinement_missing(bundle):
        return Finding("refinement", State.WARN, missing, "It works without; for refined masks use a bundle with SAM.")
    try:
        refiner = Refiner(bundle, precision=precision, backend=backend)
    except ScalpScopeError as error:
        return Finding("refinement", State.WARN, error.what, error.remedy)
    text = f"SAM, {refiner.backend}; goldens reproduced"
    refiner.close()
    return _judged("refinement", text, refiner.reasons if refiner.fallback else (), refiner.build_commands, bundle)


def _classifiers(bundle: Bundle, precision: Precision | None, backend: str | None) -> Sequence[Finding]:
    """The conditions network and that for overview photographs: one that is not there takes nothing else away."""
    from device_app.bundle import Task
    from device_app.live.classifier import Classifiers

    classifiers = Classifiers(bundle, precision, backend)
    findings = []
    for name, task in (("conditions", Task.CONDITIONS), ("hair-loss stage", Task.HAIR_LOSS_STAGE)):
        if missing := classifiers.missing(task):
            findings.append(Finding(name, State.OK, f"{missing} Everything else works."))
            continue
        try:
            judge = classifiers.grader() if task is Task.CONDITIONS else classifiers.judge(Task.HAIR_LOSS_STAGE)
        except ScalpScopeError as error:
            findings.append(Finding(name, State.WARN, error.what, error.remedy))
            continue
        text = f"{judge.backend}; goldens reproduced: {judge.goldens}"
        if judge.demonstration:
            text += "; for demonstration only"
        passed_over = judge.reasons[1:] if judge.fallback else ()
        findings.append(_judged(name, text, passed_over, judge.engine.build_commands, bundle))
    classifiers.close()
    return findings
