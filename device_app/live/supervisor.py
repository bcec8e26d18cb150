"""The live loop: camera thread -> mailbox -> worker process -> results, kept alive whatever happens to either end."""

from __future__ import annotations

import dataclasses
import logging
import os
import threading
import time
from collections import deque
from typing import Any, NoReturn

from calibration.errors import ScalpScopeError
from device_app.camera.mailbox import DropCause, Mailbox
from device_app.camera.source import Frame, FrameSource
from device_app.live.analysis import Analysis
from device_app.live.asked import Asked, AskedFrame
from device_app.live.health import (
    WORKER_TRANSITIONS,
    Health,
    RateMeter,
    SpreadMeter,
    StateKeeper,
    WorkerState,
    resident_mb,
)
from device_app.live.link import WorkerLink, WorkerLost
from device_app.live.messages import Analyse, Analysed, Failed, Ready, Refused, UseSettings
from device_app.live.reader import SourceLoss, SourceReader
from device_app.live.ring import FrameRing
from device_app.live.settings import DEFAULT_PATIENCE, Patience, PipelineSettings

log = logging.getLogger(__name__)
_TICK_S = 0.1
_EARLY_S = 5.0  # a worker that ends sooner after its start counts as failing at once
_LATENCIES_SHOWN = 100  # what the screen's latency is taken over; the report takes all that are kept


class _WorkerHung(Exception):
    pass


class _WorkerRefused(ScalpScopeError):
    pass


class _Stop(Exception):
    pass


_DROP_CAUSES: dict[type[Exception], DropCause] = {
    _WorkerHung: DropCause.WORKER_HUNG,
    _Stop: DropCause.STOPPED,
}


@dataclasses.dataclass(frozen=True)
class WorkerRestart:
    """One time the worker was away.

    Attributes:
        at_s: when it was seen, in seconds since the session started.
        problem: how it ended.
        back_after_s: seconds until the next one was ready; None while it is away.
    """

    at_s: float
    problem: str
    back_after_s: float | None


