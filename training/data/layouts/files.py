"""What the layouts share: pictures below a folder, the split a name says, tables, which pictures belong together."""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

from calibration.errors import ScalpScopeError
from calibration.pictures import read_image
from device_app.images import IMAGE_SUFFIXES
from training.data.backgrounds import original_name
from training.data.example_set import Example, Progress, RefusedFile, Split

_TRAIN = {"train", "training"}
_VALIDATION = {"valid", "val", "validation"}
_TEST = {"test", "testing"}
SPLIT_FOLDERS = _TRAIN | _VALIDATION | _TEST
"""Names of folders that say which split lies in them, in small letters."""


def pictures_below(folder: Path) -> list[Path]:
    """Every picture file below `folder`, told by its suffix, sorted; hidden files and folders are passed over."""
    return [path for path in files_below(folder) if path.suffix.lower() in IMAGE_SUFFIXES]


def files_below(folder: Path) -> list[Path]:
    """Every file below `folder`, sorted; hidden ones, and those in hidden folders, are passed over."""
    found = []
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and path.is_file():
            found.append(path)
    return found


def splits_of_folders(names: Collection[str]) -> dict[str, Split]:
    """Which split lies in each of a set's folders.

    A set with a `valid` folder and no `test` folder has held `valid` out: it is the test set, for choosing and
    calibrating by it would leave nothing to measure on. A validation split is then cut out of `train`.

    Args:
        names: of folders; those that say nothing are left out.
    """
    said = {name: name.lower() for name in names if name.lower() in SPLIT_FOLDERS}
    has_test = any(name in _TEST for name in said.values())
    splits = {}
    for name, small in said.items():
        if small in _TRAIN:
            splits[name] = Split.TRAIN
        else:
            splits[name] = Split.VALIDATION if has_test and small in _VALIDATION else Split.TEST
    return splits


def split_named(name: str) -> Split | None:
    """The split that a word names, such as train, valid, val or test; None for any other word."""
    small = name.strip().lower()
    for names, split in ((_TRAIN, Split.TRAIN), (_VALIDATION, Split.VALIDATION), (_TEST, Split.TEST)):
        if small in names:
            return split
    return None


def group_by_name(path: Path, folder: Path) -> str:
    """What a picture goes with, where no patient is named: the copies of one original, or the picture alone.

    Roboflow's augmented copies share the part of the name before ``.rf.``, wherever they lie. Any other picture stands
    for itself, by its place: two files called ``1.jpg`` in two folders are two pictures.
    """
    name = original_name(path)
    return name if name != path.name else path.relative_to(folder).as_posix()


def read_rows(path: Path, required: Collection[str]) -> list[tuple[int, dict[str, str]]]:
    """The rows of a CSV file, each with its line number; headers in small letters, no blanks round anything.

    Args:
        path: comma separated, UTF-8, with a header line.
        required: columns that there must be.

    Raises:
        ScalpScopeError: not readable as that, or a column is missing or there twice.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ScalpScopeError(f"'{path}' cannot be read: {error}.", "Save it as a CSV file in UTF-8.") from error
    reader = csv.reader(lines)
    header = [name.strip().lower() for name in next(reader, [])]
    missing = [name for name in required if name not in header]
    if missing:
        separated = ";" if len(header) == 1 and ";" in header[0] else "\t" if "\t" in "".join(header) else ""
        hint = f" It seems to be separated by {separated!r}." if separated else ""
        raise ScalpScopeError(
            f"'{path}' has no column {', '.join(missing)}; it has {', '.join(header) or 'no header'}.{hint}",
            "Give it a header line of column names, separated by commas.",
        )
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise ScalpScopeError(f"'{path}' has the column {', '.join(twice)} twice.", "Leave one of them out.")
    rows = []
    for cells in reader:
        if any(cell.strip() for cell in cells):
            padded = chain((cell.strip() for cell in cells), [""] * len(header))
            rows.append((reader.line_num, dict(zip(header, padded))))
    return rows


def read_groups(folder: Path) -> Mapping[str, str] | None:
    """The patient of each picture, by its path below `folder`, from ``groups.csv``; None without such a file.

    Raises:
        ScalpScopeError: a row without a picture or a patient, or a picture that two rows give to two patients.
    """
    path = folder / "groups.csv"
    if not path.is_file():
        return None
    groups: dict[str, str] = {}
    for line, row in read_rows(path, ("image", "patient")):
        image, patient = row["image"].replace("\\", "/"), row["patient"]
        if not image or not patient or groups.setdefault(image, patient) != patient:
            raise ScalpScopeError(
                f"'{path}' line {line}: {image or 'a row without a picture'} has no patient, or two.",
                "Give every picture one patient.",
            )
    return groups


def check_pictures(examples: Collection[Example], progress: Progress | None) -> tuple[list[Example], list[RefusedFile]]:
    """Decode every picture, and tell those that cannot be read from the rest."""
    good, refused = [], []
    with ThreadPoolExecutor() as pool:
        wrongs = pool.map(_what_is_wrong, [one.path for one in examples])
        for number, (one, wrong) in enumerate(zip(examples, wrongs), start=1):
            if wrong is None:
                good.append(one)
            else:
                refused.append(RefusedFile(one.path, wrong))
            if progress is not None:
                progress(number, len(examples))
    return good, refused


def _what_is_wrong(path: Path) -> str | None:
    try:
        read_image(path)
    except ScalpScopeError as error:
        return error.what.removeprefix(f"'{path}' ").rstrip(".")
    return None
