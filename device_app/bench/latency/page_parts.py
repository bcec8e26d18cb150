"""The parts of the page that are words and tables: each is a function from a part of the report to HTML.

Everything that came from outside (names of bundles, back ends, sensors, other programs' words) goes through `escape`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape as _escape

import numpy as np

from device_app.bench.latency.compare import Change, Comparison
from device_app.bench.latency.plots import stage_name
from device_app.bench.latency.report import (
    ColdStart,
    Frames,
    Harness,
    LatencyReport,
    LoadGenResult,
    Machine,
    MachineSample,
    Peer,
    Quality,
    Subject,
    Verdict,
    in_order,
)
from device_app.bench.latency.spread import Ratio, Spread

_SENSORS = 6
_TOLD = {
    "cpu_mhz": "CPU clock",
    "gpu_mhz": "GPU clock",
    "memory_mhz": "memory clock",
    "temperatures_c": "temperatures",
    "power_w": "power",
}
_WORDS = {
    "pipeline": "the live pipeline: all that is done with a frame",
    "sam-encoder": "SAM's encoder",
    "sam-decoder": "SAM's decoder",
}


def escape(text: object) -> str:
    """Text as HTML, also for an attribute."""
    return _escape(str(text), quote=True)


def milliseconds(value: float) -> str:
    """Three or four figures that count: 0.0123, 1.23, 45.6, 1234."""
    if value == 0:
        return "0"
    decimals = max(0, 2 - int(np.floor(np.log10(abs(value))))) if abs(value) < 1000 else 0
    return f"{value:.{min(decimals, 5)}f}"


def verdict_part(verdict: Verdict) -> str:
    """VALID or INVALID in big letters, why, and what to know."""
    word, kind = ("VALID", "valid") if verdict.valid else ("INVALID", "invalid")
    why = _list(verdict.reasons) if verdict.reasons else "<p>These figures count.</p>"
    notes = f'<div class="notes">{_list(verdict.notes)}</div>' if verdict.notes else ""
    return (
        f'<section class="card verdict {kind}" aria-label="Verdict"><p class="word">{word}</p>'
        f"<div>{why}{notes}</div></section>"
    )


def demonstration_part(subject: Subject) -> str:
    """That the networks are for demonstration only, if they are."""
    if not subject.demonstration:
        return ""
    return '<p class="demonstration">Demonstration networks: not for use on people. Their speed is not affected.</p>'


def figures_part(report: LatencyReport) -> str:
    """The figures that a reader looks for first."""
    whole = report.end_to_end
    pairs = [
        ("end to end, median", milliseconds(whole.p50_ms), "ms"),
        ("end to end, p90", milliseconds(whole.p90_ms), "ms"),
        ("end to end, p99", milliseconds(whole.p99_ms), "ms"),
        ("throughput", milliseconds(report.throughput_per_s), "frames/s"),
    ]
    if report.quality is not None:
        dice = report.quality.mask_dice_median
        told = "" if dice is None else f"Dice {dice:.4f}"
        pairs.append(("against FP32", _passed(report.quality), told))
    shown = "".join(
        f'<div class="card"><dt>{name}</dt><dd>{value} <small>{unit}</small></dd></div>' for name, value, unit in pairs
    )
    return f'<dl class="figures">{shown}</dl>'


def subject_part(report: LatencyReport) -> str:
    """What ran, and why this engine."""
    subject = report.subject
    asked = [name for name in (subject.asked_backend, subject.asked_precision) if name is not None]
    width, height = subject.picture_size
    facts = {
        "what": _WORDS.get(subject.model.value, f"the {subject.model.value} network"),
        "engine": f"{subject.backend} {subject.precision}" + (f" (asked for: {', '.join(asked)})" if asked else ""),
        "scenario": subject.scenario.value,
        "frames": f"{subject.source}, {width}x{height}",
        "points": "" if subject.points is None else str(subject.points),
        "held to": f"{_counted(subject.cores, 'processor core')}, {_counted(subject.threads, 'thread')}",
        "timed": f"{report.end_to_end.count} frames in {report.measured_s:.1f} s, after {report.warm_up} to warm up",
        "bundle": f"{subject.bundle}, manifest {subject.bundle_sha256[:12]}",
        **{f"{task} file": sha[:12] for task, sha in subject.model_files.items()},
        **{f"{task} engine": sha[:12] for task, sha in subject.engine_files.items()},
    }
    why = _list([*subject.reasons, *(f"{sentence} (no hardware for it)" for sentence in subject.absent)])
    return _card("What ran", _facts(facts) + why)


def stages_part(report: LatencyReport) -> str:
    """The spread of every stage and of the whole frame; why the others are not here."""
    rows = [_spread_row(stage_name(stage), report.stages[stage], "") for stage in in_order(report.stages)]
    if report.details:
        rows.append('<tr class="group"><th scope="rowgroup" colspan="11">finer parts of them</th></tr>')
    rows += [_spread_row(_plain(name), spread, "part") for name, spread in report.details.items()]
    rows.append(_spread_row("end to end", report.end_to_end, "whole"))
    heads = ("stage, ms", "min", "mean", "p50", "p90", "p95", "p99", "p99.9", "max", "CV", "frames")
    table = _table(
        heads,
        rows,
        "End to end is measured by itself and is never a sum of the rows.",
    )
    by_reason: dict[str, list[str]] = {}
    for stage, reason in report.absent_stages.items():
        by_reason.setdefault(reason, []).append(stage_name(stage))
    absent = "; ".join(f"{escape(', '.join(names))} ({escape(reason)})" for reason, names in by_reason.items())
    told = f'<p class="soft">Not in this run: {absent}.</p>' if absent else ""
    return _card("Stages", table + told, wide=True)


def cold_start_part(cold: ColdStart, harness: Harness) -> str:
    """The first time, and what measuring costs."""
    facts = {
        "engine built": "none had to be" if cold.engine_build_s is None else f"in {cold.engine_build_s:.1f} s",
        "opened and proved": f"in {cold.load_s:.2f} s",
        "first inference": f"{milliseconds(cold.first_inference_ms)} ms",
        "first frame": f"{cold.first_frame_s:.2f} s after the command" if cold.first_frame_s else "not measured",
        "a time stamp": f"{harness.mark_us:.2f} µs",
        "all of them": f"{100 * harness.share:.2g} % of the shortest stage, {harness.shortest_stage}",
    }
    return _card("Cold start, cost of measuring", _facts(facts))


def quality_part(quality: Quality | None) -> str:
    """What the speed costs against FP32."""
    if quality is None:
        return _card("Quality", "<p>Not measured in this run: nothing here says what the speed costs.</p>")
    facts = {"against FP32": f"on {_counted(quality.pictures, 'picture')}"}
    if quality.mask_dice_median is not None and quality.mask_dice_worst is not None:
        facts["mask Dice"] = f"{quality.mask_dice_median:.4f} median, {quality.mask_dice_worst:.4f} worst"
    if quality.diameter_shift_px is not None:
        facts["diameter shift"] = f"{quality.diameter_shift_px:.3f} px median"
    if quality.grade_agreement is not None:
        facts["grades alike"] = f"{100 * quality.grade_agreement:.1f} %"
    if quality.feature_difference is not None:
        facts["features differ"] = f"by {100 * quality.feature_difference:.2f} % of their size"
    misses = f'<div class="bad">{_list(quality.misses)}</div>' if quality.misses else ""
    return _card("Quality beside the speed", f"<p>{_passed(quality)}</p>{_facts(facts)}{misses}")


def loadgen_part(result: LoadGenResult | None) -> str:
    """MLPerf's own result."""
    if result is None:
        return ""
    word = '<span class="good">VALID</span>' if result.valid else '<span class="bad">INVALID</span>'
    early = "too few queries for one" if result.early_stopping_ms is None else f"{result.early_stopping_ms:.3f} ms"
    facts = {
        f"p{result.percentile:g}": f"{result.percentile_ms:.3f} ms",
        "early stopping": early,
        "queries": f"{result.queries} of {_counted(result.samples // max(result.queries, 1), 'frame')}",
        "ran": f"{result.duration_s:.1f} s of at least {result.min_duration_s:g} s",
        "version": f"{result.version}, logs in {result.folder}/",
    }
    reasons = f'<div class="bad">{_list(result.reasons)}</div>' if result.reasons else ""
    return _card("MLPerf LoadGen itself", f"<p>says {word}</p>{_facts(facts)}{reasons}")


