"""The worker's side of the live loop: one worker process at a time, fed with frames and replaced when it is lost."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NoReturn

from calibration.errors import ScalpScopeError
from device_app.camera.mailbox import DropCause, Mailbox
from device_app.camera.source import Frame
from device_app.live.analysis import Analysis
from device_app.live.asked import AskedFrame
from device_app.live.classify_lane import ClassifyLane
from device_app.live.health import WORKER_TRANSITIONS, RateMeter, SpreadMeter, StateKeeper, WorkerState
from device_app.live.link import WorkerLink, WorkerLost
from device_app.live.messages import (
    Analyse,
    Analysed,
    Classified,
    Classify,
    ClassifyFailed,
    Failed,
    Ready,
    Refused,
    UseSettings,
)
from device_app.live.ring import FrameRing, ring_that_holds
from device_app.live.settings import Patience, PipelineSettings

log = logging.getLogger(__name__)
_TICK_S = 0.1
_EARLY_S = 5.0  # a worker that ends sooner after its start counts as failing at once


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


class WorkerKeeper:
    """Takes frames from the mailbox to a worker and results back, and keeps a worker there, on a thread of its own.

    A second process, the spare, has done its imports and nothing else, which is more than half of a start: no bundle,
    no engine, no accelerator. When the worker is lost the spare takes its place.

    Args:
        mailbox: where frames are taken from, and where their fate is booked.
        asked: the one frame that is wanted whatever newer ones come.
        settings: how frames are analysed.
        patience: when the worker is hung, and how soon it is started again.

    Attributes:
        state: where the worker stands.
        result: the newest analysis and its frame; None before the first.
        ready: what the worker runs; None before it was ready once. ready_for: the settings it said so of.
        refusal: why the worker refuses the settings; None while it does not.
        pid: process id of the worker; None while there is none.
        restarts: the times it was away, the last 1000; restart_count: how often it ended.
        rate, latency, stages: meters of the analyses.
        watchers: called on the keeper's thread with each frame, its analysis, and the `time.monotonic_ns()` at which it
            was at hand. They must be quick, and must not raise.
        grading: what is graded when, and the conditions.
    """

    def __init__(self, mailbox: Mailbox, asked: AskedFrame, settings: PipelineSettings, patience: Patience) -> None:
        self.settings = settings
        self.state: StateKeeper[WorkerState] = StateKeeper(
            WorkerState.STARTING, WORKER_TRANSITIONS, well=frozenset({WorkerState.READY})
        )
        self.result: tuple[Frame, Analysis] | None = None
        self.ready: Ready | None = None
        self.ready_for: PipelineSettings | None = None
        self.refusal: ScalpScopeError | None = None
        self.pid: int | None = None
        self.restarts: deque[WorkerRestart] = deque(maxlen=1000)
        self.restart_count = 0
        self.rate = RateMeter()
        self.latency = SpreadMeter()
        self.stages = SpreadMeter()
        self.watchers: list[Callable[[Frame, Analysis, int], None]] = []
        self.grading = ClassifyLane(asked)
        self._mailbox = mailbox
        self._asked = asked
        self._patience = patience
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._started = time.monotonic()
        self._ring: FrameRing | None = None
        self._spare: WorkerLink | None = None
        self._down_since: float | None = None

    def start(self) -> None:
        """Begin. Raises RuntimeError when it began before."""
        if self._thread is not None:
            raise RuntimeError("a live session starts once")
        self._started = time.monotonic()
        self._thread = threading.Thread(target=self._supervise, name="supervisor", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the worker; the frame in its hands is dropped. The mailbox is to be closed first. Safe to call twice."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(10.0)

    def _supervise(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            began, settings = time.monotonic(), self.settings
            refused = self._run_worker()
            self.pid = None
            early = refused or time.monotonic() - began < _EARLY_S
            failures = failures + 1 if early else 0
            # The first restart comes at once; a worker that keeps failing is started after longer and longer pauses.
            if failures > 1 or refused:
                self._pause(min(0.25 * 2**failures, self._patience.restart_s), settings)
            if not self._stopping.is_set() and not refused:
                self.state.move(WorkerState.RESTARTING)
        self.state.move(WorkerState.STOPPED)
        if self._spare is not None:
            self._spare.end(kill=True)
        if self._ring is not None:
            self._ring.close()

    def _pause(self, seconds: float, settings: PipelineSettings) -> None:
        """Wait, unless the session stops or other settings promise better luck."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and self.settings is settings:
            if self._stopping.wait(_TICK_S):
                return

    def _run_worker(self) -> bool:
        """Run one worker until it ends. True when it refused its settings: the next will not fare better soon."""
        link: WorkerLink | None = None
        kill = True
        try:
            link = self._next_link()
            self.pid = link.pid
            self._serve(link)
        except _Stop:
            kill = False
        except _WorkerRefused as refusal:
            kill = False
            self.refusal = refusal
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
            self.grading.end()
            if link is not None:
                link.end(kill)
        return False

    def _next_link(self) -> WorkerLink:
        """The spare, or a new worker where there is none."""
        spare, self._spare = self._spare, None
        if spare is not None:
            try:
                spare.check()
                return spare
            except WorkerLost:
                spare.end()
        return WorkerLink()

    def _go_down(self, state: WorkerState, problem: str) -> None:
        log.warning("worker %s: %s", state.value, problem)
        now = time.monotonic()
        self.restart_count += 1
        if self._down_since is None:
            self._down_since = now
            self.restarts.append(WorkerRestart(now - self._started, problem, None))
        self._mailbox.set_worker_ready(False)
        self.state.move(state, problem)

    def _come_up(self, link: WorkerLink, settings: PipelineSettings) -> None:
        link.send(UseSettings(settings))
        answer = self._answer(link, self._patience.start_s, "did not get ready")
        if isinstance(answer, Refused):
            raise _WorkerRefused(answer.what, answer.remedy)
        if not isinstance(answer, Ready):
            raise WorkerLost(f"The analysis process said {answer} instead of being ready.")
        self.ready, self.ready_for, self.refusal = answer, settings, None
        self.grading.begin(answer, settings)
        self.state.move(WorkerState.READY)
        self._mailbox.set_worker_ready(True)
        if self._down_since is not None:
            away_s = time.monotonic() - self._down_since
            self.restarts[-1] = dataclasses.replace(self.restarts[-1], back_after_s=away_s)
            self._down_since = None

    def _serve(self, link: WorkerLink) -> NoReturn:
        """Bring a worker up and feed it until something ends it."""
        in_use: PipelineSettings | None = None
        began = time.monotonic()
        while True:
            if self._stopping.is_set():
                raise _Stop
            if in_use is not self.settings:
                in_use = self.settings
                self._come_up(link, in_use)
            if self._spare is None and time.monotonic() - began > self._patience.spare_s:
                self._spare = WorkerLink()  # not sooner: starting it costs the worker its pace
            if (asked := self._asked.take()) is not None:
                analysis, problem = self._analyse(link, asked)
                self._asked.settle(asked, analysis, problem)
            self._grade(link)
            frame = self._mailbox.take(_TICK_S)
            if frame is None:
                self._listen(link)
                continue
            try:
                analysis, problem = self._analyse(link, frame)
            except Exception as error:
                self._mailbox.drop(_DROP_CAUSES.get(type(error), DropCause.WORKER_LOST))
                raise
            if analysis is None:
                self._mailbox.drop(DropCause.FAILED)
                self.state.move(WorkerState.READY, problem)
            else:
                self._publish(frame, analysis)

    def _analyse(self, link: WorkerLink, frame: Frame) -> tuple[Analysis | None, str]:
        """Have one frame analysed; None, and why, when the worker says that it cannot."""
        ring = self._ring = ring_that_holds(frame.image, self._ring)
        link.use_ring(ring)
        use = ring.put(frame.image)
        link.send(Analyse(frame.id, frame.captured_ns, use))
        answer = self._answer(link, self._patience.hang_s, f"did not answer for frame {frame.id}")
        if isinstance(answer, Failed) and answer.frame_id == frame.id:
            return None, f"Frame {frame.id} could not be analysed: {answer.problem}"
        if not isinstance(answer, Analysed) or answer.analysis.frame_id != frame.id:
            raise WorkerLost(f"The analysis process answered {type(answer).__name__} out of turn.")
        return dataclasses.replace(answer.analysis, mask=ring.mask(use).copy()), ""

    def _grade(self, link: WorkerLink) -> None:
        """Have a picture graded beside what comes next, if it is time for one. Nothing waits for the answer."""
        self._check_grading()
        if (due := self.grading.next(self.result)) is None:
            return
        frame, analysis = due
        ring = self._ring = ring_that_holds(frame.image, self._ring)
        link.use_ring(ring)
        use = ring.put(frame.image)
        ring.mask(use)[...] = analysis.mask
        link.send(Classify(frame.id, frame.captured_ns, use))

    def _listen(self, link: WorkerLink) -> None:
        """Hear what the worker has to say while there is nothing to analyse. Raises as `_answer` does."""
        link.check()
        while (answer := link.receive(0)) is not None:
            self._take_grades(answer)

    def _take_grades(self, answer: object) -> None:
        if not isinstance(answer, (Classified, ClassifyFailed)) or not self.grading.take(answer):
            raise WorkerLost(f"The analysis process answered {type(answer).__name__} out of turn.")

    def _check_grading(self) -> None:
        if self.grading.waited_s() > (patience_s := self._patience.grade_hang_s):
            raise _WorkerHung(f"The analysis process did not grade a picture within {patience_s:g} s and was ended.")

    def _publish(self, frame: Frame, analysis: Analysis) -> None:
        self._mailbox.analysed()
        self.result = (frame, analysis)
        self.state.clear()
        self.rate.tick()
        now_ns = time.monotonic_ns()
        self.latency.add({"latency": (now_ns - frame.captured_ns) / 1e6})
        self.stages.add(analysis.timings_ms)
        for watch in self.watchers:
            watch(frame, analysis, now_ns)

    def _answer(self, link: WorkerLink, patience_s: float, complaint: str) -> object:
        """The worker's next message that is no grading; that is booked when it comes.

        Raises:
            _WorkerHung: it takes too long, or the grading does.
            _Stop: the session stops.
        """
        until = time.monotonic() + patience_s
        while (left := until - time.monotonic()) > 0:
            answer = link.receive(min(left, _TICK_S))
            if isinstance(answer, (Classified, ClassifyFailed)):
                self._take_grades(answer)
            elif answer is not None:
                return answer
            self._check_grading()
            if self._stopping.is_set():
                raise _Stop
        raise _WorkerHung(f"The analysis process {complaint} within {patience_s:g} s and was ended.")
