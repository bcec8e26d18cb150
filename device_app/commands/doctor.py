"""`scalpscope doctor`: what this machine has and lacks, each with the way to mend it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from device_app import __version__
from device_app.commands.options import BundlePath, ChosenProfile
from device_app.settings import load_settings

if TYPE_CHECKING:
    from device_app.doctor import Finding


def command(
    settings: Annotated[
        Path | None,
        typer.Option(
            "--settings", metavar="TOML", help="The device's settings. [default: ~/.config/scalpscope/settings.toml]"
        ),
    ] = None,
    bundle: BundlePath = None,
    profile: ChosenProfile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Say what this machine has and lacks for ScalpScope, and how to mend it. Changes nothing.

    Looks at the system, memory and disk, the screen and its OpenGL, cameras and their formats and permissions, ONNX
    Runtime, the accelerator (GPU, driver, TensorRT) and the engines built for it, the bundle (every file, and the
    engine of each network against its goldens), and the calibration.

    Exit code 1 if the app cannot run on this machine, 0 if it can, even with something less than the best.
    """
    from device_app.doctor import can_run, examine

    findings = examine(load_settings(settings).overridden(bundle=bundle, profile=profile))
    fit = can_run(findings)
    if as_json:
        report = {
            "software": f"scalpscope {__version__}",
            "can_run": fit,
            "findings": [finding.as_dict() for finding in findings],
        }
        typer.echo(json.dumps(report, indent=2, ensure_ascii=False))
    else:
        _print_table(findings)
        typer.echo("ScalpScope can run here." if fit else "ScalpScope cannot run here until what says FAIL is mended.")
    if not fit:
        raise typer.Exit(1)


def _print_table(findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    styles = {"ok": "green", "warn": "yellow", "fail": "bold red"}
    table = Table(title=f"scalpscope {__version__}", title_justify="left", show_lines=False)
    for heading in ("", "what", "found, and what to do"):
        table.add_column(heading, overflow="fold")
    for finding in findings:
        text = Text(finding.found)
        if finding.remedy:
            text.append(f"\n-> {finding.remedy}", style="cyan")
        table.add_row(Text(finding.state.value.upper(), style=styles[finding.state.value]), finding.name, text)
    Console().print(table)
