"""Pictures and their true masks, from folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calibration.errors import ScalpScopeError
from device_app.images import find_images, read_image

_NAMED = 5  # bad pairs spelled out in an error


@dataclass(frozen=True)
class Pair:
    """A picture file and the file of its true mask."""

    image: Path
    mask: Path


def find_pairs(images: Path, masks: Path) -> list[Pair]:
    """Every picture in the folder ``images`` with its mask in ``masks``: NAME.* or NAME_mask.*, any picture format.

    Raises:
        ScalpScopeError: a folder is missing or empty, or pictures have no mask or more than one; it names them.
    """
    by_stem: dict[str, list[Path]] = {}
    for path in find_images([masks]):
        by_stem.setdefault(path.stem, []).append(path)
    pairs, problems = [], []
    pictures = find_images([images])
    if images.resolve() == masks.resolve():
        pictures = [path for path in pictures if not path.stem.endswith("_mask")]
    for picture in pictures:
        found = by_stem.get(f"{picture.stem}_mask", [])
        if images.resolve() != masks.resolve():
            found = found + by_stem.get(picture.stem, [])
        if len(found) == 1:
            pairs.append(Pair(picture, found[0]))
        else:
            problems.append(f"{picture.name} has {'no mask' if not found else 'several masks'}")
    _refuse(problems, f"Give every picture one mask in {masks}, called like the picture or NAME_mask.png.")
    if not pairs:
        raise ScalpScopeError(f"{images} holds masks but no pictures.", "Give the folder of the pictures.")
    return pairs


def read_pair(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """Picture (H, W, 3) uint8 RGB and truth (H, W) bool.

    A mask is grey: hair from 128 on, or, where nothing is above 1, hair is 1.

    Raises:
        ScalpScopeError: a file cannot be read, the mask is coloured, or the sizes differ.
    """
    image, mask = read_image(pair.image), read_image(pair.mask)
    if (mask != mask[:, :, :1]).any():
        raise ScalpScopeError(f"The mask '{pair.mask}' is coloured.", "Save it in grey, 0 for scalp and 255 for hair.")
    if image.shape != mask.shape:
        sizes = f"{mask.shape[1]}x{mask.shape[0]} and {image.shape[1]}x{image.shape[0]}"
        raise ScalpScopeError(
            f"The mask '{pair.mask}' and the picture '{pair.image}' differ in size: {sizes}.",
            "Give the mask its picture's size.",
        )
    level = mask[:, :, 0]
    return image, level >= (128 if level.max() > 1 else 1)


def check_pairs(pairs: Sequence[Pair]) -> None:
    """Read every pair once, so that bad ones are known before the long work: one ScalpScopeError names them all."""
    problems = []
    for pair in pairs:
        try:
            read_pair(pair)
        except ScalpScopeError as error:
            problems.append(error.what.rstrip("."))
    _refuse(problems, "Correct these files or take them out of the folder.")


def _refuse(problems: list[str], remedy: str) -> None:
    if problems:
        more = f"; and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
        raise ScalpScopeError("; ".join(problems[:_NAMED]) + more + ".", remedy)
