"""What the commands that train share: their options, which recipe a run goes by, and what is said at its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from calibration.errors import ScalpScopeError

if TYPE_CHECKING:
    from training.recipes import AnyRecipe

RunFolder = Annotated[Path, typer.Option("--run", metavar="DIR", help="Folder of the run; made if missing.")]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="Unlabelled scalp pictures; hair-free patches are cut from them. [default: scalp is drawn from nothing]",
    ),
]
Pictures = Annotated[Path, typer.Option("--data", metavar="DIR", help="Unlabelled scalp pictures.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in --run, by its own recipe.")]
Steps = Annotated[int | None, typer.Option("--steps", min=1, help="Steps, instead of the recipe's.")]
BatchSize = Annotated[
    int | None, typer.Option("--batch-size", min=1, help="Pictures per step and process, instead of the recipe's.")
]
Workers = Annotated[
    int | None, typer.Option("--workers", min=0, help="Processes that make the samples, instead of the recipe's.")
]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Instead of the recipe's.")]
Minutes = Annotated[
    float | None, typer.Option("--minutes", min=0, help="Stop after this long, with a checkpoint to resume from.")
]
Cpu = Annotated[bool, typer.Option("--cpu", help="Use the CPU also where there is a GPU.")]


def choose_recipe(
    run: Path,
    resume: bool,
    config: str | None,
    example: str,
    changes: Mapping[str, int | None],
    load: Callable[[str], AnyRecipe],
    from_dict: Callable[[dict[str, Any], str], AnyRecipe],
    only_new: Mapping[str, object] | None = None,
) -> AnyRecipe:
    """The recipe of a new run, or the own one of a run that is resumed.

    Args:
        config: name or path, of a new run.  example: the name of one, for errors.
        changes: values of options that take the place of the recipe's in `[training]`, by key; None: not given.
        load, from_dict: make a recipe from name or path, and from its sections and a name for errors.
        only_new: values of further options that a resumed run does not take, by option; None: not given.

    Raises:
        ScalpScopeError: options and ``resume`` do not go together, or there is no such recipe or no such run.
    """
    from training.checkpoint import CHECKPOINT, load_state

    only_new = {"--config": config, **(only_new or {})}
    given = {key: value for key, value in changes.items() if value is not None}
    if resume:
        if given or any(value is not None for value in only_new.values()):
            *options, last = (*only_new, *(f"--{key.replace('_', '-')}" for key in changes))
            raise ScalpScopeError(
                "--resume goes on with the run's own recipe.", f"Leave out {', '.join(options)} and {last}."
            )
        return from_dict(load_state(run / CHECKPOINT).recipe, str(run))
    if config is None:
        raise ScalpScopeError("No recipe was given.", f"Add --config {example}, for one.")
    values = load(config).model_dump()
    return from_dict({**values, "training": {**values["training"], **given}}, config)


def say_ended(run: Path, step: int, finished: bool, best: str) -> None:
    """One line on how a run ended; of several processes only the first says it."""
    from accelerate import PartialState

    if PartialState().is_main_process:
        ending = "finished" if finished else "stopped; --resume goes on"
        typer.echo(f"{step} steps done, {ending}. {best}. See {run}.")
