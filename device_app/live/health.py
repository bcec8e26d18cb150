"""How the live loop is doing: states with legal transitions, rates, latencies, and the message for the screen."""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

import numpy as np
import psutil

from device_app.camera.mailbox import DropCause, FrameCounts
from device_app.live.build_status import NOTHING_BUILT, BuildStatus


class SourceState(str, Enum):
    """Where the source stands."""

    OPENING = "opening"  # first opening since the session started
    LIVE = "live"
    LOST = "lost"  # gone, stalled or never there; being opened again and again
    ENDED = "ended"  # a file or folder came to its end
    STOPPED = "stopped"


class WorkerState(str, Enum):
    """Where the worker process stands."""

    STARTING = "starting"  # first start since the session started
    READY = "ready"
    HUNG = "hung"  # did not answer in time; being ended
    RESTARTING = "restarting"  # died or was ended; a new one is coming up
    REFUSED = "refused"  # the bundle or a setting is refused; tried again now and then, and when settings change
    STOPPED = "stopped"


SOURCE_TRANSITIONS: Mapping[SourceState, frozenset[SourceState]] = {
    SourceState.OPENING: frozenset({SourceState.LIVE, SourceState.LOST, SourceState.ENDED, SourceState.STOPPED}),
    SourceState.LIVE: frozenset({SourceState.LOST, SourceState.ENDED, SourceState.STOPPED}),
    SourceState.LOST: frozenset({SourceState.LIVE, SourceState.ENDED, SourceState.STOPPED}),
    SourceState.ENDED: frozenset({SourceState.STOPPED}),
    SourceState.STOPPED: frozenset(),
}
WORKER_TRANSITIONS: Mapping[WorkerState, frozenset[WorkerState]] = {
    WorkerState.STARTING: frozenset(
        {WorkerState.READY, WorkerState.HUNG, WorkerState.RESTARTING, WorkerState.REFUSED, WorkerState.STOPPED}
    ),
    WorkerState.READY: frozenset({WorkerState.HUNG, WorkerState.RESTARTING, WorkerState.REFUSED, WorkerState.STOPPED}),
    WorkerState.HUNG: frozenset({WorkerState.RESTARTING, WorkerState.STOPPED}),
    WorkerState.RESTARTING: frozenset({WorkerState.READY, WorkerState.HUNG, WorkerState.REFUSED, WorkerState.STOPPED}),
    WorkerState.REFUSED: frozenset({WorkerState.READY, WorkerState.HUNG, WorkerState.RESTARTING, WorkerState.STOPPED}),
    WorkerState.STOPPED: frozenset(),
}


class HealthMessage(str, Enum):
    """The one thing the screen should say about the loop; keys into its table of texts."""

    OK = "ok"
    SOURCE_OPENING = "source_opening"
    SOURCE_LOST = "source_lost"
    SOURCE_ENDED = "source_ended"
    WORKER_STARTING = "worker_starting"
    WORKER_HUNG = "worker_hung"
    WORKER_RESTARTING = "worker_restarting"
    WORKER_REFUSED = "worker_refused"
    ANALYSIS_FAILED = "analysis_failed"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Spread:
    """Median, 95th percentile and mean, in milliseconds, of the last `count` values."""

    p50: float
    p95: float
    mean: float
    count: int


