"""The times of single frames, and the file that holds them all: one line of JSON for each frame."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from calibration.errors import ScalpScopeError
from calibration.files import write_text_atomically
from device_app.bench.latency.report import Frames, LoadGenResult, Stage


@dataclass(frozen=True)
class FrameTimes:
    """When one frame was worked on, and how long each stage took.

    Attributes:
        index: counts up by one for each timed frame.
        at_s: seconds from the beginning of the timed part to the beginning of this frame.
        stages_ms: by stage, those that this run has.
        details_ms: finer parts, by name.
        end_to_end_ms: from the beginning of its first stage to the end of its last, by the clock: not their sum.
    """

    index: int
    at_s: float
    stages_ms: Mapping[Stage, float]
    details_ms: Mapping[str, float]
    end_to_end_ms: float


@dataclass(frozen=True)
class ScenarioRun:
    """What a scenario measured.

    Attributes:
        frames: the timed ones, in order, at least one.
        warm_up: how many came before them.
        measured_s: how long the timed part took.
        absent_stages: why this run does not have the other stages.
        loadgen: MLPerf's own result, for its scenarios.
        book: what became of the frames, for the live scenario.
        problems: what makes this run not count, in words.
    """

    frames: tuple[FrameTimes, ...]
    warm_up: int
    measured_s: float
    absent_stages: Mapping[Stage, str]
    loadgen: LoadGenResult | None = None
    book: Frames | None = None
    problems: tuple[str, ...] = ()


def write_raw(path: Path, frames: Iterable[FrameTimes]) -> None:
    """Write every frame as a line of JSON, or nothing."""
    lines = [
        json.dumps(
            {
                "frame": frame.index,
                "at_s": round(frame.at_s, 6),
                "end_to_end_ms": round(frame.end_to_end_ms, 6),
                "stages_ms": {stage.value: round(ms, 6) for stage, ms in frame.stages_ms.items()},
                "details_ms": {name: round(ms, 6) for name, ms in frame.details_ms.items()},
            }
        )
        for frame in frames
    ]
    write_text_atomically(path, "\n".join(lines) + "\n")


def read_raw(path: Path) -> tuple[FrameTimes, ...]:
    """What `write_raw` wrote.

    Raises:
        ScalpScopeError: it is not there, or a line is not of that kind.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ScalpScopeError(
            f"The times of the frames, {path}, cannot be read: {error}.", "Keep the JSONL file beside its report."
        ) from error
    frames = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            frames.append(
                FrameTimes(
                    int(row["frame"]),
                    float(row["at_s"]),
                    {Stage(name): float(ms) for name, ms in row["stages_ms"].items()},
                    {str(name): float(ms) for name, ms in row["details_ms"].items()},
                    float(row["end_to_end_ms"]),
                )
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ScalpScopeError(f"Line {number} of {path} holds no times of a frame.", "Measure again.") from error
    return tuple(frames)


def stage_values(frames: Sequence[FrameTimes]) -> dict[Stage, list[float]]:
    """The times of each stage that any frame has, in the order of the stages."""
    return {
        stage: values
        for stage in Stage
        if (values := [frame.stages_ms[stage] for frame in frames if stage in frame.stages_ms])
    }


def detail_values(frames: Sequence[FrameTimes]) -> dict[str, list[float]]:
    """The times of each finer part that any frame has."""
    names = dict.fromkeys(name for frame in frames for name in frame.details_ms)
    return {name: [frame.details_ms[name] for frame in frames if name in frame.details_ms] for name in names}
