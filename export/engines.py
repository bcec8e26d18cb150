"""Every network of a bundle as a TensorRT engine of this device: built, proved by its goldens, and only then kept.

Behind ``scalpscope-export engines``, which the app starts as a process of its own. Neither torch nor onnx is needed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from calibration.errors import ScalpScopeError
from device_app.bundle import Bundle, ModelEntry, load_bundle
from device_app.engines.building import BuildEnd, BuildStep
from device_app.engines.engine import EngineLost, EngineNotBuilt, Precision
from device_app.engines.engine_cache import EngineCache, EngineKey
from device_app.engines.goldens import GoldenCheck, check_goldens
from device_app.engines.tensorrt_engine import TensorRtBackend
from export.tensorrt import BuildRequest, BuildStopped, build_plan, workspace_mib

_log = logging.getLogger(__name__)

_PROOF = 0.05  # of one network's share of the progress


class State(str, Enum):
    """What became of one network's engine."""

    BUILT = "built"
    READY = "ready"  # it was there already
    FAILED = "failed"


@dataclass(frozen=True)
class EngineResult:
    """One network's engine.

    Attributes:
        title: task and precision, such as ``hair int8_symmetric``.
        seconds: of building it; 0 when it was there.
        size_mib: of the plan.
        goldens: how near it came to them; None when it failed before.
        problem: why it failed, and what to do; empty when it did not.
        is_last: the GPU failed, and this process can do no more with it.
    """

    title: str
    state: State
    seconds: float = 0.0
    size_mib: float = 0.0
    goldens: GoldenCheck | None = None
    problem: str = ""
    is_last: bool = False


@dataclass(frozen=True)
class EngineSettings:
    """What is asked for.

    Attributes:
        bundle: its folder.
        cache: folder of the engines; None for the one that the app reads.
        precision: this one and no other; None: the best that each network has a file of.
        dla_core: build for this deep-learning accelerator; None: for the GPU.
        rebuild: build also what is there.
        workspace_mib: memory that the builder may take; None: what the board can spare.
    """

    bundle: Path
    cache: Path | None = None
    precision: Precision | None = None
    dla_core: int | None = None
    rebuild: bool = False
    workspace_mib: int | None = None


@dataclass(frozen=True)
class EnginesBuilt:
    """What came of it.

    Attributes:
        engines: one for each network that TensorRT can take.
        left_out: a sentence for each network that has no file for it.
        folder: where the engines are kept.
    """

    engines: tuple[EngineResult, ...]
    left_out: tuple[str, ...]
    folder: Path

    @property
    def is_complete(self) -> bool:
        return all(engine.state is not State.FAILED for engine in self.engines)

    def to_end(self) -> BuildEnd:
        """As the live session reads it."""

        def named(state: State) -> tuple[str, ...]:
            return tuple(engine.title for engine in self.engines if engine.state is state)

        problems = tuple(engine.problem for engine in self.engines if engine.state is State.FAILED)
        return BuildEnd(named(State.BUILT), named(State.READY), problems)


def build_engines(
    settings: EngineSettings,
    report: Callable[[BuildStep], None] = lambda step: None,
    is_stopped: Callable[[], bool] = lambda: False,
) -> EnginesBuilt:
    """Build what is not there.

    Args:
        settings: of what, and where to.
        report: told where the work is.
        is_stopped: True ends it at the next step; what is kept by then stays.

    Raises:
        BuildStopped: `is_stopped` said so.
        ScalpScopeError: nothing can be built at all: no TensorRT, no GPU, a driver too old, a bundle without a network
            for TensorRT, a cache that cannot be written.
    """
    bundle = load_bundle(settings.bundle)
    cache = EngineCache(settings.cache)
    backend = TensorRtBackend(dla_core=settings.dla_core, cache=cache)
    chosen, left_out = choose_networks(bundle, [each for each, _ in backend.preferences()], settings.precision)
    if (unavailable := backend.why_not()) is not None:
        raise ScalpScopeError(
            f"No TensorRT engine can be built here: {unavailable.reason}.",
            unavailable.remedy or "Use a machine with an NVIDIA GPU; ONNX Runtime needs no engines.",
        )
    cache.check_writable()
    memory = settings.workspace_mib or workspace_mib(backend.device.memory_mib, backend.device.integrated)
    work = _Work(bundle, backend, cache, memory, report, is_stopped, len(chosen))
    engines: list[EngineResult] = []
    for number, (model, precision) in enumerate(chosen):
        engines.append(work.one(number, model, precision, settings.rebuild))
        if engines[-1].is_last:
            engines += [_not_tried(model, precision) for model, precision in chosen[number + 1 :]]
            break
    return EnginesBuilt(tuple(engines), left_out, cache.folder)


