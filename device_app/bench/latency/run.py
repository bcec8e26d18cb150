"""One run, from the machine at rest to the report: what `scalpscope bench` does."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import cv2
import numpy as np

from calibration.errors import ScalpScopeError
from calibration.files import make_folder, write_text_atomically
from device_app import __version__
from device_app.bench.latency.cold_start import Opened, check_wanted, open_subject, time_first
from device_app.bench.latency.compare import (
    REPORT_NAME,
    Comparison,
    Measured,
    check_comparable,
    compare,
    read_measured,
)
from device_app.bench.latency.frames import FrameTimes, ScenarioRun, detail_values, stage_values, write_raw
from device_app.bench.latency.loadgen import Load, run_load
from device_app.bench.latency.pictures import take_pictures
from device_app.bench.latency.plan import Plan, as_planned, check_plan
from device_app.bench.latency.report import (
    ColdStart,
    LatencyReport,
    Machine,
    Model,
    Peer,
    Quality,
    Scenario,
    Subject,
)
from device_app.bench.latency.spread import spread_of
from device_app.bench.latency.stamps import Stamps, harness_of
from device_app.bench.latency.subjects import pipeline_settings
from device_app.bench.latency.timed import NETWORK, TASKS, Timed, engine_files
from device_app.bench.latency.verdict import another_engine, judge
from device_app.bundle import MANIFEST_NAME, Bundle, Task, sha256_of
from device_app.engines.engine import Precision
from device_app.engines.select import SelectedEngine, open_engine, open_preferred

log = logging.getLogger(__name__)

RAW_NAME, PAGE_NAME = "frames.jsonl", "report.html"
FRAMES_IN_MEMORY, EMBEDDED_IN_MEMORY = 32, 8
"""How many frames a scenario goes through, over and over; fewer for the decoder, whose embeddings are large."""

PEER_ROUNDS = 20
_WARM_UP_S, _WARM_UP_LEAST, _WARM_UP_MOST = 2.0, 5, 500

Tell = Callable[[str, float], None]
"""Told what is being done, and which share of it is done, 0 to 1."""


@dataclass(frozen=True)
class Outcome:
    """What came out.

    Attributes:
        measured: the report and its frames.
        folder: where they were written to.
        comparison: with the earlier report; None when there was none.
        page_problem: why there is no page to look at; empty when there is.
    """

    measured: Measured
    folder: Path
    comparison: Comparison | None
    page_problem: str


def run_bench(plan: Plan, tell: Tell = lambda _what, _share: None) -> Outcome:
    """Measure, judge and write the report.

    Raises:
        ScalpScopeError: the plan cannot be carried out, or measuring failed; nothing is reported then.
        KeyboardInterrupt: Ctrl-C was pressed.
    """
    check_plan(plan)
    before = None if plan.against is None else read_measured(plan.against)
    if before is not None:
        check_comparable(before.report.subject, as_planned(before.report.subject, plan))
    check_wanted(plan.wanted)
    # The folder is asked for first: a minute of measuring must not end in "no permission".
    folder = make_folder(plan.out)
    _warn_without_plots()
    tell("taking frames", 0.0)
    pictures = _take_pictures(plan)

    from device_app.bench.latency.machine import MachineWatch

    watch = MachineWatch(plan.cores)
    with ExitStack() as stack:
        stack.callback(watch.close)
        cv2.setNumThreads(plan.wanted.threads)  # as the live worker does
        tell("looking at the machine at rest", 0.0)
        watch.start()
        opened = open_subject(plan.wanted, tell)
        stack.callback(opened.subject.close)
        subject = _subject_of(plan, opened, pictures[0])
        for otherwise in another_engine(subject):
            log.warning("%s Its report will be INVALID; Ctrl-C ends it.", otherwise)
        if before is not None:
            check_comparable(before.report.subject, subject)
        prepared = [opened.subject.prepare(picture) for picture in pictures]
        first_ms = time_first(opened.subject, prepared[0])
        parts_cost = opened.subject.parts_cost(prepared[0])
        if plan.scenario is Scenario.LIVE:
            opened.subject.close()  # the session's worker has the machine to itself
            run = _run_live(plan, opened, watch, tell)
        else:
            run = _run_loadgen(plan, opened.subject, prepared, folder, watch, tell)
        del prepared
        machine = watch.finish()
        quality, files, problem = _quality(plan, opened, pictures, tell)
        peers = _peers(plan, opened.subject, pictures, tell) if plan.peers else ()
    cold_start = ColdStart(
        engine_build_s=opened.build_s,
        load_s=opened.load_s,
        first_inference_ms=first_ms,
        first_frame_s=_first_frame(plan, opened, tell),
    )
    subject = subject.model_copy(update={"engine_files": {**files, **subject.engine_files}})
    run = replace(run, problems=(*run.problems, *((problem,) if problem else ())))
    report = _report(plan, subject, run, opened.subject, machine, cold_start, quality, peers, parts_cost)
    return _write(plan, Measured(report, run.frames), before, folder, tell)


def frame_times(subject: Timed, stamps: Stamps) -> tuple[FrameTimes, ...]:
    """What the stamps of a subject's frames mean."""
    frames = []
    start_ns = 0
    for index, row in enumerate(stamps.rows()):
        start_ns = start_ns or row.at_ns[0]
        stages, details = subject.times(row)
        frames.append(
            FrameTimes(index, (row.at_ns[0] - start_ns) / 1e9, stages, details, (row.at_ns[-1] - row.at_ns[0]) / 1e6)
        )
    return tuple(frames)


