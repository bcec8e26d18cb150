"""`scalpscope-train prompting ...`: SAM for hair: official checkpoints, and students that learn from them."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from calibration.errors import ScalpScopeError
from training.commands import options
from training.progress import console

log = logging.getLogger(__name__)

app = typer.Typer(
    help="SAM for hair: fetch official checkpoints, teach a small student.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def fetch(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="mobile_sam, vit_b, vit_l or vit_h.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="Where the file goes; made if missing.")
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="Say what there is, and fetch nothing.")] = False,
    url: Annotated[
        str | None,
        typer.Option("--url", metavar="URL", help="Fetch from there, such as a copy within the house; checked alike."),
    ] = None,
) -> None:
    """Fetch an official SAM checkpoint and check its SHA-256.

    Size, licence, address and SHA-256 are shown first. A download that broke off goes on where it was when the same
    command is given again. The file gets its name only after its SHA-256 was found right.

    \b
    Examples:
      scalpscope-train prompting fetch --list
      scalpscope-train prompting fetch mobile_sam --out checkpoints/
    """
    from training.prompting.checkpoints import CHECKPOINTS, OfficialCheckpoint, official
    from training.prompting.download import download

    def show(checkpoint: OfficialCheckpoint) -> None:
        typer.echo(
            f"{checkpoint.variant.value}: {checkpoint.file}, {checkpoint.credit}\n"
            f"  size     {checkpoint.size_bytes:,} bytes\n"
            f"  licence  {checkpoint.licence}\n"
            f"  from     {checkpoint.url}\n"
            f"  SHA-256  {checkpoint.sha256}"
        )

    if listed:
        for checkpoint in CHECKPOINTS:
            show(checkpoint)
        return
    if name is None:
        raise ScalpScopeError("No checkpoint was named.", "Name one; --list says which there are.")
    checkpoint = official(name)
    if out is None:
        raise ScalpScopeError("No folder was given.", "Add --out DIR.")
    if url is not None:
        checkpoint = replace(checkpoint, url=url)
    show(checkpoint)
    with Progress(
        TextColumn("fetching"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(),
        console=console, disable=not console.is_terminal,
    ) as bar:  # fmt: skip
        task = bar.add_task("", total=checkpoint.size_bytes)
        path = download(checkpoint, out, lambda done: bar.update(task, completed=done))
    typer.echo(f"{path} is the official file.")


@app.command()
def train(
    run: options.RunFolder,
    config: Annotated[
        str | None, typer.Option("--config", "-c", metavar="NAME|FILE", help="A recipe: student ..., or a .toml file.")
    ] = None,
    data: options.Data = None,
    coarse: Annotated[
        Path | None,
        typer.Option(
            "--coarse", metavar="BUNDLE", help="Whose hair network finds the coarse masks. [default: shipped]"
        ),
    ] = None,
    examples: Annotated[
        Path | None,
        typer.Option(
            "--examples", metavar="DIR", help="The drawn examples; several runs may share them. [RUN/examples]"
        ),
    ] = None,
    start_from: Annotated[
        Path | None, typer.Option("--start-from", metavar="FILE", help="Begin with the weights of another run.")
    ] = None,
    resume: options.Resume = False,
    steps: options.Steps = None,
    batch_size: options.BatchSize = None,
    workers: options.Workers = None,
    minutes: options.Minutes = None,
    cpu: options.Cpu = False,
) -> None:
    """Teach a student without a teacher: SAM for hair, small enough for the device.

    First the examples are drawn, each with the coarse mask that the bundle's hair network finds in it (1.5 MB and a
    quarter of a second each). Then the run leaves what the hair network's leaves: weights.pt, best.pt, checkpoint.pt,
    recipe.json, curves and samples. It may be killed at any time and goes on with --resume.

    \b
    Examples:
      scalpscope-train prompting train -c student --data pictures/ --run runs/student
      scalpscope-train prompting train --run runs/student --data pictures/ --resume
    """
    from device_app.bundle import default_bundle_path
    from training.prompting.recipe import load_recipe, recipe_from_dict
    from training.prompting.train import train as train_student

    changes = {"steps": steps, "batch_size": batch_size, "workers": workers}
    only_new = {"--start-from": start_from}
    recipe = options.choose_recipe(run, resume, config, "student", changes, load_recipe, recipe_from_dict, only_new)
    bundle = coarse or default_bundle_path()
    result = train_student(recipe, data, bundle, run, examples, start_from, resume, minutes, cpu)
    options.say_ended(run, result.step, result.finished, f"Best validation Jaccard {result.best_jaccard:.4f}")


@app.command()
def distil(
    teacher: Annotated[Path, typer.Option("--teacher", metavar="FILE", help="An official SAM checkpoint; see fetch.")],
    data: options.Pictures,
    run: options.RunFolder,
    config: Annotated[
        str | None, typer.Option("--config", "-c", metavar="NAME|FILE", help="A recipe: distilled, or a .toml file.")
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            "--cache",
            metavar="DIR",
            help="Where the teacher's embeddings are kept, 1.6 MB for a view of a picture of 4:3; several runs may "
            "share it. [default: within --run]",
        ),
    ] = None,
    resume: options.Resume = False,
    steps: options.Steps = None,
    batch_size: options.BatchSize = None,
    workers: options.Workers = None,
    seed: options.Seed = None,
    minutes: options.Minutes = None,
    cpu: options.Cpu = False,
) -> None:
    """Teach a student's image encoder to answer as an official SAM does.

    The teacher's embeddings of all pictures are made once and kept on the disk. The student learns to give the same;
    the teacher's own prompt encoder and mask decoder then stand beside it in weights.pt (last) and best.pt (most alike
    on held-out pictures). The run's folder also holds checkpoint.pt (to resume), recipe.json, curves.csv and
    curves.png. A run may be killed at any time: --resume goes on from its last checkpoint and ends as if it had not
    been.

    \b
    Examples:
      scalpscope-train prompting fetch mobile_sam --out checkpoints/
      scalpscope-train prompting distil --teacher checkpoints/mobile_sam.pt --data pictures/ --run runs/d -c distilled
    """
    from training.prompting.checkpoints import open_checkpoint
    from training.prompting.distil import distil as distil_student
    from training.prompting.distil import distil_recipe_from_dict, load_distil_recipe

    changes = {"steps": steps, "batch_size": batch_size, "workers": workers, "seed": seed}
    recipe = options.choose_recipe(
        run, resume, config, "distilled", changes, load_distil_recipe, distil_recipe_from_dict
    )
    sam = open_checkpoint(teacher)
    result = distil_student(recipe, sam, data, run, cache=cache, resume=resume, minutes=minutes, cpu=cpu)
    best = f"Best cosine with the teacher on held-out pictures {result.best_cosine:.4f}"
    options.say_ended(run, result.step, result.finished, best)


@app.command()
def operations(
    weights: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="A student's weights. [default: the recipe 'student']")
    ] = None,
    points: Annotated[int, typer.Option("--points", min=0, help="Points that the decoder is asked with.")] = 300,
) -> None:
    """Count a student's multiply-adds beside those of NanoSAM's image encoder."""
    from training.prompting.operations import decoder_multiply_adds, encoder_multiply_adds, nanosam_multiply_adds
    from training.prompting.recipe import load_recipe
    from training.prompting.student import Student, load_student

    student = Student(load_recipe("student").student.config()).eval() if weights is None else load_student(weights)
    encoder, nanosam = encoder_multiply_adds(student), nanosam_multiply_adds()
    typer.echo(f"student, image encoder:  {encoder / 1e9:6.2f} billion multiply-adds")
    typer.echo(f"student, decoder:        {decoder_multiply_adds(student, points) / 1e9:6.2f} ({points} points)")
    typer.echo(f"NanoSAM, image encoder:  {nanosam / 1e9:6.2f} (ResNet18, 1024 px)")
    typer.echo(f"encoder, student / NanoSAM: {encoder / nanosam:.3f}")
