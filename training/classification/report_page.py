"""The report as people read it: one HTML file that holds its own pictures, for a phone, a screen and a printer."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from device_app.manifest_parts import Task
from device_app.vision.conditions import Condition
from training.classification import table3
from training.classification.evaluate import Calibrated, GroupScores, HeadScores, RefusalScores
from training.classification.plots import as_jpeg, reliability_plot, tint_heat
from training.classification.report import NOTICE, Part, Report, Shown
from training.evaluation.bootstrap import RESAMPLES, SEED, Figure

CONDITION_WORDS = {
    Condition.DANDRUFF: "dandruff",
    Condition.EXCESS_SEBUM: "excess sebum",
    Condition.ERYTHEMA: "erythema",
}

_STYLE = """
:root { color-scheme: light; --ink: #1b1f24; --soft: #57606a; --line: #d0d7de; --blue: #0072b2; --orange: #d55e00; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1rem; color: var(--ink); background: #fff;
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0; }
h2 { font-size: 1.25rem; margin: 2.2rem 0 .5rem; border-bottom: 2px solid var(--line); padding-bottom: .2rem; }
h3 { font-size: 1.05rem; margin: 1.4rem 0 .4rem; }
p { margin: .4rem 0; }
.notice { border-left: .4rem solid var(--orange); padding: .5rem .8rem; background: #fff4ec; font-weight: 600; }
.note { color: var(--soft); font-size: .9rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: .5rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--soft); font-weight: 600; }
td:first-child, th:first-child { text-align: left; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
td.tint { min-width: 3.2rem; text-align: center; border: 1px solid #fff; }
td.right { outline: 2px solid var(--ink); outline-offset: -3px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; margin: .6rem 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
img { max-width: 100%; height: auto; display: block; }
.row { display: flex; flex-wrap: wrap; gap: 1.5rem; align-items: flex-start; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); gap: 1rem; }
figure { margin: 0; border: 1px solid var(--line); border-radius: .4rem; padding: .6rem; break-inside: avoid; }
figure .pair { display: grid; grid-template-columns: 1fr 1fr; gap: .3rem; }
figcaption { font-size: .9rem; margin-top: .4rem; overflow-wrap: anywhere; }
figcaption b { display: block; }
code { font-size: .85rem; overflow-wrap: anywhere; }
@media (max-width: 30rem) { dl { grid-template-columns: 1fr; } dt { margin-top: .3rem; } body { padding: .6rem; } }
@media print { body { max-width: none; font-size: 10pt; } h2, h3 { break-after: avoid; }
  table, .notice { break-inside: avoid; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } .wide { overflow: visible; } }
"""

Cells = Sequence[str]


def report_page(report: Report) -> str:
    """The whole page, without anything outside of it."""
    body = [
        f"<h1>{escape(report.title)}</h1>",
        f'<p class="notice">{escape(NOTICE)}</p>',
        _facts({**report.model, **report.data, "Made": report.made, "Command": report.command}),
        "<h2>In short</h2>",
        _summary(report),
    ]
    for part in report.parts:
        body += [f"<h2>{escape(part.title)}</h2>", *_part(report, part)]
    body += ["<h2>Refused pictures</h2>", *_refusals(report)]
    body += ["<h2>Worst mistakes</h2>", _cards(report.mistakes, "Not a single wrong answer.")]
    if report.wrongly_refused:
        body += ["<h2>Good pictures that are refused</h2>", _cards(report.wrongly_refused, "")]
    if report.wrongly_judged:
        body += ["<h2>Ungradable pictures that are not refused</h2>", _cards(report.wrongly_judged, "")]
    body += ["<h2>How this was measured</h2>", *_method(report)]
    lines = "\n".join(body)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(report.title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{lines}\n</body>\n</html>\n"
    )


def said(figure: Figure | None) -> str:
    """A figure with its interval: ``0.912 (0.850–0.961)``; – where it is not defined."""
    if figure is None:
        return "–"
    if figure.low is None or figure.high is None:
        return f"{figure.value:.3f}"
    return f"{figure.value:.3f} ({figure.low:.3f}–{figure.high:.3f})"


def _summary(report: Report) -> str:
    rows = []
    for part in report.parts:
        title = escape(part.title)
        for condition, head in part.every.presence.items():
            if head is not None:
                name = f"{title}: presence of {CONDITION_WORDS[condition]}{_unclaimed(report, condition)}"
                rows.append([name, "AUROC", said(head.auroc["present"])])
                rows.append(["", "calibration error", _error(head.calibration)])
        table = part.every.table_3
        if table is not None:
            rows.append([f"{title}: severity", "macro-F1, mean of the twelve", said(table[0])])
        for condition, head in part.every.severity.items():
            if head is not None:
                name = f"{title}: severity of {CONDITION_WORDS[condition]}{_unclaimed(report, condition)}"
                rows.append([name, "weighted kappa", said(head.kappa)])
        if part.every.classes is not None:
            rows.append([f"{title}: class", "macro-F1", said(part.every.classes.macro_f1)])
            rows.append(["", "calibration error", _error(part.every.classes.calibration)])
    good = [one for one in report.refusals if not one.should]
    bad = [one for one in report.refusals if one.should]
    for name, chosen in (("good pictures", good), ("ungradable pictures", bad)):
        count, refused = sum(one.pictures for one in chosen), sum(one.refused for one in chosen)
        if count:
            rows.append([name, "refused", f"{100 * refused / count:.1f} % ({refused} of {count})"])
    return _table(["", "figure", "value (95 % interval)"], rows)


def _part(report: Report, part: Part) -> list[str]:
    every, lines = part.every, []
    lines.append(f'<p class="note">{every.pictures} pictures of {every.groups} patients or originals.</p>')
    heads = _heads(report, every)
    if not heads:
        return [*lines, "<p>No picture here has a label of this task.</p>"]
    presence = {name: own for name, own in heads.items() if own.labels == ("absent", "present")}
    graded = {name: own for name, own in heads.items() if name not in presence}
    if presence:
        lines += ["<h3>Presence</h3>", _presence_table(presence)]
    for name, head in graded.items():
        lines += [f"<h3>{escape(name[:1].upper() + name[1:])}</h3>", _class_table(head)]
    lines += ["<h3>Confusion: true class down, found class across</h3>", '<div class="row">']
    lines += [_confusion(name, head) for name, head in heads.items()]
    lines.append("</div>")
    if every.table_3 is not None:
        lines += ["<h3>ScalpVision's Table 3: F1 of every severity</h3>", _table_3(part.title, every, report.paper)]
    curves = {name: head.calibration for name, head in heads.items() if head.calibration.curve}
    lines += ["<h3>Reliability</h3>", *_reliability(curves)]
    if part.judged is not None and part.judged.pictures < every.pictures:
        lines += [
            "<h3>Without the refused pictures</h3>",
            _compared({"all": every, "not refused": part.judged}, report),
        ]
    for attribute, groups in part.attributes.items():
        lines += [f"<h3>By {escape(attribute.replace('_', ' '))}</h3>", _compared(groups, report)]
    return lines


def _heads(report: Report, group: GroupScores) -> dict[str, HeadScores]:
    """Every head with a label, by its name."""
    found: dict[str, HeadScores] = {}
    for what, heads in (("presence", group.presence), ("severity", group.severity)):
        for condition, head in heads.items():
            if head is not None:
                found[f"{what} of {CONDITION_WORDS[condition]}{_unclaimed(report, condition)}"] = head
    if group.classes is not None:
        found["class"] = group.classes
    return found


def _presence_table(heads: Mapping[str, HeadScores]) -> str:
    rows = [
        [
            escape(name.removeprefix("presence of ")),
            f"{head.counts[1]} of {head.pictures}",
            *map(said, (head.auroc["present"], head.f1[1], head.precision[1], head.recall[1])),
            _error(head.calibration),
        ]
        for name, head in heads.items()
    ]
    return _table(["", "have it", "AUROC", "F1", "precision", "recall", "calibration error"], rows)


def _class_table(head: HeadScores) -> str:
    rows = []
    for place, label in enumerate(head.labels):
        figures = [
            head.f1[place],
            head.precision[place],
            head.recall[place],
            *([head.auroc[label]] if head.auroc else []),
        ]
        rows.append([escape(label), str(head.counts[place]), *map(said, figures)])
    totals = [f"macro-F1 {said(head.macro_f1)}", f"accuracy {said(head.accuracy)}"]
    if head.kappa is not None:
        totals.append(f"quadratic weighted kappa {said(head.kappa)}")
    totals.append(f"calibration error of the certainty {_error(head.calibration)}")
    heading = ["", "pictures", "F1", "precision", "recall", *(["AUROC"] if head.auroc else [])]
    return _table(heading, rows) + f"<p>{'; '.join(totals)}.</p>"


def _confusion(name: str, head: HeadScores) -> str:
    rows = []
    for place, row in enumerate(head.confusion):
        whole = max(1, sum(row))
        cells = []
        for column, count in enumerate(row):
            share = count / whole
            ink = "#fff" if share > 0.55 else "#1b1f24"
            style = f"background: rgba(0, 114, 178, {0.06 + 0.9 * share:.2f}); color: {ink}"
            cells.append(f'<td class="tint{" right" * (column == place)}" style="{style}">{count}</td>')
        rows.append(f"<tr><th scope='row'>{escape(head.labels[place])}</th>{''.join(cells)}</tr>")
    top = "".join(f"<th scope='col'>{escape(label)}</th>" for label in head.labels)
    return (
        f'<div class="wide"><table><caption>{escape(name)}</caption><thead><tr><th></th>{top}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _table_3(name: str, group: GroupScores, paper: bool) -> str:
    assert group.table_3 is not None
    heading = ["", "macro-F1", *(f"{table3.HEADINGS[one]} {severity.word}" for one, severity in table3.COLUMNS)]
    rows = [[f"{label} (paper)", *(f"{value:.3f}" for value in row)] for label, row in table3.PAPER.items()]
    own = [escape(name), *("–" if one is None else f"<b>{one.value:.3f}</b>" for one in group.table_3)]
    reach = ["95 % interval"]
    reach += ["–" if one is None or one.low is None else f"{one.low:.3f}–{one.high:.3f}" for one in group.table_3]
    note = (
        "<p class='note'>The paper's rows are of the AI-Hub test set: only figures of that set compare with them.</p>"
        if paper
        else ""
    )
    return _table(heading, [*(rows if paper else []), own, reach]) + note


def _reliability(curves: Mapping[str, Calibrated]) -> list[str]:
    """Three curves in a picture, so that they stay readable on a phone."""
    names = list(curves)
    lines = []
    for start in range(0, len(names), 3):
        some = {name: curves[name] for name in names[start : start + 3]}
        told = "; ".join(f"{name}: calibration error {_error(own)}" for name, own in some.items())
        lines.append(_image(reliability_plot(some), "png", f"Reliability curves. {told}"))
    lines.append(
        '<p class="note">A point on the dashed line is right as often as it says; bars are 95 % intervals. Of a '
        "presence the probability that it is there, of anything else the certainty of what was found.</p>"
    )
    return lines


def _compared(groups: Mapping[str, GroupScores], report: Report) -> str:
    """Groups of pictures side by side, by what matters most of each head."""
    names = list(dict.fromkeys(name for own in groups.values() for name in _heads(report, own)))
    rows = [["pictures", *(str(own.pictures) for own in groups.values())]]
    for name in names:
        heads = [_heads(report, own).get(name) for own in groups.values()]
        if name.startswith("presence"):
            rows.append([f"{name}: AUROC", *("–" if one is None else said(one.auroc["present"]) for one in heads)])
            rows.append([f"{name}: F1", *("–" if one is None else said(one.f1[1]) for one in heads)])
        else:
            rows.append([f"{name}: macro-F1", *("–" if one is None else said(one.macro_f1) for one in heads)])
            if any(one is not None and one.kappa is not None for one in heads):
                rows.append([f"{name}: weighted kappa", *("–" if one is None else said(one.kappa) for one in heads)])
    return _table(["", *(escape(name) for name in groups)], rows)


def _refusals(report: Report) -> list[str]:
    limits = report.limits

    def row(one: RefusalScores) -> list[str]:
        reasons = ", ".join(f"{reason.value.replace('_', ' ')} {count}" for reason, count in one.reasons.items())
        share = f"{100 * one.share:.1f} % ({100 * one.low:.1f}–{100 * one.high:.1f})"
        return [escape(one.kind), "yes" if one.should else "no", str(one.pictures), share, escape(reasons or "–")]

    limit_rows = [
        ["mean grey level", f"{limits.darkest:.1f} to {limits.brightest:.1f}"],
        ["probability of out of focus, at most", f"{limits.most_out_of_focus:.3f}"],
        ["probability of no scalp, at most", f"{limits.most_no_scalp:.3f}"],
        ["distance from the training pictures, at most", f"{limits.farthest:.3f}"],
    ]
    return [
        _table(["pictures", "should be refused", "count", "refused (95 % interval)", "why"], map(row, report.refusals)),
        _table(["limits", ""], limit_rows),
        f'<p class="note">{escape(limits.rule)}</p>',
    ]


def _cards(pictures: Sequence[Shown], empty: str) -> str:
    if not pictures:
        return f"<p>{escape(empty)}</p>"
    cards = []
    for one in pictures:
        images = _image(as_jpeg(one.image), "jpeg", one.title)
        if one.heat is not None:
            heat = _image(as_jpeg(tint_heat(one.image, one.heat)), "jpeg", f"{one.title}: where the network looked")
            images = f'<div class="pair">{images}{heat}</div>'
        lines = "<br>".join(escape(line) for line in one.lines)
        cards.append(f"<figure>{images}<figcaption><b>{escape(one.title)}</b>{lines}</figcaption></figure>")
    return f'<div class="cards">{"".join(cards)}</div>'


def _method(report: Report) -> list[str]:
    lines = [
        f"Intervals are 95 %, by bootstrap over patients or originals ({RESAMPLES:,} resamples, seed {SEED}); of "
        "shares of refused pictures and of reliability curves by Wilson's formula.",
        "The calibration error is the expected calibration error over bins of equal mass, about fifteen pictures each "
        "and fifteen bins at most. With few pictures it is far from 0 even for a perfectly calibrated model; what such "
        "a model would show, mean and 95th percentile, is simulated from the probabilities and given beside it.",
        "Macro-F1 is the plain mean over classes. The F1 of a class that is there and never found is 0; of one that is "
        "neither there nor found it is not defined (–) and left out of the mean.",
        "Figures are of all pictures, refused ones too, unless it says otherwise. Pictures without a label for a head "
        "do not count for it.",
    ]
    if report.task is Task.CONDITIONS:
        lines.append(
            "A severity is the median of the joint probabilities of the presence head and the severity head, by the "
            'very functions of the device; a condition is present where that is not good. Conditions marked "not '
            'claimed" are measured here, and never graded on the device.'
        )
    if any(own.heat is not None for own in report.mistakes):
        lines.append("Where the network looked is tinted from dark blue (0) to yellow (1).")
    return [f"<p>{escape(line)}</p>" for line in lines]


def _error(calibrated: Calibrated) -> str:
    if calibrated.perfect is None:
        return "–"
    return f"{said(calibrated.error)}, perfect: {calibrated.perfect.mean:.3f}, up to {calibrated.perfect.most:.3f}"


def _unclaimed(report: Report, condition: Condition) -> str:
    return "" if report.claimed.get(condition.value, True) else " (not claimed)"


def _facts(facts: Mapping[str, str]) -> str:
    lines = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items() if value)
    return f"<dl>{lines}</dl>"


def _table(heading: Cells, rows: Iterable[Cells]) -> str:
    """Cells are HTML already."""
    top = "".join(f"<th scope='col'>{cell}</th>" for cell in heading)
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table></div>'


def _image(data: bytes, kind: str, words: str) -> str:
    return f'<img alt="{escape(words)}" src="data:image/{kind};base64,{base64.b64encode(data).decode("ascii")}">'
