"""`scalpscope-train segmentation evaluate` and `flakes`: Table 1 on any folder, and false hair among clutter."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import track
from rich.table import Table

from calibration.errors import ScalpScopeError
from training.progress import console

if TYPE_CHECKING:
    from training.evaluation.bootstrap import Figure
    from training.evaluation.evaluate import Scores, Tally
    from training.evaluation.flakes import FlakeScores
    from training.evaluation.report import Report

BundleOption = Annotated[
    str, typer.Option("--bundle", "-b", metavar="default|FOLDER", help="Whose hair network and SAM.")
]
OutOption = Annotated[
    Path | None, typer.Option("--out", "-o", metavar="FILE", help="Write the figures there too: .json or .csv.")
]


def evaluate(
    context: typer.Context,
    images: Annotated[Path, typer.Option("--images", metavar="DIR", help="Pictures.")],
    masks: Annotated[Path, typer.Option("--masks", metavar="DIR", help="True masks: NAME.* or NAME_mask.*, 0/255.")],
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            "-m",
            metavar="METHOD",
            help="May be repeated: shih, yue, kim, black_hat, coarse:BUNDLE, refined:BUNDLE, hair:BUNDLE, "
            "combined:BUNDLE@product|refined|mean|grown, sam_automatic:BUNDLE, sam_automatic:FILE.pth, "
            "checkpoint:FILE[@WIDTHxHEIGHT]. BUNDLE is default or a folder, either with @fp32 and the like. "
            "[default: the rows of the paper's Table 1]",
        ),
    ] = None,
    bundle: BundleOption = "default",
    grid: Annotated[
        int,
        typer.Option(
            "--grid",
            min=0,
            help="SAM automatic: points along each side; 0 leaves the row out of Table 1. SAM's own takes 32, "
            "which is about a minute a picture on a processor.",
        ),
    ] = 8,
    conditions: Annotated[
        bool, typer.Option("--by-condition", help="Also by condition; needs conditions.csv: image, condition.")
    ] = False,
    out: OutOption = None,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", metavar="FILE.md", help="Write the tables there, for a document.")
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option("--sheet", metavar="FILE.png", help="Draw the worst and the middling pictures, errors tinted."),
    ] = None,
) -> None:
    """ScalpVision's Table 1 on a folder of pictures and masks.

    Pixel-F1 is the mean of the F1 of hair and of scalp; Jaccard and Dice are of hair. They are means over pictures, as
    the paper has them; "pooled" counts the pixels of all pictures together. A picture with neither true nor found hair
    scores 1; with hair found but none true it scores 0 for hair. Intervals are 95 %, by bootstrap over pictures.

    "SAM, automatic, best mask" is an oracle: SAM is asked at every point of a grid, and of all its masks the one
    nearest to the truth counts. Nobody could choose it without the truth: the row favours SAM. It is slow.

    \b
    Examples:
      scalpscope-train segmentation evaluate --images test/images --masks test/masks
      scalpscope-train segmentation evaluate --images test/images --masks test/masks -m kim -m hair:default
      scalpscope-train segmentation pseudo --conditions -n 20 --seed 1000 --data pictures/ --out set
      scalpscope-train segmentation evaluate --images set/images --masks set/masks --by-condition
    """
    from training.evaluation.bootstrap import Bootstrap
    from training.evaluation.evaluate import by_condition, differences, score
    from training.evaluation.evaluate import evaluate as evaluate_methods
    from training.evaluation.methods import open_methods
    from training.evaluation.pairs import check_pairs, find_pairs
    from training.evaluation.report import Report, check_out, write_markdown, write_report
    from training.evaluation.sheet import draw_sheet, sheet_cases
    from training.segmentation.conditions import read_conditions

    for path, endings in ((out, (".json", ".csv")), (markdown, (".md",)), (sheet, (".png",))):
        if path is not None:
            check_out(path, endings)
    specs, absent = ({one: one for one in method}, {}) if method else _table_1(bundle, grid)
    finders = open_methods(specs, grid or 1)
    if (conditions or sheet) and not _has_networks([row.role for one in finders for row in one.rows]):
        raise ScalpScopeError(
            "--by-condition and --sheet show the masks of a bundle, and none was asked for.",
            "Add -m coarse:BUNDLE, -m refined:BUNDLE, -m hair:BUNDLE, or leave out --method.",
        )
    pairs = find_pairs(images, masks)
    check_pairs(pairs)
    names = read_conditions(images, [pair.image.name for pair in pairs]) if conditions else {}
    found = evaluate_methods(finders, track(pairs, "evaluating", console=console))
    order = (*specs, *absent) if method else tuple(_in_order((*specs, *absent)))
    tallies = _sorted(found, order)

    bootstrap = Bootstrap(len(pairs))
    report = Report(
        images=len(pairs),
        order=order,
        scores={one.row.name: score(one, bootstrap) for one in tallies},
        absent=absent,
        differences=differences(tallies, bootstrap),
        conditions=by_condition(tallies, list(names.values())) if conditions else (),
        command=shlex.join(["scalpscope-train", *(context.obj or ())]),
    )
    _print(report)
    if out is not None:
        write_report(report, out)
    if markdown is not None:
        write_markdown(report, markdown)
    if sheet is not None:
        draw_sheet(sheet_cases(tallies, finders, pairs), sheet)


def flakes(
    bundle: BundleOption = "default",
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="DIR",
            help="Scalp pictures that no training has seen, for hair-free patches. [default: scalp drawn from nothing]",
        ),
    ] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Pictures with hair, and as many without.")] = 50,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the first picture; the next ones count up.")] = 1000,
    width: Annotated[int, typer.Option("--width", min=32, help="In pixels.")] = 640,
    height: Annotated[int, typer.Option("--height", min=32, help="In pixels.")] = 480,
) -> None:
    """How much hair M̂, M_AP and M make up in pictures full of flakes, gloss, glints and bubbles.

    The goal: the false hair area of M is at most a third of M_AP's. "far" counts only what lies more than 3 px from all
    true hair: what is no edge drawn too wide, but something taken for hair.

    \b
    Example:
      scalpscope-train segmentation flakes --bundle default --data pictures/valid --count 50
    """
    from training.data.backgrounds import load_backgrounds
    from training.evaluation.flakes import cluttered_pictures, flake_test, goal_line
    from training.evaluation.methods import TABLE_1, open_methods

    (finder,) = open_methods({name: f"{TABLE_1[name]}:{bundle}" for name in ("M̂", "M_AP", "M")})
    pictures = cluttered_pictures(count, seed, load_backgrounds(data), (width, height))
    scores = flake_test(finder, track(pictures, "looking", total=2 * count, console=console))
    _print_flakes(scores)
    Console().print(goal_line(scores), highlight=False)


def _table_1(bundle: str, grid: int) -> tuple[dict[str, str], dict[str, str]]:
    """The rows of Table 1 and how they are opened, and those that cannot be, with the reason."""
    from training.evaluation.bundle_finder import refinement_missing, split_bundle
    from training.evaluation.finder import Role
    from training.evaluation.methods import METHODS, TABLE_1

    no_sam = refinement_missing(split_bundle(bundle)[0])
    specs, absent = {}, {}
    for name, kind in TABLE_1.items():
        role = METHODS[kind].role
        if role in (Role.ORACLE, Role.REFINED, Role.HAIR) and no_sam:
            absent[name] = "no SAM in this bundle"
        elif role is Role.ORACLE and not grid:
            absent[name] = "left out (--grid 0)"
        else:
            specs[name] = kind if role is Role.CLASSICAL else f"{kind}:{bundle}"
    return specs, absent


def _in_order(names: Sequence[str]) -> list[str]:
    from training.evaluation.methods import TABLE_1

    return sorted(names, key=list(TABLE_1).index)


def _sorted(tallies: Sequence[Tally], order: Sequence[str]) -> list[Tally]:
    return sorted(tallies, key=lambda tally: order.index(tally.row.name))


def _has_networks(roles: Sequence[object]) -> bool:
    from training.evaluation.finder import Role

    return any(role in (Role.COARSE, Role.REFINED, Role.HAIR) for role in roles)


def _print(report: Report) -> None:
    from training.evaluation.evaluate import FIGURES
    from training.evaluation.report import HEADINGS, INTERVALS, ORACLE_NOTE, said, said_difference, verdict

    screen = Console()

    def table(title: str, first: str, *columns: str) -> Table:
        made = Table(title=title, title_justify="left", box=SIMPLE, pad_edge=False)
        made.add_column(first, overflow="fold")
        for column in columns:
            made.add_column(column, justify="right")
        return made

    def line(scores: Scores, way: str) -> list[str]:
        return [said(scores.figures[f"{way}_{name}"]) for name in FIGURES]

    for way, title in (("per_image", "means over pictures"), ("pooled", "all pixels pooled")):
        shown = table(f"{report.images} pictures, {title}", "method", *HEADINGS.values(), "ms")
        for name in report.order:
            scores = report.scores.get(name)
            if scores is None:
                shown.add_row(name, report.absent[name])
            else:
                shown.add_row(name, *line(scores, way), f"{1000 * (scores.seconds or 0):.0f}")
        screen.print(shown)
    if report.differences:
        shown = table("paired differences, means over pictures", "", *HEADINGS.values())
        for one in report.differences:
            shown.add_row(one.method, *(said_difference(one.per_image[name]) for name in FIGURES))
        screen.print(shown)
    if report.conditions:
        first = report.conditions[0]
        shown = table("Jaccard by condition", "condition", "pictures", *first.jaccard, *first.differences)
        for condition in report.conditions:
            shown.add_row(
                condition.condition,
                str(condition.images),
                *map(said, condition.jaccard.values()),
                *(f"{said_difference(one)} {verdict(one)}" for one in condition.differences.values()),
            )
        screen.print(shown)
    for oracle in report.oracles:
        screen.print(f'"{oracle}" {ORACLE_NOTE}', highlight=False, markup=False)
    screen.print(f"{INTERVALS}.", highlight=False)


def _print_flakes(scores: Sequence[FlakeScores]) -> None:
    from training.evaluation.report import said

    def per_cent(figure: Figure) -> str:
        return "–" if isnan(figure.value) else f"{100 * figure.value:.2f} %"

    shown = Table(title="false hair, of the picture's area; found hair, of the true", title_justify="left", box=SIMPLE)
    for heading in ("pictures", "mask"):
        shown.add_column(heading)
    for heading in ("false", "far", "found", "false, over M_AP's", "far, over M_AP's"):
        shown.add_column(heading, justify="right")
    for one in scores:
        columns = zip(("M̂", "M_AP", "M"), one.false_share, one.far_share, one.found_share)
        for place, (name, *figures) in enumerate(columns):
            ratios = (said(one.ratio), said(one.far_ratio)) if name == "M" else ()
            title = f"{one.group} ({one.images})" if place == 0 else ""
            shown.add_row(title, name, *map(per_cent, figures), *ratios, end_section=name == "M")
    Console().print(shown)
