"""`scalpscope bundle ...`: the networks of this device: what is in use, a new one, the one before."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Show, install and take back the networks this device uses.", no_args_is_help=True, rich_markup_mode=None
)


@app.command("show")
def show(
    path: Annotated[Path | None, typer.Argument(metavar="[FOLDER]", help="A bundle. [default: the one in use]")] = None,
) -> None:
    """Check a bundle and say what it holds, and which of its networks this machine would run, and why."""
    from device_app.bundle import default_bundle_path, load_bundle
    from device_app.engines.select import open_engine

    bundle = load_bundle(path or default_bundle_path())
    typer.echo(f"{bundle.name} {bundle.version}, made {bundle.manifest.created}, in {bundle.path}")
    typer.echo(f"Networks: {', '.join(task.value for task in bundle.tasks)}.")
    if bundle.demonstration_only:
        typer.echo("For demonstration only.")
    for task in bundle.tasks:
        model = bundle.model(task)
        typer.echo(f"\n{task.value}: {', '.join(precision.value for precision in model.files)}")
        typer.echo(f"Trained on: {model.trained_on}")
        typer.echo(f"Licence: {model.licence}. Credit: {model.credit}.")
        for name, value in sorted(model.quality.items()):
            typer.echo(f"{name}: {value:g}")
        engine = open_engine(bundle, task)
        for reason in engine.reasons:
            typer.echo(reason)
        engine.close()


@app.command("install")
def install(path: Annotated[Path, typer.Argument(metavar="FOLDER", help="The new bundle.")]) -> None:
    """Check a bundle, prove that this machine can run it, and use it from the next start on. The one before is kept."""
    from device_app.bundle import load_bundle
    from device_app.bundle_store import default_store, install_bundle
    from device_app.engines.select import open_engine

    new = load_bundle(path)
    for task in new.tasks:
        open_engine(new, task).close()
    bundle = install_bundle(path, default_store())
    typer.echo(f"{bundle.name} {bundle.version} is in use from the next start on.")


@app.command("roll-back")
def roll_back() -> None:
    """Use the bundle before the one in use again."""
    from device_app import bundle_store

    bundle = bundle_store.roll_back(bundle_store.default_store())
    typer.echo(f"{bundle.name} {bundle.version} is in use again from the next start on.")
