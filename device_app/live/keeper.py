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
from device_app.live.engine_build import EngineBuild
from device_app.live.health import WORKER_TRANSITIONS, RateMeter, SpreadMeter, StateKeeper, WorkerState
from device_app.live.link import EngineGone, WorkerLink, WorkerLost
from device_app.live.lost_engines import LostEngines, accelerators
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
from device_app.live.workers import Successor, SuccessorFailed, Workers

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

    When engines were built meanwhile, a successor comes up with them beside the worker. Once it is ready, the next
    frame goes to it, and the worker ends. A successor that fails takes nothing down.

    Args:
        mailbox: where frames are taken from, and where their fate is booked.
        asked: the one frame that is wanted whatever newer ones come.
        settings: how frames are analysed.
        patience: when the worker is hung, and how soon it is started again.
        build: builds what the worker says could be built.
        lost_engines: where accelerators that fail are counted.
        on_built: called from the keeper's thread when something was built.
        on_given_up: called from the keeper's thread when an accelerator is left out from now on; it is to change
            `settings`.

    Attributes:
        state: where the worker stands.
        result: the newest analysis and its frame; None before the first.
        ready: what the worker runs; None before it was ready once. ready_for: the settings it said so of.
        refusal: why the worker refuses the settings; None while it does not.
        restarts: the times it was away, the last 1000; restart_count: how often it ended.
        rate, latency, stages: meters of the analyses.
        watchers: called on the keeper's thread with each frame, its analysis, and the `time.monotonic_ns()` at which it
            was at hand. They must be quick, and must not raise.
        grading: what is graded when, and the conditions.
        swaps: how often a successor took over.
        swap_problem: why the last one did not take over; empty otherwise.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        asked: AskedFrame,
        settings: PipelineSettings,
        patience: Patience,
        build: EngineBuild,
        lost_engines: LostEngines,
        on_built: Callable[[], None],
        on_given_up: Callable[[], None],
    ) -> None:
        self.settings = settings
        self.state: StateKeeper[WorkerState] = StateKeeper(
            WorkerState.STARTING, WORKER_TRANSITIONS, well=frozenset({WorkerState.READY})
        )
        self.result: tuple[Frame, Analysis] | None = None
        self.ready: Ready | None = None
        self.ready_for: PipelineSettings | None = None
        self.refusal: ScalpScopeError | None = None
        self.restarts: deque[WorkerRestart] = deque(maxlen=1000)
        self.restart_count = 0
        self.rate = RateMeter()
        self.latency = SpreadMeter()
        self.stages = SpreadMeter()
        self.watchers: list[Callable[[Frame, Analysis, int], None]] = []
        self.grading = ClassifyLane(asked)
        self.swaps = 0
        self.swap_problem = ""
        self._build = build
        self._built = 0  # how much of it the worker's engines were opened after
        self._lost_engines = lost_engines
        self._on_built, self._on_given_up = on_built, on_given_up
        self._mailbox = mailbox
        self._asked = asked
        self._patience = patience
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._started = time.monotonic()
        self._ring: FrameRing | None = None
        self._workers = Workers()
        self._opening = True
        self._down_since: float | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the worker; None while there is none."""
        return self._workers.pid

    @property
    def swapping(self) -> bool:
        """Whether a successor is coming up."""
        return self._workers.successor is not None

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
            early = refused or time.monotonic() - began < _EARLY_S
            failures = failures + 1 if early else 0
            # The first restart comes at once; a worker that keeps failing is started after longer and longer pauses.
            if failures > 1 or refused:
                self._pause(min(0.25 * 2**failures, self._patience.restart_s), settings)
            if not self._stopping.is_set() and not refused:
                self.state.move(WorkerState.RESTARTING)
        self.state.move(WorkerState.STOPPED)
        self._workers.close()
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
        kill = True
        try:
            self._serve(*self._workers.start())
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
            self._book(loss, self._opening)
        except Exception as error:  # nothing may end the supervisor: without it no worker ever comes back
            log.exception("the supervisor lost its worker")
            self._go_down(WorkerState.RESTARTING, f"The analysis failed: {type(error).__name__}: {error}.")
        finally:
            self.grading.end()
            self._workers.end(kill)
        return False

    def _book(self, loss: WorkerLost, opening: bool) -> None:
        """Count what an accelerator is to blame for: it said so, or the process crashed with it, or opening engines."""
        ready = self.ready
        if isinstance(loss, EngineGone):
            backends = loss.said.backends
        else:
            backends = () if opening or ready is None else accelerators(ready.backend, ready.conditions_backend)
            if not loss.crashed or not (opening or backends):
                return
        if self._lost_engines.book(backends, str(loss)):
            self._asked.afresh()
            self._on_given_up()

    def _go_down(self, state: WorkerState, problem: str) -> None:
        log.warning("worker %s: %s", state.value, problem)
        now = time.monotonic()
        self.restart_count += 1
        if self._down_since is None:
            self._down_since = now
            self.restarts.append(WorkerRestart(now - self._started, problem, None))
        self._mailbox.set_worker_ready(False)
        self.state.move(state, problem)

    def _come_up(self, link: WorkerLink, settings: PipelineSettings, ready: Ready | None = None) -> None:
        """Wait until a worker that was told its settings is ready, unless it has said so."""
        answer = ready or self._answer(link, self._patience.start_s, "did not get ready")
        if isinstance(answer, Refused):
            raise _WorkerRefused(answer.what, answer.remedy)
        if not isinstance(answer, Ready):
            raise WorkerLost(f"The analysis process said {answer} instead of being ready.")
        self.ready, self.ready_for, self.refusal, self._opening = answer, settings, None, False
        self._build.want("live", answer.build_commands)
        self.grading.begin(answer, settings)
        self.state.move(WorkerState.READY)
        self._mailbox.set_worker_ready(True)
        if self._down_since is not None:
            away_s = time.monotonic() - self._down_since
            self.restarts[-1] = dataclasses.replace(self.restarts[-1], back_after_s=away_s)
            self._down_since = None

    def _look_at_successor(self) -> PipelineSettings | None:
        """Begin one when something was built; let it take over when it is ready and nothing is in the worker's hands.

        Returns:
            The settings that the worker uses, when it is another one.
        """
        workers = self._workers
        workers.tidy()
        try:
            if self._build.finished != self._built:
                self._built = self._build.finished
                self._on_built()
                workers.begin_successor(self.settings, self._patience.start_s)
            successor = workers.successor
            if successor is None or (ready := successor.look(self.settings)) is None or not self.grading.idle:
                return None
        except (SuccessorFailed, WorkerLost, OSError) as failure:
            log.warning("the present worker goes on: %s", failure)
            self.swap_problem = str(failure)
            workers.drop_successor()
            if isinstance(failure, WorkerLost):
                self._book(failure, opening=True)
            return None
        workers.take_over()
        self.swaps, self.swap_problem = self.swaps + 1, ""
        self.ready, self.ready_for = ready, successor.told
        self._build.want("live", ready.build_commands)
        self.grading.hand_over(ready, successor.told)
        log.info("frames go to a new worker, on %s", ready.backend)
        return successor.told

    def _serve(self, link: WorkerLink, heir: Successor | None) -> NoReturn:
        """Bring the worker up and feed it, or the one that takes over from it, until something ends it.

        Args:
            link: the worker.
            heir: what it was told and has said as a successor, if it was one.
        """
        in_use: PipelineSettings | None = None
        began, self._opening = time.monotonic(), True
        if heir is None:
            self._built, self.swap_problem = self._build.finished, ""
        else:
            in_use = heir.told
            self._come_up(link, in_use, heir.ready)
        while True:
            if self._stopping.is_set():
                raise _Stop
            in_use = self._look_at_successor() or in_use
            link = self._workers.link or link
            if in_use is not self.settings:
                in_use = self.settings
                link.send(UseSettings(in_use))
                self._come_up(link, in_use)
            if time.monotonic() - began > self._patience.spare_s:
                self._workers.have_spare()  # not sooner: starting it costs the worker its pace
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
