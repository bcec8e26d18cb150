"""`scalpscope-train classification calibrate` and `evaluate`: when to refuse, and how good the grades are."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from calibration.errors import ScalpScopeError
from device_app.manifest_parts import Task
from training.progress import console

if TYPE_CHECKING:
    from training.classification.checkpoint import Judgement
    from training.classification.examine import Subject
    from training.classification.pictures import PictureSource
    from training.classification.report import Report

Data = Annotated[
    list[Path] | None,
    typer.Option("--data", metavar="DIR", help="A folder of labelled pictures; may be given several times."),
]
Layout = Annotated[
    str | None,
    typer.Option("--layout", metavar="NAME", help="aihub, csv, folders or yolo. [default: found out by looking]"),
]
BatchSize = Annotated[
    int, typer.Option("--batch-size", min=1, help="Pictures judged at a time; more is slower on a CPU.")
]
Cpu = Annotated[bool, typer.Option("--cpu", help="Use the CPU also where there is a GPU.")]

_ALL = "all"
_SPLITS = ("train", "validation", "test", _ALL)


def calibrate(
    run: Annotated[Path, typer.Option("--run", metavar="DIR", help="Folder of the run.")],
    data: Data = None,
    layout: Layout = None,
    drawn: Annotated[
        int, typer.Option("--drawn", min=0, max=2000, help="Validation drawings, if the run has seen drawings.")
    ] = 300,
    fewest: Annotated[
        int,
        typer.Option("--fewest", min=1, help="Originals with a condition, and as many without, that a claim takes."),
    ] = 30,
    claim_drawn: Annotated[
        bool,
        typer.Option(
            "--claim-drawn/--no-claim-drawn", help="Claim all conditions for a run that has seen drawings alone."
        ),
    ] = True,
    most_refused: Annotated[
        float, typer.Option("--most-refused", min=0, max=0.5, help="Share of good pictures that may be refused.")
    ] = 0.01,
    batch_size: BatchSize = 4,
    cpu: Cpu = False,
) -> None:
    """Calibrate a run's best weights on its validation pictures: probabilities, and when to refuse.

    The run's folder then holds calibrated.pt, which evaluate and the export take. Give the same --data and --layout as
    in training; test pictures are not looked at. Temperatures and biases are fitted by maximum likelihood with normal
    priors, so that few pictures move them little; limits refuse as many ungradable pictures as can be while at most
    --most-refused of the good ones, real and drawn alike, are refused.

    A condition is claimed when enough originals have it and enough have not; what is not claimed is never graded on the
    device.

    \b
    Example:
      scalpscope-train classification calibrate --run runs/conditions --data pictures/
    """
    from training.classification.calibrate_run import calibrate_run

    with _progress("judging") as begin:
        judgement = calibrate_run(
            run, data or [], layout, drawn, fewest, claim_drawn, most_refused, batch_size, cpu, begin
        )
    _print_judgement(judgement)
    typer.echo(f"Written: {run / 'calibrated.pt'}")


def evaluate(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Gets report.html and report.json.")],
    run: Annotated[Path | None, typer.Option("--run", metavar="DIR", help="A run that was calibrated.")] = None,
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", metavar="FILE", help="Instead: a calibrated.pt.")
    ] = None,
    bundle: Annotated[
        str | None,
        typer.Option("--bundle", "-b", metavar="default|FOLDER", help="Instead: a bundle, as the device runs it."),
    ] = None,
    task: Annotated[
        str, typer.Option("--task", metavar="TASK", help="Of a bundle: conditions, scalp_condition, hair_loss_stage.")
    ] = Task.CONDITIONS.value,
    data: Data = None,
    layout: Layout = None,
    split: Annotated[str, typer.Option("--split", metavar="SPLIT", help="train, validation, test or all.")] = "test",
    drawn: Annotated[
        int, typer.Option("--drawn", min=0, max=2000, help="Drawings with known grades, none of them ever trained on.")
    ] = 0,
    each: Annotated[
        int, typer.Option("--each", min=1, help="Pictures to refuse of each kind of thing that is no scalp.")
    ] = 10,
    paper: Annotated[bool, typer.Option("--paper", help="Show the paper's rows beside Table 3.")] = False,
    predictions: Annotated[
        Path | None, typer.Option("--predictions", metavar="FILE.npz", help="Write all answers there too.")
    ] = None,
    batch_size: BatchSize = 4,
    cpu: Cpu = False,
) -> None:
    """Measure a classifier and write a report.

    Presence: AUROC, F1, precision, recall, calibration. Severity: macro-F1, weighted kappa, the twelve columns of
    ScalpVision's Table 3. Refusals: how many good pictures are refused, and how many blurred, under- and overexposed
    ones and things that are no scalp. All by the device's own rules, with 95 % intervals over patients or originals.

    The report is one HTML file that holds its own pictures, and the same figures as JSON; table_3.md has the table.

    \b
    Examples:
      scalpscope-train classification evaluate --run runs/conditions --data pictures/ --drawn 300 --out report
      scalpscope-train classification evaluate --run runs/densenet169 --data aihub/ --paper --out table_3
      scalpscope-train classification evaluate --bundle default --data pictures/ --out report
    """
    from calibration.files import make_folder, write_text_atomically
    from training.classification import table3
    from training.classification.examine import Pictures, examine, ungradable_pictures
    from training.classification.pictures import DrawnPictures
    from training.classification.predictions import save_predictions
    from training.classification.report import write_report
    from training.classification.subjects import TASK_WORDS
    from training.data.graded_scalp import TEST_SEEDS

    if sum(one is not None for one in (run, checkpoint, bundle)) != 1:
        raise ScalpScopeError("What is to be evaluated?", "Give one of --run, --checkpoint and --bundle.")
    if split not in _SPLITS:
        raise ScalpScopeError(f"There is no split '{split}'.", f"Use one of {', '.join(_SPLITS)}.")
    if not data and not drawn:
        raise ScalpScopeError("There is nothing to evaluate on.", "Give --data, or --drawn with a number.")
    if predictions is not None and predictions.suffix != ".npz":
        raise ScalpScopeError(f"'{predictions}' does not end in .npz.", "Name it so.")
    subject = _subject(run or checkpoint, bundle, task, cpu)
    own_task, size = subject.entry.task, subject.entry.input_size
    if drawn and own_task is not Task.CONDITIONS:
        raise ScalpScopeError(f"Nothing is drawn for {own_task.value}.", "Leave out --drawn.")

    good: dict[str, PictureSource] = {}
    facts: dict[str, str] = {}
    for folder in data or []:
        title, source, told = _labelled(folder, subject, layout, split)
        if title in good:  # two folders of one name
            title = f"{title} ({folder})"
        good[title], facts[f"Pictures of {title}"] = source, told
    if drawn:
        good["Drawn scalps with known grades"] = DrawnPictures(TEST_SEEDS[:drawn], size)
        facts["Drawings"] = f"{drawn}, seeds {TEST_SEEDS[0]} to {TEST_SEEDS[drawn - 1]}: none is trained on"
    pictures = Pictures(good, ungradable_pictures(list(good.values()), each, size))
    make_folder(out)  # before the long work
    verb = "are" if own_task is Task.CONDITIONS else "is"
    title = f"How well {TASK_WORDS[own_task]} {verb} told"
    command = shlex.join(["scalpscope-train", *(context.obj or ())])
    with _progress("judging") as begin:
        report, answers = examine(subject, pictures, title, facts, command, batch_size, begin(len(pictures)), paper)
    write_report(report, out)
    rows = {
        part.title: [None if one is None else one.value for one in part.every.table_3]
        for part in report.parts
        if part.every.table_3 is not None
    }
    if rows:
        write_text_atomically(out / "table_3.md", table3.table_3(rows, paper))
    if predictions is not None:
        save_predictions(answers, predictions)
    _print_report(report)
    typer.echo(f"Written: {out / 'report.html'}")


def _subject(path: Path | None, bundle: str | None, task: str, cpu: bool) -> Subject:
    from training.classification.subjects import TASK_WORDS, open_bundle, open_checkpoint

    if path is not None:
        return open_checkpoint(path, cpu)
    tasks = {one.value: one for one in TASK_WORDS}
    if task not in tasks:
        raise ScalpScopeError(f"There is no task '{task}'.", f"Use one of {', '.join(tasks)}.")
    return open_bundle(bundle or "default", tasks[task])


def _labelled(folder: Path, subject: Subject, layout: str | None, split: str) -> tuple[str, PictureSource, str]:
    """The title of a set, its pictures of that split, and what they are."""
    from training.classification.pictures import LabelledPictures
    from training.data.examples import Split, read_examples, split_examples

    examples = read_examples(folder, subject.entry.task, layout)
    if subject.labels and examples.labels != subject.labels:
        raise ScalpScopeError(
            f"{folder} has the classes {', '.join(examples.labels)}, the network {', '.join(subject.labels)}.",
            "Give a set with the same classes.",
        )
    chosen = examples
    if split != _ALL:
        chosen = split_examples(examples, subject.shares)[Split(split)]
    if not len(chosen):
        raise ScalpScopeError(f"There is no picture in the split '{split}' of {folder}.", "Use another --split.")
    told = f"{len(chosen)} in split {split}" if split != _ALL else f"all {len(chosen)}"
    told += f"; {len(examples.refused)} files refused; set {examples.digest()[:16]}"
    if any(one.regions is not None for one in chosen.examples):
        told += "; nobody graded severities, so none are measured on them"
    return f"{examples.name}, {split}", LabelledPictures(chosen), told


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int], Callable[[int], None]]]:
    """A bar on a terminal; it begins when it is told how many there will be."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:

        def begin(total: int) -> Callable[[int], None]:
            task = bar.add_task(what, total=total)
            return lambda count: bar.advance(task, count)

        yield begin


