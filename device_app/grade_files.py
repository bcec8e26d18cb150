"""What classifiers said of a picture, as it stands in files: JSON objects, CSV columns, pictures of where they looked.

The `analyse` and `stage` commands and the screen's Save write through here, so that all mean the same by every key.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from device_app.live.analysis import ClassJudgement, Conditions
from device_app.vision.conditions import Condition, Grade, Severity
from device_app.vision.overlay import draw_heat

SEVERITY_RULE = (
    "the presence head decides how probable 'good' is, the severity head how the rest is shared; the severity is the "
    "median, the least that is reached with even odds"
)
"""The rule of `device_app.vision.conditions`, said in every result."""

_FIELDS = ("severity", "present_probability", "certainty", "refused")

GRADE_COLUMNS: tuple[str, ...] = (
    *(f"{condition.value}_{field}" for condition in Condition for field in _FIELDS),
    "conditions_backend",
    *(f"scalp_condition{ending}" for ending in ("", "_certainty", "_refused", "_backend")),
)
"""Columns of summary.csv."""


def heat_map_names(stem: str) -> dict[Condition, str]:
    """The names of the pictures of where the network looked, of a picture called `stem`."""
    return {condition: f"{stem}_heat_{condition.value}.png" for condition in Condition}


def grade_records(
    conditions: Conditions | None, scalp_condition: ClassJudgement | None, missing: str | None
) -> dict[str, Any]:
    """What a NAME.json says of the classifiers: plain values, None wherever nothing may be stated.

    Args:
        conditions: of this very picture; None: it was not graded.
        scalp_condition: of this very picture; None: it was not judged.
        missing: why it was not graded.
    """
    return {
        "conditions": None
        if conditions is None
        else {condition.value: grade_record(grade) for condition, grade in conditions.grades.items()},
        "conditions_model": None
        if conditions is None
        else {
            "backend": conditions.backend,
            "bundle": conditions.bundle,
            "demonstration_only": conditions.demonstration,
            "rule": SEVERITY_RULE,
        },
        "conditions_missing": None if conditions is not None or not missing else missing,
        "scalp_condition": None if scalp_condition is None else judgement_record(scalp_condition),
    }


def grade_record(grade: Grade) -> dict[str, Any]:
    """One condition. Not graded yet is as good as not graded: everything is None."""
    shares = grade.severity_probabilities
    return {
        "present_probability": _share(grade.present_probability),
        "severity": None if grade.severity is None else grade.severity.word,
        "severity_probabilities": None
        if shares is None
        else {severity.word: _share(shares[severity]) for severity in Severity},
        "certainty": _share(grade.certainty),
        "refused": None if grade.refused is None else grade.refused.value,
    }


def judgement_record(judgement: ClassJudgement) -> dict[str, Any]:
    """A class, its probabilities, and what told it."""
    probabilities = judgement.probabilities
    return {
        "label": judgement.label,
        "probabilities": None
        if probabilities is None
        else {label: _share(probability) for label, probability in probabilities.items()},
        "certainty": _share(judgement.certainty),
        "refused": None if judgement.refused is None else judgement.refused.value,
        "backend": judgement.backend,
        "bundle": judgement.bundle,
        "demonstration_only": judgement.demonstration,
    }


def grade_cells(record: Mapping[str, Any]) -> dict[str, Any]:
    """The cells of `GRADE_COLUMNS` from the content of a NAME.json; None where there is nothing."""
    graded, judged = record["conditions"], record["scalp_condition"]
    cells: dict[str, Any] = dict.fromkeys(GRADE_COLUMNS)
    if graded is not None:
        cells |= {f"{name}_{field}": grade[field] for name, grade in graded.items() for field in _FIELDS}
        cells["conditions_backend"] = record["conditions_model"]["backend"]
    if judged is not None:
        cells["scalp_condition"] = judged["label"]
        cells |= {f"scalp_condition_{field}": judged[field] for field in ("certainty", "refused", "backend")}
    return cells


def heat_maps_drawn(image: np.ndarray, conditions: Conditions) -> dict[Condition, np.ndarray]:
    """Where the network looked, drawn over the picture, (H, W, 3) uint8 RGB, of every condition that is graded."""
    return {
        condition: draw_heat(image, conditions.heat_map(condition))
        for condition, grade in conditions.grades.items()
        if grade.severity is not None
    }


def _share(value: float | None) -> float | None:
    return None if value is None else round(float(value), 4)