def warm_up(subject: Timed, prepared: Sequence[Any], seconds: float = _WARM_UP_S) -> tuple[int, float]:
    """Run until caches, clocks and allocators have seen enough.

    Args:
        subject: what is timed.
        prepared: its frames.
        seconds: for how long; a few frames at least, a few hundred at most.

    Returns:
        How many frames that were, and the median of their times in milliseconds.
    """
    stamps = subject.stamps(_WARM_UP_MOST)
    began = perf_counter()
    times_ms: list[float] = []
    while len(times_ms) < _WARM_UP_LEAST or (perf_counter() - began < seconds and len(times_ms) < _WARM_UP_MOST):
        subject.run(prepared[len(times_ms) % len(prepared)], stamps)
        times_ms.append(stamps.last_ms())
    return len(times_ms), float(np.median(times_ms))


def _warn_without_plots() -> None:
    from device_app.bench.latency.plots import check_plots

    try:
        check_plots()
    except ScalpScopeError as error:
        log.warning("there will be no page to look at: %s", error)


def _take_pictures(plan: Plan) -> tuple[np.ndarray, ...]:
    if plan.scenario is Scenario.LIVE:
        return take_pictures(plan.source, 1)  # for its size and for the first inference; the session takes its own
    few = plan.wanted.model is Model.SAM_DECODER
    return take_pictures(plan.source, EMBEDDED_IN_MEMORY if few else FRAMES_IN_MEMORY)


def _subject_of(plan: Plan, opened: Opened, picture: np.ndarray) -> Subject:
    wanted, bundle, ran = plan.wanted, opened.bundle, opened.subject.ran
    task = TASKS[wanted.model]
    return Subject(
        model=wanted.model,
        scenario=plan.scenario,
        bundle=f"{bundle.name} {bundle.version}",
        bundle_sha256=sha256_of(bundle.path / MANIFEST_NAME),
        model_files={task.value: bundle.model(task).files[Precision(ran.precision)].sha256},
        engine_files=dict(ran.engine_files),
        backend=ran.backend,
        precision=ran.precision,
        asked_backend=wanted.backend,
        asked_precision=None if wanted.precision is None else wanted.precision.value,
        reasons=ran.reasons,
        absent=ran.absent,
        fallback=ran.fallback,
        threads=wanted.threads,
        cores=plan.cores,
        source=plan.source,
        picture_size=(picture.shape[1], picture.shape[0]),
        points=wanted.points if wanted.model is Model.SAM_DECODER else None,
        demonstration=bundle.model(task).demonstration_only,
    )


