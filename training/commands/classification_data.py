"""`scalpscope-train classification check`: what is in a folder of labelled pictures, before it is trained on."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from calibration.errors import ScalpScopeError
from device_app.manifest_parts import Task
from training.progress import console

if TYPE_CHECKING:
    from training.data.examples import ExampleSet, RefusedFile, Split

_REFUSED_SHOWN = 20


def check(
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="The labelled pictures.")],
    task: Annotated[
        str, typer.Option("--task", metavar="TASK", help="conditions, scalp_condition or hair_loss_stage.")
    ] = Task.CONDITIONS.value,
    layout: Annotated[
        str | None,
        typer.Option("--layout", metavar="LAYOUT", help="aihub, csv, folders or yolo. [default: found out by looking]"),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the splits, where they are drawn.")] = 0,
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="Decode every picture and refuse what cannot be read.")
    ] = True,
    refused: Annotated[
        Path | None, typer.Option("--refused", metavar="FILE.csv", help="Write all refused files there, with reasons.")
    ] = None,
) -> None:
    """Read labelled pictures as training does, and say what is there.

    Shows how many pictures each label has in each split, which files were refused and why, what to beware of, and
    whether a patient or a picture is in two splits; ends with an error if so. The layouts are in docs/data_layouts.md.

    \b
    Examples:
      scalpscope-train classification check --data scalp_conditions/
      scalpscope-train classification check --data stages/ --task hair_loss_stage --refused refused.csv
    """
    from training.data.examples import check_leaks, missing_classes, read_examples, split_examples

    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("decoding", total=None)

        def advance(done: int, total: int) -> None:
            progress.update(bar, completed=done, total=total)

        examples = read_examples(data, _task(task), layout, verify=verify, progress=advance)
        if refused is not None:
            _write_refused(refused, examples.refused)
        _show_refused(examples.refused, data)
        splits = split_examples(examples, seed=seed)
        _show_counts(examples, splits)
        for warning in (*examples.warnings, *missing_classes(splits)):
            typer.echo(f"Note: {warning}")
        progress.reset(bar, description="comparing")
        check_leaks(splits, advance)
    typer.echo("No leaks: no patient, original or picture is in two splits.")


def _task(name: str) -> Task:
    tasks = {task.value: task for task in (Task.CONDITIONS, Task.SCALP_CONDITION, Task.HAIR_LOSS_STAGE)}
    if name not in tasks:
        raise ScalpScopeError(f"There is no task {name!r}.", f"Choose one of {', '.join(tasks)}.")
    return tasks[name]


def _show_counts(examples: ExampleSet, splits: Mapping[Split, ExampleSet]) -> None:
    from training.data.examples import label_counts, unlabelled_heads

    table = Table(box=SIMPLE, title=f"{examples.name}: {len(examples)} pictures, digest {examples.digest()[:12]}")
    table.add_column("label")
    for split in splits:
        table.add_column(split.value, justify="right")
    groups = [str(len({one.group for one in part.examples})) for part in splits.values()]
    table.add_row("pictures", *(str(len(part)) for part in splits.values()))
    table.add_row("patients or originals", *groups, end_section=True)
    counts = [label_counts(part) for part in splits.values()]
    unlabelled = unlabelled_heads(examples)  # told below, once each
    for head, labels in counts[0].items():
        for label in labels if head not in unlabelled else ():
            table.add_row(f"{head}: {label}", *(str(one[head][label]) for one in counts))
    Console(width=110).print(table)


def _show_refused(refused: Sequence[RefusedFile], data: Path) -> None:
    if refused:
        typer.echo(f"{len(refused)} files are refused:")
    for one in refused[:_REFUSED_SHOWN]:
        below = one.path.relative_to(data.resolve()) if one.path.is_relative_to(data.resolve()) else one.path
        typer.echo(f"  {below}: {one.reason}")
    if len(refused) > _REFUSED_SHOWN:
        typer.echo(f"  and {len(refused) - _REFUSED_SHOWN} more; --refused FILE.csv writes them all.")


def _write_refused(path: Path, refused: Sequence[RefusedFile]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("file", "reason"))
        writer.writerows((str(one.path), one.reason) for one in refused)
