"""The page to look at: one HTML file that needs no network and no script, and prints on one sheet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from calibration.files import write_text_atomically
from device_app.bench.latency.compare import Comparison, Measured, compare
from device_app.bench.latency.frames import FrameTimes
from device_app.bench.latency.page_parts import (
    cold_start_part,
    comparison_part,
    demonstration_part,
    escape,
    figures_part,
    frames_part,
    loadgen_part,
    machine_part,
    peers_part,
    quality_part,
    stages_part,
    subject_part,
    verdict_part,
)
from device_app.bench.latency.page_style import STYLE
from device_app.bench.latency.plots import histogram, latency_over_time, percentile_curve, waterfall
from device_app.bench.latency.report import LatencyReport


def write_page(
    report: LatencyReport,
    frames: Sequence[FrameTimes],
    path: Path,
    against: tuple[LatencyReport, Sequence[FrameTimes]] | None = None,
    comparison: Comparison | None = None,
) -> None:
    """Write the page of a run, whole or not at all.

    Args:
        report: of the run.
        frames: its frames, at least one.
        path: where to; its folder is there.
        against: an earlier run, to stand beside it.
        comparison: of both, if it was made already: it takes seconds for a run of many frames.

    Raises:
        ScalpScopeError: matplotlib is missing, the page cannot be written, or the two runs do not compare.
    """
    write_text_atomically(path, page_of(report, frames, against, comparison))


def page_of(
    report: LatencyReport,
    frames: Sequence[FrameTimes],
    against: tuple[LatencyReport, Sequence[FrameTimes]] | None = None,
    comparison: Comparison | None = None,
) -> str:
    """The page as text. Arguments and errors: see `write_page`."""
    if against is not None and comparison is None:
        comparison = compare(Measured(against[0], tuple(against[1])), Measured(report, tuple(frames)))
    beside = "" if against is None or comparison is None else comparison_part(comparison, against[0])
    subject = report.subject
    title = f"{subject.model.value}, {subject.scenario.value}, {subject.backend} {subject.precision}"
    word = "VALID" if report.verdict.valid else "INVALID"
    rooms = [
        subject_part(report),
        machine_part(report.machine),
        cold_start_part(report.cold_start, report.harness),
        quality_part(report.quality),
        loadgen_part(report.loadgen),
        frames_part(report.frames),
    ]
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{word}: {escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<header class="top">
<h1>ScalpScope latency report: {escape(title)}</h1><p class="soft">{escape(report.created)}</p>
</header>
<main>
{verdict_part(report.verdict)}
{demonstration_part(subject)}
{figures_part(report)}
{_plots(report, frames, None if against is None else against[1])}
{stages_part(report)}
{beside}
{peers_part(report.peers)}
<div class="rooms">{"".join(rooms)}</div>
</main>
<footer>
{escape(report.software)}. {escape(report.command)}. Every frame's times: {escape(report.raw)}.
</footer>
</body>
</html>
"""


def _plots(report: LatencyReport, frames: Sequence[FrameTimes], earlier: Sequence[FrameTimes] | None) -> str:
    whole = [frame.end_to_end_ms for frame in frames]
    before = None if earlier is None else [frame.end_to_end_ms for frame in earlier]
    during = report.machine.during
    beneath = ", clocks and temperatures beneath" if any(s.cpu_mhz or s.temperatures_c for s in during) else ""
    pairs = [
        (f"Latency over time{beneath}", latency_over_time(frames, during)),
        ("How the times are distributed", histogram(whole, before)),
        ("Percentiles, the slow end opened out", percentile_curve(whole, before)),
        ("Stages of two real frames, laid one after the other", waterfall(frames)),
    ]
    figures = (f'<figure class="card">{svg}<figcaption>{caption}.</figcaption></figure>' for caption, svg in pairs)
    return f'<section class="grid plots" aria-label="Plots">{"".join(figures)}</section>'