def frames_part(frames: Frames | None) -> str:
    """What became of the frames, in the live scenario."""
    if frames is None:
        return ""
    facts = {"captured": f"{frames.captured}, {frames.captured_per_s:.1f} a second", "analysed": str(frames.analysed)}
    facts |= {f"dropped: {cause}": str(count) for cause, count in frames.dropped.items()}
    word = '<span class="good">add up</span>' if frames.reconciles else '<span class="bad">do not add up</span>'
    return _card("Frames", f"<p>{word}</p>{_facts(facts)}")


def machine_part(machine: Machine) -> str:
    """Who the machine is, and what it did before, during and after."""
    rows = []
    for name, decimals, get in _quantities(machine):
        during = [value for sample in machine.during if (value := get(sample)) is not None]
        if not during and get(machine.before) is None and get(machine.after) is None:
            continue
        spread = [min(during), float(np.median(during)), max(during)] if during else [None] * 3
        values = [get(machine.before), *spread, get(machine.after)]
        cells = "".join(f"<td>{'–' if value is None else f'{value:.{decimals}f}'}</td>" for value in values)
        rows.append(f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>')
    heads = ("", "before", "min", "median", "max", "after")
    table = _table(heads, rows, "Before, while it ran (least, median, most), and after.") if rows else ""
    throttled = dict.fromkeys(words for sample in machine.during for words in sample.throttled)
    held = _list(f"held down: {words}" for words in throttled)
    problems = f'<div class="bad">{_list(machine.problems)}</div>' if machine.problems else ""
    missing = "; ".join(f"{_TOLD.get(name, _plain(name))}: {reason}" for name, reason in machine.absent.items())
    absent = f'<p class="soft">Not told by this machine: {escape(missing)}.</p>' if missing else ""
    identity = {_plain(name): value for name, value in machine.identity.items()}
    return _card("Machine", _facts(identity)) + _card("Machine meanwhile", problems + held + table + absent)


def peers_part(peers: Sequence[Peer]) -> str:
    """The same frames through what people would otherwise use."""
    if not peers:
        return ""
    rows = []
    for peer in peers:
        what = f'<th scope="row" class="wrap">{escape(peer.name)}<br><span class="soft">{escape(peer.what)}</span></th>'
        if peer.missing:
            cells = f'<td class="wrap" colspan="4">not run: {escape(peer.missing)}</td>'
        else:
            cells = "".join(
                f"<td>{'–' if spread is None else milliseconds(spread.p50_ms)}</td><td>{_ratio(ratio)}</td>"
                for spread, ratio in ((peer.network, peer.network_ratio), (peer.whole, peer.whole_ratio))
            )
        rows.append(f"<tr>{what}{cells}</tr>")
    table = _table(
        ("", "network, ms", "over ours", "whole, ms", "over ours"),
        rows,
        "The same frames by turns in one run, medians. The ratio, with its 95 % interval, is what counts.",
    )
    return _card("What people would otherwise use", table, wide=True)


def comparison_part(comparison: Comparison, earlier: LatencyReport) -> str:
    """This run beside an earlier one."""
    rows = []
    for row in comparison.rows:
        kind = "whole" if row is comparison.end_to_end else ""
        change = comparison.change(row)
        colour = {Change.FASTER: "good", Change.SLOWER: "bad"}.get(change, "")
        rows.append(
            f'<tr class="{kind}"><th scope="row">{escape(_plain(row.name))}</th>'
            f"<td>{milliseconds(row.before_ms)}</td><td>{milliseconds(row.after_ms)}</td><td>{_ratio(row.ratio)}</td>"
            f'<td class="{colour}">{change.value}</td></tr>'
        )
    table = _table(
        ("median, ms", "earlier", "now", "earlier over now", ""),
        rows,
        f"Against the run of {earlier.created}. Ratio with its 95 % interval: above 1, this run is faster.",
    )
    told = [f"only one of them has {_plain(name)}" for name in comparison.only_one]
    warnings = f'<div class="bad">{_list(comparison.warnings)}</div>' if comparison.warnings else ""
    differs = f'<div class="soft">{_list([*comparison.differs, *told])}</div>' if comparison.differs or told else ""
    return _card("Against an earlier run", warnings + table + differs, wide=True)


def _passed(quality: Quality) -> str:
    return '<span class="good">passed</span>' if quality.passed else '<span class="bad">missed</span>'


def _quantities(machine: Machine) -> list[tuple[str, int, Callable[[MachineSample], float | None]]]:
    samples = (machine.before, *machine.during, machine.after)

    def hottest(get: Callable[[MachineSample], Mapping[str, float]]) -> list[str]:
        most: dict[str, float] = {}
        for sample in samples:
            for name, value in get(sample).items():
                most[name] = max(value, most.get(name, value))
        return sorted(most, key=lambda name: -most[name])[:_SENSORS]

    def of(get: Callable[[MachineSample], Mapping[str, float]], name: str) -> Callable[[MachineSample], float | None]:
        return lambda sample: get(sample).get(name)

    def temperatures(sample: MachineSample) -> Mapping[str, float]:
        return sample.temperatures_c

    def power(sample: MachineSample) -> Mapping[str, float]:
        return sample.power_w

    return [
        ("CPU, MHz", 0, lambda sample: sample.cpu_mhz),
        ("GPU, MHz", 0, lambda sample: sample.gpu_mhz),
        ("memory, MHz", 0, lambda sample: sample.memory_mhz),
        *((f"{name}, °C", 1, of(temperatures, name)) for name in hottest(temperatures)),
        *((f"{name}, W", 1, of(power, name)) for name in hottest(power)),
        ("own busy cores", 2, lambda sample: sample.own_cores),
        ("others' busy cores", 2, lambda sample: sample.other_cores),
        ("free, MiB", 0, lambda sample: sample.free_memory_mib),
    ]


def _spread_row(name: str, spread: Spread, kind: str) -> str:
    values = [
        spread.min_ms,
        spread.mean_ms,
        spread.p50_ms,
        spread.p90_ms,
        spread.p95_ms,
        spread.p99_ms,
        spread.p99_9_ms,
        spread.max_ms,
    ]
    cells = "".join(f"<td>{milliseconds(value)}</td>" for value in values)
    return (
        f'<tr class="{kind}"><th scope="row">{escape(name)}</th>{cells}'
        f"<td>{100 * spread.cv:.1f} %</td><td>{spread.count}</td></tr>"
    )


def _ratio(ratio: Ratio | None) -> str:
    if ratio is None:
        return "–"
    return f"<b>{ratio.ratio:.2f}x</b> ({ratio.low:.2f} to {ratio.high:.2f})"


def _card(title: str, inside: str, wide: bool = False) -> str:
    return f'<section class="card{" wide" if wide else ""}"><h2>{escape(title)}</h2>{inside}</section>'


def _facts(facts: Mapping[str, str]) -> str:
    pairs = (f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items() if value)
    return f'<dl class="facts">{"".join(pairs)}</dl>'


def _list(sentences: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f"<ul>{items}</ul>" if items else ""


def _table(heads: Sequence[str], rows: Sequence[str], caption: str) -> str:
    cells = "".join(f'<th scope="col">{escape(head)}</th>' if head else "<td></td>" for head in heads)
    # It can be scrolled where it is wider than the screen, so a keyboard must reach it.
    return (
        f'<p class="soft">{escape(caption)}</p>'
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table>'
        f"<thead><tr>{cells}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _plain(name: str) -> str:
    return name.replace("_", " ")


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
