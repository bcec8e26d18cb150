"""The live scenario: the live session itself at the camera's pace, every analysed frame with the times of its way.

A frame begins when its picture begins to be got (`ReadTimes.began_ns`; for a source that does not tell, when it was
there) and ends with its analysis at hand, or, in a window, with the picture and its overlay on the screen. Both stand
on one clock, ``time.monotonic_ns()``, which the stages in between do not have to add up to: a frame also waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

from calibration.errors import ScalpScopeError
from device_app.bench.latency.frames import FrameTimes, ScenarioRun
from device_app.bench.latency.live_problems import ended_early, losses, not_shown, other_engines
from device_app.bench.latency.report import Frames, Stage
from device_app.bench.latency.subjects import stages_of_analysis
from device_app.camera.mailbox import FrameCounts
from device_app.camera.source import Frame, FrameSource
from device_app.engines.backend import is_accelerator
from device_app.live.analysis import Analysis
from device_app.live.headless import FirstAnalysis, FirstOpening
from device_app.live.health import Health, SourceState
from device_app.live.settings import DEFAULT_PATIENCE, PipelineSettings
from device_app.live.supervisor import LiveSession

if TYPE_CHECKING:
    from device_app.screens.draw_times import Drawn
    from device_app.screens.main_window import ScalpScopeApp

HAND_OVER = "hand_over"
"""The detail of what an analysed frame takes beyond its pipeline: the wait for the worker, the way there and back."""

SCREEN_WAIT = "screen_wait"
"""The detail of how long an analysis waits for the window to take it up."""

NOT_SHOWN = "not_shown"
"""The cause of a frame that was analysed, and overtaken before the window showed it with its overlay."""

WARM_UP_S = 4.0
"""From the first analysis to the timed part. The session makes its spare process ready in it."""

_TICK_S = 0.1
_PATIENCE_S = 60.0


@dataclass(frozen=True)
class _Seen:
    """One analysed frame. Times by ``time.monotonic_ns()``."""

    frame_id: int
    began_ns: int
    captured_ns: int
    done_ns: int
    source_ms: Mapping[str, float]
    analysis_ms: Mapping[str, float]
    made_by: str


class _Recorder:
    """Takes down every analysis of a session, and from one moment on as part of the timed frames.

    That moment is an analysis: between it and the next one no frame can be settled, so that the book which is opened
    there fits the frames that come after.
    """

    def __init__(self, session: LiveSession) -> None:
        self._session = session
        self._begin = False
        self.opened: FrameCounts | None = None
        self.began_ns = 0
        self.warm_up = 0
        self.seen: list[_Seen] = []
        self.drawn: dict[int, Drawn] = {}
        session.watch(self._see)

    def begin(self) -> None:
        """Begin with the next analysis; `opened` tells that it came."""
        self._begin = True

    def take_drawn(self, drawn: Drawn) -> None:
        """A picture is on the screen."""
        self.drawn.setdefault(drawn.frame_id, drawn)

    def _see(self, frame: Frame, analysis: Analysis, done_ns: int) -> None:
        """On the session's thread, which the next frame waits for."""
        if self.opened is None:
            self.warm_up += 1
            if self._begin:
                self.began_ns, self.opened = time.monotonic_ns(), self._session.health().counts
            return
        before_ns = round(sum(frame.timings_ms.values()) * 1e6)
        self.seen.append(
            _Seen(
                frame.id,
                frame.captured_ns - before_ns,
                frame.captured_ns,
                done_ns,
                frame.timings_ms,
                analysis.timings_ms,
                analysis.backend,
            )
        )


class _Phase(Enum):
    FIRST = "first"  # waiting for the first analysis
    WARM_UP = "warm-up"
    BEGINNING = "beginning"  # waiting for the analysis that opens the book
    TIMED = "timed"
    OVER = "over"


