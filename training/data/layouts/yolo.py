"""YOLO outlines, polygons or boxes, as Roboflow and Ultralytics write them: presence, and area as a weak grade.

``train/images``, ``train/labels``, ``valid/images`` ... (or ``images/train``, ``labels/train`` ..., or plain ``images``
and ``labels``), one text file per picture with a line per outline: the class, then x and y of each corner, or centre,
width and height of a box, all as shares 0..1 of the picture. An empty text file says that nothing was seen.

The classes' names come from ``classes.txt`` (one a line), else from ``names`` in ``data.yaml``, else they are those of
the set this was first written for: d, ds, o, s. What a name means is in `MEANINGS`; a name that means none of the three
conditions is called ``ignore`` in ``classes.txt``.

**The grade is weak.** Nobody graded these pictures: mild is an outlined area under 1 % of the picture, moderate up to
5 %, severe above. It ranks pictures of one set; it is not what a clinician would say.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from calibration.errors import ScalpScopeError
from device_app.manifest_parts import Task
from device_app.vision.conditions import Condition, Severity
from training.data.example_set import Example, ExampleSet, RefusedFile, Region, Split, Three
from training.data.layouts.files import files_below, group_by_name, pictures_below, splits_of_folders

MEANINGS: Mapping[str, Condition | None] = {
    **dict.fromkeys(("d", "dandruff"), Condition.DANDRUFF),
    **dict.fromkeys(("o", "oil", "oily", "oiliness", "sebum", "excess_sebum"), Condition.EXCESS_SEBUM),
    **dict.fromkeys(("s", "sensitive", "redness", "erythema"), Condition.ERYTHEMA),
    **dict.fromkeys(("ds", "ignore"), None),  # ds: its authors never said what it is
}
"""What a class's name means, in small letters; None: it is passed over."""

FEWEST_ORIGINALS = 10
"""A condition outlined in fewer originals than this, of those that may be learnt from, is left out as not known."""

_DEFAULT_NAMES = ("d", "ds", "o", "s")
_MODERATE_FROM, _SEVERE_ABOVE = 0.01, 0.05
_RASTER = 512
_CONDITIONS = tuple(Condition)


class _Wrong(ValueError):
    """What is wrong with a text file."""


@dataclass(frozen=True)
class _Part:
    """Where pictures and their text files lie, and the split that is in there."""

    images: Path
    labels: Path
    split: Split | None


def looks_like(folder: Path) -> bool:
    """Whether there are folders images and labels beside each other."""
    return bool(_parts(folder))


def read(folder: Path, task: Task) -> ExampleSet:
    """Every picture that has a text file.

    Raises:
        ScalpScopeError: another task than the conditions, or a class whose name says nothing.
    """
    if task is not Task.CONDITIONS:
        raise ScalpScopeError(
            f"YOLO outlines have no labels for {task.value}.",
            "Use one folder per class, or a table with a column label.",
        )
    meanings = _meanings(folder)
    examples: list[Example] = []
    refused: list[RefusedFile] = []
    parts = _parts(folder)
    for part in parts:
        _read_part(part, folder, meanings, examples, refused)
    inside = {part.images for part in parts}
    outside = [path for path in pictures_below(folder) if not inside & set(path.parents)]
    refused += [RefusedFile(path, "in no folder images that has a folder labels beside it") for path in outside]
    examples, warnings = _without_rare(examples)
    warnings.append("The severities are weak: they come from the outlined area, nobody graded these pictures.")
    return ExampleSet(task, folder.name, tuple(examples), tuple(refused), (), tuple(warnings))


def severity_of_area(share: float) -> Severity:
    """The weak grade of an outlined share of the picture, 0..1."""
    if share <= 0:
        return Severity.GOOD
    if share < _MODERATE_FROM:
        return Severity.MILD
    return Severity.MODERATE if share <= _SEVERE_ABOVE else Severity.SEVERE


def covered_share(outlines: Sequence[np.ndarray]) -> float:
    """Share 0..1 of the picture that outlines, each (N, 2), cover together; what two of them cover counts once."""
    raster = np.zeros((_RASTER, _RASTER), np.uint8)
    for outline in outlines:  # one by one: together, what two of them cover would count as a hole
        corners = np.round(outline * _RASTER * 16 - 8).astype(np.int32)  # pixel centres; 4 bits after the point
        cv2.fillPoly(raster, [corners], 1, shift=4)
    return max(float(raster.mean()), 1 / raster.size if outlines else 0.0)  # a speck is there, however small


def _parts(folder: Path) -> list[_Part]:
    if (folder / "images").is_dir() and (folder / "labels").is_dir():
        names = [path.name for path in (folder / "images").iterdir() if path.is_dir()]
        splits = splits_of_folders(names)
        if not splits:
            return [_Part(folder / "images", folder / "labels", None)]
        return [_Part(folder / "images" / name, folder / "labels" / name, one) for name, one in sorted(splits.items())]
    names = [path.name for path in folder.iterdir() if (path / "images").is_dir() and (path / "labels").is_dir()]
    splits = splits_of_folders(names)
    return [_Part(folder / name / "images", folder / name / "labels", one) for name, one in sorted(splits.items())]


