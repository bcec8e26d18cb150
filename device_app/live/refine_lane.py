"""The refine lane: one more process that looks again, and more closely, at the one picture that is wanted refined.

A process of its own, so that the live lane keeps its pace: it is niced further than the live worker and shares nothing
with it. It is started at the first request and ended when nothing was asked for a while; when it dies or hangs, the
next one takes the request up again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from calibration.errors import ScalpScopeError
from device_app.camera.source import Frame
from device_app.live.link import REFINE_NICENESS, EngineGone, WorkerLink, WorkerLost
from device_app.live.lost_engines import LostEngines
from device_app.live.messages import (
    REFINED_MASKS,
    CancelRefine,
    Ready,
    Refine,
    RefineCancelled,
    Refined,
    RefineFailed,
    Refused,
    UseSettings,
)
from device_app.live.refine_requests import RefineRequests, RefineStatus
from device_app.live.ring import FrameRing, SlotUse, ring_that_holds
from device_app.live.settings import Patience, PipelineSettings
from device_app.live.stillness import Stillness

if TYPE_CHECKING:
    from device_app.live.refinement import Refinement

log = logging.getLogger(__name__)
_TICK_S = 0.05


class _Stop(Exception):
    pass


class RefineLane:
    """Takes requests to a refine process and results back, on a thread of its own.

    Args:
        requests: where requests are taken from, and where their fate is booked.
        settings: how pictures are analysed; a change reaches the process before the next request.
        patience: when the process is hung, and when it has been idle for too long.
        on_tick: called from the lane's thread some 20 times a second, whatever it is doing.
        lost_engines: where accelerators that fail are counted.
        on_given_up: called from the lane's thread when one is left out from now on; it is to change `settings`.
        on_buildable: called from the lane's thread with command lines that would build better engines for SAM.

    Attributes:
        pid: id of the refine process; None while there is none.
        backend: what refined last; empty before.
        losses: how often a process died or hung.
    """

    def __init__(
        self,
        requests: RefineRequests,
        settings: PipelineSettings,
        patience: Patience,
        on_tick: Callable[[], None] = lambda: None,
        lost_engines: LostEngines | None = None,
        on_given_up: Callable[[], None] = lambda: None,
        on_buildable: Callable[[tuple[tuple[str, ...], ...]], None] = lambda _: None,
    ) -> None:
        self.settings = settings
        self.pid: int | None = None
        self.backend = ""
        self.losses = 0
        self._requests = requests
        self._patience = patience
        self._on_tick = on_tick
        self._lost_engines = lost_engines or LostEngines()
        self._on_given_up, self._on_buildable = on_given_up, on_buildable
        self._outdated = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="refine-lane", daemon=True)
        self._link: WorkerLink | None = None
        self._in_use: PipelineSettings | None = None
        self._missing = ""
        self._ring: FrameRing | None = None
        self._busy_s = 0.0

    def start(self) -> None:
        """Begin; no process is started yet. Call once."""
        self._thread.start()

    def stop(self) -> None:
        """End the process; a pending request is cancelled. Safe to call twice, and before `start`."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(10.0)

    def renew(self) -> None:
        """There are better engines than those of the process: another takes its place as soon as nobody needs it."""
        self._outdated = True

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._on_tick()
                request = self._requests.take(_TICK_S)
                if request is None:
                    self._rest()
                else:
                    self._work(request)
            except _Stop:
                break
            except Exception:  # nothing may end the lane
                log.exception("the refine lane stumbled")
                self._stopping.wait(_TICK_S)
        self._requests.cancel("The session has ended.")
        self._end_process()
        if self._ring is not None:
            self._ring.close()

    def _rest(self) -> None:
        """Nothing is asked for."""
        if self._link is None:
            return
        try:
            self._link.check()
        except WorkerLost as loss:
            self._lose(loss)
        idle_s = time.monotonic() - self._busy_s
        # What somebody looks at may be corrected, which the process that made it does in a moment.
        if idle_s > self._patience.refine_idle_s or (self._outdated and self._requests.free):
            self._end_process()

    def _work(self, request: RefineStatus) -> None:
        """Have one request refined, unless it is taken back meanwhile."""
        number = request.request
        try:
            link = self._ready_process()
            if self._missing:
                self._requests.settle(number, None, self._missing)
                self._end_process()
            elif self._requests.wanted(number):
                self._refine(link, request)
        except _Stop:
            raise
        except EngineGone as loss:
            self._lose(loss)
            given_up = self._lost_engines.book(loss.said.backends, loss.said.problem)
            if given_up:
                self._on_given_up()
            self._requests.again(number, str(loss), afresh=given_up)
        except WorkerLost as loss:
            self._lose(loss)
            self._requests.again(number, str(loss))
        except ScalpScopeError as refusal:
            self._end_process()
            self._requests.settle(number, None, str(refusal))
        except Exception as error:  # such as no memory for a process or for the picture
            log.exception("the refine lane could not work")
            self._lose(error)
            self._requests.again(number, f"{type(error).__name__}: {error}.")
        finally:
            self._busy_s = time.monotonic()

    def _ready_process(self) -> WorkerLink:
        """A process that uses the present settings. Raises `ScalpScopeError` when it refuses them."""
        if self._link is not None:
            try:
                self._link.check()
            except WorkerLost as loss:  # it died idle: that is no failure of the request
                self._lose(loss)
        if self._link is None:
            self._link, self._outdated = WorkerLink(REFINE_NICENESS), False
            self.pid = self._link.pid
        settings = self.settings
        if self._in_use is not settings:
            # Half the threads: beside a live loop at work it is no slower, and the live loop keeps more of its pace.
            half = max(1, settings.threads // 2)
            self._link.send(UseSettings(replace(settings, threads=half, classify_every_s=0.0)))
            answer = self._answer(self._link, self._patience.start_s, "did not get ready")
            if isinstance(answer, Refused):
                raise ScalpScopeError(answer.what, answer.remedy)
            if not isinstance(answer, Ready):
                raise WorkerLost(f"The refine process said {answer} instead of being ready.")
            self._in_use, self._missing = settings, answer.refine_missing
        return self._link

    def _refine(self, link: WorkerLink, request: RefineStatus) -> None:
        frame, number = request.frame, request.request
        ring = self._ring = ring_that_holds(frame.image, self._ring, len(REFINED_MASKS))
        link.use_ring(ring)
        use = ring.put(frame.image)
        link.send(Refine(number, frame.id, frame.captured_ns, use, request.corrections))
        answer = self._answer(link, self._patience.refine_hang_s, f"did not answer for frame {frame.id}", number)
        if isinstance(answer, RefineCancelled) and answer.request == number:
            return
        if isinstance(answer, RefineFailed) and answer.request == number:
            self._requests.settle(number, None, f"Frame {frame.id} could not be refined: {answer.problem}")
        elif isinstance(answer, Refined) and answer.request == number:
            self.backend = answer.backend
            self._on_buildable(answer.build_commands)
            self._requests.settle(number, _with_masks(answer, ring, use))
        else:
            raise WorkerLost(f"The refine process answered {type(answer).__name__} out of turn.")

    def _answer(self, link: WorkerLink, patience_s: float, complaint: str, cancellable: int | None = None) -> object:
        """The process's next message; it is told once when the request `cancellable` is no longer wanted.

        Raises:
            WorkerLost: it is gone, or takes too long; one that was told to leave a request is waited for as long as a
                hung live worker would be.
        """
        until = time.monotonic() + patience_s
        while (answer := link.receive(_TICK_S)) is None:
            if self._stopping.is_set():
                raise _Stop
            if time.monotonic() > until:
                raise WorkerLost(f"The refine process {complaint} within {patience_s:g} s and was ended.")
            self._on_tick()
            if cancellable is not None and not self._requests.wanted(cancellable):
                link.send(CancelRefine(cancellable))
                cancellable = None
                until = min(until, time.monotonic() + self._patience.hang_s)
        return answer

    def _lose(self, reason: Exception) -> None:
        log.warning("refine process lost: %s", reason)
        self.losses += 1
        self._end_process(kill=True)

    def _end_process(self, kill: bool = False) -> None:
        link, self._link, self._in_use, self.pid = self._link, None, None, None
        if link is not None:
            link.end(kill)


def _with_masks(answer: Refined, ring: FrameRing, use: SlotUse) -> Refinement:
    masks = {name: ring.mask(use, place).copy() for place, name in enumerate(REFINED_MASKS)}
    return replace(
        answer.refinement,
        coarse_mask=masks["coarse_mask"],
        refined_mask=masks["refined_mask"],
        mask=masks["mask"],
        analysis=replace(answer.refinement.analysis, mask=masks["mask"]),
    )


class StillMoments:
    """Asks for a refinement when the picture stands still, once per still moment, and takes it back when it moves.

    Args:
        requests: where it asks.
        newest: the newest frame of the source.
        sharpest: the sharpest of the last frames, which is the one to refine.
        may_ask: whether a refinement would be of use now.
    """

    def __init__(
        self,
        requests: RefineRequests,
        newest: Callable[[], Frame | None],
        sharpest: Callable[[], Frame | None],
        may_ask: Callable[[], bool],
    ) -> None:
        self._requests = requests
        self._newest, self._sharpest, self._may_ask = newest, sharpest, may_ask
        self._stillness = Stillness()
        self._seen: int | None = None
        self._asked_in = 0

    def look(self) -> None:
        """Look at the newest frame, if it was not seen yet."""
        frame = self._newest()
        if frame is None or frame.id == self._seen:
            return
        may_ask, asked = self._may_ask(), self._requests.get()
        if not may_ask and (asked is None or not asked.by_itself):
            return  # nothing to ask for and nothing to take back
        self._seen, moment = frame.id, self._stillness.moment
        still = self._stillness.see(frame.image, frame.captured_ns / 1e9)
        if self._stillness.moment != moment:
            self._requests.drop_still()
        if not still or not may_ask or self._asked_in == self._stillness.moment or not self._requests.free:
            return
        if self._requests.ask_by_itself(self._sharpest() or frame):
            self._asked_in = self._stillness.moment
