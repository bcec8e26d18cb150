"""`scalpscope bench classify`: how fast the conditions network is, and what grading takes from the live loop.

Goals: int8 twice as fast as FP32 in the same run, and at two pictures a second the live loop loses at most 5 % of its
rate. Also run as ``python -m device_app.bench.classify``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from calibration.errors import ScalpScopeError
from device_app.bench.live_rate import hold_to_cores
from device_app.bundle import Bundle, Task, default_bundle_path, load_bundle
from device_app.camera.choose import open_source
from device_app.camera.source import FrameSource
from device_app.commands.options import BundlePath, ChosenPrecision
from device_app.engines.engine import Precision
from device_app.engines.onnxruntime_engine import OnnxRuntimeEngine
from device_app.images import write_text_atomically
from device_app.live.settings import PipelineSettings
from device_app.live.supervisor import LiveSession

GOAL_SPEED, GOAL_TAKEN = 2.0, 0.05
EVERY_S = 0.5
_LONGEST_S = 120.0
_POLL_S = 0.01
_WARM_UP_RUNS = 5


@dataclass(frozen=True)
class ClassifyTimes:
    """What the network takes, and what grading takes from the live loop.

    Attributes:
        backend: the engine that graded in the live loop.
        cores: processor cores that everything was held to.
        runs: how often each file was run, by turns, with one thread.
        network_ms: median time of one run, by precision.
        speed: FP32's time over the fastest int8 file's; None where one of them is not there.
        grade_ms: mean time of grading one picture beside the live loop, with what comes before and after the network.
        graded_per_s: pictures graded a second, when asked for two.
        live_fps_without, live_fps_with: analysed frames a second, while nothing is graded and while it is.
        pipeline_ms: mean time of one analysis while pictures are graded.
    """

    backend: str
    cores: int
    runs: int
    network_ms: dict[str, float]
    speed: float | None
    grade_ms: float
    graded_per_s: float
    live_fps_without: float
    live_fps_with: float
    pipeline_ms: float

    @property
    def rate_taken(self) -> float:
        """Which share of the live loop's rate grading takes; below 0 where chance was on its side."""
        return 1.0 - self.live_fps_with / self.live_fps_without

    @property
    def time_share(self) -> float:
        """For which share of the time a picture is being graded, beside the analysis or instead of it."""
        return self.graded_per_s * self.grade_ms / 1000

    @property
    def met(self) -> bool:
        """Both goals are met; a bundle without FP32 or int8 has only the second."""
        return self.rate_taken <= GOAL_TAKEN and (self.speed is None or self.speed >= GOAL_SPEED)


def files_to_compare(bundle: Bundle, against: Path | None) -> dict[Precision, Path]:
    """The conditions network's files by precision; `against` stands for FP32.

    Raises:
        ScalpScopeError: the bundle has no conditions network, or `against` is not there.
    """
    model = bundle.model(Task.CONDITIONS)
    files = {precision: bundle.file(file) for precision, file in model.files.items()}
    if against is not None:
        if not against.is_file():
            raise ScalpScopeError(f"There is no file '{against}'.", "Give the FP32 network as an ONNX file.")
        files[Precision.FP32] = against
    return files


def time_networks(bundle: Bundle, files: Mapping[Precision, Path], runs: int) -> dict[str, float]:
    """Median milliseconds of one run on one thread, by precision; all files by turns, so that a machine that slows down
    slows them all.

    Raises:
        ScalpScopeError: a file is not the conditions network of the manifest.
    """
    model = bundle.model(Task.CONDITIONS)
    engines = {precision: OnnxRuntimeEngine(path, model, precision, 1) for precision, path in files.items()}
    rng = np.random.default_rng(0)
    picture = {model.input_name: rng.uniform(-1, 1, model.input_shape).astype(np.float32)}
    times: dict[Precision, list[float]] = {precision: [] for precision in files}
    for run in range(_WARM_UP_RUNS + runs):
        for precision, engine in engines.items():
            began = time.perf_counter()
            engine.run(picture)
            if run >= _WARM_UP_RUNS:
                times[precision].append((time.perf_counter() - began) * 1000)
    for engine in engines.values():
        engine.close()
    return {precision.value: float(np.median(own)) for precision, own in times.items()}


def speed_of(network_ms: Mapping[str, float]) -> float | None:
    """FP32's time over the fastest int8 file's; None where one of them is not there."""
    int8 = (Precision.INT8_U8S8.value, Precision.INT8_SYMMETRIC.value)
    quick = [network_ms[name] for name in int8 if name in network_ms]
    exact = network_ms.get(Precision.FP32.value)
    return exact / min(quick) if quick and exact is not None else None