class _Drive:
    """What the run does when: called again and again by one thread, with a window or without."""

    def __init__(
        self,
        session: LiveSession,
        first: FirstAnalysis,
        seconds: float,
        warm_up_s: float,
        on_begin: Callable[[], None],
        on_end: Callable[[], None],
        advance: Callable[[float], None],
    ) -> None:
        self.recorder = _Recorder(session)
        self.phase = _Phase.FIRST
        self.at_begin: Health | None = None
        self.at_end: Health | None = None
        self.ended_ns = 0
        self._session, self._first = session, first
        self._seconds, self._warm_up_s = seconds, warm_up_s
        self._on_begin, self._on_end, self._advance = on_begin, on_end, advance
        self._since = time.monotonic()

    def tick(self) -> bool:
        """Go on; True when the run is over.

        Raises:
            ScalpScopeError: nothing can be analysed.
        """
        elapsed_s = time.monotonic() - self._since
        if self.phase is _Phase.FIRST:
            self._first.check()
            if self._first.at_ns is not None:
                self._enter(_Phase.WARM_UP)
        elif self.phase is _Phase.WARM_UP:
            if elapsed_s >= self._warm_up_s:
                self._enter(_Phase.BEGINNING)
                self.recorder.begin()
        elif self.phase is _Phase.BEGINNING:
            if self.recorder.opened is not None:
                self.at_begin = self._session.health()
                self._enter(_Phase.TIMED)
                self._on_begin()
            else:
                self._still_analysing(elapsed_s)
        elif self.phase is _Phase.TIMED:
            elapsed_s = (time.monotonic_ns() - self.recorder.began_ns) / 1e9
            self._advance(min(1.0, elapsed_s / self._seconds))
            if elapsed_s >= self._seconds or self._source_is_over():
                self.end()
        return self.phase is _Phase.OVER

    def end(self) -> None:
        """The timed part is over, if it ever began. Safe to call twice."""
        timed = self.phase is _Phase.TIMED
        self.phase = _Phase.OVER
        if timed:
            self.ended_ns, self.at_end = time.monotonic_ns(), self._session.health()
            self._on_end()

    def _enter(self, phase: _Phase) -> None:
        self.phase, self._since = phase, time.monotonic()

    def _source_is_over(self) -> bool:
        health = self._session.health()
        return health.source is SourceState.ENDED and health.counts.pending == 0

    def _still_analysing(self, waited_s: float) -> None:
        if waited_s > _PATIENCE_S or self._source_is_over():
            health = self._session.health()
            raise ScalpScopeError(
                f"{health.source_name} was over, or its analysis stood still, before the timing could begin.",
                health.worker_problem or health.source_problem or "Use a source that goes on for longer.",
            )


def run_live(
    settings: PipelineSettings,
    source: FrameSource,
    seconds: float,
    window: tuple[int, int] | None,
    on_begin: Callable[[], None],
    on_end: Callable[[], None],
    advance: Callable[[float], None],
    *,
    warm_up_s: float = WARM_UP_S,
) -> ScenarioRun:
    """Run the live session and time every frame that it analyses.

    Args:
        settings: how frames are analysed; `time_parts` is seen to here.
        source: where they come from, at its own pace; opened and closed here.
        seconds: for how long, after the warm-up.
        window: (width, height) of the window that the app is to be run in; a frame's way then ends on the screen. None:
            without.
        on_begin, on_end: called where the timed part begins and ends; the second whenever the first was.
        advance: told which share of the timed part is over, 0 to 1.
        warm_up_s: from the first analysis to the timed part; longer where the session builds an engine first.

    Returns:
        The frames that were analysed in the timed part (with a window: and shown with their overlay), and its book:
        every frame that was captured in it, or not settled yet when it began. With a window, `analysed` counts those
        that were shown, and `dropped` those that were not (`NOT_SHOWN`), so that captured = analysed + dropped.

    Raises:
        ScalpScopeError: the source, the bundle or the engine is refused, nothing could be analysed, or there is no
            display for the window.
    """
    settings = replace(settings, time_parts=True)
    source = FirstOpening(source)
    # The spare comes at once, and not in the middle of the timed part.
    session = LiveSession(source, settings, replace(DEFAULT_PATIENCE, spare_s=0.0), build_engines=False)
    drive = _Drive(session, FirstAnalysis(session, source), seconds, warm_up_s, on_begin, on_end, advance)
    try:
        if window is None:
            _run_bare(session, drive)
        else:
            _run_in_window(session, drive, window)
    finally:
        try:
            drive.end()
        finally:
            session.stop()
    return _run_of(drive, session.health().counts, settings, seconds, window is not None)


def _run_bare(session: LiveSession, drive: _Drive) -> None:
    session.start()
    while not drive.tick():
        time.sleep(_TICK_S)


def _run_in_window(session: LiveSession, drive: _Drive, window: tuple[int, int]) -> None:
    from device_app.doctor import State
    from device_app.doctor_checks import find_display
    from device_app.screens.app import run_app

    display = find_display()
    if display.state is State.FAIL:
        raise ScalpScopeError(f"There is {display.found}.", display.remedy)
    failures: list[BaseException] = []

    def opened(app: ScalpScopeApp) -> None:
        from device_app.screens.draw_times import DrawTimes  # Kivy is set up by now

        def tick() -> None:
            try:
                over = drive.tick()
            except BaseException as failure:  # told when the window is gone, in order
                failures.append(failure)
                over = True
            if over:
                app.stop()

        DrawTimes(app, drive.recorder.take_drawn, tick, _TICK_S)

    run_app(session, window=window, on_open=opened)
    if failures:
        raise failures[0]


