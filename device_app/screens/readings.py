"""What the figures panel may say: a number with its unit and its interval, or a dash with the reason."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

import numpy as np

from device_app.live.analysis import Analysis
from device_app.screens.texts import text
from device_app.vision import measure
from device_app.vision.hairs import Figure, HairClass, HairClasses, Measurements
from device_app.vision.overlay import class_of

DASH = "–"
BIN_UM = 5.0
LAST_BIN_UM = 120.0


class Doubt(str, Enum):
    """Why no figure may be trusted now, the first that applies; keys into the table of texts."""

    NO_PICTURE = "doubt_no_picture"
    NO_ANALYSIS = "doubt_no_analysis"
    MEASURING = "doubt_measuring"
    GRADING = "doubt_grading"
    FAILED = "doubt_failed"
    TOO_DARK = "doubt_too_dark"
    TOO_BRIGHT = "doubt_too_bright"
    OUT_OF_FOCUS = "doubt_out_of_focus"


class Made(str, Enum):
    """How the mask was made that the figures are of; keys into the table of texts, for the labels of the figures."""

    COARSE = "label_coarse"
    REFINED = "label_refined"
    CORRECTED = "label_corrected"  # refined, with a clinician's corrections


@dataclass(frozen=True)
class Reading:
    """One figure as it is written: label, then value, unit and interval, or a dash and the reason."""

    label: str
    value: str
    unit: str = ""
    interval: str = ""
    reason: str = ""


_REASONS = {
    measure.NO_SCALE: "reason_no_scale",
    measure.NO_HAIRS: "reason_no_hairs",
    measure.NO_DIAMETERS: "reason_no_diameters",
    measure.TOO_FEW: "reason_too_few",
}


def readings(
    analysis: Analysis | None, doubt: Doubt | None, made: Made = Made.COARSE
) -> tuple[Reading, Reading, Reading]:
    """Density, mean diameter and thin share of an analysis, or dashes with the doubt as their reason.

    Every label says how the mask was made where it is not the live one.
    """
    measurements = None if analysis is None else analysis.measurements
    cut = "30" if measurements is None else f"{measurements.classes.vellus_below_um:g}"
    names = (text("density"), text("mean_diameter"), text("thin_share", cut=cut))
    labels = tuple(text(made.value, label=name) for name in names)
    if measurements is None or doubt is not None:
        reason = text((doubt or Doubt.NO_ANALYSIS).value)
        return tuple(Reading(label, DASH, reason=reason) for label in labels)  # type: ignore[return-value]
    return (
        _reading(labels[0], measurements.density_per_cm2, text("unit_per_cm2")),
        _reading(labels[1], measurements.mean_diameter_um, text("unit_um")),
        _reading(labels[2], measurements.thin_fraction, text("unit_percent"), factor=100.0),
    )


def _reading(label: str, figure: Figure, unit: str, factor: float = 1.0) -> Reading:
    if figure.value is None:
        return Reading(label, DASH, reason=text(_REASONS.get(figure.reason, "reason_unknown")))
    if figure.low is None or figure.high is None:
        return Reading(label, DASH, reason=text("reason_too_few"))  # never a number without its interval
    value, low, high = (factor * number for number in (figure.value, figure.low, figure.high))
    return Reading(label, *_written(value, low, high, unit))


def _written(value: float, low: float, high: float, unit: str) -> tuple[str, str, str]:
    """Value, unit and interval, with one decimal where the interval is narrow enough to mean it."""
    decimals = 1 if high - low < 2.0 else 0
    below, above = value - low, high - value
    lopsided = abs(above - below) > 0.2 * max(above, below) and round(below, decimals) != round(above, decimals)
    if lopsided:
        interval = f"{low:.{decimals}f} – {high:.{decimals}f}"
    else:
        interval = f"± {max(below, above, 10.0**-decimals / 2):.{decimals}f}"
    return f"{value:.{decimals}f}", unit, interval


@dataclass(frozen=True)
class Histogram:
    """Hairs by diameter.

    Attributes:
        counts: hairs per bin, and in each by class in the order of `HairClass`; the last bin takes all above.
        classes: the cuts.
        totals: hairs of each class.
    """

    counts: tuple[tuple[int, ...], ...]
    classes: HairClasses
    totals: dict[HairClass, int]

    @property
    def highest(self) -> int:
        """Hairs in the fullest bin."""
        return max(sum(row) for row in self.counts)


def histogram(measurements: Measurements) -> Histogram | None:
    """The diameters of a picture's measured hairs in bins of 5 µm; None without a scale."""
    scale = measurements.scale_um_per_px
    if scale is None:
        return None
    kinds = list(HairClass)
    bins = int(LAST_BIN_UM / BIN_UM)
    counts = np.zeros((bins, len(kinds)), int)
    for diameter_um, kind in _measured(measurements, scale):
        counts[min(int(diameter_um / BIN_UM), bins - 1), kinds.index(kind)] += 1
    totals = {kind: int(counts[:, i].sum()) for i, kind in enumerate(kinds)}
    return Histogram(tuple(tuple(row) for row in counts.tolist()), measurements.classes, totals)


def _measured(measurements: Measurements, scale: float) -> Iterator[tuple[float, HairClass]]:
    for hair in measurements.hairs:
        kind = class_of(hair, scale, measurements.classes)
        if kind is not None and math.isfinite(hair.diameter_px):
            yield hair.diameter_px * scale, kind