@dataclass(frozen=True)
class Health:
    """One snapshot of the live loop. Frozen: hand it to any thread.

    Attributes:
        source, worker: where they stand; `source_since_s`, `worker_since_s`: for how many seconds.
        source_problem, worker_problem: what went wrong last and what to do, empty while all is well. A worker that is
            ready and has a problem could not analyse its last frame.
        counts: what became of the frames; reconciles at any instant.
        captured_fps, analysed_fps: over the last 2 seconds.
        latency_ms: from capture to the analysis at hand; None before the first.
        stage_ms: wall time of each pipeline stage by name, and ``total``.
        frame_age_s: age of the newest frame; None before the first.
        source_losses, worker_restarts: since the session started.
        memory_mb, worker_memory_mb: resident memory of this process and of the worker (None: no worker).
        worker_pid: process id of the worker (None: no worker).
        backend, bundle, demonstration: what the worker runs; empty and False before it is ready.
        engine_reasons: why this engine, one sentence each; fallback: a better one was passed over.
        refine_missing: why the bundle cannot refine; empty when it can, and before the worker is ready.
        refine_backend: what refined last; empty before.
        refine_latency_ms: from the request to the refinement; None before the first.
        refine_pid, refine_memory_mb: of the refine process (None: no process now).
        conditions_missing: why conditions are not graded; empty when they are, and before the worker is ready.
        conditions_backend: what grades them; empty when they are not graded.
        conditions_problem: why the last picture was not graded; empty while all is well.
        conditions_refused: the bundle has a network for conditions, and no engine that may run it.
        classify_latency_ms: from capture to the conditions at hand; None before the first.
        absent: the back ends that this machine has no hardware for, one sentence each.
        engine_build: how the building of better engines stands.
        engine_swaps: how often a worker with new engines took over; engine_swapping: one is coming up.
        engine_swap_problem: why the last one did not take over; empty otherwise.
        engines_lost: how often an accelerator failed so that its process had to end.
        engines_given_up: the back ends that are left out for it until the next start, one sentence each.
        message: the one thing to say; `detail` is its sentence when it has one.
    """

    source_name: str
    source: SourceState
    source_since_s: float
    source_problem: str
    worker: WorkerState
    worker_since_s: float
    worker_problem: str
    counts: FrameCounts
    captured_fps: float
    analysed_fps: float
    latency_ms: Spread | None
    stage_ms: Mapping[str, Spread]
    frame_age_s: float | None
    source_losses: int
    worker_restarts: int
    memory_mb: float
    worker_memory_mb: float | None
    worker_pid: int | None
    backend: str
    bundle: str
    demonstration: bool
    engine_reasons: tuple[str, ...]
    fallback: bool
    refine_missing: str = ""
    refine_backend: str = ""
    refine_latency_ms: Spread | None = None
    refine_pid: int | None = None
    refine_memory_mb: float | None = None
    conditions_missing: str = ""
    conditions_backend: str = ""
    conditions_problem: str = ""
    conditions_refused: bool = False
    classify_latency_ms: Spread | None = None
    absent: tuple[str, ...] = ()
    engine_build: BuildStatus = NOTHING_BUILT
    engine_swaps: int = 0
    engine_swapping: bool = False
    engine_swap_problem: str = ""
    engines_lost: int = 0
    engines_given_up: tuple[str, ...] = ()

    @property
    def captured(self) -> int:
        """Frames that left the source."""
        return self.counts.captured

    @property
    def analysed(self) -> int:
        """Frames whose analysis came back."""
        return self.counts.analysed

    @property
    def dropped(self) -> Mapping[DropCause, int]:
        """Frames given up, by cause."""
        return self.counts.dropped

    @property
    def message(self) -> HealthMessage:
        """What the screen should say; a lost picture is said before a lost worker."""
        if self.source in _SOURCE_MESSAGES:
            return _SOURCE_MESSAGES[self.source]
        if self.worker in _WORKER_MESSAGES:
            return _WORKER_MESSAGES[self.worker]
        if self.worker_problem:
            return HealthMessage.ANALYSIS_FAILED
        return HealthMessage.SOURCE_ENDED if self.source is SourceState.ENDED else HealthMessage.OK

    @property
    def detail(self) -> str:
        """The sentence that belongs to `message`; empty when it needs none."""
        return self.source_problem if self.source in _SOURCE_MESSAGES else self.worker_problem