def _meanings(folder: Path) -> list[Condition | None]:
    """What each class number means."""
    own, yaml = folder / "classes.txt", folder / "data.yaml"
    if own.is_file():
        source, names = own, [line.strip() for line in own.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    elif yaml.is_file():
        source, names = yaml, _names_in_yaml(yaml.read_text(encoding="utf-8-sig"))
    else:
        source, names = folder, list(_DEFAULT_NAMES)
    unknown = [name for name in names if name.lower() not in MEANINGS]
    if unknown or not names:
        raise ScalpScopeError(
            f"'{source}' calls its classes {', '.join(names) or 'nothing'}: what "
            f"{', '.join(unknown) or 'they are'} means is not known.",
            f"Write {folder / 'classes.txt'}: one class a line, {', '.join(c.value for c in Condition)} or ignore.",
        )
    return [MEANINGS[name.lower()] for name in names]


def _names_in_yaml(text: str) -> list[str]:
    """The classes in the ways that Roboflow and Ultralytics write them: ``[a, b]``, ``- a`` lines or ``0: a`` lines."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        key, colon, rest = line.partition(":")
        if key.strip() != "names" or not colon:
            continue
        inline = rest.split(" #")[0].strip()
        if inline:
            cells = inline.strip("[]{}").split(",")
        else:
            cells = []
            for below in lines[number + 1 :]:
                if not re.match(r"\s*(-|\d+\s*:)\s*\S", below):
                    break
                cells.append(below.strip().removeprefix("-"))
        return [re.sub(r"^\s*\d+\s*:", "", cell).strip().strip("'\"") for cell in cells if cell.strip()]
    return []


def _read_part(
    part: _Part,
    folder: Path,
    meanings: Sequence[Condition | None],
    examples: list[Example],
    refused: list[RefusedFile],
) -> None:
    texts = {path.relative_to(part.labels).with_suffix(""): path for path in files_below(part.labels) if _is_text(path)}
    pictures: dict[Path, list[Path]] = defaultdict(list)
    for path in pictures_below(part.images):
        pictures[path.relative_to(part.images).with_suffix("")].append(path)
    for name, path in texts.items():
        if name not in pictures:
            refused.append(RefusedFile(path, "label without its picture"))
    for name, paths in pictures.items():
        if name not in texts:
            refused += [
                RefusedFile(path, "picture without a label; an empty text file says nothing was seen") for path in paths
            ]
        elif len(paths) > 1:
            refused += [RefusedFile(path, f"several pictures are called {name}: one label for all") for path in paths]
        else:
            try:
                regions = _read_regions(texts[name], meanings)
            except _Wrong as wrong:
                refused += [RefusedFile(texts[name], str(wrong)), RefusedFile(paths[0], f"its label: {wrong}")]
                continue
            presence, severity = _labels(regions, meanings)
            group = group_by_name(paths[0], folder)
            examples.append(Example(paths[0], group, part.split, presence, severity, regions=regions))


def _is_text(path: Path) -> bool:
    return path.suffix.lower() == ".txt"


def _read_regions(path: Path, meanings: Sequence[Condition | None]) -> tuple[Region, ...]:
    regions = []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise _Wrong(f"cannot be read: {error}") from error
    for number, line in enumerate(lines, start=1):
        cells = line.split()
        if not cells:
            continue
        try:
            values = np.array([float(cell) for cell in cells])
        except ValueError:
            raise _Wrong(f"line {number} is not made of numbers") from None
        if values[0] not in range(len(meanings)):
            raise _Wrong(f"line {number}: unknown class {cells[0]}, there are {len(meanings)}")
        corners = values[1:]
        if not np.all((corners >= -1e-3) & (corners <= 1 + 1e-3)):  # a little over from rounding; nan is neither
            raise _Wrong(f"line {number}: not every place is a share from 0 to 1")
        condition = meanings[int(values[0])]
        outline = _outline(corners)
        if outline is None:
            raise _Wrong(f"line {number} has {len(corners)} numbers after the class: neither a box nor a polygon")
        if condition is not None:
            regions.append(Region(_CONDITIONS.index(condition), outline))
    return tuple(regions)


def _outline(numbers: np.ndarray) -> np.ndarray | None:
    """(N, 2) float32 corners of a polygon or of a box; None where the numbers are neither."""
    if len(numbers) == 4:
        x, y, width, height = numbers
        sides = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
        corners = np.array([(x + i * width / 2, y + j * height / 2) for i, j in sides])
    elif len(numbers) >= 6 and len(numbers) % 2 == 0:
        corners = numbers.reshape(-1, 2)
    else:
        return None
    return np.clip(corners, 0, 1).astype(np.float32)


def _labels(regions: Sequence[Region], meanings: Sequence[Condition | None]) -> tuple[Three, Three]:
    """Presence and weak severity; a condition that no class of the set means is not known."""
    presence: list[int | None] = []
    severity: list[int | None] = []
    for index, condition in enumerate(Condition):
        own = [region.outline for region in regions if region.condition == index]
        known = condition in meanings
        presence.append(int(bool(own)) if known else None)
        severity.append(int(severity_of_area(covered_share(own))) if known else None)
    return (presence[0], presence[1], presence[2]), (severity[0], severity[1], severity[2])


def _without_rare(examples: list[Example]) -> tuple[list[Example], list[str]]:
    """Conditions outlined in too few originals become not known. The test pictures are not looked at for it."""
    warnings = []
    for index, condition in enumerate(Condition):
        learnt = [one for one in examples if one.split is not Split.TEST and one.presence[index] is not None]
        originals = {one.group for one in learnt if one.presence[index]}
        if learnt and len(originals) < FEWEST_ORIGINALS:
            warnings.append(
                f"{condition.value} is outlined in {len(originals)} originals only, fewer than {FEWEST_ORIGINALS}: "
                "its labels are left out as not known."
            )
            examples = [_unknown(one, index) for one in examples]
    return examples, warnings


def _unknown(example: Example, index: int) -> Example:
    presence, severity = list(example.presence), list(example.severity)
    presence[index] = severity[index] = None
    regions = tuple(region for region in example.regions or () if region.condition != index)
    return replace(
        example,
        presence=(presence[0], presence[1], presence[2]),
        severity=(severity[0], severity[1], severity[2]),
        regions=regions,
    )
