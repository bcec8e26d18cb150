"""The front door to labelled pictures: their types, reading a folder of them, splitting it, checking for leaks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from pathlib import Path

from calibration.errors import ScalpScopeError
from device_app.manifest_parts import Task
from training.data.example_set import (
    Example,
    ExampleSet,
    Progress,
    RefusedFile,
    Region,
    Split,
    class_labels,
    label_counts,
    presence_from,
    unlabelled_heads,
)
from training.data.layouts import aihub, class_folders, csv_table, yolo
from training.data.layouts.files import check_pictures
from training.data.leaks import check_leaks
from training.data.splits import missing_classes, split_examples

__all__ = [
    "Example",
    "ExampleSet",
    "Layout",
    "RefusedFile",
    "Region",
    "Split",
    "check_leaks",
    "class_labels",
    "label_counts",
    "missing_classes",
    "presence_from",
    "read_examples",
    "split_examples",
    "unlabelled_heads",
]


class Layout(str, Enum):
    """How a set lies on disk; `docs/data_layouts.md` shows each."""

    AIHUB = "aihub"
    CSV = "csv"
    FOLDERS = "folders"
    YOLO = "yolo"


_LAYOUTS = {Layout.AIHUB: aihub, Layout.CSV: csv_table, Layout.FOLDERS: class_folders, Layout.YOLO: yolo}


def read_examples(
    folder: Path, task: Task, layout: str | None = None, *, verify: bool = True, progress: Progress | None = None
) -> ExampleSet:
    """Read a folder of labelled pictures.

    Args:
        folder: of the set.
        task: what the labels are for.
        layout: aihub, csv, folders or yolo; None: found out by looking.
        verify: decode every picture and refuse what cannot be read. Without it that is found out while training.
        progress: called while pictures are decoded.

    Returns:
        The examples, and every file that was refused with its reason. At least one example has a label.

    Raises:
        ScalpScopeError: no folder, no or several layouts, an unreadable table, or nothing usable.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ScalpScopeError(f"'{folder}' is no folder.", "Give the folder of the labelled pictures.")
    reader = _LAYOUTS[_find_layout(folder) if layout is None else _named_layout(layout)]
    examples: ExampleSet = reader.read(folder.resolve(), task)
    if verify:
        good, broken = check_pictures(examples.examples, progress)
        examples = replace(examples, examples=tuple(good), refused=(*examples.refused, *broken))
    if not examples.examples:
        first = f", the first: '{examples.refused[0].path}': {examples.refused[0].reason}" if examples.refused else ""
        raise ScalpScopeError(
            f"No labelled picture in '{folder}' can be used; {len(examples.refused)} files were refused{first}.",
            "See docs/data_layouts.md for how the pictures and their labels must lie.",
        )
    if len(unlabelled_heads(examples)) == len(label_counts(examples)):
        raise ScalpScopeError(
            f"None of the {len(examples)} pictures in '{folder}' has a label for {task.value}.",
            "Fill in the labels, or choose the task that they are for.",
        )
    return examples


def _named_layout(name: str) -> Layout:
    try:
        return Layout(name)
    except ValueError:
        raise ScalpScopeError(
            f"There is no layout {name!r}.", f"Choose one of {', '.join(one.value for one in Layout)}."
        ) from None


def _find_layout(folder: Path) -> Layout:
    looks: dict[Layout, Callable[[Path], bool]] = {one: module.looks_like for one, module in _LAYOUTS.items()}
    found = [one for one, looks_like in looks.items() if looks_like(folder)]
    if len(found) != 1:
        several = f"like several: {', '.join(one.value for one in found)}" if found else "like no layout that is known"
        raise ScalpScopeError(
            f"'{folder}' looks {several}.",
            f"Say which with --layout {'|'.join(one.value for one in Layout)}; docs/data_layouts.md shows them.",
        )
    return found[0]