def _run_loadgen(
    plan: Plan, subject: Timed, prepared: Sequence[Any], folder: Path, watch: Any, tell: Tell
) -> ScenarioRun:
    tell("warming up", 0.0)
    warm, expected_ms = warm_up(subject, prepared, min(_WARM_UP_S, plan.seconds))
    load = Load(plan.scenario, plan.seconds, expected_ms, len(prepared))
    stamps = subject.stamps(room=1024 + round(1.5 * load.expected_s * 1000 / expected_ms))

    def work(number: int) -> None:
        subject.run(prepared[number], stamps)

    what = f"timing {plan.wanted.model.value} ({plan.scenario.value}), about {load.expected_s:.0f} s"
    watch.begin()
    try:
        result = run_load(load, work, folder, lambda share: tell(what, share))
    finally:
        watch.end()
    frames = frame_times(subject, stamps)
    present = list(stage_values(frames))
    last = frames[-1]
    return ScenarioRun(
        frames=frames,
        warm_up=warm,
        measured_s=last.at_s + last.end_to_end_ms / 1000,
        absent_stages=subject.absent_stages(present),
        loadgen=result,
    )


def _run_live(plan: Plan, opened: Opened, watch: Any, tell: Tell) -> ScenarioRun:
    from device_app.bench.latency.live import run_live
    from device_app.camera.choose import open_source

    ran = opened.subject.ran
    settings = pipeline_settings(opened.bundle, Precision(ran.precision), plan.wanted.threads, ran.backend)
    what = f"timing the live loop, {plan.seconds:.0f} s"
    return run_live(
        settings,
        open_source(plan.source),
        plan.seconds,
        plan.window,
        watch.begin,
        watch.end,
        lambda share: tell(what, share),
    )


def _quality(
    plan: Plan, opened: Opened, pictures: Sequence[np.ndarray], tell: Tell
) -> tuple[Quality | None, dict[str, str], str]:
    """What the engines compute, the files of those that were built, and why the first is missing where it is."""
    from device_app.bench.latency.quality import measure_quality

    tell("comparing with FP32", 0.0)
    engines: dict[Task, SelectedEngine] = {}
    files: dict[str, str] = {}
    try:
        engines = _engines_of(plan, opened)
        for task, engine in engines.items():
            files |= engine_files(task, engine)
        return measure_quality(opened.bundle, plan.wanted.model, engines, plan.fp32, pictures), files, ""
    except ScalpScopeError as error:
        return None, files, f"What the engine computes could not be compared with FP32: {error.what}"
    finally:
        for engine in engines.values():
            engine.close()


def _engines_of(plan: Plan, opened: Opened) -> dict[Task, SelectedEngine]:
    """Engines like the one that was timed, and for the pipeline the grading's beside it."""
    bundle: Bundle = opened.bundle
    ran, wanted = opened.subject.ran, plan.wanted
    task = TASKS[wanted.model]
    engines = {task: open_engine(bundle, task, Precision(ran.precision), wanted.threads, ran.backend)}
    if wanted.model is Model.PIPELINE and bundle.has(Task.CONDITIONS):
        try:
            engines[Task.CONDITIONS], _ = open_preferred(
                bundle, Task.CONDITIONS, wanted.precision, wanted.threads, wanted.backend
            )
        except ScalpScopeError as error:
            log.warning("no grades to compare: %s", error)
    return engines


