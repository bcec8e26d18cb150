"""Everything one evaluation of a classifier found, as programs read it: `report.json`; and the folder of a report."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from calibration.files import make_folder, write_text_atomically
from device_app.manifest_classifiers import Limits
from device_app.manifest_parts import Task
from training.classification.evaluate import GroupScores, RefusalScores
from training.evaluation.bootstrap import LEVEL, RESAMPLES, SEED

REPORT_JSON, REPORT_HTML = "report.json", "report.html"
SCHEMA_VERSION = 1

NOTICE = "Not a medical device; a demonstration. No figure here is a claim about any person."


@dataclass(frozen=True)
class Part:
    """The figures of one set of good pictures.

    Attributes:
        title: such as "scalp_conditions, test".
        kind: of its pictures, ``real`` or ``drawn``.
        every: of all pictures, refused ones too.
        judged: of those alone that are not refused; None where all are refused.
        attributes: of those with each value of each attribute that is known.
    """

    title: str
    kind: str
    every: GroupScores
    judged: GroupScores | None
    attributes: Mapping[str, Mapping[str, GroupScores]]


@dataclass(frozen=True)
class Shown:
    """A picture of the report.

    Attributes:
        title: which picture it is.
        lines: what was found, and what is true.
        image: (H, W, 3) uint8 RGB.
        heat: (h, w) float32 0..1, where the network looked, of the whole picture; None: it is not shown.
    """

    title: str
    lines: tuple[str, ...]
    image: np.ndarray
    heat: np.ndarray | None = None


@dataclass(frozen=True)
class Report:
    """Everything one evaluation found.

    Attributes:
        task: of the classifier.
        title: of the report.
        model, data: what was evaluated, and on what; lines for people, by heading.
        made: when, ISO 8601.
        command: the command line that was used.
        claimed: by condition, whether its maker claims that it can be graded; empty for a task with classes.
        limits: beyond which pictures are refused.
        parts: the figures, by set of pictures.
        refusals: by kind of picture.
        mistakes: the worst ones, worst first.
        wrongly_refused, wrongly_judged: good pictures that are refused, and ungradable ones that are not.
        paper: whether the paper's rows are shown beside Table 3.
    """

    task: Task
    title: str
    model: Mapping[str, str]
    data: Mapping[str, str]
    made: str
    command: str
    claimed: Mapping[str, bool]
    limits: Limits
    parts: tuple[Part, ...]
    refusals: tuple[RefusalScores, ...]
    mistakes: tuple[Shown, ...]
    wrongly_refused: tuple[Shown, ...] = ()
    wrongly_judged: tuple[Shown, ...] = ()
    paper: bool = False


def write_report(report: Report, folder: Path) -> None:
    """Write `report.json` and `report.html` into a folder, made if missing, each whole or not at all.

    Raises:
        ScalpScopeError: the folder cannot be made or written to.
    """
    from training.classification.report_page import report_page

    page = report_page(report)
    make_folder(folder)
    write_text_atomically(folder / REPORT_JSON, report_json(report))
    write_text_atomically(folder / REPORT_HTML, page)


def report_json(report: Report) -> str:
    """All figures, without the pictures; what is not defined is null."""
    content = {"schema_version": SCHEMA_VERSION, "notice": NOTICE, **_plain(report)}
    for name in ("mistakes", "wrongly_refused", "wrongly_judged"):
        content[name] = [{"title": own.title, "lines": own.lines} for own in getattr(report, name)]
    content["bootstrap"] = {"level": LEVEL, "resamples": RESAMPLES, "seed": SEED, "over": "groups"}
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    """What JSON can hold of it."""
    if is_dataclass(value) and not isinstance(value, type):
        return {own.name: _plain(getattr(value, own.name)) for own in fields(value)}
    if isinstance(value, Limits):
        return value.model_dump(mode="json")
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(_plain(key)): _plain(own) for key, own in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(own) for own in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return None if isinstance(value, np.ndarray) else value