def measure(
    source: FrameSource,
    settings: PipelineSettings,
    against: Path | None,
    rounds: int,
    seconds: float,
    cores: int,
    runs: int,
) -> ClassifyTimes:
    """Time the network; then the live loop, by turns so many seconds without and with grading, so many rounds.

    Raises:
        ScalpScopeError: the bundle cannot grade, or the loop cannot be started.
    """
    bundle = load_bundle(settings.bundle_path)
    network_ms = time_networks(bundle, files_to_compare(bundle, against), runs)
    grading, idle = replace(settings, classify_every_s=EVERY_S), replace(settings, classify_every_s=0.0)
    session = LiveSession(source, grading, build_engines=False)
    session.start()
    try:
        _wait_for(session, "conditions", lambda: session.latest_conditions() is not None)
        without, beside, graded = np.zeros(2), np.zeros(2), 0
        for _ in range(rounds):
            without += _live_for(session, idle, seconds)
            before = session.report()["conditions"]["graded"]
            beside += _live_for(session, grading, seconds)
            graded += session.report()["conditions"]["graded"] - before
        report = session.report()
    finally:
        session.stop()
    return ClassifyTimes(
        backend=report["conditions"]["backend"],
        cores=cores,
        runs=runs,
        network_ms=network_ms,
        speed=speed_of(network_ms),
        grade_ms=report["conditions"]["grade_ms"]["mean"],
        graded_per_s=float(graded / beside[1]),
        live_fps_without=float(without[0] / without[1]),
        live_fps_with=float(beside[0] / beside[1]),
        pipeline_ms=report["stage_ms"]["total"]["mean"],
    )


def _live_for(session: LiveSession, settings: PipelineSettings, seconds: float) -> np.ndarray:
    """(frames analysed, seconds) with these settings, from the first frames on that were analysed with them."""
    session.use(settings)
    target = session.health().analysed + 3
    _wait_for(session, "frames", lambda: session.health().analysed >= target)
    began, analysed = time.monotonic(), session.health().analysed
    time.sleep(seconds)
    return np.array([session.health().analysed - analysed, time.monotonic() - began])


def _wait_for(session: LiveSession, what: str, there: Callable[[], bool]) -> None:
    until = time.monotonic() + _LONGEST_S
    while not there():
        health = session.health()
        if (refusal := session.refusal()) is not None:
            raise refusal
        if missing := health.conditions_missing if what == "conditions" else "":
            raise ScalpScopeError(missing, "Choose another with --bundle.")
        if time.monotonic() > until:
            told = health.detail or health.conditions_problem or "Run scalpscope doctor."
            raise ScalpScopeError(f"No {what} came from {health.source_name} within {_LONGEST_S:g} s.", told)
        time.sleep(_POLL_S)


def command(
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="How often with and without are measured.")] = 5,
    seconds: Annotated[float, typer.Option("--seconds", min=0.5, help="For how long each time.")] = 8.0,
    runs: Annotated[int, typer.Option("--runs", min=1, help="How often each file of the network is run.")] = 200,
    against: Annotated[
        Path | None,
        typer.Option("--against", metavar="FP32.onnx", help="The FP32 network, for a bundle that ships without it."),
    ] = None,
    source: Annotated[str, typer.Option("--source", metavar="demo|camera[:N]|PATH", help="What to look at.")] = "demo",
    cores: Annotated[int, typer.Option("--cores", min=1, help="Processor cores to be held to.")] = 2,
    bundle: BundlePath = None,
    precision: ChosenPrecision = None,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="R.json", help="Write the result here too.")
    ] = None,
) -> None:
    """Time the conditions network, and grade a live source beside its analysis. Exit code 1 when a goal is missed.

    \b
    Examples:
      scalpscope bench classify
      scalpscope bench classify --against conditions_fp32.onnx --report classify.json
    """
    hold_to_cores(cores)
    settings = PipelineSettings(
        bundle or default_bundle_path(),
        scale_um_per_px=3.0,  # the demo's; the figures cost the same on any scale
        precision=None if precision is None else Precision(precision.value),
        threads=cores,
    )
    times = measure(open_source(source), settings, against, rounds, seconds, cores, runs)
    _print(times)
    if report is not None:
        goals = {"goal_speed": GOAL_SPEED, "goal_rate_taken": GOAL_TAKEN}
        found = {"rate_taken": times.rate_taken, "time_share": times.time_share, "met": times.met}
        write_text_atomically(report, json.dumps({**goals, **asdict(times), **found}, indent=2) + "\n")
    if not times.met:
        raise typer.Exit(1)


def _print(times: ClassifyTimes) -> None:
    title = f"conditions network, {times.runs} runs by turns, one thread"
    table = Table(title=title, title_justify="left")
    for heading in ("precision", "p50 ms", "FP32 over it"):
        table.add_column(heading, justify="left" if heading == "precision" else "right")
    exact = times.network_ms.get(Precision.FP32.value)
    for name, ms in times.network_ms.items():
        table.add_row(name, f"{ms:.1f}", "" if exact is None else f"{exact / ms:.2f}")
    console = Console()
    console.print(table)
    speed = (
        "no FP32 file to compare with" if times.speed is None else f"int8 is {times.speed:.2f} times as fast as FP32"
    )
    console.print(
        f"live loop on {times.cores} cores: {times.live_fps_without:.1f} frames a second without grading, "
        f"{times.live_fps_with:.1f} with {times.graded_per_s:.1f} pictures graded a second by {times.backend} "
        f"({times.grade_ms:.1f} ms each, {times.time_share:.1%} of the time): {times.rate_taken:.1%} of the rate taken "
        f"(goal {GOAL_TAKEN:.0%}); {speed} (goal {GOAL_SPEED:g}): " + ("goals met" if times.met else "goal missed"),
        highlight=False,
        soft_wrap=True,
    )


if __name__ == "__main__":
    typer.run(command)
