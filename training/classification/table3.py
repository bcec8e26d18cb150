"""ScalpVision's Table 3: the F1 of every severity of every condition, and their mean, in the paper's own layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from device_app.vision.conditions import Condition, Severity
from training.classification import scores

COLUMNS = tuple((condition, severity) for condition in Condition for severity in Severity)
"""The twelve columns, in the paper's order."""

HEADINGS = {Condition.DANDRUFF: "dandruff", Condition.EXCESS_SEBUM: "sebum", Condition.ERYTHEMA: "erythema"}
"""What the paper calls the conditions."""

PAPER: Mapping[str, tuple[float, ...]] = {
    "DenseNet169": (0.582, 0.796, 0.514, 0.592, 0.614, 0.554, 0.601, 0.641, 0.000, 0.776, 0.729, 0.565, 0.601),
    "+ Gaussian noise": (0.567, 0.780, 0.497, 0.566, 0.597, 0.471, 0.581, 0.595, 0.000, 0.751, 0.712, 0.614, 0.635),
    "+ AugMix": (0.525, 0.789, 0.501, 0.589, 0.000, 0.504, 0.588, 0.634, 0.000, 0.743, 0.718, 0.596, 0.585),
    "+ DiffuseIT": (0.608, 0.809, 0.482, 0.604, 0.650, 0.536, 0.613, 0.625, 0.202, 0.774, 0.740, 0.621, 0.639),
    "+ AGG": (0.610, 0.811, 0.480, 0.591, 0.654, 0.518, 0.598, 0.612, 0.300, 0.771, 0.740, 0.629, 0.621),
    "+ DiffuseIT-M": (0.636, 0.820, 0.541, 0.625, 0.665, 0.536, 0.617, 0.641, 0.430, 0.758, 0.734, 0.621, 0.641),
    "EfficientFormerV2": (0.569, 0.795, 0.417, 0.598, 0.628, 0.526, 0.565, 0.628, 0.000, 0.772, 0.709, 0.623, 0.569),
    "EfficientFormerV2 + DiffuseIT-M": (
        0.635, 0.807, 0.529, 0.619, 0.669, 0.535, 0.613, 0.632, 0.406, 0.781, 0.738, 0.639, 0.648,
    ),
}  # fmt: skip
"""The paper's rows: the macro-F1, then the twelve columns. On the AI-Hub test set: nothing else compares with them."""


def twelve_f1(truth: np.ndarray, found: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """F1 of the twelve columns.

    Args:
        truth: (N, 3) int, severity 0..3, negative: not known.
        found: (N, 3) int, severity 0..3.
        weights: as in `training.classification.scores`.

    Returns:
        (12,) or (R, 12) float64, in the order of `COLUMNS`.
    """
    columns = [
        scores.f1(scores.confusion(truth[:, index], found[:, index], len(Severity), weights))
        for index in range(len(Condition))
    ]
    return np.concatenate(columns, axis=-1)


def macro_f1(truth: np.ndarray, found: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """The mean of the twelve, of those that are defined: () or (R,); arguments as `twelve_f1`."""
    return scores.macro(twelve_f1(truth, found, weights))


def table_3(rows: Mapping[str, Sequence[float | None]], paper: bool = False) -> str:
    """The table as Markdown, one line for each row.

    Args:
        rows: for each name the macro-F1 and the twelve columns; None where a figure is not defined.
        paper: put the paper's rows above. They are of another set of pictures unless this is the AI-Hub test set.

    Raises:
        ValueError: a row has not thirteen figures.
    """
    first = ["model", "macro-F1"] + [f"{HEADINGS[one]} {severity.word}" for one, severity in COLUMNS]
    lines = [_line(first), "|---|" + "---:|" * (len(COLUMNS) + 1)]
    if paper:
        lines += [_line([f"{name} (paper)", *map(_said, row)]) for name, row in PAPER.items()]
    for name, row in rows.items():
        if len(row) != len(COLUMNS) + 1:
            raise ValueError(f"{len(row)} figures in row {name!r}, not {len(COLUMNS) + 1}")
        lines.append(_line([name.replace("|", "\\|"), *map(_said, row)]))
    return "\n".join(lines) + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _said(value: float | None) -> str:
    """As the paper writes it: .649."""
    if value is None:
        return "–"
    return "1.000" if value >= 0.9995 else f"{value:.3f}".removeprefix("0")
