"""Something to be timed on frames: the stages that it stamps, its engine, and why the other stages are absent."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import Any

import numpy as np

from device_app.bench.latency.report import Model, Stage
from device_app.bench.latency.stamps import Row, Stamps, stamp_cost_us
from device_app.bundle import Task
from device_app.engines.backend import is_accelerator
from device_app.engines.engine import TimedEngine
from device_app.engines.select import SelectedEngine

TASKS = {
    Model.HAIR: Task.HAIR,
    Model.SAM_ENCODER: Task.SAM_ENCODER,
    Model.SAM_DECODER: Task.SAM_DECODER,
    Model.CONDITIONS: Task.CONDITIONS,
    Model.PIPELINE: Task.HAIR,
}
"""The network that a figure of each is mostly made of."""

NETWORK = "network"
"""The detail that holds the whole call of an engine, by our clock: its parts, and what it takes to start them."""

_TimedCall = Callable[[Mapping[str, np.ndarray]], tuple[dict[str, np.ndarray], dict[str, float]]]
PARTS = (Stage.HOST_TO_DEVICE.value, Stage.COMPUTE.value, Stage.DEVICE_TO_HOST.value)
_COST_ROUNDS = 50
_IN_MEMORY = "the frames are in memory before the timing begins"
_NO_WINDOW = "this scenario has no window"


@dataclass(frozen=True)
class Ran:
    """Which engine a subject ran, and why. See `report.Subject` and `SelectedEngine` for what each means."""

    backend: str
    precision: str
    reasons: tuple[str, ...]
    absent: tuple[str, ...]
    fallback: bool
    build_commands: tuple[tuple[str, ...], ...] = ()
    engine_files: Mapping[str, str] = field(default_factory=dict)


class Timed(ABC):
    """Something to be timed on frames, one at a time, on one thread.

    Attributes:
        model: which.
        marks: how many stages it stamps; parts: what it tells of itself beside the stamps.
        ran: the engine.
    """

    model: Model
    marks: int
    parts: tuple[str, ...] = PARTS
    ran: Ran

    def stamps(self, room: int = 4096) -> Stamps:
        """Room for the stamps of so many frames."""
        return Stamps(self.marks, self.parts, room)

    def mark_us(self) -> float:
        """What one of its stamps takes, in microseconds."""
        return stamp_cost_us()

    def prepare(self, image: np.ndarray) -> Any:
        """What `run` takes, from a picture (H, W, 3) uint8 RGB; not timed.

        Raises:
            ScalpScopeError: an engine that is needed for it failed.
        """
        return image

    @abstractmethod
    def run(self, prepared: Any, stamps: Stamps) -> None:
        """Do one frame and stamp its stages. Raises `ScalpScopeError` when the engine failed."""

    @abstractmethod
    def times(self, row: Row) -> tuple[dict[Stage, float], dict[str, float]]:
        """What the stamps of a frame mean: milliseconds by stage, and by finer part."""

    @abstractmethod
    def absent_stages(self, present: Sequence[Stage]) -> dict[Stage, str]:
        """Why the stages that no frame had are not there."""

    def parts_cost(self, prepared: Any) -> float | None:
        """By which share a frame's network takes longer because its parts are told apart; None: they come for nothing.

        On an accelerator events are put between the copies and the computing; the app itself does without.
        """
        return None

    @abstractmethod
    def close(self) -> None:
        """Free the engine. Safe to call twice."""


class TimedNetwork(Timed):
    """One network: preprocessing, the engine's call with its parts, postprocessing.

    Args:
        engine: open, proved by its goldens.
    """

    marks = 3
    no_postprocess = ""

    def __init__(self, engine: SelectedEngine) -> None:
        self._engine = engine
        self._run_timed = _timed_call(engine)
        self.ran = Ran(
            engine.backend,
            engine.precision.value,
            engine.reasons,
            engine.absent,
            engine.fallback,
            engine.build_commands,
            engine_files(TASKS[self.model], engine),
        )

    @abstractmethod
    def before(self, prepared: Any) -> Mapping[str, np.ndarray]:
        """The network's inputs."""

    @abstractmethod
    def after(self, prepared: Any, outputs: Mapping[str, np.ndarray]) -> object:
        """What the app makes of the outputs."""

    def run(self, prepared: Any, stamps: Stamps) -> None:
        """See `Timed.run`."""
        stamps.begin()
        inputs = self.before(prepared)
        stamps.mark()
        outputs, parts_ms = self._run_timed(inputs)
        stamps.mark()
        self.after(prepared, outputs)
        stamps.mark()
        stamps.end(parts_ms)

    def times(self, row: Row) -> tuple[dict[Stage, float], dict[str, float]]:
        """See `Timed.times`."""
        before, network, after = ((end - begin) / 1e6 for begin, end in zip(row.at_ns, row.at_ns[1:], strict=False))
        stages = {Stage.PREPROCESS: before, **told_parts(row)}
        if not self.no_postprocess:
            stages[Stage.POSTPROCESS] = after
        return stages, {NETWORK: network}

    def parts_cost(self, prepared: Any) -> float | None:
        """See `Timed.parts_cost`: both calls by turns, their medians."""
        if not isinstance(self._engine.engine, TimedEngine):
            return None
        inputs = self.before(prepared)
        calls = (self._engine.engine.run, self._run_timed)
        times_ns: tuple[list[int], list[int]] = ([], [])
        for _ in range(_COST_ROUNDS):
            for call, own in zip(calls, times_ns, strict=True):
                began = perf_counter_ns()
                call(inputs)
                own.append(perf_counter_ns() - began)
        plain, told = (float(np.median(own)) for own in times_ns)
        return told / plain - 1.0

    def absent_stages(self, present: Sequence[Stage]) -> dict[Stage, str]:
        """See `Timed.absent_stages`."""
        why = {**why_absent(self.ran.backend), Stage.POSTPROCESS: self.no_postprocess}
        return {stage: why[stage] for stage in Stage if stage not in present}

    def close(self) -> None:
        """See `Timed.close`."""
        self._engine.close()


