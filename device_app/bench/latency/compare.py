"""Two reports side by side: by which ratio their times differ, with an interval; or why they do not compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np

from calibration.errors import ScalpScopeError
from device_app.bench.latency.frames import FrameTimes, detail_values, read_raw, stage_values
from device_app.bench.latency.report import LatencyReport, Scenario, Subject, read_report
from device_app.bench.latency.spread import Ratio, ratio_of_medians

REPORT_NAME = "report.json"

RUN_TO_RUN = 0.05
"""By how much the medians of two VALID runs of the very same thing may differ: 3.4 % was seen on a virtual machine
(docs/benchmarks.md). The interval of a ratio knows how the frames of two runs spread, and not how the machine differs
from one run to the next.
"""


@dataclass(frozen=True)
class Measured:
    """A report and the times of its frames."""

    report: LatencyReport
    frames: tuple[FrameTimes, ...]


@dataclass(frozen=True)
class Row:
    """One stage of both.

    Attributes:
        name: of the stage or the finer part, or ``end to end``.
        before_ms, after_ms: medians.
        ratio: the median before over the one after: above 1, the one after is faster.
    """

    name: str
    before_ms: float
    after_ms: float
    ratio: Ratio


class Change(str, Enum):
    """What a ratio says."""

    FASTER = "faster"
    SLOWER = "slower"
    NONE = "no difference"
    UNKNOWN = "does not count"


@dataclass(frozen=True)
class Comparison:
    """What came out.

    Attributes:
        rows: stages and finer parts that both have, then end to end, which is the last.
        only_one: stages that only one of them has.
        differs: what is different about them: machine, bundle, back end, precision; what one compares.
        warnings: what makes the comparison weak.
        counts: both reports are VALID.
    """

    rows: tuple[Row, ...]
    only_one: tuple[str, ...]
    differs: tuple[str, ...]
    warnings: tuple[str, ...]
    counts: bool = True

    def change(self, row: Row) -> Change:
        """What the second run is beside the first, in one row."""
        ratio = row.ratio
        if not self.counts:
            return Change.UNKNOWN
        if abs(ratio.ratio - 1) <= RUN_TO_RUN or ratio.low <= 1 <= ratio.high:
            return Change.NONE
        return Change.FASTER if ratio.ratio > 1 else Change.SLOWER

    @property
    def end_to_end(self) -> Row:
        """The whole frame."""
        return self.rows[-1]

    @property
    def by_name(self) -> dict[str, Row]:
        """The rows, by name."""
        return {row.name: row for row in self.rows}


def read_measured(path: Path) -> Measured:
    """A report and its frames, from the report's file or the folder it lies in.

    Raises:
        ScalpScopeError: one of the two is not there, damaged, or they are not of one run.
    """
    file = path / REPORT_NAME if path.is_dir() else path
    report = read_report(file)
    if Path(report.raw).name != report.raw:
        raise ScalpScopeError(f"{file} names its frames outside of its folder.", "Measure again.")
    frames = read_raw(file.parent / report.raw)
    if len(frames) != report.end_to_end.count:
        raise ScalpScopeError(
            f"{file} tells of {report.end_to_end.count} frames, and {report.raw} beside it holds {len(frames)}.",
            "Keep the two files of one run together.",
        )
    return Measured(report, frames)


def check_comparable(before: Subject, after: Subject) -> None:
    """Whether two runs measured the same thing.

    Raises:
        ScalpScopeError: they did not; names everything that stands against it.
    """
    against = [
        f"{name} {_said(old)} and {_said(new)}"
        for name, old, new in (
            ("model", before.model.value, after.model.value),
            ("scenario", before.scenario.value, after.scenario.value),
            ("picture size", before.picture_size, after.picture_size),
            ("points", before.points, after.points),
            ("processor cores", before.cores, after.cores),
            ("threads", before.threads, after.threads),
        )
        if old != new
    ]
    if against:
        raise ScalpScopeError(
            f"The two reports do not compare: {'; '.join(against)}.", "Measure again with the options of the other one."
        )


def compare(before: Measured, after: Measured) -> Comparison:
    """Lay one run beside an earlier one.

    Raises:
        ScalpScopeError: they do not compare.
    """
    old, new = before.report, after.report
    check_comparable(old.subject, new.subject)
    stages_before, stages_after = _values(before.frames), _values(after.frames)
    order = list(dict.fromkeys([*stages_before, *stages_after]))
    both = [name for name in order if name in stages_before and name in stages_after]
    rows = [_row(name, stages_before[name], stages_after[name]) for name in both]
    whole = _row(
        "end to end",
        [frame.end_to_end_ms for frame in before.frames],
        [frame.end_to_end_ms for frame in after.frames],
    )
    return Comparison(
        rows=(*rows, whole),
        only_one=tuple(name for name in order if name not in both),
        differs=_differences(old, new),
        warnings=_warnings(old, new),
        counts=old.verdict.valid and new.verdict.valid,
    )


def _values(frames: Sequence[FrameTimes]) -> dict[str, list[float]]:
    stages = {stage.value: values for stage, values in stage_values(frames).items()}
    return {**stages, **{name: own for name, own in detail_values(frames).items() if name not in stages}}


def _row(name: str, before_ms: Sequence[float], after_ms: Sequence[float]) -> Row:
    ratio = ratio_of_medians(after_ms, before_ms)
    return Row(name, float(np.median(before_ms)), float(np.median(after_ms)), ratio)


def _differences(old: LatencyReport, new: LatencyReport) -> tuple[str, ...]:
    pairs: list[tuple[str, object, object]] = [
        ("bundle", f"{old.subject.bundle} ({_short(old)})", f"{new.subject.bundle} ({_short(new)})"),
        ("back end", old.subject.backend, new.subject.backend),
        ("precision", old.subject.precision, new.subject.precision),
        ("source", old.subject.source, new.subject.source),
        ("software", old.software, new.software),
    ]
    names = dict.fromkeys([*old.machine.identity, *new.machine.identity])
    pairs += [(name, old.machine.identity.get(name), new.machine.identity.get(name)) for name in names]
    return tuple(f"{name}: {_said(a)}, then {_said(b)}" for name, a, b in pairs if a != b)


def _warnings(old: LatencyReport, new: LatencyReport) -> tuple[str, ...]:
    warnings = []
    for which, report in (("first", old), ("second", new)):
        if not report.verdict.valid:
            warnings.append(f"The {which} report is INVALID: {' '.join(report.verdict.reasons)}")
    if old.subject.scenario is Scenario.LIVE:
        warnings.append("In the live scenario the source's pace is part of the times.")
    if old.subject.source != new.subject.source:
        warnings.append("The two saw different pictures, and measuring takes longer where there are more hairs.")
    return tuple(warnings)


def _short(report: LatencyReport) -> str:
    return report.subject.bundle_sha256[:8]


def _said(value: object) -> str:
    if value is None:
        return "none"
    return " x ".join(map(str, value)) if isinstance(value, tuple) else str(value)
