"""Latency reports for tests: whole and strict, of times that the test chooses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from device_app.bench.latency.frames import FrameTimes, detail_values, stage_values, write_raw
from device_app.bench.latency.report import (
    ColdStart,
    Harness,
    LatencyReport,
    LoadGenResult,
    Machine,
    MachineSample,
    Model,
    Quality,
    Scenario,
    Stage,
    Subject,
    Verdict,
)
from device_app.bench.latency.spread import spread_of

SUBJECT = Subject(
    model=Model.HAIR,
    scenario=Scenario.SINGLE_STREAM,
    bundle="tiny 1",
    bundle_sha256="0" * 64,
    model_files={"hair": "1" * 64},
    backend="onnxruntime-cpu",
    precision="int8_u8s8",
    reasons=("onnxruntime-cpu int8_u8s8: the fastest",),
    threads=2,
    cores=2,
    source="demo",
    picture_size=(640, 480),
)
MACHINE = Machine(
    identity={"processor": "made up", "cores": "2"},
    absent={"gpu": "no NVIDIA GPU"},
    before=MachineSample(at_s=-2.0),
    during=(MachineSample(at_s=1.0, cpu_mhz=2000.0),),
    after=MachineSample(at_s=61.0),
)
HARNESS = Harness(mark_us=0.1, shortest_stage="preprocess", share=0.001)
QUALITY = Quality(pictures=2, mask_dice_median=0.995, mask_dice_worst=0.99, passed=True)
LOADGEN = LoadGenResult(
    version="6",
    valid=True,
    percentile=90.0,
    percentile_ms=25.0,
    early_stopping_ms=25.5,
    queries=2400,
    samples=2400,
    min_duration_s=60.0,
    duration_s=60.0,
    settings={"scenario": "SingleStream"},
    folder="loadgen",
)


def made_up_frames(
    times_ms: Sequence[Mapping[str, float]], details: Mapping[str, float] | None = None
) -> tuple[FrameTimes, ...]:
    """Frames of these stages, one after the other without a gap."""
    frames, at_s = [], 0.0
    for index, stages in enumerate(times_ms):
        whole = sum(stages.values())
        frames.append(
            FrameTimes(index, at_s, {Stage(name): ms for name, ms in stages.items()}, dict(details or {}), whole)
        )
        at_s += whole / 1000
    return tuple(frames)


def made_up_report(timed: Sequence[FrameTimes], subject: Subject = SUBJECT, **changes: Any) -> LatencyReport:
    """A report of these frames; every other field may be given."""
    measured_s = timed[-1].at_s + timed[-1].end_to_end_ms / 1000
    stages = {stage: spread_of(values) for stage, values in stage_values(timed).items()}
    fields: dict[str, Any] = {
        "software": "scalpscope 0",
        "created": "2026-11-30T12:00:00+00:00",
        "command": "scalpscope bench --model hair",
        "subject": subject,
        "stages": stages,
        "absent_stages": {stage: "not in this test" for stage in Stage if stage not in stages},
        "details": {name: spread_of(values) for name, values in detail_values(timed).items()},
        "end_to_end": spread_of([frame.end_to_end_ms for frame in timed]),
        "throughput_per_s": len(timed) / measured_s,
        "warm_up": 5,
        "measured_s": measured_s,
        "cold_start": ColdStart(load_s=0.5, first_inference_ms=30.0),
        "machine": MACHINE,
        "harness": HARNESS,
        "quality": QUALITY,
        "verdict": Verdict(valid=True),
        "raw": "frames.jsonl",
    }
    return LatencyReport(**{**fields, **changes})


def write_report(folder: Path, timed: Sequence[FrameTimes], subject: Subject = SUBJECT, **changes: Any) -> Path:
    """The report and its frames in a folder, as `scalpscope bench` leaves them; returns the report's file."""
    folder.mkdir(parents=True, exist_ok=True)
    report = made_up_report(timed, subject, **changes)
    write_raw(folder / report.raw, timed)
    (folder / "report.json").write_text(report.model_dump_json(), encoding="utf-8")
    return folder / "report.json"
