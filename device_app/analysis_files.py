"""One analysed picture as files: NAME.json, NAME_mask.png and NAME_overlay.png, and many as one summary.csv.

A refined picture has two masks more, NAME_coarse_mask.png and NAME_refined_mask.png; NAME_mask.png is then M, and so
are all figures. A graded one may have NAME_heat_CONDITION.png, where the network looked.

The `analyse` command and the screen's Save write through here, so that both mean the same by every key.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from calibration.errors import ScalpScopeError
from device_app import __version__
from device_app.file_sets import write_file_set
from device_app.grade_files import GRADE_COLUMNS, grade_cells, grade_records, heat_map_names, heat_maps_drawn
from device_app.live.analysis import Analysis, ClassJudgement, Conditions
from device_app.live.refinement import Refinement
from device_app.vision.conditions import Condition
from device_app.vision.hairs import Figure, Hair, HairClass, HairClasses, Measurements
from device_app.vision.overlay import draw_overlay

SCHEMA_VERSION = 3
"""2: `refinement` was added, null where a picture was not refined. 3: `conditions`, `conditions_model`,
`conditions_missing` and `scalp_condition`, null where it was not graded or judged."""

DENSITY_RULE = "hairs with at least one end inside the picture, over the picture's area"
"""The rule of `device_app.vision.measure`, said in every result."""

_FIGURES = tuple(own.name for own in fields(Measurements) if own.type == "Figure")
_COUNTS = ("vellus_count", "intermediate_count", "terminal_count")
_HEAD = ("image", "width_px", "height_px", "scale_um_per_px", "scale_uncertainty_um_per_px", "profile", "hair_count")
_REFINEMENT = ("refined", "combination", "predicted_iou")
_TAIL = (
    "hair_classes",
    "focus",
    "total_ms",
    "bundle",
    "backend",
    "fallback",
    "demonstration_only",
    "software",
    "analysed",
)

SUMMARY_COLUMNS: tuple[str, ...] = (
    *_HEAD,
    *(column for name in _FIGURES for column in (name, f"{name}_low", f"{name}_high")),
    *_COUNTS,
    *_REFINEMENT,
    *GRADE_COLUMNS,
    *_TAIL,
    "error",
)


@dataclass(frozen=True)
class Provenance:
    """What a result rests on beside the analysis itself.

    Attributes:
        profile: name of the microscope's profile that the scale came from; None: typed in, or no scale.
        scale_uncertainty_um_per_px: 1 standard deviation of the scale; None where it is not known.
        engine_reasons: why this engine runs and what was passed over.
        fallback: a better engine was passed over.
        conditions_missing: why pictures are not graded; None when they are.
    """

    profile: str | None = None
    scale_uncertainty_um_per_px: float | None = None
    engine_reasons: tuple[str, ...] = ()
    fallback: bool = False
    conditions_missing: str | None = None


@dataclass(frozen=True)
class SavedAnalysis:
    """Where one analysed picture was saved, and what its JSON says.

    `picture` is None unless it was asked for, `coarse_mask` and `refined_mask` unless it was refined; `heat_maps` are
    those that were asked for, by condition.
    """

    record: dict[str, Any]
    json: Path
    mask: Path
    overlay: Path
    picture: Path | None = None
    coarse_mask: Path | None = None
    refined_mask: Path | None = None
    heat_maps: Mapping[Condition, Path] = field(default_factory=dict)


def result_names(stem: str) -> tuple[str, str, str]:
    """The names of the JSON, the mask and the overlay of a picture called `stem`."""
    return f"{stem}.json", f"{stem}_mask.png", f"{stem}_overlay.png"


def refined_names(stem: str) -> tuple[str, str]:
    """The names of the coarse and the refined mask that a refined picture called `stem` has besides."""
    return f"{stem}_coarse_mask.png", f"{stem}_refined_mask.png"


def analysis_record(
    image_name: str,
    analysis: Analysis,
    provenance: Provenance = Provenance(),
    *,
    analysed: datetime | None = None,
    refinement: Refinement | None = None,
    conditions: Conditions | None = None,
    scalp_condition: ClassJudgement | None = None,
    stem: str = "",
) -> dict[str, Any]:
    """The content of NAME.json: plain values, None wherever a figure may not be stated, never NaN.

    Args:
        image_name: what was analysed, a file name without folders (folders may name a patient).
        analysis: the result.
        provenance: what it rests on.
        analysed: when; now if not given.
        refinement: what `analysis` is of, if the picture was refined.
        conditions, scalp_condition: of this very picture, if it was graded and judged.
        stem: NAME of the files, for the names of the masks; of `image_name` if not given.
    """
    measurements = analysis.measurements
    height, width = analysis.mask.shape
    scale = measurements.scale_um_per_px
    figures: dict[str, Figure] = {name: getattr(measurements, name) for name in _FIGURES}
    return {
        "schema_version": SCHEMA_VERSION,
        "image": image_name,
        "width_px": width,
        "height_px": height,
        "scale_um_per_px": _number(scale),
        "scale_uncertainty_um_per_px": None if scale is None else _number(provenance.scale_uncertainty_um_per_px),
        "profile": provenance.profile,
        "hair_count": measurements.hair_count,
        **{name: _number(figure.value) for name, figure in figures.items()},
        **{name: getattr(measurements, name) for name in _COUNTS},
        "intervals": {
            name: {"low": _number(figure.low), "high": _number(figure.high), "confidence": 0.95}
            for name, figure in figures.items()
        },
        "reasons": {name: figure.reason for name, figure in figures.items() if figure.reason},
        "hair_classes": {
            "name": measurements.classes.name,
            "vellus_below_um": measurements.classes.vellus_below_um,
            "terminal_above_um": measurements.classes.terminal_above_um,
        },
        "density_rule": DENSITY_RULE,
        "refinement": None if refinement is None else _refinement_record(refinement, stem or Path(image_name).stem),
        **grade_records(conditions, scalp_condition, provenance.conditions_missing),
        "hairs": [_hair_record(hair, scale, measurements.classes) for hair in measurements.hairs],
        "focus": _number(analysis.focus),
        "timings_ms": {stage: round(float(ms), 3) for stage, ms in analysis.timings_ms.items()},
        "bundle": analysis.bundle,
        "backend": analysis.backend,
        "engine_reasons": list(provenance.engine_reasons),
        "fallback": provenance.fallback,
        "demonstration_only": analysis.demonstration,
        "software": f"scalpscope {__version__}",
        "analysed": (analysed or datetime.now(timezone.utc)).isoformat(timespec="seconds"),
    }


def save_analysis(
    folder: Path,
    stem: str,
    image: np.ndarray,
    analysis: Analysis,
    provenance: Provenance = Provenance(),
    *,
    image_name: str | None = None,
    with_picture: bool = False,
    refinement: Refinement | None = None,
    conditions: Conditions | None = None,
    scalp_condition: ClassJudgement | None = None,
    with_heat_maps: bool = False,
) -> SavedAnalysis:
    """Write one picture's results, all of them or none; those of an earlier run under the same name are replaced.

    Args:
        folder: made if it is not there.
        stem: NAME of the files.
        image: (H, W, 3) uint8 RGB, the very picture that was analysed.
        analysis: its result.
        provenance: what it rests on.
        image_name: what the picture is called, without folders; ``STEM.png`` unless named.
        with_picture: write the picture itself as ``STEM.png`` too, for pictures that are not files yet.
        refinement: what `analysis` is of, if the picture was refined: its masks and corrections are saved too.
        conditions, scalp_condition: of this very picture, if it was graded and judged.
        with_heat_maps: draw where the network looked, one picture for each condition that is graded.

    Raises:
        CannotWrite: the folder cannot be written or the disk is full; nothing is left behind.
        ValueError: the analysis is not of this picture's size.
    """
    if image.shape[:2] != analysis.mask.shape:
        raise ValueError(f"a picture of {image.shape[:2]} and a mask of {analysis.mask.shape} do not belong together")
    record = analysis_record(
        image_name or f"{stem}.png",
        analysis,
        provenance,
        refinement=refinement,
        conditions=conditions,
        scalp_condition=scalp_condition,
        stem=stem,
    )
    json_name, mask_name, overlay_name = result_names(stem)
    files = {f"{stem}.png": encode_png(image)} if with_picture else {}
    files[mask_name] = encode_png(analysis.mask)
    files[overlay_name] = encode_png(draw_overlay(image, analysis.mask, analysis.measurements))
    extra = {} if refinement is None else dict(zip(("coarse_mask", "refined_mask"), refined_names(stem), strict=True))
    files |= {name: encode_png(getattr(refinement, mask)) for mask, name in extra.items()}
    heat = heat_maps_drawn(image, conditions) if with_heat_maps and conditions is not None else {}
    heat_names = {condition: heat_map_names(stem)[condition] for condition in heat}
    files |= {name: encode_png(heat[condition]) for condition, name in heat_names.items()}
    files[json_name] = to_json(record)  # last: a NAME.json promises the rest of the set
    write_file_set(folder, files)
    picture = folder / f"{stem}.png" if with_picture else None
    masks = {mask: folder / name for mask, name in extra.items()}
    maps = {condition: folder / name for condition, name in heat_names.items()}
    return SavedAnalysis(
        record,
        folder / json_name,
        folder / mask_name,
        folder / overlay_name,
        picture,
        masks.get("coarse_mask"),
        masks.get("refined_mask"),
        maps,
    )


def summary_row(record: Mapping[str, Any]) -> dict[str, Any]:
    """One row of summary.csv from the content of a NAME.json: its scalars, each figure with its interval."""
    row = {name: record[name] for name in (*_HEAD, *_FIGURES, *_COUNTS, *_TAIL) if name in record}
    for name in _FIGURES:
        row[f"{name}_low"] = record["intervals"][name]["low"]
        row[f"{name}_high"] = record["intervals"][name]["high"]
    refinement = record["refinement"]
    row["refined"] = refinement is not None
    row |= {name: None if refinement is None else refinement[name] for name in ("combination", "predicted_iou")}
    row |= grade_cells(record)
    row["hair_classes"] = record["hair_classes"]["name"]
    row["total_ms"] = record["timings_ms"].get("total")
    return row


def failed_row(image_name: str, error: ScalpScopeError) -> dict[str, Any]:
    """The row of a picture that could not be analysed: its name and why, everything else empty."""
    return {"image": image_name, "error": str(error)}


def write_summary(folder: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write summary.csv (UTF-8, a header, one row per picture, an empty cell for null).

    Raises:
        CannotWrite: the folder cannot be written or the disk is full; an earlier summary is then kept.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, SUMMARY_COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    write_file_set(folder, {"summary.csv": text.getvalue().encode("utf-8")})
    return folder / "summary.csv"


def to_json(record: Mapping[str, Any]) -> bytes:
    """A record as JSON text, one key a line and one hair a line, so that files compare line by line.

    Raises:
        ValueError: a value is NaN or infinite, which JSON has no word for.
    """

    def compact(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)

    lines = []
    for key, value in record.items():
        if isinstance(value, list) and value:
            items = ",\n".join(f"    {compact(item)}" for item in value)
            lines.append(f"  {compact(key)}: [\n{items}\n  ]")
        else:
            lines.append(f"  {compact(key)}: {compact(value)}")
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode("utf-8")


def encode_png(image: np.ndarray) -> bytes:
    """A picture, (H, W, 3) uint8 RGB or (H, W) uint8, as the bytes of a PNG file."""
    ordered = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    done, data = cv2.imencode(".png", ordered, [cv2.IMWRITE_PNG_COMPRESSION, 3])
    if not done:
        raise ValueError(f"a picture of shape {image.shape} and type {image.dtype} cannot be written as PNG")
    return data.tobytes()


def _refinement_record(refinement: Refinement, stem: str) -> dict[str, Any]:
    coarse, refined = refined_names(stem)
    return {
        "combination": refinement.combination.value,
        "predicted_iou": _number(refinement.predicted_iou),
        "positive_points": len(refinement.points.positive),
        "negative_points": len(refinement.points.negative),
        "coarse_mask_file": coarse,
        "refined_mask_file": refined,
        "corrections": [
            {"x": _number(said.x), "y": _number(said.y), "hair": said.hair} for said in refinement.corrections
        ],
    }


def _hair_record(hair: Hair, scale: float | None, classes: HairClasses) -> dict[str, Any]:
    diameter_um = None if scale is None or not math.isfinite(hair.diameter_px) else hair.diameter_px * scale
    return {
        "id": hair.id,
        "centre_line": [[round(float(x), 2), round(float(y), 2)] for x, y in hair.centre_line],
        "length_px": _number(hair.length_px),
        "diameter_px": _number(hair.diameter_px),
        "diameter_um": _number(diameter_um),
        "diameter_spread_px": _number(hair.diameter_spread_px),
        "hair_class": None if diameter_um is None else _class_of(diameter_um, classes).value,
        "ends_inside": [bool(end) for end in hair.ends_inside],
    }


def _class_of(diameter_um: float, classes: HairClasses) -> HairClass:
    if diameter_um < classes.vellus_below_um:
        return HairClass.VELLUS
    return HairClass.TERMINAL if diameter_um > classes.terminal_above_um else HairClass.INTERMEDIATE


def _number(value: float | None) -> float | None:
    """Six digits that mean something; None for what is absent or not a number."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{float(value):.6g}")


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    # A spreadsheet takes a cell that starts so for a formula; a file name may not become one.
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
