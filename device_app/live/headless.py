"""The live loop without a window: for soak runs, for benchmarks, and for machines without a screen."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from calibration.errors import ScalpScopeError
from calibration.files import write_text_atomically
from device_app.camera.source import Frame, FrameSource, ReadTimes, TellsReads
from device_app.live.analysis import Analysis
from device_app.live.health import Health, SourceState
from device_app.live.settings import PipelineSettings
from device_app.live.supervisor import LiveSession

_TICK_S = 0.1
_FIRST_ANALYSIS_S = 60.0
_SAMPLE_S = 1.0


class FirstOpening:
    """A source that keeps what went wrong when it was opened: what is there from the start is an error, and nothing to
    wait for. It is opened once, by the session, while the worker starts beside it.

    Attributes:
        refused: why it could not be opened; None while it could, or was not asked to.
    """

    def __init__(self, source: FrameSource) -> None:
        self._source = source
        self.refused: Exception | None = None

    @property
    def name(self) -> str:
        return self._source.name

    @property
    def read_times(self) -> ReadTimes | None:
        """See `TellsReads`."""
        return self._source.read_times if isinstance(self._source, TellsReads) else None

    def open(self) -> None:
        """See `FrameSource.open`."""
        try:
            self._source.open()
        except Exception as error:  # a driver may raise anything
            self.refused = error
            raise

    def read(self) -> np.ndarray:
        """See `FrameSource.read`."""
        return self._source.read()

    def close(self) -> None:
        """See `FrameSource.close`."""
        self._source.close()


class FirstAnalysis:
    """Waits for the first analysis of a session. To be made before the session starts.

    Attributes:
        at_ns: ``time.monotonic_ns()`` when it was at hand; None before.
    """

    def __init__(self, session: LiveSession, source: FirstOpening) -> None:
        self._session, self._source = session, source
        self._there = threading.Event()
        self._began = time.monotonic()
        self.at_ns: int | None = None
        session.watch(self._see)

    def _see(self, frame: Frame, analysis: Analysis, done_ns: int) -> None:
        if self.at_ns is None:
            self.at_ns = done_ns
            self._there.set()

    def wait(self) -> int:
        """When it was at hand.

        Raises:
            ScalpScopeError: as soon as it is clear that none will come.
        """
        while not self._there.wait(_TICK_S / 4):
            self.check()
        assert self.at_ns is not None
        return self.at_ns

    def check(self) -> None:
        """Return while one may still come, or has come. Raises as `wait` does."""
        if self.at_ns is not None:
            return
        health = self._session.health()
        if (refusal := self._session.refusal()) is not None:
            raise refusal
        if self._source.refused is not None and not health.captured:
            raise self._source.refused
        over = health.source is SourceState.ENDED and health.counts.pending == 0
        if (over or time.monotonic() - self._began > _FIRST_ANALYSIS_S) and self.at_ns is None:
            raise ScalpScopeError(
                f"No frame of {health.source_name} could be analysed.",
                health.worker_problem or health.source_problem or "Run scalpscope doctor.",
            )


class MemoryWatch:
    """Resident memory of the session and of its worker over time."""

    def __init__(self) -> None:
        self._rows: list[tuple[float, float, float]] = []
        self._due = 0.0

    def sample(self, health: Health, now: float) -> None:
        """Take a sample when one is due, once a second."""
        if now >= self._due and health.worker_memory_mb is not None:
            self._due = now + _SAMPLE_S
            self._rows.append((now, health.memory_mb, health.worker_memory_mb))

    def summary(self) -> dict[str, Any]:
        """First, last and highest, in MiB, and by which share the session's memory grew over the run.

        The growth is that of the median of the last quarter over the median of the second: the first warms up. A worker
        that was replaced begins anew, so that its growth would tell nothing.
        """
        if not self._rows:
            return {}
        _, session, worker = zip(*self._rows, strict=True)
        quarter = max(1, len(session) // 4)
        early, late = session[quarter : 2 * quarter] or session[:1], session[-quarter:]
        return {
            "session_mb": {"first": session[0], "last": session[-1], "highest": max(session)},
            "worker_mb": {"first": worker[0], "last": worker[-1], "highest": max(worker)},
            "session_growth_fraction": float(np.median(late) / np.median(early)) - 1.0,
        }


def run_headless(
    source: FrameSource,
    settings: PipelineSettings,
    seconds: float,
    report_path: Path | None = None,
    *,
    on_tick: Callable[[LiveSession, float], None] | None = None,
    on_end: Callable[[], None] | None = None,
    build_engines: bool = True,
) -> dict[str, Any]:
    """Run the live loop for a time, with a progress bar, and say what happened.

    The time counts from the first analysis; until then the report's `warm_up_s` does. Ctrl-C and the end of a file that
    does not loop end it sooner.

    Args:
        source: where frames come from.
        settings: how they are analysed.
        seconds: for how long.
        report_path: where the report is written as JSON; None: nowhere.
        on_tick: called ten times a second with the session and the seconds since the first analysis.
        on_end: called when the time is over, before the session stops.
        build_engines: build better engines beside it, where the machine can.

    Returns:
        `LiveSession.report` with every frame settled, rates over the measured time, `warm_up_s`, `measured_s`,
        `memory`, and as `first_analysed_ns` the moment of the first analysis by ``time.monotonic_ns()``, a clock that
        all processes of the machine share.

    Raises:
        ScalpScopeError: the source cannot be opened, the bundle is refused, or no frame could be analysed.
    """
    if report_path is not None and not report_path.parent.is_dir():
        raise ScalpScopeError(f"There is no folder '{report_path.parent}' for the report.", "Make it, or name another.")
    source = FirstOpening(source)
    session = LiveSession(source, settings, build_engines=build_engines)
    first_analysis = FirstAnalysis(session, source)
    memory = MemoryWatch()
    session.start()
    began = time.monotonic()
    try:
        first_analysed_ns = first_analysis.wait()
        first, warm_up_s = session.health().counts, time.monotonic() - began
        measured_s = _run(session, seconds, memory, on_tick)
        if on_end is not None:
            on_end()
        report = session.report()
        report["captured_per_s"] = (report["captured"] - first.captured) / max(measured_s, 1e-3)
        report["analysed_per_s"] = (report["analysed"] - first.analysed) / max(measured_s, 1e-3)
    finally:
        session.stop()
    settled = session.report()
    report.update({key: settled[key] for key in ("captured", "analysed", "dropped", "pending", "reconciles")})
    report.update(
        warm_up_s=warm_up_s, measured_s=measured_s, first_analysed_ns=first_analysed_ns, memory=memory.summary()
    )
    if report_path is not None:
        write_text_atomically(report_path, json.dumps(report, indent=2) + "\n")
    return report


def _run(
    session: LiveSession,
    seconds: float,
    memory: MemoryWatch,
    on_tick: Callable[[LiveSession, float], None] | None,
) -> float:
    """Let it run; returns for how many seconds it did."""
    began = time.monotonic()
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("live", total=seconds)
        try:
            while (elapsed := time.monotonic() - began) < seconds:
                health = session.health()
                memory.sample(health, elapsed)
                progress.update(bar, completed=elapsed, description=_in_words(health))
                if health.source is SourceState.ENDED and health.counts.pending == 0:
                    break
                if on_tick is not None:
                    on_tick(session, elapsed)
                time.sleep(_TICK_S)
        except KeyboardInterrupt:
            progress.console.print("ended by hand")
    return time.monotonic() - began


def _in_words(health: Health) -> str:
    words = f"{health.analysed_fps:4.1f} analysed/s, {health.analysed} of {health.captured} frames"
    return words if health.message.value == "ok" else f"{words}, {health.message.value.replace('_', ' ')}"
