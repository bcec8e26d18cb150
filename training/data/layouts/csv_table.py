"""A table of pictures: ``image, dandruff, sebum, erythema, patient, ...``, with labels missing wherever they are.

One ``.csv`` file in the set's folder, ``labels.csv`` if there are several. Columns, in any order and any case:

- ``image``: the picture's path from the folder of the table. The only column that must be there.
- ``dandruff``, ``sebum`` (or ``excess_sebum``), ``erythema``: severity 0 to 3, or good, mild, moderate, severe.
- ``dandruff_present`` and so on: 0 or 1, where only that is known; it must not contradict the severity.
- ``label``: the class, for the tasks with classes.
- ``patient``: pictures of one patient are never in two splits. Without it, every picture is a patient of its own, but
  for augmented copies of one original.
- ``split``: train, validation or test, in every row or in none.
- any other column is an attribute that results are told apart by, such as ``skin_tone`` or ``microscope``.

An empty cell is a label that nobody knows.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from calibration.errors import ScalpScopeError
from device_app.manifest_parts import Task
from device_app.vision.conditions import Condition, Severity
from training.data.example_set import Example, ExampleSet, RefusedFile, Three, class_labels, class_named, presence_from
from training.data.layouts.files import group_by_name, pictures_below, read_rows, split_named

_GROUPS = "groups.csv"
_TABLE = "labels.csv"
_SEVERITY_COLUMNS = {
    Condition.DANDRUFF: ("dandruff",),
    Condition.EXCESS_SEBUM: ("sebum", "excess_sebum"),
    Condition.ERYTHEMA: ("erythema",),
}
_GRADES = {str(severity.value): severity.value for severity in Severity} | {s.word: s.value for s in Severity}
_PRESENT = {"0": 0, "1": 1}


class _Wrong(ValueError):
    """What is wrong with one row."""


def looks_like(folder: Path) -> bool:
    """Whether there is a table beside or above the pictures."""
    return bool(_tables(folder))


def read(folder: Path, task: Task) -> ExampleSet:
    """Every row of the table whose picture is there.

    Raises:
        ScalpScopeError: no table or several, a header that is not as above, or no column with a label for the task.
    """
    table = _table(folder)
    rows = read_rows(table, ("image",))
    columns = list(rows[0][1]) if rows else []
    own = _own_columns(task, columns, table)
    refused: list[RefusedFile] = []
    by_picture: dict[Path, list[tuple[int, Example]]] = defaultdict(list)
    named: set[Path] = set()
    for line, row in rows:
        path = table.parent / row["image"].replace("\\", "/")
        named.add(path)
        try:
            if not row["image"]:
                raise _Wrong("no picture is named")
            example = _example(row, path, table.parent, task, own)
            by_picture[path].append((line, example))
        except _Wrong as wrong:
            refused.append(RefusedFile(path if row["image"] else table, f"{table.name} line {line}: {wrong}"))
    examples = []
    for path, made in by_picture.items():
        lines = ", ".join(str(line) for line, _ in made)
        if any(one != made[0][1] for _, one in made):
            refused.append(RefusedFile(path, f"{table.name} lines {lines} contradict each other"))
            continue
        examples.append(made[0][1])
        if len(made) > 1:
            refused.append(RefusedFile(table, f"lines {lines} name the same picture; it is used once"))
    without = [path for path in pictures_below(table.parent) if path not in named]
    refused += [RefusedFile(path, f"picture without a row in {table.name}") for path in without]
    labels = () if task is Task.CONDITIONS else class_labels(task)
    return ExampleSet(task, folder.name, tuple(examples), tuple(refused), labels)


def _tables(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.csv") if path.name.lower() != _GROUPS)


def _table(folder: Path) -> Path:
    tables = _tables(folder)
    if len(tables) > 1:
        tables = [path for path in tables if path.name.lower() == _TABLE]
    if len(tables) != 1:
        raise ScalpScopeError(f"'{folder}' has no table, or several.", f"Call the table of the labels {_TABLE}.")
    return tables[0]


def _own_columns(task: Task, columns: list[str], table: Path) -> dict[Condition, tuple[str | None, str | None]]:
    """The severity and the presence column of each condition; the classes need none."""
    own: dict[Condition, tuple[str | None, str | None]] = {}
    for condition, names in _SEVERITY_COLUMNS.items():
        graded = [name for name in names if name in columns]
        present = [f"{name}_present" for name in names if f"{name}_present" in columns]
        if len(graded) > 1 or len(present) > 1:
            raise ScalpScopeError(f"'{table}' has two columns for {condition.value}.", "Leave one of them out.")
        own[condition] = (graded[0] if graded else None, present[0] if present else None)
    has_conditions = any(name is not None for pair in own.values() for name in pair)
    if columns and not (has_conditions if task is Task.CONDITIONS else "label" in columns):
        wanted = "dandruff, sebum or erythema" if task is Task.CONDITIONS else "label"
        raise ScalpScopeError(
            f"'{table}' has no labels for {task.value}; its columns are {', '.join(columns)}.",
            f"Give it a column {wanted}.",
        )
    return own


def _example(
    row: dict[str, str], path: Path, folder: Path, task: Task, own: dict[Condition, tuple[str | None, str | None]]
) -> Example:
    if not path.is_file():
        raise _Wrong("there is no such picture")
    split = None
    if row.get("split"):
        split = split_named(row["split"])
        if split is None:
            raise _Wrong(f"unknown split {row['split']!r}; it is train, validation or test")
    group = row.get("patient") or group_by_name(path, folder)
    used = {"image", "patient", "split", "label", *(name for pair in own.values() for name in pair if name)}
    attributes = {name: value for name, value in row.items() if name not in used and value}
    if task is Task.CONDITIONS:
        presence, severity = _conditions(row, own)
        if all(value is None for value in (*presence, *severity)):
            raise _Wrong("no label at all")
        return Example(path, group, split, presence, severity, attributes=attributes)
    if not row["label"]:
        raise _Wrong("no label")
    label = class_named(task, row["label"])
    if label is None:
        raise _Wrong(f"unknown class {row['label']!r}; the classes are {', '.join(class_labels(task))}")
    return Example(path, group, split, label=label, attributes=attributes)


def _conditions(row: dict[str, str], own: dict[Condition, tuple[str | None, str | None]]) -> tuple[Three, Three]:
    severity: list[int | None] = []
    stated: list[int | None] = []
    for graded, present in own.values():
        severity.append(_value(row, graded, _GRADES, "a grade: 0 to 3, or good, mild, moderate, severe"))
        stated.append(_value(row, present, _PRESENT, "0 or 1"))
    grades: Three = (severity[0], severity[1], severity[2])
    presence = list(presence_from(grades))
    for index, condition in enumerate(own):
        if stated[index] is not None and presence[index] not in (None, stated[index]):
            raise _Wrong(f"{condition.value} is graded {severity[index]} and stated to be {stated[index]}")
        if presence[index] is None:
            presence[index] = stated[index]
    return (presence[0], presence[1], presence[2]), grades


def _value(row: dict[str, str], column: str | None, known: dict[str, int], what: str) -> int | None:
    if column is None or not row[column]:
        return None
    if row[column].lower() not in known:
        raise _Wrong(f"{column} is {row[column]!r}, not {what}")
    return known[row[column].lower()]
