"""`scalpscope analyse`: measure and grade picture files, and write what was found beside each other."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from calibration.errors import ScalpScopeError
from device_app.commands.options import (
    BundlePath,
    ChosenPrecision,
    ChosenProfile,
    Classes,
    UmPerPx,
    one_scale,
)
from device_app.settings import ClassesName

if TYPE_CHECKING:
    from rich.console import Console

    from device_app.analyse import PictureAnalyser

_log = logging.getLogger(__name__)


def command(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH", help="Pictures, or folders of pictures (sub-folders are not entered)."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the results; made if missing.")],
    um_per_px: UmPerPx = None,
    profile: ChosenProfile = None,
    bundle: BundlePath = None,
    classes: Classes = None,
    precision: ChosenPrecision = None,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, max=256, help="CPU threads. [default: all]")
    ] = None,
    refine: Annotated[
        bool, typer.Option("--refine", help="Refine every mask with SAM first; the figures are then of the result.")
    ] = False,
    heat_maps: Annotated[
        bool, typer.Option("--heat-maps", help="Draw where the network saw each condition that it graded.")
    ] = False,
) -> None:
    """Find and measure the hairs in pictures, and grade dandruff, excess sebum and erythema.

    For every picture NAME.jpg: NAME.json (all figures, every hair and every grade), NAME_mask.png (0 or 255, the
    picture's size) and NAME_overlay.png; and one summary.csv with a row for each picture. Results of an earlier run
    under the same names are replaced; pictures never are.

    Conditions are graded where the bundle can; where it cannot they are null, and "conditions_missing" says why. A
    picture that must not be graded has the reason in place of each grade. With --heat-maps there is a
    NAME_heat_CONDITION.png for each condition that is graded.

    With --refine NAME_mask.png is the mask that the bundle makes of the hair network's and SAM's; these two lie beside
    it as NAME_coarse_mask.png and NAME_refined_mask.png. It takes a bundle with SAM.

    A picture that cannot be read is named on stderr and in the "error" column of summary.csv; the others are done and
    the exit code is 1. Two pictures that would be saved under one NAME are refused before anything is done.

    \b
    Examples:
      scalpscope analyse scalp.jpg --out results
      scalpscope analyse visit-1/ visit-2/x.png --out results --profile scope-a-50x.json
      scalpscope analyse photos/ --out results --um-per-px 2.5 --classes trichoscan
      scalpscope analyse photos/ --out results --refine
      scalpscope analyse photos/ --out results --heat-maps
    """
    loaded_profile = one_scale(profile, um_per_px)
    pictures = pictures_to_analyse(paths, out, refine, heat_maps)

    from rich.console import Console

    from device_app.analyse import PictureAnalyser
    from device_app.engines.engine import Precision
    from device_app.file_sets import clear_abandoned

    analyser = PictureAnalyser(
        scale_um_per_px=um_per_px,
        profile=loaded_profile,
        bundle_path=bundle,
        classes=(classes or ClassesName.TRICHOSCOPY).cuts,
        precision=None if precision is None else Precision(precision.value),
        threads=threads or len(os.sched_getaffinity(0)),
    )
    if refine:
        analyser.open_refiner()
    if heat_maps and (missing := analyser.conditions_missing):
        raise ScalpScopeError(f"There are no heat maps: {missing}", "Use another bundle, or leave --heat-maps out.")
    clear_abandoned(out)
    failed = _analyse_all(pictures, out, analyser, refine, heat_maps, Console(stderr=True))
    if failed:
        raise typer.Exit(1)


def pictures_to_analyse(paths: Iterable[Path], out: Path, refine: bool = False, heat_maps: bool = False) -> list[Path]:
    """The pictures that the paths stand for, each once, in order, without results of earlier runs in folders.

    Raises:
        ScalpScopeError: a path is missing, a folder has no picture, two pictures share a name (as file systems that
            ignore upper and lower case see it), or a result would be written over one of the pictures.
    """
    from device_app.analysis_files import refined_names, result_names
    from device_app.grade_files import heat_map_names
    from device_app.images import find_images

    found: dict[Path, Path] = {}
    for path in paths:
        pictures = find_images([path])
        if path.is_dir():
            pictures = [picture for picture in pictures if not _is_result(picture)]
            if not pictures:
                raise ScalpScopeError(f"The folder '{path}' holds results but no pictures.", "Name another folder.")
        for picture in pictures:
            found.setdefault(picture.resolve(), picture)

    by_name: dict[str, Path] = {}
    for picture in found.values():
        other = by_name.setdefault(picture.stem.casefold(), picture)
        if other is not picture:
            raise ScalpScopeError(
                f"'{other}' and '{picture}' would both be saved as {picture.stem}.json.",
                "Rename one of them, or analyse them into different folders.",
            )
        names = [*result_names(picture.stem), *(refined_names(picture.stem) if refine else ())]
        for name in names + (list(heat_map_names(picture.stem).values()) if heat_maps else []):
            if (overwritten := found.get((out / name).resolve())) is not None:
                raise ScalpScopeError(
                    f"The results of '{picture}' would be written over the picture '{overwritten}'.",
                    "Choose another --out folder.",
                )
    return list(by_name.values())


def _is_result(picture: Path) -> bool:
    """Whether a file in a folder was written by an earlier run: its JSON stands beside it."""
    from device_app.grade_files import heat_map_names

    own = ("_mask.png", "_overlay.png", "_coarse_mask.png", "_refined_mask.png")
    for ending in (*own, *heat_map_names("").values()):
        if picture.name.endswith(ending) and (picture.parent / f"{picture.name.removesuffix(ending)}.json").exists():
            return True
    return False


def _analyse_all(
    pictures: list[Path], out: Path, analyser: PictureAnalyser, refine: bool, heat_maps: bool, console: Console
) -> int:
    """Analyse and save every picture; returns how many could not be. The summary is written whatever happens."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from device_app.analysis_files import failed_row, write_summary
    from device_app.file_sets import CannotWrite

    rows: list[dict[str, Any]] = []
    failed = 0
    columns = (
        TextColumn("analysing"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[name]}"),
    )
    try:
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
            task = progress.add_task("", total=len(pictures), name="")
            for picture in pictures:
                progress.update(task, name=picture.name)
                try:
                    rows.append(_analyse_one(picture, out, analyser, refine, heat_maps))
                except CannotWrite:
                    raise
                except ScalpScopeError as error:
                    failed += 1
                    rows.append(failed_row(picture.name, error))
                    text = " ".join(str(error).split())
                    console.print(f"scalpscope: {text}", markup=False, highlight=False, soft_wrap=True)
                progress.advance(task)
    except BaseException:
        # A full disk, Ctrl-C: the pictures that are done are done, and the summary says which.
        try:
            write_summary(out, rows)
        except ScalpScopeError as second:
            _log.info("and no summary either: %s", second)
        raise
    write_summary(out, rows)
    done = len(pictures) - failed
    typer.echo(
        f"{done} of {len(pictures)} pictures analysed; the results are in {out}, the figures in {out / 'summary.csv'}."
    )
    return failed


def _analyse_one(picture: Path, out: Path, analyser: PictureAnalyser, refine: bool, heat_maps: bool) -> dict[str, Any]:
    from device_app.analysis_files import save_analysis, summary_row
    from device_app.images import read_image

    image = read_image(picture)
    try:
        refinement = analyser.refine(image) if refine else None
        analysis = analyser.analyse(image) if refinement is None else refinement.analysis
        conditions = None if analyser.conditions_missing else analyser.grade(image, analysis.mask)
        condition = None if analyser.scalp_condition_missing else analyser.judge_scalp(image, analysis.mask)
    except ScalpScopeError as error:
        raise ScalpScopeError(f"'{picture}': {error.what}", error.remedy) from error
    saved = save_analysis(
        out,
        picture.stem,
        image,
        analysis,
        analyser.provenance,
        image_name=picture.name,
        refinement=refinement,
        conditions=conditions,
        scalp_condition=condition,
        with_heat_maps=heat_maps,
    )
    return summary_row(saved.record)
