"""Which back end and which precision run a bundle's network on this machine, and why.

No silent fallback: what was passed over, and for what reason, stands in `SelectedEngine.reasons`, in the log, and from
there on the screen and in every report.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points

import numpy as np

from calibration.errors import ScalpScopeError
from device_app.bundle import Bundle, ModelEntry, Task
from device_app.engines.backend import ENTRY_POINTS, Backend, BuildsEngines
from device_app.engines.engine import Engine, EngineLost, EngineNotBuilt, Precision
from device_app.engines.goldens import GoldenCheck, check_goldens
from device_app.engines.onnxruntime_cuda_engine import OnnxRuntimeCudaBackend
from device_app.engines.onnxruntime_engine import OnnxRuntimeBackend
from device_app.engines.tensorrt_engine import DLA_CORES, TensorRtBackend

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SelectedEngine:
    """An engine that reproduced its goldens, and why it is this one. It is itself an `Engine`.

    Attributes:
        engine: the engine of the back end.
        goldens: how near it came to them.
        reasons: one sentence for the choice and one for each better one that was passed over.
        fallback: something better was passed over.
        absent: one sentence for each back end that this machine has no hardware for: nothing was passed over.
        build_commands: command lines of processes that build a better engine than this one.
    """

    engine: Engine
    goldens: GoldenCheck
    reasons: tuple[str, ...]
    fallback: bool
    absent: tuple[str, ...] = ()
    build_commands: tuple[tuple[str, ...], ...] = ()

    @property
    def backend(self) -> str:
        return self.engine.backend

    @property
    def precision(self) -> Precision:
        return self.engine.precision

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return self.engine.run(inputs)

    def run_timed(self, inputs: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, float]]:
        """See `TimedEngine`; an engine that has no copies to tell apart is all ``compute``."""
        # Not `isinstance`: on a protocol it takes as long as some of what is timed here.
        if (run_timed := getattr(self.engine, "run_timed", None)) is not None:
            outputs, parts_ms = run_timed(inputs)
            return outputs, parts_ms
        began = time.perf_counter()
        outputs = self.engine.run(inputs)
        return outputs, {"compute": (time.perf_counter() - began) * 1000}

    def close(self) -> None:
        self.engine.close()


_BACKENDS: list[Backend] = [TensorRtBackend(), OnnxRuntimeCudaBackend(), OnnxRuntimeBackend()]

_BY_NAME_ONLY: tuple[Backend, ...] = tuple(TensorRtBackend(core) for core in DLA_CORES)
"""Never tried unless asked for: they take less power than the GPU, and more time."""


def register_backend(backend: Backend) -> None:
    """Make a back end known to this process. It is tried before those registered earlier.

    One that every process of the app is to know comes as a package with an entry point: `device_app.engines.backend`.
    """
    _BACKENDS.insert(0, backend)


@cache
def _installed_backends() -> tuple[Backend, ...]:
    """Those of other packages. One that cannot be loaded is named in the log and left out."""
    found = []
    for entry in entry_points(group=ENTRY_POINTS):
        try:
            found.append(entry.load()())
        except Exception as error:  # somebody else's code may raise anything
            _log.warning("the back end '%s' cannot be loaded: %s: %s", entry.name, type(error).__name__, error)
    return tuple(found)


def known_backends() -> tuple[Backend, ...]:
    """Every back end, in the order in which they are tried."""
    return (*_installed_backends(), *_BACKENDS)


def open_engine(
    bundle: Bundle,
    task: Task,
    precision: Precision | None = None,
    threads: int = 2,
    backend: str | None = None,
) -> SelectedEngine:
    """Open the best engine of this machine for a bundle's network, with its goldens checked.

    Args:
        bundle: a loaded bundle.
        task: which of its networks.
        precision: this one and no other; None lets the back ends' preferences decide.
        threads: threads of an engine that runs on the processor.
        backend: this one and no other, by its name; None tries all.

    Raises:
        ScalpScopeError: nothing could be opened, or nothing that reproduces the goldens; says why for each.
    """
    model = bundle.model(task)
    passed_over: list[str] = []
    absent: list[str] = []
    never_made: list[str] = []
    builders: list[tuple[str, ...]] = []
    for candidate in backends_named(backend):
        if (unavailable := candidate.why_not()) is not None:
            missed = unavailable.missed or backend is not None
            (passed_over if missed else absent).append(f"{candidate.name} not used: {unavailable.reason}")
            continue
        choices = candidate.preferences() if precision is None else ((precision, "asked for by name"),)
        for wanted, reason in choices:
            title = f"{candidate.name} {wanted.value}"
            if wanted not in model.files:
                missing = f"{title} not used: bundle '{bundle.name} {bundle.version}' has no such file"
                # Only the hair network is expected in the whole set. SAM's halves, and a network without FP32, come by
                # their maker's choice in what they have, and nothing better was passed over.
                expected = precision is not None or (task is Task.HAIR and Precision.FP32 in model.files)
                (passed_over if expected else never_made).append(missing)
                continue
            try:
                engine, check = _open_proved(candidate, bundle, model, wanted, threads)
            except EngineNotBuilt as error:
                passed_over.append(f"{title} not used: {error.what}")
                if isinstance(candidate, BuildsEngines):
                    builders.append(tuple(candidate.build_command(bundle.path)))
                break  # a lesser precision of the same back end is no better than waiting for this one
            except EngineLost as error:
                passed_over.append(f"{title} not used: {error.what}")
                break  # nor is there another on that accelerator, in this process
            except ScalpScopeError as error:
                passed_over.append(f"{title} not used: {error.what}")
                continue
            for passed in passed_over:
                _log.warning("%s", passed)
            return SelectedEngine(
                engine,
                check,
                (f"{title}: {reason}", *getattr(engine, "remarks", ()), *passed_over),
                fallback=bool(passed_over),
                absent=tuple(absent),
                build_commands=tuple(dict.fromkeys(builders)),
            )
    raise ScalpScopeError(
        f"No engine for the task '{task.value}' of bundle '{bundle.name} {bundle.version}' can be used here: "
        + "; ".join([*passed_over, *absent, *never_made])
        + ".",
        f"Build one with scalpscope-export engines {bundle.path}, or use another back end."
        if builders
        else "Use another bundle, or another back end or precision if one was asked for.",
    )


def _open_proved(
    candidate: Backend, bundle: Bundle, model: ModelEntry, precision: Precision, threads: int
) -> tuple[Engine, GoldenCheck]:
    """An engine that reproduced its goldens; one that does not is closed. Raises as `Backend.open` and goldens do."""
    engine = candidate.open(bundle.file(model.files[precision]), model, precision, threads)
    try:
        return engine, check_goldens(engine, bundle, model)
    except ScalpScopeError:
        engine.close()
        raise


def backends_named(name: str | None) -> tuple[Backend, ...]:
    """The back end of this name alone, or all that are tried when None is asked for.

    Raises:
        ScalpScopeError: there is none of that name.
    """
    if name is None:
        return known_backends()
    known = (*known_backends(), *_BY_NAME_ONLY)
    chosen = tuple(backend for backend in known if backend.name == name)
    if not chosen:
        told = ", ".join(backend.name for backend in known)
        raise ScalpScopeError(f"There is no back end '{name}'.", f"Use one of: {told}.")
    return chosen


def open_preferred(
    bundle: Bundle, task: Task, precision: Precision | None, threads: int, backend: str | None = None
) -> tuple[SelectedEngine, tuple[str, ...]]:
    """The same for a network beside the hair network, which may have other files: a precision it lacks is passed over.

    Returns:
        The engine, and why it is this one, each sentence with its task.
    """
    lacks = precision is not None and precision not in bundle.model(task).files
    engine = open_engine(bundle, task, None if lacks else precision, threads, backend)
    reasons = [f"{task.value}: {reason}" for reason in engine.reasons]
    if lacks and precision is not None:
        reasons.append(f"{task.value}: {precision.value} was asked for, and the bundle has no such file")
    return engine, tuple(reasons)
