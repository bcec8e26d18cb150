"""The table as people read it and as programs do: words for figures, JSON, CSV, Markdown."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from calibration.errors import ScalpScopeError
from calibration.files import write_text_atomically
from training.evaluation.bootstrap import RESAMPLES, SEED, Figure
from training.evaluation.evaluate import FIGURES, ConditionScores, Scores

HEADINGS = {"pixel_f1": "Pixel-F1", "jaccard": "Jaccard", "dice": "Dice"}

INTERVALS = f"95 % intervals by bootstrap over pictures ({RESAMPLES:,} resamples, seed {SEED})"

ORACLE_NOTE = (
    "is an oracle: of all its masks the one nearest to the truth counts, which nobody could choose without the truth. "
    "The row favours SAM."
)


@dataclass(frozen=True)
class Report:
    """Everything one evaluation found.

    Attributes:
        images: how many pictures.
        order: the names of the rows, absent ones too.
        scores: of the rows that are there, by name.
        absent: why a row is not there, by name.
        differences: paired, see `evaluate.differences`.
        conditions: empty when not asked for.
        command: the command line that was used.
    """

    images: int
    order: tuple[str, ...]
    scores: Mapping[str, Scores]
    absent: Mapping[str, str] = field(default_factory=dict)
    differences: Sequence[Scores] = ()
    conditions: Sequence[ConditionScores] = ()
    command: str = ""

    @property
    def oracles(self) -> list[str]:
        """The rows that are oracles."""
        return [name for name, scores in self.scores.items() if scores.oracle]


def said(figure: Figure) -> str:
    """A score: ``.649 (.620–.678)``."""
    if figure.low is None or figure.high is None:
        return _short(figure.value)
    return f"{_short(figure.value)} ({_short(figure.low)}–{_short(figure.high)})"


def said_difference(figure: Figure) -> str:
    """A difference: ``+.045 (+.031, +.060)``."""
    if figure.low is None or figure.high is None:
        return _short(figure.value, "+")
    return f"{_short(figure.value, '+')} ({_short(figure.low, '+')}, {_short(figure.high, '+')})"


def verdict(figure: Figure) -> str:
    """What a difference and its interval say."""
    return {1: "better", -1: "worse", 0: "undecided"}[figure.sign]


def check_out(path: Path, endings: Sequence[str] = (".json", ".csv")) -> None:
    """Raises ScalpScopeError when ``path`` cannot be written: before the long work, not after it."""
    if path.suffix not in endings:
        raise ScalpScopeError(
            f"'{path}' {'is neither' if len(endings) > 1 else 'does not end in'} {' nor '.join(endings)}.",
            "Name the file by one of them." if len(endings) > 1 else "Name it so.",
        )
    if not path.parent.is_dir():
        raise ScalpScopeError(f"The folder '{path.parent}' does not exist.", "Make it first, or name another file.")


def write_report(report: Report, path: Path) -> None:
    """All figures as ``.json`` or ``.csv``, by the name of ``path``; raises ScalpScopeError for another ending."""
    check_out(path)
    write_text_atomically(path, _as_json(report) if path.suffix == ".json" else _as_csv(report))


def _as_json(report: Report) -> str:
    content = {
        "command": report.command,
        "images": report.images,
        "bootstrap": {"level": 0.95, "resamples": RESAMPLES, "seed": SEED},
        "methods": [asdict(report.scores[name]) for name in report.order if name in report.scores],
        "absent": dict(report.absent),
        "differences": [asdict(one) for one in report.differences],
        "conditions": [asdict(one) for one in report.conditions],
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _as_csv(report: Report) -> str:
    """One line for each row, then for each difference; under a condition only the per-image Jaccard is there."""
    ways = [f"{way}_{name}" for way in ("per_image", "pooled") for name in FIGURES]
    columns = [column for name in ways for column in (name, f"{name}_low", f"{name}_high")]
    text = io.StringIO()
    writer = csv.DictWriter(text, ["condition", "method", "images", *columns, "seconds"], lineterminator="\n")
    writer.writeheader()

    def write(condition: str, method: str, images: int, figures: Mapping[str, Figure], seconds: float | None) -> None:
        line: dict[str, str | int] = {"condition": condition, "method": method, "images": images}
        for name, figure in figures.items():
            values = {name: figure.value, f"{name}_low": figure.low, f"{name}_high": figure.high}
            line.update({column: f"{value:.6f}" for column, value in values.items() if value is not None})
        writer.writerow(line | ({} if seconds is None else {"seconds": f"{seconds:.4f}"}))

    for one in [*(report.scores[name] for name in report.order if name in report.scores), *report.differences]:
        write("", one.method, one.images, one.figures, one.seconds)
    for condition in report.conditions:
        for name, figure in {**condition.jaccard, **condition.differences}.items():
            write(condition.condition, name, condition.images, {"per_image_jaccard": figure}, None)
    return text.getvalue()


def write_markdown(report: Report, path: Path) -> None:
    """The tables as ``docs/measurements.md`` has them, and the command that made them."""
    check_out(path, (".md",))
    lines = [f"{report.images} pictures, means over pictures, {INTERVALS}.", ""]
    best = {
        name: max((one.per_image[name].value for one in report.scores.values() if not one.oracle), default=None)
        for name in FIGURES
    }
    lines += _markdown_head("method", *HEADINGS.values())
    for row in report.order:
        scores = report.scores.get(row)
        if scores is None:
            lines.append(_markdown_line(row, report.absent[row], *[""] * (len(FIGURES) - 1)))
            continue
        cells = []
        for name in FIGURES:
            figure = scores.per_image[name]
            cells.append(f"**{said(figure)}**" if figure.value == best[name] and not scores.oracle else said(figure))
        lines.append(_markdown_line(row, *cells))
    for oracle in report.oracles:
        lines += ["", f'"{oracle}" {ORACLE_NOTE}']
    if report.differences:
        lines += ["", *_markdown_head("paired difference", *HEADINGS.values())]
        lines += [
            _markdown_line(one.method, *(said_difference(one.per_image[name]) for name in FIGURES))
            for one in report.differences
        ]
    if report.conditions:
        first = report.conditions[0]
        lines += ["", "Jaccard by condition:", ""]
        lines += _markdown_head("condition", "pictures", *first.jaccard, *first.differences)
        lines += [
            _markdown_line(
                one.condition,
                str(one.images),
                *map(said, one.jaccard.values()),
                *(f"{said_difference(figure)}, {verdict(figure)}" for figure in one.differences.values()),
            )
            for one in report.conditions
        ]
    lines += ["", f"`{report.command}`", ""]
    write_text_atomically(path, "\n".join(lines))


def _markdown_head(*cells: str) -> list[str]:
    return [_markdown_line(*cells), "|" + "---|" * len(cells)]


def _markdown_line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _short(value: float, sign: str = "") -> str:
    """Three decimals, without the 0 before the point."""
    if math.isnan(value):
        return "–"
    text = f"{value:{sign}.3f}"
    return text.replace("0.", ".", 1) if abs(value) < 0.9995 else text
