"""Pseudo-images in which one thing is hard: the conditions that masks are tested under, one by one.

A picture of a condition is one of the shipped style with its chances set. All conditions but thin hairs draw hairs of
the same widths, and what a condition does not ask for is left out, so that a difference is the condition's.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from calibration.errors import ScalpScopeError
from calibration.files import write_bytes_atomically
from training.data.backgrounds import BackgroundPool
from training.segmentation.pseudo_images import Chances, PseudoImage, PseudoImageRecipe, render_pseudo_image

CONDITIONS_CSV = "conditions.csv"
"""Stands beside pictures, or beside their folder, and says each one's condition: columns ``image, condition``."""

_COLUMNS = ["image", "condition"]
_WIDTHS_PX, _THIN_PX = (4.0, 24.0), (1.6, 4.0)
_CALM = Chances(**dict.fromkeys(Chances.__dataclass_fields__, 0.0) | {"sharp_lens": 1.0})


class Condition(str, Enum):
    """What is hard about a picture."""

    PLAIN = "plain"  # nothing: hairs in focus on clean scalp
    THIN = "thin hairs"
    BLUR = "blur"  # lens and hand, and no depth is in focus
    FLAKES = "flakes"  # under and over the hairs
    GLOSS = "gloss"  # wet or oily scalp, with glints
    BUBBLES = "bubbles"  # in the contact fluid
    TANGLES = "tangles"
    HAIRLESS = "no hair"  # and all else that training shows
    PALE = "pale hairs"  # of the skin's own colour, a little darker or brighter
    CLUTTER = "clutter"  # flakes, gloss, glints and bubbles at once
    CLUTTER_HAIRLESS = "clutter, no hair"


@dataclass(frozen=True)
class _Look:
    chances: Chances = _CALM
    widths_px: tuple[float, float] = _WIDTHS_PX
    dense: bool = False
    hairless: bool = False


_CLUTTER = replace(_CALM, flakes=1.0, flakes_on_hair=1.0, gloss=1.0, glints=1.0, bubbles=1.0)
_LOOKS = {
    Condition.PLAIN: _Look(),
    Condition.THIN: _Look(widths_px=_THIN_PX),
    Condition.BLUR: _Look(replace(_CALM, unfocused=1.0, sharp_lens=0.0, moved=0.5)),
    Condition.FLAKES: _Look(replace(_CALM, flakes=1.0, flakes_on_hair=1.0)),
    Condition.GLOSS: _Look(replace(_CALM, gloss=1.0, glints=1.0)),
    Condition.BUBBLES: _Look(replace(_CALM, bubbles=1.0)),
    Condition.TANGLES: _Look(dense=True),
    Condition.HAIRLESS: _Look(Chances(), hairless=True),
    Condition.PALE: _Look(replace(_CALM, pale=1.0)),
    Condition.CLUTTER: _Look(_CLUTTER),
    Condition.CLUTTER_HAIRLESS: _Look(_CLUTTER, hairless=True),
}


def render_condition(
    seed: int, condition: Condition, backgrounds: BackgroundPool, size: tuple[int, int] = (640, 480)
) -> PseudoImage:
    """One picture of a condition; the same arguments give the same picture.

    Args:
        seed: below 1,000,000 lie those that no run is trained on.
        condition: what is hard.
        backgrounds: hair-free scalp; for held-out pictures, of pictures that no training has seen.
        size: (width, height) in pixels.
    """
    look = _LOOKS[condition]
    recipe = PseudoImageRecipe(
        width=size[0],
        height=size[1],
        thickness_px=look.widths_px,
        hairless_share=float(look.hairless),
        plain_share=0.0,
        dense_share=float(look.dense),
    )
    return render_pseudo_image(seed, recipe, backgrounds, look.chances)


def write_conditions(path: Path, conditions: Mapping[str, Condition]) -> None:
    """Write ``conditions.csv``: the condition of each picture by its file name."""
    lines = [_COLUMNS, *([name, condition.value] for name, condition in conditions.items())]
    quoted = (",".join(f'"{cell}"' if "," in cell else cell for cell in line) for line in lines)
    write_bytes_atomically(path, ("\n".join(quoted) + "\n").encode())


def read_conditions(images: Path, names: Iterable[str]) -> dict[str, str]:
    """The condition of each named picture, from the ``conditions.csv`` in the folder ``images`` or in its parent.

    The conditions may be anybody's own words: whoever sorts real pictures by hand needs not keep to `Condition`.

    Raises:
        ScalpScopeError: there is no such file, it has other columns, or it does not name a picture.
    """
    path = next((p for p in (images / CONDITIONS_CSV, images.parent / CONDITIONS_CSV) if p.is_file()), None)
    if path is None:
        raise ScalpScopeError(
            f"There is no {CONDITIONS_CSV} in {images} or beside it.",
            "Draw a set with `scalpscope-train segmentation pseudo --conditions`, or write one: image,condition.",
        )
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames is None or any(column not in reader.fieldnames for column in _COLUMNS):
            raise ScalpScopeError(f"{path} has no columns called image and condition.", "Give it this first line.")
        found = {row["image"]: row["condition"] or "" for row in reader}
    missing = [name for name in names if not found.get(name)]
    if missing:
        raise ScalpScopeError(
            f"{path} names no condition for {', '.join(missing[:5])}{' and others' if len(missing) > 5 else ''}.",
            "Add a line for each picture: file name, condition.",
        )
    return {name: found[name] for name in names}
