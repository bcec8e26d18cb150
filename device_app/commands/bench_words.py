"""What `scalpscope bench` prints: where it is, the table of stages, the verdict, a comparison."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table

if TYPE_CHECKING:
    from device_app.bench.latency.compare import Comparison
    from device_app.bench.latency.report import LatencyReport, Peer, Quality
    from device_app.bench.latency.run import Outcome
    from device_app.bench.latency.spread import Ratio, Spread

_FIGURES = {
    "min": "min_ms",
    "mean": "mean_ms",
    "p50": "p50_ms",
    "p90": "p90_ms",
    "p95": "p95_ms",
    "p99": "p99_ms",
    "p99.9": "p99_9_ms",
    "max": "max_ms",
}
_NARROW = ("p50", "p90", "p99", "max")
"""What a terminal of 80 columns has room for; all of it is in the report."""

_WIDE_FROM = 96
_SAID_EVERY_S = 30.0


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str, float], None]]:
    """A bar on stderr, drawn when it is told something and at no other time: a thread that draws would be timed along.

    Where stderr is no terminal, a line for each new step, and one every half minute of a long one.
    """
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), console=console, auto_refresh=False
    )
    task = bar.add_task("beginning", total=1.0)
    said, due = "", 0.0

    def tell(what: str, share: float) -> None:
        nonlocal said, due
        if console.is_terminal:
            bar.update(task, description=what, completed=min(1.0, max(0.0, share)), refresh=True)
        elif what != said or time.monotonic() >= due:
            console.print(f"{what}: {share:.0%}" if what == said else what, highlight=False, soft_wrap=True)
            said, due = what, time.monotonic() + _SAID_EVERY_S

    if not console.is_terminal:
        yield tell
        return
    with bar:
        yield tell


def print_outcome(outcome: Outcome) -> None:
    """Table, what stands beside it, verdict, and where it all lies."""
    console = Console()
    report = outcome.measured.report
    console.print(stage_table(report, wide=console.width >= _WIDE_FROM))
    for line in _beside(report):
        console.print(line, highlight=False, soft_wrap=True)
    if report.peers:
        console.print(_peer_table(report.peers))
        for peer in report.peers:
            how = f"not run: {peer.missing}" if peer.missing else peer.what
            console.print(f"  {peer.name}: {how}", highlight=False, soft_wrap=True, markup=False)
    if outcome.comparison is not None:
        print_comparison(outcome.comparison, console)
    verdict = report.verdict
    console.print("VALID" if verdict.valid else "INVALID", style="bold green" if verdict.valid else "bold red")
    for reason in verdict.reasons:
        console.print(f"  - {reason}", highlight=False, soft_wrap=True, markup=False)
    for note in verdict.notes:
        console.print(f"  note: {note}", highlight=False, soft_wrap=True, markup=False)
    console.print(f"report: {outcome.folder}", highlight=False, soft_wrap=True, markup=False)
    if outcome.page_problem:
        console.print(f"no page: {outcome.page_problem}", highlight=False, soft_wrap=True, markup=False)


def stage_table(report: LatencyReport, wide: bool = True) -> Table:
    """Every stage in its order, the finer parts beneath, then end to end; milliseconds."""
    from device_app.bench.latency.report import in_order

    subject = report.subject
    table = Table(
        title=f"{subject.model.value}, {subject.scenario.value}, {subject.backend} {subject.precision}, "
        f"{subject.picture_size[0]}x{subject.picture_size[1]}, {subject.cores} cores",
        title_justify="left",
    )
    headings = tuple(_FIGURES) if wide else _NARROW
    table.add_column("ms", no_wrap=True)
    for heading in (*headings, "CV"):
        table.add_column(heading, justify="right", no_wrap=True)
    for stage in in_order(report.stages):
        table.add_row(stage.value.replace("_", " "), *_figures(report.stages[stage], headings))
    for name, spread in report.details.items():
        table.add_row(f"  {name.replace('_', ' ')}", *_figures(spread, headings), style="dim")
    table.add_section()
    table.add_row("end to end", *_figures(report.end_to_end, headings), style="bold")
    return table


def print_comparison(comparison: Comparison, console: Console | None = None) -> None:
    """What differs, the ratios, and what makes them weak."""
    from device_app.bench.latency.compare import RUN_TO_RUN, Change

    console = console or Console()
    table = Table(title="before and after", title_justify="left")
    for heading in ("median ms", "before", "after", "ratio", "95 % interval"):
        table.add_column(heading, justify="left" if heading == "median ms" else "right")
    for row in comparison.rows:
        last = row is comparison.end_to_end
        table.add_row(
            row.name.replace("_", " "),
            f"{row.before_ms:.3f}",
            f"{row.after_ms:.3f}",
            f"{row.ratio.ratio:.3f}",
            f"{row.ratio.low:.3f} to {row.ratio.high:.3f}",
            style="bold" if last else "",
        )
    console.print(table)
    ratio = comparison.end_to_end.ratio.ratio
    said = {
        Change.FASTER: f"the later run is {ratio:.2f} times as fast",
        Change.SLOWER: f"the later run is slower: it takes {1 / ratio:.2f} times as long",
        Change.NONE: f"no difference can be told: two runs of the same thing may be {RUN_TO_RUN:.0%} apart",
        Change.UNKNOWN: f"{ratio:.2f} between these two, which says nothing: not both of them are VALID",
    }[comparison.change(comparison.end_to_end)]
    console.print(f"end to end: {said}", highlight=False, soft_wrap=True)
    for difference in comparison.differs:
        console.print(f"  differs: {difference}", highlight=False, soft_wrap=True, markup=False)
    if comparison.only_one:
        console.print(f"  only one of them has: {', '.join(comparison.only_one)}", highlight=False, soft_wrap=True)
    for warning in comparison.warnings:
        console.print(f"  warning: {warning}", highlight=False, soft_wrap=True, markup=False)


def _beside(report: LatencyReport) -> Iterator[str]:
    absent: dict[str, list[str]] = {}
    for stage, why in report.absent_stages.items():
        absent.setdefault(why, []).append(stage.value.replace("_", " "))
    for why, stages in absent.items():
        yield f"no {', '.join(stages)}: {why}"
    yield f"{report.end_to_end.count} frames in {report.measured_s:.1f} s: {report.throughput_per_s:.2f} a second"
    if (own := report.loadgen) is not None:
        estimate = "no estimate" if own.early_stopping_ms is None else f"{own.early_stopping_ms:.3f} ms"
        yield (
            f"MLPerf LoadGen {own.version}: {'VALID' if own.valid else 'INVALID'} for {own.min_duration_s:g} s, "
            f"{own.percentile:g}th percentile "
            f"{own.percentile_ms:.3f} ms, with early stopping {estimate}, {own.queries} queries"
        )
    if (book := report.frames) is not None:
        causes = ", ".join(f"{count} {cause}" for cause, count in book.dropped.items() if count) or "none"
        yield f"{book.captured} captured = {book.analysed} analysed + dropped ({causes})"
    cold = report.cold_start
    parts = [f"load {cold.load_s:.2f} s", f"first inference {cold.first_inference_ms:.1f} ms"]
    if cold.engine_build_s is not None:
        parts.insert(0, f"engines built in {cold.engine_build_s:.0f} s")
    if cold.first_frame_s is not None:
        parts.append(f"first frame {cold.first_frame_s:.2f} s after the command")
    yield "cold start: " + ", ".join(parts)
    if report.quality is not None:
        yield "against FP32: " + ", ".join(_quality_words(report.quality))
    harness = report.harness
    yield (
        f"measuring: {harness.mark_us:.2f} µs a stamp, {harness.share:.2%} of the shortest stage "
        f"({harness.shortest_stage})"
    )


def _quality_words(quality: Quality) -> Iterator[str]:
    yield f"{quality.pictures} pictures"
    if quality.mask_dice_median is not None and quality.mask_dice_worst is not None:
        yield f"mask Dice {quality.mask_dice_median:.4f} (worst {quality.mask_dice_worst:.4f})"
    if quality.diameter_shift_px is not None:
        yield f"diameters {quality.diameter_shift_px:.3f} px off"
    if quality.grade_agreement is not None:
        yield f"{quality.grade_agreement:.1%} of grades alike"
    if quality.feature_difference is not None:
        yield f"features {quality.feature_difference:.4f} off"


def _peer_table(peers: tuple[Peer, ...]) -> Table:
    table = Table(title="peers, on the same frames by turns: their median over ours", title_justify="left")
    for heading in ("peer", "network", "whole"):
        table.add_column(heading, overflow="fold")
    for peer in peers:
        table.add_row(peer.name, _ratio(peer.network_ratio), _ratio(peer.whole_ratio))
    return table


def _ratio(ratio: Ratio | None) -> str:
    return "" if ratio is None else f"{ratio.ratio:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"


def _figures(spread: Spread, headings: Sequence[str]) -> list[str]:
    values = [float(getattr(spread, _FIGURES[heading])) for heading in headings]
    return [*(f"{value:.3f}" if value < 10 else f"{value:.1f}" for value in values), f"{spread.cv:.1%}"]