def _run_of(
    drive: _Drive, closed: FrameCounts, settings: PipelineSettings, seconds: float, windowed: bool
) -> ScenarioRun:
    """What the recorder took down, as a run. `closed`: the counts after the session stopped."""
    recorder, opened = drive.recorder, drive.recorder.opened
    if opened is None or drive.at_begin is None or drive.at_end is None or not recorder.seen:
        raise ScalpScopeError(
            "The run ended before a frame was timed.", "Let it run to its end, and leave the window open."
        )
    ways = [(seen, recorder.drawn.get(seen.frame_id)) for seen in recorder.seen]
    if windowed:
        ways = [(seen, drawn) for seen, drawn in ways if drawn is not None]
    if not ways:
        raise ScalpScopeError(
            "No picture was shown with its overlay: the analyses came so late that the screen showed newer ones, bare.",
            "Measure without --window, or with a faster engine.",
        )
    frames = tuple(_times_of(index, recorder.began_ns, *way) for index, way in enumerate(ways))
    last_ns = max(seen.done_ns if drawn is None else drawn.presented_ns for seen, drawn in ways)
    measured_s = (max(drive.ended_ns, last_ns) - recorder.began_ns) / 1e9
    made_by = [seen.made_by for seen in recorder.seen]
    return ScenarioRun(
        frames=frames,
        warm_up=recorder.warm_up,
        measured_s=measured_s,
        absent_stages=_absent(frames, drive.at_end.source_name, made_by[0], windowed),
        book=_book(opened, closed, len(recorder.seen), len(ways), measured_s),
        problems=(
            *other_engines(made_by, settings),
            *losses(drive.at_begin, drive.at_end),
            *not_shown(len(recorder.seen), len(ways)),
            *ended_early(seconds, (drive.ended_ns - recorder.began_ns) / 1e9, drive.at_end, windowed),
        ),
    )


def _times_of(index: int, start_ns: int, seen: _Seen, drawn: Drawn | None) -> FrameTimes:
    stages, details = stages_of_analysis(seen.analysis_ms)
    stages = {Stage(name): ms for name, ms in seen.source_ms.items()} | stages
    # The window may take an analysis up in the moment between its coming and its stamp.
    done_ns = ended_ns = seen.done_ns if drawn is None else min(seen.done_ns, drawn.began_ns)
    details[HAND_OVER] = (done_ns - seen.captured_ns) / 1e6 - seen.analysis_ms["total"]
    if drawn is not None:
        details[SCREEN_WAIT] = (drawn.began_ns - done_ns) / 1e6
        stages[Stage.UPLOAD] = (drawn.uploaded_ns - drawn.began_ns) / 1e6
        stages[Stage.PRESENT] = (drawn.presented_ns - drawn.uploaded_ns) / 1e6
        ended_ns = drawn.presented_ns
    return FrameTimes(
        index, (seen.began_ns - start_ns) / 1e9, stages, details, end_to_end_ms=(ended_ns - seen.began_ns) / 1e6
    )


def _book(opened: FrameCounts, closed: FrameCounts, watched: int, timed: int, measured_s: float) -> Frames:
    """The frames that were captured since the book was opened, and those that were not settled then."""
    captured = closed.captured - opened.captured + opened.pending
    dropped = {
        cause.value: count for cause in closed.dropped if (count := closed.dropped[cause] - opened.dropped[cause])
    }
    if watched > timed:
        dropped[NOT_SHOWN] = watched - timed
    return Frames(
        captured=captured,
        analysed=timed,
        dropped=dropped,
        reconciles=closed.pending == 0 and captured == timed + sum(dropped.values()),
        captured_per_s=(closed.captured - opened.captured) / measured_s,
    )


def _absent(frames: Sequence[FrameTimes], source: str, made_by: str, windowed: bool) -> dict[Stage, str]:
    backend = made_by.partition(" ")[0]
    if is_accelerator(backend):
        copies = f"{backend} shares its memory with the processor, or does not tell its copies from its computing"
    else:
        copies = f"{backend} works in the processor's own memory and copies nothing"
    present = {stage for frame in frames for stage in frame.stages_ms}
    told = Stage.CAPTURE in present
    why = {
        Stage.CAPTURE: f"the source {source} does not tell",
        Stage.DECODE: f"the source {source} delivers RGB" if told else f"the source {source} does not tell",
        Stage.HOST_TO_DEVICE: copies,
        Stage.DEVICE_TO_HOST: copies,
        Stage.UPLOAD: "no window was asked for",
        Stage.PRESENT: "no window was asked for",
    }
    return {stage: why.get(stage, f"{backend} does not tell it") for stage in Stage if stage not in present}
