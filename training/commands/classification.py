"""`scalpscope-train classification ...`: train the classifier of any task, and measure it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.commands import classification_data, classification_draw, classification_evaluation, options

app = typer.Typer(
    help="Scalp conditions, their severity, and the stage of hair loss: train the classifier, and measure it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Labelled = Annotated[
    list[Path] | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="A folder of labelled pictures; may be given several times. [default: conditions are drawn from nothing]",
    ),
]
Layout = Annotated[
    str | None,
    typer.Option("--layout", metavar="NAME", help="aihub, csv, folders or yolo. [default: found out by looking]"),
]


@app.command()
def train(
    run: options.RunFolder,
    config: Annotated[
        str | None,
        typer.Option("--config", "-c", metavar="NAME|FILE", help="A recipe: conditions ..., or a .toml file."),
    ] = None,
    data: Labelled = None,
    layout: Layout = None,
    augmentation: Annotated[
        str | None,
        typer.Option("--augmentation", metavar="NAME", help="none, noise, augmix or usual, instead of the recipe's."),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option("--backbone", metavar="NAME", help="A timm model, instead of the recipe's and its weights."),
    ] = None,
    pretrained: Annotated[
        str | None,
        typer.Option(
            "--pretrained", metavar="FILE|NAME", help="What the backbone starts from, instead of the recipe's."
        ),
    ] = None,
    resume: options.Resume = False,
    steps: options.Steps = None,
    batch_size: options.BatchSize = None,
    workers: options.Workers = None,
    seed: options.Seed = None,
    minutes: options.Minutes = None,
    cpu: options.Cpu = False,
    calibrate: Annotated[
        bool, typer.Option("--calibrate/--no-calibrate", help="Calibrate the best weights when training is over.")
    ] = True,
) -> None:
    """Train a classifier, and calibrate it.

    The run's folder then holds best.pt (best on held-out pictures), calibrated.pt (the same, with all that evaluate and
    the export need), weights.pt (last), checkpoint.pt (to resume), recipe.json, curves.csv and curves.png. A run may be
    killed at any time: --resume goes on from its last checkpoint and ends as if it had not been. How the pictures and
    their labels must lie stands in docs/data_layouts.md.

    \b
    Examples:
      scalpscope-train classification train -c conditions --data pictures/ --run runs/conditions
      scalpscope-train classification train -c table3_densenet169 --data aihub/ --run runs/densenet
      scalpscope-train classification train -c table3_densenet169 --augmentation augmix --data aihub/ --run runs/augmix
      torchrun --nproc-per-node 4 -m -- training.cli classification train -c table3_vit_s --data aihub/ --run runs/vit
    """
    from training.classification.recipe import load_recipe, recipe_from_dict
    from training.classification.train import train as train_classifier

    changes = {"steps": steps, "batch_size": batch_size, "workers": workers, "seed": seed}
    others = {"--augmentation": augmentation, "--backbone": backbone, "--pretrained": pretrained}
    recipe = options.choose_recipe(run, resume, config, "conditions", changes, load_recipe, recipe_from_dict, others)
    if not resume:
        values = recipe.model_dump(mode="json")
        if augmentation is not None:
            values["data"]["augmentation"] = augmentation
        if backbone is not None:
            follows = values["classifier"]["pretrained"] == "timm"  # whatever the backbone is
            values["classifier"] |= {"backbone": backbone, "pretrained": "timm" if follows else ""}
        if pretrained is not None:
            values["classifier"]["pretrained"] = pretrained
        recipe = recipe_from_dict(values, str(config))
    result = train_classifier(recipe, data or [], run, layout, resume, minutes, cpu)
    options.say_ended(run, result.step, result.finished, f"Best validation macro-F1 {result.best_macro_f1:.4f}")
    if calibrate and result.finished:
        from accelerate import PartialState

        if PartialState().is_main_process:
            typer.echo("Calibrating on the validation pictures; --no-calibrate would leave that for later.")
            classification_evaluation.calibrate(run, data, layout, cpu=cpu)


@app.command()
def pretrain(
    run: options.RunFolder,
    data: Annotated[
        list[Path],
        typer.Option("--data", metavar="DIR", help="A folder of unlabelled pictures; may be given several times."),
    ],
    config: Annotated[
        str | None, typer.Option("--config", "-c", metavar="NAME|FILE", help="A recipe: pretrain, or a .toml file.")
    ] = None,
    resume: options.Resume = False,
    steps: options.Steps = None,
    batch_size: options.BatchSize = None,
    workers: options.Workers = None,
    seed: options.Seed = None,
    minutes: options.Minutes = None,
    cpu: options.Cpu = False,
) -> None:
    """Teach a classifier's backbone by unlabelled pictures (SimSiam), where there are no pretrained weights.

    The run's folder then holds best.pt (held-out frames are best told apart) and weights.pt (last), either of which
    `train --pretrained` takes; checkpoint.pt (to resume), recipe.json, curves.csv and curves.png.

    \b
    Examples:
      scalpscope-train classification pretrain -c pretrain --data pictures/ --run runs/pre
      scalpscope-train classification train -c conditions --pretrained runs/pre/best.pt --data labelled/ --run runs/c
    """
    from training.classification.pretrain import load_pretrain_recipe, pretrain_recipe_from_dict
    from training.classification.pretrain import pretrain as pretrain_backbone

    changes = {"steps": steps, "batch_size": batch_size, "workers": workers, "seed": seed}
    recipe = options.choose_recipe(
        run, resume, config, "pretrain", changes, load_pretrain_recipe, pretrain_recipe_from_dict
    )
    result = pretrain_backbone(recipe, data, run, resume, minutes, cpu)
    options.say_ended(
        run, result.step, result.finished, f"Best share of held-out frames found again {result.best_found_again:.4f}"
    )


app.command()(classification_data.check)
app.command()(classification_draw.draw)
app.command()(classification_evaluation.calibrate)
app.command()(classification_evaluation.evaluate)
