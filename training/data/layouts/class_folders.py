"""One folder per class: ``alopecia/``, ``psoriasis/`` ..., or ``0/`` to ``4/``; or those in ``train/``, ``valid/`` ...

A ``groups.csv`` beside them (``image, patient``) says which pictures are one patient's. Without it every picture is a
patient of its own, but for augmented copies of one original: such sets often hold many pictures of one patient, and
then the figures measured on them are too good.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from calibration.errors import ScalpScopeError
from device_app.manifest_parts import Task
from training.data.example_set import Example, ExampleSet, RefusedFile, Split, class_labels, class_named
from training.data.layouts.files import SPLIT_FOLDERS, group_by_name, pictures_below, read_groups, splits_of_folders

_CLASS_TASKS = (Task.SCALP_CONDITION, Task.HAIR_LOSS_STAGE)


def looks_like(folder: Path) -> bool:
    """Whether a folder, or one in a folder for a split, is called like a class of any task."""
    below = [path for path in _folders(folder) if path.name.lower() not in SPLIT_FOLDERS]
    below += [path for above in _folders(folder) if above.name.lower() in SPLIT_FOLDERS for path in _folders(above)]
    return any(class_named(task, path.name) is not None for path in below for task in _CLASS_TASKS)


def read(folder: Path, task: Task) -> ExampleSet:
    """Every picture in a folder that is called like a class of the task.

    Raises:
        ScalpScopeError: the task has no classes, or `groups.csv` is not as it must be.
    """
    if task not in _CLASS_TASKS:
        raise ScalpScopeError(
            f"One folder per class does not say which of several conditions a picture for {task.value} has.",
            "Write a table of them: image, dandruff, sebum, erythema.",
        )
    groups = read_groups(folder)
    splits = splits_of_folders([path.name for path in _folders(folder)])
    tops: list[tuple[Path, Split | None]] = [(folder / name, split) for name, split in splits.items()]
    examples: list[Example] = []
    refused: list[RefusedFile] = []
    for top, split in tops or [(folder, None)]:
        _read_classes(top, split, folder, task, groups, examples, refused)
    if splits:
        inside = {folder / name for name in splits}
        outside = [path for path in pictures_below(folder) if not inside & set(path.parents)]
        refused += [RefusedFile(path, f"outside the folders {', '.join(sorted(splits))}") for path in outside]
    warnings = []
    if groups is None:
        warnings.append(
            "There is no groups.csv, so every picture counts as another patient; if some are of the same patient, "
            "figures measured on this set are too good."
        )
    return ExampleSet(task, folder.name, tuple(examples), tuple(refused), class_labels(task), tuple(warnings))


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _read_classes(
    top: Path,
    split: Split | None,
    folder: Path,
    task: Task,
    groups: Mapping[str, str] | None,
    examples: list[Example],
    refused: list[RefusedFile],
) -> None:
    allowed = ", ".join(class_labels(task))
    for path in pictures_below(top):
        parts = path.relative_to(top).parts
        label = class_named(task, parts[0]) if len(parts) > 1 else None
        place = path.relative_to(folder).as_posix()
        group = group_by_name(path, folder) if groups is None else groups.get(place)
        if len(parts) == 1:
            refused.append(RefusedFile(path, f"in no folder of a class; the classes are {allowed}"))
        elif label is None:
            refused.append(RefusedFile(path, f"unknown class {parts[0]!r}; the classes are {allowed}"))
        elif group is None:
            refused.append(RefusedFile(path, "picture without a row in groups.csv"))
        else:
            examples.append(Example(path, group, split, label=label))
    if groups is not None:
        prefix = "" if top == folder else f"{top.relative_to(folder).as_posix()}/"
        missing = [image for image in groups if image.startswith(prefix) and not (folder / image).is_file()]
        refused += [RefusedFile(folder / image, "in groups.csv, but there is no such picture") for image in missing]