def engine_files(task: Task, engine: SelectedEngine) -> dict[str, str]:
    """SHA-256 of the engine that was built for this device, by task; nothing where the bundle's file itself runs.

    An engine that was built says its own as the attribute ``plan_sha256``.
    """
    own = getattr(engine.engine, "plan_sha256", None)
    return {task.value: own} if isinstance(own, str) else {}


def _timed_call(engine: SelectedEngine) -> _TimedCall:
    """`SelectedEngine.run_timed`, which asks at every call what kind of engine it has: longer than all our stamps."""
    if isinstance(engine.engine, TimedEngine):
        return engine.engine.run_timed
    run = engine.engine.run

    def timed(inputs: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, float]]:
        began = perf_counter_ns()
        outputs = run(inputs)
        return outputs, {Stage.COMPUTE.value: (perf_counter_ns() - began) / 1e6}

    return timed


def told_parts(row: Row) -> dict[Stage, float]:
    """The stages that the engine itself told of a frame, in milliseconds."""
    return {Stage(part): row.parts_ms[part] for part in PARTS if part in row.parts_ms}


def why_absent(backend: str) -> dict[Stage, str]:
    """Why a back end, driven with frames from memory and without a window, has none of these stages."""
    if not is_accelerator(backend):
        copies = f"{backend} works in the processor's own memory and copies nothing"
    else:
        copies = f"{backend} shares its memory with the processor, or does not tell its copies from its computing"
    return {
        Stage.CAPTURE: _IN_MEMORY,
        Stage.DECODE: _IN_MEMORY,
        Stage.HOST_TO_DEVICE: copies,
        Stage.DEVICE_TO_HOST: copies,
        Stage.COMPUTE: f"{backend} does not tell it",
        Stage.UPLOAD: _NO_WINDOW,
        Stage.PRESENT: _NO_WINDOW,
        Stage.PREPROCESS: "",
        Stage.POSTPROCESS: "",
    }