def choose_networks(
    bundle: Bundle, preferences: Sequence[Precision], precision: Precision | None = None
) -> tuple[list[tuple[ModelEntry, Precision]], tuple[str, ...]]:
    """The networks of a bundle that TensorRT can take, each at its best precision, and a sentence for each other one.

    Args:
        bundle: a loaded one.
        preferences: what TensorRT takes, best first.
        precision: this one and no other.

    Raises:
        ScalpScopeError: there is none.
    """
    if precision is not None and precision not in preferences:
        raise ScalpScopeError(
            f"No engine can be built of {precision.value}.",
            f"Use one of: {', '.join(each.value for each in preferences)}.",
        )
    wanted = preferences if precision is None else (precision,)
    chosen, left_out = [], []
    for model in bundle.manifest.models:
        found = next((each for each in wanted if each in model.files), None)
        if found is not None:
            chosen.append((model, found))
        else:
            has = ", ".join(sorted(each.value for each in model.files))
            left_out.append(
                f"{model.task.value} has no file in {' or '.join(each.value for each in wanted)}, only in {has}"
            )
    if not chosen:
        raise ScalpScopeError(
            f"Bundle '{bundle.name} {bundle.version}' in {bundle.path} has nothing that TensorRT can build: "
            f"{'; '.join(left_out)}.",
            "Use a bundle with a symmetric int8 or FP16 file; the shipped default has them."
            if precision is None
            else "Leave --precision out.",
        )
    return chosen, tuple(left_out)


@dataclass(frozen=True)
class _Work:
    """The steps of `build_engines` for one network after the other."""

    bundle: Bundle
    backend: TensorRtBackend
    cache: EngineCache
    workspace: int
    report: Callable[[BuildStep], None]
    is_stopped: Callable[[], bool]
    count: int

    def one(self, number: int, model: ModelEntry, precision: Precision, rebuild: bool) -> EngineResult:
        """Find, or build and prove, one network's engine. A failure is told in the result: the next may do better."""
        title = f"{model.task.value} {precision.value}"

        def tell(fraction: float, what: str) -> None:
            self.report(BuildStep(f"{title}: {what}", (number + fraction) / self.count))

        tell(0, "looking for it")
        if self.is_stopped():
            raise BuildStopped(title)
        began = time.monotonic()
        try:
            key = self.backend.key_for(model, precision)
            if not rebuild and (ready := self._find(title, key, model)) is not None:
                tell(1, "ready")
                return ready
            request = BuildRequest(self.bundle.file(model.files[precision]), key, self.workspace, self.cache)
            plan = build_plan(request, lambda fraction, what: tell((1 - _PROOF) * fraction, what), self.is_stopped)
            seconds = time.monotonic() - began
            tell(1 - _PROOF, "checking it against its goldens")
            check = self._prove_new(plan, key, model)
            notes = {"seconds": round(seconds, 1), "goldens": str(check), "bundle": self.bundle.name}
            self.cache.write(key, plan, notes)
        except ScalpScopeError as error:
            tell(1, "failed")
            lost = isinstance(error, EngineLost)
            seconds = time.monotonic() - began
            return EngineResult(title, State.FAILED, seconds, problem=_about(title, error), is_last=lost)
        tell(1, "built")
        return EngineResult(title, State.BUILT, seconds, len(plan) / 2**20, check)

    def _find(self, title: str, key: EngineKey, model: ModelEntry) -> EngineResult | None:
        """The kept engine, if there is one that loads and reproduces its goldens."""
        try:
            plan = self.cache.read(key)
        except EngineNotBuilt as error:
            _log.info("%s", error.what)
            return None
        try:
            check = self._prove(plan, key, model)
        except EngineLost:
            raise
        except ScalpScopeError as error:
            _log.warning("the kept engine for %s is built anew: %s", title, error.what)
            return None
        return EngineResult(title, State.READY, 0.0, len(plan) / 2**20, check)

    def _prove_new(self, plan: bytes, key: EngineKey, model: ModelEntry) -> GoldenCheck:
        try:
            return self._prove(plan, key, model)
        except EngineNotBuilt as error:
            raise ScalpScopeError(
                f"The engine that was just built cannot be loaded: {error.what.rstrip('.')}.",
                "Check that TensorRT and the driver belong together (docs/jetson.md), and restart the device.",
            ) from error

    def _prove(self, plan: bytes, key: EngineKey, model: ModelEntry) -> GoldenCheck:
        engine = self.backend.open_plan(plan, model, key.precision)
        try:
            return check_goldens(engine, self.bundle, model)
        finally:
            engine.close()


def _about(title: str, error: ScalpScopeError) -> str:
    """The error's two sentences, beginning with the engine that they are about."""
    told = str(error)
    return told if told.startswith(title) else f"{title}: {told}"


def _not_tried(model: ModelEntry, precision: Precision) -> EngineResult:
    title = f"{model.task.value} {precision.value}"
    return EngineResult(title, State.FAILED, problem=f"{title}: not tried, because the GPU failed. Try it again.")
