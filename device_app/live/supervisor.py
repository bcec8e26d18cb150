"""The live loop: camera thread -> mailbox -> worker process -> results, kept alive whatever happens to either end.

The worker grades the conditions of some of the pictures besides. Beside it the refine lane, which looks more closely at
one picture, in a process of its own; and, where the machine could run better engines than it has, a builder.
"""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from calibration.errors import ScalpScopeError
from device_app.camera.mailbox import Mailbox
from device_app.camera.source import Frame, FrameSource
from device_app.live.analysis import Analysis, Conditions
from device_app.live.asked import Asked, AskedFrame
from device_app.live.engine_build import EngineBuild
from device_app.live.health import Health, resident_mb
from device_app.live.keeper import WorkerKeeper, WorkerRestart
from device_app.live.lost_engines import LostEngines
from device_app.live.reader import SourceLoss, SourceReader
from device_app.live.refine_lane import RefineLane, StillMoments
from device_app.live.refine_requests import RefineRequests, RefineStatus
from device_app.live.settings import DEFAULT_PATIENCE, Patience, PipelineSettings

if TYPE_CHECKING:
    from device_app.live.refinement import Correction

_LATENCIES_SHOWN = 100  # what the screen's latency is taken over; the report takes all that are kept


class LiveSession:
    """Reads a source and analyses the newest frame again and again, in a worker process that may be lost.

    Nothing here blocks the caller except `stop` (a second or two): every other method returns at once, from any thread.

    Args:
        source: where frames come from; the session opens and closes it.
        settings: how frames are analysed.
        patience: when calls count as stalls and hangs.
        build_engines: build the engines that the machine could run and has not, beside the live loop, and go over to
            them when they are there.
    """

    def __init__(
        self,
        source: FrameSource,
        settings: PipelineSettings,
        patience: Patience = DEFAULT_PATIENCE,
        build_engines: bool = True,
    ) -> None:
        self._source = source
        self._mailbox = Mailbox()
        self._reader = SourceReader(source, self._mailbox, patience)
        self._asked = AskedFrame()
        self._build = EngineBuild(build_engines)
        self._lost_engines = LostEngines()
        self._wanted = settings
        self._choosing = threading.Lock()
        self._keeper = WorkerKeeper(
            self._mailbox,
            self._asked,
            settings,
            patience,
            self._build,
            self._lost_engines,
            self._renew_refiner,
            self._choose_settings,
        )
        self._requests = RefineRequests()
        still = StillMoments(
            self._requests, self._reader.latest, self._reader.sharpest_recent, self._may_refine_by_itself
        )
        self._refiner = RefineLane(
            self._requests,
            settings,
            patience,
            still.look,
            self._lost_engines,
            self._choose_settings,
            lambda commands: self._build.want("refine", commands),
        )
        self._started = time.monotonic()

    def start(self) -> None:
        """Open the source and start the worker, both in the background. Call once. A refine process comes later.

        Raises:
            RuntimeError: it was started before.
        """
        self._started = time.monotonic()
        self._keeper.start()
        self._reader.start()
        self._refiner.start()

    def stop(self) -> None:
        """Release the source and end all processes. Safe to call twice; the session cannot be started again."""
        self._mailbox.close()
        self._build.stop()
        self._reader.stop()
        self._refiner.stop()
        self._keeper.stop()

    def use(self, settings: PipelineSettings) -> None:
        """Analyse like this from the next frame on. Another bundle or precision is loaded by the same worker.

        Refinements that are asked for from now on use them too; one under way comes to its end with the old ones.
        """
        with self._choosing:
            other_engines = (settings.bundle_path, settings.backend) != (
                self._wanted.bundle_path,
                self._wanted.backend,
            )
            self._wanted = settings
        if other_engines:
            self._build.want("refine", ())
        self._choose_settings()

    def _choose_settings(self) -> None:
        """Let both lanes use what is wanted, as far as its back end is not left out."""
        with self._choosing:
            self._keeper.settings = self._refiner.settings = self._lost_engines.allowed(self._wanted)

    def _renew_refiner(self) -> None:
        self._refiner.renew()

    @property
    def settings(self) -> PipelineSettings:
        """How frames are analysed; on the processor where the back end that is wanted is left out."""
        return self._keeper.settings

    def latest_frame(self) -> Frame | None:
        """The newest frame of the source; None before the first."""
        return self._reader.latest()

    def latest_result(self) -> tuple[Frame, Analysis] | None:
        """The newest analysis and the very frame it was computed from; None before the first."""
        return self._keeper.result

    def watch(self, watcher: Callable[[Frame, Analysis, int], None]) -> None:
        """Call this with every analysis from now on: its frame, itself, and the `time.monotonic_ns()` it was at hand.

        It is called on a thread of the session that the next frame waits for: it must be quick, and must not raise.
        """
        self._keeper.watchers.append(watcher)

    def latest_conditions(self) -> tuple[Frame, Conditions] | None:
        """The newest grades of the live picture, steady, and the very frame their heat maps belong to; None: none yet.

        They come at their own pace and with a delay: look at the frame's age. None as well while the bundle cannot
        grade, and after a picture that could not be graded; `health` says why.
        """
        return self._keeper.grading.result

    def sharpest_recent(self) -> Frame | None:
        """The sharpest frame of the last 0.7 s, for freezing; None before the first."""
        return self._reader.sharpest_recent()

    def ask(self, frame: Frame | None) -> None:
        """Have this very frame analysed next, and then graded, as well as the newest ones; None takes the wish back.

        It does not change what `latest_result` hands out nor the book of captured frames.
        """
        self._asked.ask(frame)

    def asked(self) -> Asked | None:
        """The frame asked for last, and what became of it."""
        return self._asked.get()

    def refine(self, frame: Frame, corrections: Sequence[Correction] = ()) -> None:
        """Have this very frame refined, in a process of its own; a request still pending is cancelled for it.

        The same frame again, with other corrections, takes the decoder's time only. The request and its result stand,
        and still moments ask for nothing, until the next request or `cancel_refinement`.

        Args:
            frame: what to refine.
            corrections: points that a clinician added, all of them.
        """
        self._requests.ask(frame, tuple(corrections), self._known_missing())

    def cancel_refinement(self) -> None:
        """Take the request back: a pending one is cancelled; a result stays to be looked at. Still moments count again.

        Call it too when a refined picture is left, finished or not.
        """
        self._requests.cancel()

    def refinement(self) -> RefineStatus | None:
        """The refinement asked for last, and what became of it; None when there is none.

        One that the session asked for, at a still moment, is gone again when the picture moves.
        """
        return self._requests.get()

    def _known_missing(self) -> str:
        """Why the present bundle cannot refine, if the live worker has said so; empty when it can or is not known."""
        ready, ready_for = self._keeper.ready, self._keeper.ready_for
        if ready is None or ready_for is None or ready_for.bundle_path != self._keeper.settings.bundle_path:
            return ""
        return ready.refine_missing

    def _may_refine_by_itself(self) -> bool:
        known = self._keeper.ready is not None and not self._known_missing()
        return known and self._keeper.settings.refine_still and self._asked.get() is None

    def health(self) -> Health:
        """How everything is, in one snapshot."""
        source, source_since_s, source_problem = self._reader.state.get()
        worker, worker_since_s, worker_problem = self._keeper.state.get()
        frame, ready, pid = self._reader.latest(), self._keeper.ready, self._keeper.pid
        given_up = self._lost_engines.given_up
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
            analysed_fps=self._keeper.rate.per_second(),
            latency_ms=self._keeper.latency.spreads(_LATENCIES_SHOWN).get("latency"),
            stage_ms=self._keeper.stages.spreads(_LATENCIES_SHOWN),
            frame_age_s=None if frame is None else (time.monotonic_ns() - frame.captured_ns) / 1e9,
            source_losses=self._reader.loss_count,
            worker_restarts=self._keeper.restart_count,
            memory_mb=resident_mb(os.getpid()) or 0.0,
            worker_memory_mb=resident_mb(pid),
            worker_pid=pid,
            backend="" if ready is None else ready.backend,
            bundle="" if ready is None else ready.bundle,
            demonstration=ready is not None and ready.demonstration,
            engine_reasons=() if ready is None else (*ready.engine_reasons, *given_up),
            fallback=ready is not None and (ready.fallback or bool(given_up)),
            refine_missing="" if ready is None else ready.refine_missing,
            refine_backend=self._refiner.backend,
            refine_latency_ms=self._requests.latency.spreads(_LATENCIES_SHOWN).get("latency"),
            refine_pid=self._refiner.pid,
            refine_memory_mb=resident_mb(self._refiner.pid),
            conditions_missing="" if ready is None else ready.conditions_missing,
            conditions_backend="" if ready is None else ready.conditions_backend,
            conditions_problem=self._keeper.grading.problem,
            conditions_refused=ready is not None and ready.conditions_refused,
            classify_latency_ms=self._keeper.grading.latency.spreads(_LATENCIES_SHOWN).get("latency"),
            absent=() if ready is None else ready.absent,
            engine_build=self._build.status,
            engine_swaps=self._keeper.swaps,
            engine_swapping=self._keeper.swapping,
            engine_swap_problem=self._keeper.swap_problem,
            engines_lost=self._lost_engines.count,
            engines_given_up=given_up,
        )

    def source_losses(self) -> tuple[SourceLoss, ...]:
        """The times the source was away, the last 1000 of them."""
        return tuple(self._reader.losses)

    def restarts(self) -> tuple[WorkerRestart, ...]:
        """The times the worker was away, the last 1000 of them."""
        return tuple(self._keeper.restarts)

    def refusal(self) -> ScalpScopeError | None:
        """Why the worker refuses the settings; None while it does not."""
        return self._keeper.refusal

    def report(self) -> dict[str, Any]:
        """What happened since the start, as plain values for JSON. Latencies are those of the last 4096 analyses."""
        health = self.health()
        seconds = time.monotonic() - self._started
        latency = self._keeper.latency.spreads().get("latency")
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
            "absent": list(health.absent),
            "engines": self._engines(health),
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
            "stage_ms": {name: dataclasses.asdict(spread) for name, spread in self._keeper.stages.spreads().items()},
            "source_losses": [dataclasses.asdict(loss) for loss in self.source_losses()],
            "worker_restarts": [dataclasses.asdict(restart) for restart in self.restarts()],
            "memory_mb": health.memory_mb,
            "worker_memory_mb": health.worker_memory_mb,
            "refinements": self._refinements(health),
            "conditions": self._conditions(health),
        }

    def _engines(self, health: Health) -> dict[str, Any]:
        """What was built meanwhile, and what was lost."""
        build = health.engine_build
        return {
            "build": {**dataclasses.asdict(build), "state": build.state.value, "built": list(build.built)},
            "swaps": health.engine_swaps,
            "swap_problem": health.engine_swap_problem,
            "lost": health.engines_lost,
            "given_up": list(health.engines_given_up),
        }

    def _conditions(self, health: Health) -> dict[str, Any]:
        lane = self._keeper.grading
        spreads = {name: dataclasses.asdict(spread) for name, spread in lane.latency.spreads().items()}
        return {
            "graded": lane.graded,
            "failed": lane.failed,
            "latency_ms": spreads.get("latency"),
            "grade_ms": spreads.get("grade"),
            "backend": health.conditions_backend,
            "missing": health.conditions_missing,
            "problem": health.conditions_problem,
        }

    def _refinements(self, health: Health) -> dict[str, Any]:
        latency = self._requests.latency.spreads().get("latency")
        return {
            **dataclasses.asdict(self._requests.counts()),
            "latency_ms": None if latency is None else dataclasses.asdict(latency),
            "backend": health.refine_backend,
            "missing": health.refine_missing,
            "processes_lost": self._refiner.losses,
        }
