"""Any set of methods on any folder of pictures and masks, in the figures of Table 1."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from calibration.errors import ScalpScopeError
from device_app.images import find_images, read_image
from training.evaluation.mask_metrics import MaskCounts, MaskScores, count_mask, mean_scores, pooled_scores
from training.evaluation.methods import Segmenter

_NAMED = 5  # bad pairs spelled out in an error


@dataclass(frozen=True)
class Pair:
    """A picture file and the file of its true mask."""

    image: Path
    mask: Path


@dataclass(frozen=True)
class MethodScores:
    """How one method did.

    per_image: scores of each picture, averaged over pictures, as Table 1 has them.
    pooled: scores over the pixels of all pictures together.
    seconds: median time for one picture.
    """

    method: str
    images: int
    per_image: MaskScores
    pooled: MaskScores
    seconds: float

    @property
    def figures(self) -> dict[str, float]:
        """The six scores by name, per image first."""
        ways = {"per_image": asdict(self.per_image), "pooled": asdict(self.pooled)}
        return {f"{way}_{name}": value for way, scores in ways.items() for name, value in scores.items()}


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


def evaluate(
    methods: Mapping[str, Segmenter],
    pairs: Iterable[Pair],
) -> list[MethodScores]:
    """Scores of each method over all pairs, in the order of ``methods``; raises ValueError without any pair."""
    counts: dict[str, list[MaskCounts]] = {name: [] for name in methods}
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for pair in pairs:
        image, truth = read_pair(pair)
        for name, segment in methods.items():
            started = time.perf_counter()
            found = segment(image)
            seconds[name].append(time.perf_counter() - started)
            counts[name].append(count_mask(found, truth))
    return [
        MethodScores(
            name,
            len(counts[name]),
            mean_scores(counts[name]),
            pooled_scores(sum(counts[name], MaskCounts())),
            float(np.median(seconds[name])),
        )
        for name in methods
    ]


def write_scores(scores: Sequence[MethodScores], path: Path) -> None:
    """Scores as ``.json`` or ``.csv``, by the name of ``path``; raises ScalpScopeError for another ending."""
    if path.suffix == ".json":
        path.write_text(json.dumps([asdict(one) for one in scores], indent=2) + "\n", encoding="utf-8")
        return
    check_out(path)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["method", "images", *scores[0].figures, "seconds"])
        for one in scores:
            figures = (f"{value:.6f}" for value in one.figures.values())
            writer.writerow([one.method, one.images, *figures, f"{one.seconds:.4f}"])


def check_out(path: Path) -> None:
    """Raises ScalpScopeError when `write_scores` could not write ``path``."""
    if path.suffix not in {".json", ".csv"}:
        raise ScalpScopeError(f"'{path}' is neither .json nor .csv.", "Name the file by one of them.")
    if not path.parent.is_dir():
        raise ScalpScopeError(f"The folder '{path.parent}' does not exist.", "Make it first, or name another file.")


def _refuse(problems: list[str], remedy: str) -> None:
    if problems:
        more = f"; and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
        raise ScalpScopeError("; ".join(problems[:_NAMED]) + more + ".", remedy)
