"""`scalpscope bench no-hair`: how often hair is found in pictures that have none. Goal: in 1 % of them at most."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from device_app import __version__
from device_app.commands.options import BundlePath, ChosenPrecision

if TYPE_CHECKING:
    import numpy as np

    from device_app.analyse import PictureAnalyser

GOAL_FRACTION = 0.01


@dataclass(frozen=True)
class KindResult:
    """How often hair was found in one kind of picture.

    Attributes:
        name: the kind.
        pictures: how many were looked at.
        with_hair: in how many any hair was found.
        offenders: which ones, a seed or a file name, the worst first, with the number of hairs.
    """

    name: str
    pictures: int
    with_hair: int
    offenders: tuple[tuple[str, int], ...]

    @property
    def fraction(self) -> float:
        """Share of the pictures in which hair was found."""
        return self.with_hair / self.pictures if self.pictures else 0.0


def command(
    count: Annotated[int, typer.Option("--count", min=1, help="Pictures of each kind.")] = 100,
    first_seed: Annotated[int, typer.Option("--seed", min=0, help="First seed; one seed gives one picture.")] = 0,
    folder: Annotated[
        Path | None, typer.Option("--folder", metavar="DIR", help="Real pictures without hair, as one more kind.")
    ] = None,
    bundle: BundlePath = None,
    precision: ChosenPrecision = None,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="R.json", help="Write the result here too.")
    ] = None,
    keep: Annotated[
        Path | None, typer.Option("--keep", metavar="DIR", help="Save the pictures in which hair was found, analysed.")
    ] = None,
) -> None:
    """Look for hair in pictures that have none: bare scalp, flakes, gloss, white paper, black, white, noise.

    Prints the share of pictures in which any hair was found, by kind. Exit code 1 if it is above 1 % over all.

    \b
    Examples:
      scalpscope bench no-hair
      scalpscope bench no-hair --count 20 --keep /tmp/wrong
      scalpscope bench no-hair --folder hair-free-photos --report no_hair.json
    """
    from rich.console import Console
    from rich.progress import track

    from device_app.analyse import PictureAnalyser
    from device_app.bench.bare_pictures import KINDS, draw_bare_picture
    from device_app.engines.engine import Precision
    from device_app.images import find_images, read_image, write_text_atomically

    analyser = PictureAnalyser(
        bundle_path=bundle, precision=None if precision is None else Precision(precision.value), threads=2
    )
    console = Console(stderr=True)
    results = []

    def look(kind: str, names: list[str], picture_of: Callable[[str], np.ndarray]) -> None:
        pictures = (
            (name, picture_of(name))
            for name in track(names, kind, console=console, transient=True, disable=not console.is_terminal)
        )
        results.append(look_at(kind, pictures, analyser, keep))

    seeds = [str(seed) for seed in range(first_seed, first_seed + count)]
    for kind in KINDS:
        look(kind, seeds, lambda seed, kind=kind: draw_bare_picture(kind, int(seed)))  # type: ignore[misc]
    if folder is not None:
        files = {file.name: file for file in find_images([folder])}
        look(f"real ({folder.name})", list(files), lambda name: read_image(files[name]))

    fraction = sum(result.with_hair for result in results) / sum(result.pictures for result in results)
    _print_table(results, fraction)
    if report is not None:
        content = {
            "software": f"scalpscope {__version__}",
            "bundle": analyser.bundle,
            "backend": analyser.backend,
            "first_seed": first_seed,
            "goal_fraction": GOAL_FRACTION,
            "fraction_with_hair": fraction,
            "kinds": [{**asdict(result), "fraction": result.fraction} for result in results],
        }
        write_text_atomically(report, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    if fraction > GOAL_FRACTION:
        raise typer.Exit(1)


def look_at(
    kind: str, pictures: Iterable[tuple[str, np.ndarray]], analyser: PictureAnalyser, keep: Path | None = None
) -> KindResult:
    """Look for hair in pictures of one kind, given as (name, (H, W, 3) uint8 RGB).

    Args:
        keep: where to save the pictures in which some was found, with their overlays; None: nowhere.
    """
    from device_app.analysis_files import save_analysis

    looked_at, offenders = 0, []
    for name, image in pictures:
        looked_at += 1
        analysis = analyser.analyse(image)
        if (hairs := analysis.measurements.hair_count) > 0:
            offenders.append((name, hairs))
            if keep is not None:
                stem = f"{kind} {Path(name).stem}".replace(" ", "_")
                save_analysis(keep, stem, image, analysis, analyser.provenance, with_picture=True)
    return KindResult(kind, looked_at, len(offenders), tuple(sorted(offenders, key=lambda found: -found[1])))


def _print_table(results: list[KindResult], fraction: float) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="pictures without hair", title_justify="left")
    for heading in ("kind", "pictures", "hair found in", "share", "worst (hairs)"):
        table.add_column(heading, justify="left" if heading in ("kind", "worst (hairs)") else "right")
    for result in results:
        worst = ", ".join(f"{name} ({hairs})" for name, hairs in result.offenders[:4])
        table.add_row(result.name, str(result.pictures), str(result.with_hair), f"{result.fraction:.1%}", worst)
    console = Console()
    console.print(table)
    verdict = "goal met" if fraction <= GOAL_FRACTION else "goal missed"
    console.print(f"over all {fraction:.2%}, goal at most {GOAL_FRACTION:.0%}: {verdict}", highlight=False)
