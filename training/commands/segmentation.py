"""`scalpscope-train segmentation ...`: train the hair network, look at what it learns from, score masks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track

from training.commands import evaluation, options
from training.progress import console

app = typer.Typer(
    help="The hair network: train it without hand-drawn masks, and measure it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def train(
    run: options.RunFolder,
    config: Annotated[
        str | None,
        typer.Option("--config", "-c", metavar="NAME|FILE", help="A recipe: default, paper_full ..., or a .toml file."),
    ] = None,
    data: options.Data = None,
    resume: options.Resume = False,
    steps: options.Steps = None,
    batch_size: options.BatchSize = None,
    workers: options.Workers = None,
    seed: options.Seed = None,
    minutes: options.Minutes = None,
    cpu: options.Cpu = False,
) -> None:
    """Train the hair network.

    The run's folder then holds weights.pt (last), best.pt (best on held-out images), checkpoint.pt (to resume),
    recipe.json, curves.csv, curves.png and samples/ (picture, truth, prediction). A run may be killed at any time:
    --resume goes on from its last checkpoint and ends as if it had not been.

    \b
    Examples:
      scalpscope-train segmentation train --config default --data pictures/ --run runs/first
      scalpscope-train segmentation train --run runs/first --data pictures/ --resume
      torchrun --nproc-per-node 4 -m -- training.cli segmentation train -c paper_full --data pictures/ --run runs/paper
    """
    from training.segmentation.recipe import load_recipe, recipe_from_dict
    from training.segmentation.train import train as train_network

    changes = {"steps": steps, "batch_size": batch_size, "workers": workers, "seed": seed}
    recipe = options.choose_recipe(run, resume, config, "default", changes, load_recipe, recipe_from_dict)
    result = train_network(recipe, data, run, resume=resume, minutes=minutes, cpu=cpu)
    options.say_ended(run, result.step, result.finished, f"Best validation Dice {result.best_dice:.4f}")


@app.command()
def pseudo(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Gets images/ and masks/; made if missing.")],
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many.")] = 16,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the first image; the next ones count up.")] = 0,
    config: Annotated[str, typer.Option("--config", "-c", metavar="NAME|FILE", help="Whose images.")] = "default",
    width: Annotated[int | None, typer.Option("--width", min=32, help="In pixels, instead of the recipe's.")] = None,
    height: Annotated[int | None, typer.Option("--height", min=32, help="In pixels, instead of the recipe's.")] = None,
    data: options.Data = None,
    conditions: Annotated[
        bool,
        typer.Option(
            "--conditions",
            help="So many under each condition (plain, thin hairs, blur, flakes ...), named in conditions.csv.",
        ),
    ] = False,
) -> None:
    """Draw pseudo-images and their masks into a folder, to look at or to evaluate on.

    A network looks at 640x480 pixels, so images of that size are what to evaluate it on; --conditions draws them so.
    Seeds below 1000000 are those of validation images: no run is trained on them.
    """
    import cv2

    from device_app.images import write_png_atomically
    from training.data.backgrounds import load_backgrounds
    from training.segmentation.conditions import CONDITIONS_CSV, Condition, render_condition, write_conditions
    from training.segmentation.pseudo_images import render_pseudo_image
    from training.segmentation.recipe import load_recipe

    recipe = load_recipe(config)
    image_recipe = recipe.image_recipe()
    image_recipe = replace(image_recipe, width=width or image_recipe.width, height=height or image_recipe.height)
    pool = load_backgrounds(data, None, recipe.data.procedural_share)
    for folder in (out / "images", out / "masks"):
        folder.mkdir(parents=True, exist_ok=True)
    # No seed comes twice: the pictures of two conditions have different scalps, and do not depend on each other.
    asked = list(Condition) if conditions else [None]
    drawn_as = {seed + number: asked[number // count] for number in range(count * len(asked))}
    names = {number: f"pseudo_{number:07d}.png" for number in drawn_as}
    for number, condition in track(drawn_as.items(), "drawing", console=console):
        if condition is None:
            drawn = render_pseudo_image(number, image_recipe, pool)
        else:
            drawn = render_condition(number, condition, pool, (width or 640, height or 480))
        write_png_atomically(out / "images" / names[number], drawn.image)
        write_png_atomically(out / "masks" / names[number], cv2.compare(drawn.mask, 127, cv2.CMP_GT))
    if conditions:
        write_conditions(out / CONDITIONS_CSV, {names[n]: one for n, one in drawn_as.items() if one is not None})
    typer.echo(f"{len(drawn_as)} images and masks in {out}.")


@app.command()
def backgrounds(
    data: options.Pictures,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE.png", help="A sheet of the patches, to look at.")
    ] = None,
) -> None:
    """Find hair-free patches in scalp pictures and show what was found."""
    import cv2
    import numpy as np

    from device_app.images import write_png_atomically
    from training.data.backgrounds import load_backgrounds

    pool = load_backgrounds(data, None)
    sides = [len(patch.pixels) for patch in pool.patches]
    originals = len({patch.original for patch in pool.patches})
    typer.echo(f"{len(sides)} hair-free patches of {min(sides)} to {max(sides)} px from {originals} pictures.")
    if out is not None:
        tiles = [cv2.resize(p.pixels, (96, 96), interpolation=cv2.INTER_AREA) for p in pool.patches]
        tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % 16)
        rows = [np.hstack(tiles[start : start + 16]) for start in range(0, len(tiles), 16)]
        write_png_atomically(out, np.vstack(rows))
        typer.echo(f"All of them are in {out}.")


app.command()(evaluation.evaluate)
app.command()(evaluation.flakes)
