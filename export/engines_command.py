"""The `engines` sub-command of `scalpscope-export`: its options, its progress as a bar or as lines for a program."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calibration.errors import ScalpScopeError
from device_app.engines.engine import Precision

if TYPE_CHECKING:
    from device_app.engines.building import BuildStep
    from export.engines import EnginesBuilt

_LEAST_APART_S = 0.2  # two lines of progress


class ProgressStyle(str, Enum):
    """How progress is shown."""

    AUTO = "auto"  # a bar on a terminal, a line for each new step elsewhere
    JSON = "json"  # lines on standard output, of `device_app.engines.building`


def engines(
    path: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The bundle's folder.")],
    cache: Annotated[
        Path | None,
        typer.Option("--cache", metavar="DIR", help="Folder of the engines. [default: the one the app reads]"),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(
            "--precision", help="int8_symmetric, fp16 or fp32. [default: the best that each network has a file of]"
        ),
    ] = None,
    dla: Annotated[
        int | None,
        typer.Option(
            "--dla",
            min=0,
            metavar="N",
            help="Build for deep-learning accelerator N of an Orin; what it cannot run goes to the GPU.",
        ),
    ] = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Build also what is there.")] = False,
    progress: Annotated[
        ProgressStyle, typer.Option("--progress", help="A bar, or lines of JSON for another program.")
    ] = ProgressStyle.AUTO,
    workspace: Annotated[
        int | None,
        typer.Option(
            "--workspace", min=16, metavar="MIB", help="Memory for the builder. [default: what the board can spare]"
        ),
    ] = None,
) -> None:
    """Build the TensorRT engines of a bundle on this device, prove them by its goldens, and keep them.

    Takes minutes on a small board. The app does this by itself when it starts; what is built already is not built
    again. Ends with 0 when every engine is ready, 1 when one failed, 2 when nothing could be built at all.
    """
    from device_app.engines.building import BuildEnd, to_line
    from export.stop_signals import StopSignals

    with StopSignals() as stop:
        try:
            with (_lines if progress is ProgressStyle.JSON else _bar)() as report:
                built = _build(path, cache, precision, dla, rebuild, workspace, report, stop.is_set)
        except ScalpScopeError as error:
            if progress is ProgressStyle.JSON:
                _say(to_line(BuildEnd(failed=(str(error),))))
            raise
        if built is None:
            typer.echo("Stopped. Engines that were finished are kept, nothing is half-written.", err=True)
            raise typer.Exit(128 + (stop.number or 0))
    if progress is ProgressStyle.JSON:
        _say(to_line(built.to_end()))
    else:
        _show(built)
        if dla is not None:
            typer.echo(f"For deep-learning accelerator {dla}; layers that it cannot run go to the GPU.")
    if not built.is_complete:
        raise typer.Exit(1)


def _build(
    path: Path,
    cache: Path | None,
    precision: str | None,
    dla: int | None,
    rebuild: bool,
    workspace: int | None,
    report: Callable[[BuildStep], None],
    is_stopped: Callable[[], bool],
) -> EnginesBuilt | None:
    """None when it was stopped."""
    from export.engines import EngineSettings, build_engines
    from export.tensorrt import BuildStopped

    if precision is not None and precision not in [each.value for each in Precision]:
        raise ScalpScopeError(f"There is no precision '{precision}'.", "Use one of: int8_symmetric, fp16, fp32.")
    wanted = None if precision is None else Precision(precision)
    try:
        return build_engines(EngineSettings(path, cache, wanted, dla, rebuild, workspace), report, is_stopped)
    except BuildStopped:
        return None


@contextmanager
def _lines() -> Iterator[Callable[[BuildStep], None]]:
    """Progress as lines of JSON: not more than a few in a second, and each new thing at once."""
    from device_app.engines.building import to_line

    last_words, last_at = "", 0.0

    def report(step: BuildStep) -> None:
        nonlocal last_words, last_at
        now = time.monotonic()
        if step.what != last_words or now - last_at >= _LEAST_APART_S:
            _say(to_line(step))
            last_words, last_at = step.what, now

    yield report


@contextmanager
def _bar() -> Iterator[Callable[[BuildStep], None]]:
    """Progress for people."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        last = ""

        def say(step: BuildStep) -> None:
            nonlocal last
            if step.what != last:
                typer.echo(f"{time.strftime('%H:%M:%S')} {step.fraction:4.0%} {step.what}", err=True)
            last = step.what

        yield say
        return
    columns = TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("starting", total=1.0)
        yield lambda step: progress.update(task, completed=step.fraction, description=step.what)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _show(built: EnginesBuilt) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("network", "precision", "engine", box=None, pad_edge=False)
    for title in ("seconds", "MiB"):
        table.add_column(title, justify="right")
    table.add_column("goldens")
    for engine in built.engines:
        task, _, precision = engine.title.partition(" ")
        seconds = f"{engine.seconds:.1f}" if engine.seconds else "-"
        size = f"{engine.size_mib:.1f}" if engine.size_mib else "-"
        goldens = "-" if engine.goldens is None else str(engine.goldens)
        table.add_row(task, precision, engine.state.value, seconds, size, goldens)
    Console().print(table)
    for sentence in built.left_out:
        typer.echo(f"Left out: {sentence}.")
    for engine in built.engines:
        if engine.problem:
            typer.echo(f"Failed: {engine.problem}", err=True)
    typer.echo(f"Engines in {built.folder}")