def _print_judgement(judgement: Judgement) -> None:
    from device_app.vision.conditions import Condition

    table = Table(box=SIMPLE, title="calibration", title_justify="left")
    table.add_column("")
    table.add_column("value", justify="right")
    calibration, limits = judgement.calibration, judgement.limits
    if calibration is not None and judgement.claimed is not None:
        for place, condition in enumerate(Condition):
            name = condition.value.replace("_", " ")
            presence = f"{calibration.presence_temperature[place]:.2f}, bias {calibration.presence_bias[place]:+.2f}"
            table.add_row(f"{name}: temperature of presence", presence)
            table.add_row(f"{name}: temperature of severity", f"{calibration.severity_temperature[place]:.2f}")
            table.add_row(f"{name}: claimed", "yes" if judgement.claimed[place] else "no")
    if judgement.temperature is not None:
        table.add_row("temperature", f"{judgement.temperature:.2f}")
    table.add_row("mean grey level", f"{limits.darkest:.0f} to {limits.brightest:.0f}")
    table.add_row("out of focus, at most", f"{limits.most_out_of_focus:.3f}")
    table.add_row("no scalp, at most", f"{limits.most_no_scalp:.3f}")
    table.add_row("distance, at most", f"{limits.farthest:.2f}")
    for figure, value in judgement.quality.items():
        table.add_row(figure.replace("_", " "), f"{value:.3f}")
    screen = Console()
    screen.print(table)
    screen.print(limits.rule, highlight=False)


def _print_report(report: Report) -> None:
    from training.classification.report_page import CONDITION_WORDS, said

    table = Table(box=SIMPLE, title=report.title, title_justify="left")
    table.add_column("")
    table.add_column("figure")
    table.add_column("value (95 % interval)", justify="right")
    for part in report.parts:
        table.add_section()
        table.add_row(part.title, "pictures", str(part.every.pictures))
        for condition, head in part.every.presence.items():
            if head is not None:
                table.add_row(f"  presence of {CONDITION_WORDS[condition]}", "AUROC", said(head.auroc["present"]))
                table.add_row("", "calibration error", said(head.calibration.error))
        for condition, head in part.every.severity.items():
            if head is not None:
                table.add_row(f"  severity of {CONDITION_WORDS[condition]}", "weighted kappa", said(head.kappa))
        if part.every.table_3 is not None:
            table.add_row("  severity", "macro-F1", said(part.every.table_3[0]))
        if part.every.classes is not None:
            table.add_row("  class", "macro-F1", said(part.every.classes.macro_f1))
    table.add_section()
    for one in report.refusals:
        told = f"{100 * one.share:.1f} % of {one.pictures}"
        table.add_row(one.kind, "should be refused" if one.should else "should not be refused", told)
    Console().print(table)
