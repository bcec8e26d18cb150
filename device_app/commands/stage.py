"""`scalpscope stage`: the stage of hair loss in overview photographs of heads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calibration.errors import ScalpScopeError
from device_app.commands.options import BundlePath, ChosenPrecision

if TYPE_CHECKING:
    from device_app.live.analysis import ClassJudgement


def command(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PHOTO", help="Photographs, or folders of them (sub-folders are not entered)."),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="Folder for the results; made if missing.")
    ] = None,
    heat_maps: Annotated[
        bool, typer.Option("--heat-maps", help="Draw what in each photograph speaks for its stage; takes --out.")
    ] = False,
    bundle: BundlePath = None,
    precision: ChosenPrecision = None,
) -> None:
    """Say the stage of hair loss, 0 to 4, in overview photographs of heads.

    These are ordinary photographs, not pictures of the microscope: for those there is "scalpscope analyse". It takes a
    bundle with a network for the hair-loss stage. For every photograph one line; with --out also a NAME_stage.json.

    A photograph that must not be judged is said with the reason. One that cannot be read is named on stderr; the others
    are done and the exit code is 1.

    \b
    Examples:
      scalpscope stage head.jpg --bundle my-bundle
      scalpscope stage photos/ --out results --heat-maps
    """
    if heat_maps and out is None:
        raise ScalpScopeError("--heat-maps draws pictures into a folder.", "Name it with --out.")

    from device_app.analyse import open_overview_judge
    from device_app.engines.engine import Precision
    from device_app.images import find_images, read_image
    from device_app.stage_files import HEAT_MAP_ENDING, save_judgement

    judge = open_overview_judge(bundle, None if precision is None else Precision(precision.value))
    photographs = [photo for photo in find_images(paths) if not photo.name.endswith(HEAT_MAP_ENDING)]
    stems = [photo.stem.casefold() for photo in photographs]
    if out is not None and len(set(stems)) != len(stems):
        twice = next(photo for photo in photographs if stems.count(photo.stem.casefold()) > 1)
        raise ScalpScopeError(
            f"Several photographs would be saved as {twice.stem}_stage.json.", "Rename them, or do them one by one."
        )
    if judge.demonstration:
        typer.echo("scalpscope: the network is for demonstration only, and no diagnosis.", err=True)
    failed = 0
    for photo in photographs:
        try:
            image = read_image(photo)
        except ScalpScopeError as error:
            failed += 1
            typer.echo(f"scalpscope: {error}", err=True)
            continue
        judgement = judge.judge(image)
        typer.echo(f"{photo.name}: {_said(judgement)}")
        if out is not None:
            save_judgement(out, photo, image, judgement, with_heat_map=heat_maps)
    if failed:
        raise typer.Exit(1)


def _said(judgement: ClassJudgement) -> str:
    if judgement.refused is not None:
        return f"cannot say: {judgement.refused.value.replace('_', ' ')}"
    assert judgement.certainty is not None
    return f"stage {judgement.label} ({judgement.certainty:.0%} sure)"
