"""Labelled pictures: one example, a set of them, the splits they fall into, and what a set has no label for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path

import numpy as np

from device_app.manifest_parts import STAGES, Task
from device_app.vision.conditions import Condition, Severity

Three = tuple[int | None, int | None, int | None]
"""One number per `Condition`; None where nobody knows it."""

UNKNOWN: Three = (None, None, None)

Progress = Callable[[int, int], None]
"""Called with how many pictures are done, and of how many."""


class Split(str, Enum):
    """What a picture is used for: to learn from, to choose and calibrate by, or to be measured on once."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


_CLASSES = {
    Task.SCALP_CONDITION: ("healthy", "alopecia", "psoriasis", "folliculitis"),
    Task.HAIR_LOSS_STAGE: STAGES,
}
_ALSO_CALLED = {
    Task.SCALP_CONDITION: {"normal": "healthy", "hair_loss": "alopecia"},
    Task.HAIR_LOSS_STAGE: {f"{word}{stage}": stage for stage in STAGES for word in ("stage", "stage_", "level_")},
}


def class_labels(task: Task) -> tuple[str, ...]:
    """The classes of a task with classes, in the order of its network's outputs."""
    return _CLASSES[task]


def class_named(task: Task, name: str) -> int | None:
    """The class that a folder or a cell of a table names, in any case; None for an unknown name.

    "normal" is healthy and "hair loss" is alopecia; a stage of hair loss may also be called stage_3, stage3 or level_3.
    """
    small = "_".join(name.strip().lower().replace("-", " ").split())
    known = _ALSO_CALLED[task].get(small, small)
    return _CLASSES[task].index(known) if known in _CLASSES[task] else None


@dataclass(frozen=True)
class Region:
    """Where somebody outlined a condition: `outline` (N, 2) float32, x and y as shares 0..1 of width and height."""

    condition: int  # index in Condition
    outline: np.ndarray


@dataclass(frozen=True)
class Example:
    """One labelled picture.

    Attributes:
        path: of the picture.
        group: the patient, or the original picture; one group is never in two splits.
        split: where the set itself puts it; None where it does not say.
        presence: per condition 1 present, 0 absent, None not known.
        severity: per condition 0..3 as in `Severity`, None not known.
        label: the class of a task with classes, an index of `ExampleSet.labels`.
        regions: None: nobody outlined anything in this set; (): outlined, nothing found.
        attributes: anything else that is known, such as skin_tone or microscope; what results are told apart by.
    """

    path: Path
    group: str
    split: Split | None = None
    presence: Three = UNKNOWN
    severity: Three = UNKNOWN
    label: int | None = None
    regions: tuple[Region, ...] | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RefusedFile:
    """A file of a set that is not used, and why: a sentence without its end."""

    path: Path
    reason: str


@dataclass(frozen=True)
class ExampleSet:
    """The labelled pictures of one set or of one of its splits.

    Attributes:
        task: what the labels are for.
        name: of the set, for reports: the folder's name.
        examples: in a fixed order.
        refused: every file that was found and is not used.
        labels: the classes of a task with classes; () for the conditions.
        warnings: what whoever uses the set must know, each a sentence or two.
    """

    task: Task
    name: str
    examples: tuple[Example, ...]
    refused: tuple[RefusedFile, ...] = ()
    labels: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.examples)

    def having(self, examples: Iterable[Example]) -> ExampleSet:
        """The same set with other examples, without the refused files and warnings of the whole."""
        return replace(self, examples=tuple(examples), refused=(), warnings=())

    def digest(self) -> str:
        """SHA-256 over names, sizes and labels: the same for the same pictures, wherever the folder lies."""
        digest = hashlib.sha256(json.dumps([self.task.value, self.labels]).encode())
        for one in self.examples:
            size = one.path.stat().st_size
            known = [one.path.name, size, one.group, one.presence, one.severity, one.label]
            digest.update(json.dumps(known).encode())
        return digest.hexdigest()


def presence_from(severity: Three) -> Three:
    """A condition is present from grade mild on."""
    first, second, third = (None if grade is None else int(grade > Severity.GOOD) for grade in severity)
    return first, second, third


def labels_of(example: Example) -> list[str]:
    """What is known of one example, as words that two examples share when they have the same label."""
    if example.label is not None:
        return [f"class {example.label}"]
    known = [f"{name.value} {value}" for name, value in zip(Condition, example.severity) if value is not None]
    known += [f"{name.value} present {value}" for name, value in zip(Condition, example.presence) if value is not None]
    return known


def label_counts(examples: ExampleSet) -> dict[str, dict[str, int]]:
    """How many examples have each label, by head: ``{"severity of dandruff": {"good": 12, ...}, ...}``.

    The heads are the presence and the severity of each condition, or "class"; every possible label is named, also
    those that no example has.
    """
    if examples.task is not Task.CONDITIONS:
        counts = dict.fromkeys(examples.labels, 0)
        for one in examples.examples:
            if one.label is not None:
                counts[examples.labels[one.label]] += 1
        return {"class": counts}
    heads: dict[str, dict[str, int]] = {}
    for index, condition in enumerate(Condition):
        present = dict.fromkeys(("absent", "present"), 0)
        graded = {severity.word: 0 for severity in Severity}
        for one in examples.examples:
            there, grade = one.presence[index], one.severity[index]
            if there is not None:
                present["present" if there else "absent"] += 1
            if grade is not None:
                graded[Severity(grade).word] += 1
        heads[f"presence of {condition.value}"] = present
        heads[f"severity of {condition.value}"] = graded
    return heads


def unlabelled_heads(examples: ExampleSet) -> list[str]:
    """The heads that no example has a label for, named as by `label_counts`; they cannot be trained or measured."""
    return [head for head, counts in label_counts(examples).items() if not any(counts.values())]
