"""The results of measuring: a hair, and what a picture's hairs add up to. Frozen, picklable, no behaviour."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import numpy as np


class HairClass(str, Enum):
    """A hair's class by diameter; the cuts are those of a named `HairClasses`."""

    VELLUS = "vellus"
    INTERMEDIATE = "intermediate"
    TERMINAL = "terminal"


@dataclass(frozen=True)
class HairClasses:
    """Named cuts between the hair classes. Printed on every report that uses them.

    A hair is vellus below `vellus_below_um`, terminal above `terminal_above_um`, intermediate between.
    """

    name: str
    vellus_below_um: float
    terminal_above_um: float


TRICHOSCOPY = HairClasses("trichoscopy 30/60", 30.0, 60.0)
TRICHOSCAN = HairClasses("TrichoScan 40", 40.0, 40.0)


@dataclass(frozen=True)
class Hair:
    """One traced strand, in the pixels of the native picture.

    Attributes:
        id: 1, 2, 3 ... within the picture.
        centre_line: (N, 2) float32, points (x, y), from one end to the other, sub-pixel.
        widths_px: (N,) float32, diameter at each point of the centre line; NaN where it could not be measured
            (a crossing, a glint, a neighbour too near).
        length_px: arc length of the centre line.
        diameter_px: median of the widths that could be measured; NaN when none could.
        diameter_spread_px: half the central 68 % range of those widths, about 1 standard deviation.
        ends_inside: whether the first and the last point lie inside the picture (False: cut by its border).
    """

    id: int
    centre_line: np.ndarray
    widths_px: np.ndarray
    length_px: float
    diameter_px: float
    diameter_spread_px: float
    ends_inside: tuple[bool, bool]


@dataclass(frozen=True)
class Figure:
    """A number with its 95 % confidence interval. `value` is None when it may not be stated; `reason` says why."""

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Measurements:
    """What one picture's hairs add up to. Physical figures have value None without a scale."""

    hair_count: int
    scale_um_per_px: float | None
    classes: HairClasses
    density_per_cm2: Figure
    coverage_fraction: Figure
    mean_diameter_px: Figure
    mean_diameter_um: Figure
    sd_diameter_um: Figure
    vellus_count: int | None
    intermediate_count: int | None
    terminal_count: int | None
    diameter_diversity_fraction: Figure
    cumulative_thickness_mm_per_cm2: Figure
    thin_fraction: Figure
    hairs: tuple[Hair, ...] = field(repr=False)
