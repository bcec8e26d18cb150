"""Whether the figures of a run count: VALID, or INVALID with every reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from device_app.bench.latency.report import (
    Frames,
    Harness,
    LoadGenResult,
    Machine,
    Model,
    Quality,
    Scenario,
    Stage,
    Subject,
    Verdict,
)
from device_app.bench.latency.spread import Spread
from device_app.engines.backend import is_accelerator

MIN_SECONDS = 60.0
MLPERF_SECONDS = 600.0
MIN_SAMPLES = {Scenario.SINGLE_STREAM: 1024, Scenario.MULTI_STREAM: 662 * 8, Scenario.LIVE: 300}
"""Timed frames. For MLPerf's scenarios these are the queries its rules ask for, times the frames of one; in the live
scenario enough that the 99th percentile is more than a handful of frames."""

_SLACK_S = 0.05  # the load generator begins to count a moment before the first stamp
MOST_CV = 0.025
MOST_HARNESS = 0.01
_FOR_P99_9 = 1000
_FOR_P99 = 100
_WATCHED = {
    "cpu_mhz": "the processor's clock",
    "temperatures_c": "temperatures",
    "throttled": "whether it is throttled",
}
"""What of `Machine.absent` a reader would believe to have been watched."""


def judge(
    subject: Subject,
    stages: Mapping[Stage, Spread],
    end_to_end: Spread,
    measured_s: float,
    machine: Machine,
    harness: Harness,
    quality: Quality | None,
    loadgen: LoadGenResult | None = None,
    frames: Frames | None = None,
    problems: Iterable[str] = (),
    parts_cost: float | None = None,
) -> Verdict:
    """The verdict on a run, from what its report says.

    Args:
        subject, stages, end_to_end, measured_s, machine, harness, quality, loadgen, frames: see `LatencyReport`.
        problems: what else makes it not count, in words (`ScenarioRun.problems`).
        parts_cost: by which share telling an engine's parts apart lengthens its call; None: not at all.
    """
    reasons = [
        *_too_little(subject.scenario, end_to_end.count, measured_s),
        *another_engine(subject),
        *machine.problems,
        *_unsteady(subject, stages, end_to_end),
        *(_loadgen_says(loadgen) if loadgen is not None else ()),
        *(_lost_frames(frames) if frames is not None else ()),
        *problems,
    ]
    if harness.share > MOST_HARNESS:
        reasons.append(
            f"Measuring takes {harness.share:.1%} of the shortest stage, {harness.shortest_stage}; at most "
            f"{MOST_HARNESS:.0%} is allowed."
        )
    if quality is not None and not quality.passed:
        missed = "; ".join(quality.misses) or "its figures are beyond the limits"
        reasons.append(f"The engine is too far from FP32: {missed}.")
    distinct = tuple(dict.fromkeys(reasons))
    return Verdict(
        valid=not distinct,
        reasons=distinct,
        notes=_notes(subject, end_to_end, measured_s, quality, loadgen, parts_cost, machine),
    )


def _too_little(scenario: Scenario, count: int, measured_s: float) -> Iterable[str]:
    least = MIN_SAMPLES[scenario]
    if measured_s < MIN_SECONDS - _SLACK_S:
        yield f"It ran for {measured_s:.1f} s; a {scenario.value} run takes at least {MIN_SECONDS:.0f} s."
    if count < least:
        yield f"{count} frames were timed; a {scenario.value} run takes at least {least}."


def another_engine(subject: Subject) -> Iterable[str]:
    """In words, where another back end or precision ran than was asked for."""
    if subject.asked_backend is not None and subject.asked_backend != subject.backend:
        yield f"{subject.asked_backend} was asked for, and {subject.backend} ran."
    if subject.asked_precision is not None and subject.asked_precision != subject.precision:
        yield f"{subject.asked_precision} was asked for, and {subject.precision} ran."


def _unsteady(subject: Subject, stages: Mapping[Stage, Spread], end_to_end: Spread) -> Iterable[str]:
    """On an accelerator the computing is judged: what the processor does beside it differs from picture to picture."""
    if not is_accelerator(subject.backend):
        return
    what, spread = ("computing", stages[Stage.COMPUTE]) if Stage.COMPUTE in stages else ("frames", end_to_end)
    if spread.cv > MOST_CV:
        yield (
            f"The times of the {what} vary by {spread.cv:.1%} (coefficient of variation); on a GPU at most "
            f"{MOST_CV:.1%} is allowed."
        )


def _loadgen_says(result: LoadGenResult) -> Iterable[str]:
    if not result.valid:
        why = " ".join(result.reasons) or "see its summary"
        yield f"MLPerf's load generator says INVALID: {why}"


def _lost_frames(frames: Frames) -> Iterable[str]:
    if not frames.reconciles:
        dropped = sum(frames.dropped.values())
        yield (
            f"The frames do not reconcile: {frames.captured} captured, {frames.analysed} analysed, {dropped} dropped."
        )


def _notes(
    subject: Subject,
    end_to_end: Spread,
    measured_s: float,
    quality: Quality | None,
    loadgen: LoadGenResult | None,
    parts_cost: float | None,
    machine: Machine,
) -> tuple[str, ...]:
    notes = []
    if subject.model is Model.PIPELINE:
        notes.append(
            "The pipeline is what is done with every frame. Conditions are graded beside it, twice a second, and are "
            "not in these times (bench classify)."
        )
    if unseen := [words for key, words in _WATCHED.items() if key in machine.absent]:
        notes.append(
            f"This machine does not tell {', '.join(unseen)}: that they did not change meanwhile was not checked."
        )
    if parts_cost is not None and parts_cost > MOST_HARNESS:
        notes.append(
            f"Telling the copies from the computing lengthens the engine's call by {parts_cost:.1%}; the app does "
            "without, and is faster by so much."
        )
    if loadgen is not None and MIN_SECONDS - _SLACK_S <= measured_s < MLPERF_SECONDS - _SLACK_S:
        notes.append(
            f"MLPerf asks for {MLPERF_SECONDS:.0f} s; this run took {measured_s:.0f} s. Use --seconds "
            f"{MLPERF_SECONDS:.0f} for a figure to publish."
        )
    if subject.scenario is Scenario.MULTI_STREAM:
        notes.append("The load generator's latencies are those of queries of 8 frames; the stages are of single ones.")
    if not is_accelerator(subject.backend) and end_to_end.cv > MOST_CV:
        notes.append(
            f"The times of the frames vary by {end_to_end.cv:.1%} (coefficient of variation); on a processor that is "
            "no reason against them."
        )
    if end_to_end.count < _FOR_P99:
        notes.append(f"With {end_to_end.count} frames the 99th percentile is the slowest of them.")
    elif end_to_end.count < _FOR_P99_9:
        notes.append(f"With {end_to_end.count} frames the 99.9th percentile is the slowest of them.")
    if subject.fallback:
        notes.append("Passed over: " + "; ".join(subject.reasons[1:]) + ".")
    if quality is None:
        notes.append("What the engine computes was not compared with FP32.")
    if subject.demonstration:
        notes.append("The bundle says of its networks that they are for demonstration only.")
    return tuple(notes)