_SOURCE_MESSAGES = {
    SourceState.OPENING: HealthMessage.SOURCE_OPENING,
    SourceState.LOST: HealthMessage.SOURCE_LOST,
    SourceState.STOPPED: HealthMessage.STOPPED,
}
_WORKER_MESSAGES = {
    WorkerState.STARTING: HealthMessage.WORKER_STARTING,
    WorkerState.HUNG: HealthMessage.WORKER_HUNG,
    WorkerState.RESTARTING: HealthMessage.WORKER_RESTARTING,
    WorkerState.REFUSED: HealthMessage.WORKER_REFUSED,
    WorkerState.STOPPED: HealthMessage.STOPPED,
}


S = TypeVar("S", bound=Enum)


class StateKeeper(Generic[S]):
    """One state, when it was entered, and what went wrong last. Thread-safe; refuses illegal moves.

    Args:
        first: the state to begin in.
        transitions: the states that may follow each state.
        well: states that clear the problem on entry.
    """

    def __init__(self, first: S, transitions: Mapping[S, frozenset[S]], well: frozenset[S]) -> None:
        self._lock = threading.Lock()
        self._transitions = transitions
        self._well = well
        self._state = first
        self._since = time.monotonic()
        self._problem = ""

    def move(self, to: S, problem: str = "") -> bool:
        """Enter a state, or renew the problem of the state it is in already.

        Returns:
            True when the state changed.

        Raises:
            ValueError: `to` may not follow the present state.
        """
        with self._lock:
            if problem:
                self._problem = problem
            if to is self._state:
                return False
            if to not in self._transitions[self._state]:
                raise ValueError(f"{self._state} cannot become {to}")
            if to in self._well:
                self._problem = problem
            self._state, self._since = to, time.monotonic()
            return True

    def clear(self) -> None:
        """The problem is over, in the same state."""
        with self._lock:
            self._problem = ""

    def get(self) -> tuple[S, float, str]:
        """(state, seconds in it, problem), in one instant."""
        with self._lock:
            return self._state, time.monotonic() - self._since, self._problem

    @property
    def state(self) -> S:
        """The present state."""
        return self._state


class RateMeter:
    """Events a second over the last `window_s` seconds. Thread-safe."""

    def __init__(self, window_s: float = 2.0) -> None:
        self._lock = threading.Lock()
        self._window_s = window_s
        self._started = time.monotonic()
        self._times: deque[float] = deque()

    def tick(self) -> None:
        """Count one event now."""
        now = time.monotonic()
        with self._lock:
            self._times.append(now)
            self._trim(now)

    def per_second(self) -> float:
        """The rate; while younger than the window, over its age."""
        now = time.monotonic()
        with self._lock:
            self._trim(now)
            return len(self._times) / max(min(self._window_s, now - self._started), 1e-3)

    def _trim(self, now: float) -> None:
        while self._times and now - self._times[0] > self._window_s:
            self._times.popleft()


class SpreadMeter:
    """Median and 95th percentile of the last `keep` values, by name. Thread-safe, bounded memory."""

    def __init__(self, keep: int = 4096) -> None:
        self._lock = threading.Lock()
        self._keep = keep
        self._values: dict[str, deque[float]] = {}

    def add(self, values_ms: Mapping[str, float]) -> None:
        """Add one value under each name."""
        with self._lock:
            for name, value in values_ms.items():
                self._values.setdefault(name, deque(maxlen=self._keep)).append(value)

    def spreads(self, last: int | None = None) -> dict[str, Spread]:
        """The spread under each name, over the last `last` values (None: all that are kept)."""
        with self._lock:  # only what is asked for is copied: the screen asks many times a second
            values = {name: list(itertools.islice(reversed(kept), last)) for name, kept in self._values.items()}
        return {name: _spread(kept) for name, kept in values.items()}


def _spread(values: list[float]) -> Spread:
    p50, p95 = np.percentile(values, (50, 95))
    return Spread(float(p50), float(p95), sum(values) / len(values), len(values))


def resident_mb(pid: int | None) -> float | None:
    """Resident memory of a process in MiB; None when it is gone."""
    if pid is None:
        return None
    try:
        return psutil.Process(pid).memory_info().rss / 2**20
    except psutil.Error:
        return None