def _peers(plan: Plan, subject: Timed, pictures: Sequence[np.ndarray], tell: Tell) -> tuple[Peer, ...]:
    from device_app.bench.latency.peers import run_peers

    stamps = subject.stamps(room=1)

    def ours(picture: np.ndarray) -> tuple[float, float]:
        stamps.clear()
        subject.run(subject.prepare(picture), stamps)
        row = next(stamps.rows())
        _, details = subject.times(row)
        return details[NETWORK], (row.at_ns[-1] - row.at_ns[0]) / 1e6

    try:
        return run_peers(
            pictures,
            ours,
            PEER_ROUNDS,
            plan.cores,
            plan.wanted.threads,
            plan.checkpoint,
            lambda share: tell("timing the peers, by turns with ours", share),
            bundle=plan.wanted.bundle,
            model=plan.wanted.model,
        )
    except ScalpScopeError as error:  # a minute of measuring ours is not thrown away for it
        log.warning("the peers could not be timed: %s", error)
        return (Peer(name="peers", what="what people would otherwise use", missing=str(error)),)


def _first_frame(plan: Plan, opened: Opened, tell: Tell) -> float | None:
    if not plan.first_frame or plan.wanted.model is not Model.PIPELINE:
        return None
    from device_app.bench.latency.first_frame import measure_first_frame

    wanted, ran = plan.wanted, opened.subject.ran
    # What could not be had is not asked for again: the app would refuse to start.
    backend = wanted.backend if wanted.backend == ran.backend else None
    precision = wanted.precision if wanted.precision == Precision(ran.precision) else None
    tell("starting the app for its first frame", 0.0)
    try:
        return measure_first_frame(opened.bundle.path, precision, backend, plan.source)
    except ScalpScopeError as error:
        log.warning("the first frame could not be timed: %s", error)
        return None


def _report(
    plan: Plan,
    subject: Subject,
    run: ScenarioRun,
    timed: Timed,
    machine: Machine,
    cold_start: ColdStart,
    quality: Quality | None,
    peers: tuple[Peer, ...],
    parts_cost: float | None,
) -> LatencyReport:
    stages = {stage: spread_of(values) for stage, values in stage_values(run.frames).items()}
    end_to_end = spread_of([frame.end_to_end_ms for frame in run.frames])
    harness = harness_of(timed.mark_us(), run.frames)
    return LatencyReport(
        software=f"scalpscope {__version__}",
        created=datetime.now().astimezone().isoformat(timespec="seconds"),
        command=plan.command,
        subject=subject,
        stages=stages,
        absent_stages=dict(run.absent_stages),
        details={name: spread_of(values) for name, values in detail_values(run.frames).items()},
        end_to_end=end_to_end,
        throughput_per_s=len(run.frames) / run.measured_s,
        warm_up=run.warm_up,
        measured_s=run.measured_s,
        cold_start=cold_start,
        loadgen=run.loadgen,
        frames=run.book,
        machine=machine,
        harness=harness,
        quality=quality,
        peers=peers,
        verdict=judge(
            subject,
            stages,
            end_to_end,
            run.measured_s,
            machine,
            harness,
            quality,
            run.loadgen,
            run.book,
            run.problems,
            parts_cost,
        ),
        raw=RAW_NAME,
    )


def _write(plan: Plan, measured: Measured, before: Measured | None, folder: Path, tell: Tell) -> Outcome:
    """The frames first: a report names them. The page last: without it the figures are still whole."""
    tell("writing the report", 0.0)
    comparison = None if before is None else compare(before, measured)
    write_raw(folder / RAW_NAME, measured.frames)
    write_text_atomically(folder / REPORT_NAME, measured.report.model_dump_json(indent=2) + "\n")
    problem = ""
    try:
        from device_app.bench.latency.page import write_page

        earlier = None if before is None else (before.report, before.frames)
        write_page(measured.report, measured.frames, folder / PAGE_NAME, earlier, comparison)
    except ScalpScopeError as error:
        problem = str(error)
    return Outcome(measured, folder, comparison, problem)