class LiveSession:
    """Reads a source and analyses the newest frame again and again, in a worker process that may be lost.

    Nothing here blocks the caller except `stop` (a second or two): every other method returns at once, from any thread.

    Args:
        source: where frames come from; the session opens and closes it.
        settings: how frames are analysed.
        patience: when calls count as stalls and hangs.
    """

    def __init__(self, source: FrameSource, settings: PipelineSettings, patience: Patience = DEFAULT_PATIENCE) -> None:
        self._source = source
        self._settings = settings
        self._patience = patience
        self._mailbox = Mailbox()
        self._reader = SourceReader(source, self._mailbox, patience)
        self._worker: StateKeeper[WorkerState] = StateKeeper(
            WorkerState.STARTING, WORKER_TRANSITIONS, well=frozenset({WorkerState.READY})
        )
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._started = time.monotonic()
        self._result: tuple[Frame, Analysis] | None = None
        self._asked = AskedFrame()
        self._ready: Ready | None = None
        self._refusal: ScalpScopeError | None = None
        self._ring: FrameRing | None = None
        self._worker_pid: int | None = None
        self._down_since: float | None = None
        self._restarts: deque[WorkerRestart] = deque(maxlen=1000)
        self._restart_count = 0
        self._analysed_rate = RateMeter()
        self._latency = SpreadMeter()
        self._stages = SpreadMeter()

    def start(self) -> None:
        """Open the source and start the worker, both in the background. Call once.

        Raises:
            RuntimeError: it was started before.
        """
        if self._thread is not None:
            raise RuntimeError("a live session starts once")
        self._started = time.monotonic()
        self._thread = threading.Thread(target=self._supervise, name="supervisor", daemon=True)
        self._thread.start()
        self._reader.start()

    def stop(self) -> None:
        """Release the source and end the worker. Safe to call twice; the session cannot be started again."""
        self._stopping.set()
        self._mailbox.close()
        self._reader.stop()
        if self._thread is not None:
            self._thread.join(10.0)

    def use(self, settings: PipelineSettings) -> None:
        """Analyse like this from the next frame on. Another bundle or precision is loaded by the same worker."""
        self._settings = settings

    @property
    def settings(self) -> PipelineSettings:
        """How frames are to be analysed."""
        return self._settings

    def latest_frame(self) -> Frame | None:
        """The newest frame of the source; None before the first."""
        return self._reader.latest()

    def latest_result(self) -> tuple[Frame, Analysis] | None:
        """The newest analysis and the very frame it was computed from; None before the first."""
        return self._result

    def sharpest_recent(self) -> Frame | None:
        """The sharpest frame of the last 0.7 s, for freezing; None before the first."""
        return self._reader.sharpest_recent()

    def ask(self, frame: Frame | None) -> None:
        """Have this very frame analysed next, as well as the newest ones; None takes the wish back.

        It does not change what `latest_result` hands out nor the book of captured frames.
        """
        self._asked.ask(frame)

    def asked(self) -> Asked | None:
        """The frame asked for last, and what became of it."""
        return self._asked.get()

    def health(self) -> Health:
        """How everything is, in one snapshot."""
        source, source_since_s, source_problem = self._reader.state.get()
        worker, worker_since_s, worker_problem = self._worker.get()
        frame, ready, pid = self._reader.latest(), self._ready, self._worker_pid
        return Health(
            source_name=self._source.name,
            source=source,
            source_since_s=source_since_s,
            source_problem=source_problem,
            worker=worker,
            worker_since_s=worker_since_s,
            worker_problem=worker_problem,
            counts=self._mailbox.counts(),
            captured_fps=self._reader.rate.per_second(),
            analysed_fps=self._analysed_rate.per_second(),
            latency_ms=self._latency.spreads(_LATENCIES_SHOWN).get("latency"),
            stage_ms=self._stages.spreads(_LATENCIES_SHOWN),
            frame_age_s=None if frame is None else (time.monotonic_ns() - frame.captured_ns) / 1e9,
            source_losses=self._reader.loss_count,
            worker_restarts=self._restart_count,
            memory_mb=resident_mb(os.getpid()) or 0.0,
            worker_memory_mb=resident_mb(pid),
            worker_pid=pid,
            backend="" if ready is None else ready.backend,
            bundle="" if ready is None else ready.bundle,
            demonstration=ready is not None and ready.demonstration,
            engine_reasons=() if ready is None else ready.engine_reasons,
            fallback=ready is not None and ready.fallback,
        )

    def source_losses(self) -> tuple[SourceLoss, ...]:
        """The times the source was away, the last 1000 of them."""
        return tuple(self._reader.losses)

    def restarts(self) -> tuple[WorkerRestart, ...]:
        """The times the worker was away, the last 1000 of them."""
        return tuple(self._restarts)

    def refusal(self) -> ScalpScopeError | None:
        """Why the worker refuses the settings; None while it does not."""
        return self._refusal

    def report(self) -> dict[str, Any]:
        """What happened since the start, as plain values for JSON. Latencies are those of the last 4096 analyses."""
        health = self.health()
        seconds = time.monotonic() - self._started
        latency = self._latency.spreads().get("latency")
        return {
            "source": health.source_name,
            "source_state": health.source.value,
            "source_problem": health.source_problem,
            "worker_state": health.worker.value,
            "worker_problem": health.worker_problem,
            "bundle": health.bundle,
            "backend": health.backend,
            "engine_reasons": list(health.engine_reasons),
            "fallback": health.fallback,
            "demonstration": health.demonstration,
            "seconds": seconds,
            "captured": health.counts.captured,
            "analysed": health.counts.analysed,
            "dropped": {cause.value: count for cause, count in health.counts.dropped.items()},
            "pending": health.counts.pending,
            "reconciles": health.counts.reconciles,
            "captured_per_s": health.counts.captured / seconds,
            "analysed_per_s": health.counts.analysed / seconds,
            "latency_ms": None if latency is None else dataclasses.asdict(latency),
            "stage_ms": {name: dataclasses.asdict(spread) for name, spread in self._stages.spreads().items()},
            "source_losses": [dataclasses.asdict(loss) for loss in self.source_losses()],
            "worker_restarts": [dataclasses.asdict(restart) for restart in self.restarts()],
            "memory_mb": health.memory_mb,
            "worker_memory_mb": health.worker_memory_mb,
        }

    # The supervisor thread: everything below runs on it alone.
    def _supervise(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            began, settings = time.monotonic(), self._settings
            refused = self._run_worker()
            self._worker_pid = None
            early = refused or time.monotonic() - began < _EARLY_S
            failures = failures + 1 if early else 0
            # The first restart comes at once; a worker that keeps failing is started after longer and longer pauses.
            if failures > 1 or refused:
                self._pause(min(0.25 * 2**failures, self._patience.restart_s), settings)
            if not self._stopping.is_set() and not refused:
                self._worker.move(WorkerState.RESTARTING)
        self._worker.move(WorkerState.STOPPED)
        if self._ring is not None:
            self._ring.close()

    def _pause(self, seconds: float, settings: PipelineSettings) -> None:
        """Wait, unless the session stops or other settings promise better luck."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and self._settings is settings:
            if self._stopping.wait(_TICK_S):
                return

    def _run_worker(self) -> bool:
        """Run one worker until it ends. True when it refused its settings: the next will not fare better soon."""
        link: WorkerLink | None = None
        kill = True
        try:
            link = WorkerLink(self._settings.threads)
            self._worker_pid = link.pid
            self._serve(link)
        except _Stop:
            kill = False
        except _WorkerRefused as refusal:
            kill = False
            self._refusal = refusal
            self._go_down(WorkerState.REFUSED, str(refusal))
            return True
        except _WorkerHung as hang:
            self._go_down(WorkerState.HUNG, str(hang))
        except WorkerLost as loss:
            self._go_down(WorkerState.RESTARTING, str(loss))
        except Exception as error:  # nothing may end the supervisor: without it no worker ever comes back
            log.exception("the supervisor lost its worker")
            self._go_down(WorkerState.RESTARTING, f"The analysis failed: {type(error).__name__}: {error}.")
        finally:
            if link is not None:
                link.end(kill)
        return False

    def _go_down(self, state: WorkerState, problem: str) -> None:
        log.warning("worker %s: %s", state.value, problem)
        now = time.monotonic()
        self._restart_count += 1
        if self._down_since is None:
            self._down_since = now
            self._restarts.append(WorkerRestart(now - self._started, problem, None))
        self._mailbox.set_worker_ready(False)
        self._worker.move(state, problem)

    def _come_up(self, link: WorkerLink, settings: PipelineSettings) -> None:
        link.send(UseSettings(settings))
        answer = self._answer(link, self._patience.start_s, "did not get ready")
        if isinstance(answer, Refused):
            raise _WorkerRefused(answer.what, answer.remedy)
        if not isinstance(answer, Ready):
            raise WorkerLost(f"The analysis process said {answer} instead of being ready.")
        self._ready, self._refusal = answer, None
        self._worker.move(WorkerState.READY)
        self._mailbox.set_worker_ready(True)
        if self._down_since is not None:
            away_s = time.monotonic() - self._down_since
            self._restarts[-1] = dataclasses.replace(self._restarts[-1], back_after_s=away_s)
            self._down_since = None

    def _serve(self, link: WorkerLink) -> NoReturn:
        """Bring a worker up and feed it until something ends it."""
        in_use: PipelineSettings | None = None
        while True:
            if self._stopping.is_set():
                raise _Stop
            if in_use is not self._settings:
                in_use = self._settings
                self._come_up(link, in_use)
            if (asked := self._asked.take()) is not None:
                analysis, problem = self._analyse(link, asked)
                self._asked.settle(asked, analysis, problem)
            frame = self._mailbox.take(_TICK_S)
            if frame is None:
                link.check()
                continue
            try:
                analysis, problem = self._analyse(link, frame)
            except Exception as error:
                self._mailbox.drop(_DROP_CAUSES.get(type(error), DropCause.WORKER_LOST))
                raise
            if analysis is None:
                self._mailbox.drop(DropCause.FAILED)
                self._worker.move(WorkerState.READY, problem)
            else:
                self._publish(frame, analysis)

    def _analyse(self, link: WorkerLink, frame: Frame) -> tuple[Analysis | None, str]:
        """Have one frame analysed; None, and why, when the worker says that it cannot."""
        ring = self._ring_for(frame)
        link.use_ring(ring)
        use = ring.put(frame.image)
        link.send(Analyse(frame.id, frame.captured_ns, use))
        answer = self._answer(link, self._patience.hang_s, f"did not answer for frame {frame.id}")
        if isinstance(answer, Failed) and answer.frame_id == frame.id:
            return None, f"Frame {frame.id} could not be analysed: {answer.problem}"
        if not isinstance(answer, Analysed) or answer.analysis.frame_id != frame.id:
            raise WorkerLost(f"The analysis process answered {type(answer).__name__} out of turn.")
        return dataclasses.replace(answer.analysis, mask=ring.mask(use).copy()), ""

    def _publish(self, frame: Frame, analysis: Analysis) -> None:
        self._mailbox.analysed()
        self._result = (frame, analysis)
        self._worker.clear()
        self._analysed_rate.tick()
        self._latency.add({"latency": (time.monotonic_ns() - frame.captured_ns) / 1e6})
        self._stages.add(analysis.timings_ms)

    def _answer(self, link: WorkerLink, patience_s: float, complaint: str) -> object:
        """The worker's next message. Raises `_WorkerHung` when it takes too long, `_Stop` when the session stops."""
        until = time.monotonic() + patience_s
        while (left := until - time.monotonic()) > 0:
            answer = link.receive(min(left, _TICK_S))
            if answer is not None:
                return answer
            if self._stopping.is_set():
                raise _Stop
        raise _WorkerHung(f"The analysis process {complaint} within {patience_s:g} s and was ended.")

    def _ring_for(self, frame: Frame) -> FrameRing:
        """The ring, made anew when a frame comes that is larger than any before."""
        if self._ring is None or not self._ring.holds(frame.image):
            if self._ring is not None:
                self._ring.close()
            self._ring = FrameRing(frame.image.shape[0] * frame.image.shape[1])
        return self._ring
