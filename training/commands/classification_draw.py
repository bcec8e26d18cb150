"""`scalpscope-train classification draw`: pictures with known grades, to look at or to evaluate on."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import track

from calibration.errors import ScalpScopeError
from training.progress import console

_LABELS = "labels.csv"


def draw(
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Gets images/ and labels.csv; made if missing.")
    ],
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How many.")] = 64,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the first picture; the next ones count up.")] = 0,
    size: Annotated[str, typer.Option("--size", metavar="WxH", help="In pixels.")] = "448x336",
    sheet: Annotated[
        Path | None,
        typer.Option("--sheet", metavar="FILE.png", help="A page of each condition (rows) at each grade (columns)."),
    ] = None,
) -> None:
    """Draw scalps with dandruff, excess sebum and erythema at known grades.

    The grades are the drawing's own, by the share of the visible skin that is covered; no clinical scale is meant.
    Seeds below 1000000 are those of test and validation pictures: no run is trained on them.

    \b
    Example:
      scalpscope-train classification draw --out drawn/ --count 200 --sheet drawn/sheet.png
    """
    from calibration.files import write_text_atomically
    from device_app.images import write_png_atomically
    from training.data.graded_scalp import contact_sheet, render_graded

    width_height = _size_of(size)
    (out / "images").mkdir(parents=True, exist_ok=True)
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(["image", "dandruff", "sebum", "erythema"])
    for number in track(range(seed, seed + count), "drawing", console=console):
        drawn = render_graded(number, width_height)
        name = f"images/graded_{number:07d}.png"
        write_png_atomically(out / name, drawn.image)
        rows.writerow([name, *drawn.severity.tolist()])
    write_text_atomically(out / _LABELS, table.getvalue())
    typer.echo(f"{count} pictures and {_LABELS} in {out}.")
    if sheet is not None:
        sheet.parent.mkdir(parents=True, exist_ok=True)
        write_png_atomically(sheet, contact_sheet(seed, width_height))
        typer.echo(f"Each condition at each grade in {sheet}.")


def _size_of(text: str) -> tuple[int, int]:
    """`448x336` as width and height. Raises ScalpScopeError."""
    found = re.fullmatch(r"(\d{2,4})\s*[xX×]\s*(\d{2,4})", text.strip())
    if not found or min(int(found[1]), int(found[2])) < 32:
        raise ScalpScopeError(f"{text!r} is no size of a picture.", "Write width x height, such as 448x336.")
    return int(found[1]), int(found[2])
