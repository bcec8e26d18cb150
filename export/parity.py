"""The parity report of an export: what each precision changed on real frames, and how int8 was chosen."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from calibration.files import write_text_atomically
from device_app.bench.precision import PrecisionReport, measure_precisions
from device_app.bundle import Bundle
from export.quantise import Quantised

REPORT = "parity"


def measure_parity(
    bundle: Bundle,
    frames: Sequence[tuple[str, np.ndarray]],
    threads: int = 2,
    scale_um_per_px: float | None = None,
    advance: Callable[[], None] = lambda: None,
    fp32: Path | None = None,
) -> PrecisionReport:
    """Every precision of a bundle against FP32: the device's own measurement (`device_app.bench.precision`)."""
    return measure_precisions(bundle, frames, None, threads, scale_um_per_px, advance, fp32)


def quality_of(report: PrecisionReport) -> dict[str, float]:
    """The figures for a manifest: the loss of each precision, by name. Speeds stay out: they are a machine's."""
    quality = {}
    for result in report.results:
        if result.precision != "fp32":
            quality[f"{result.precision}_mask_dice_median"] = round(result.dice_median, 5)
            quality[f"{result.precision}_mask_dice_worst"] = round(result.dice_worst, 5)
            quality[f"{result.precision}_probability_mae"] = round(result.prob_mae, 6)
    return quality


def write_parity(
    folder: Path, report: PrecisionReport, torch_difference: float | None = None, quantised: Quantised | None = None
) -> tuple[Path, Path]:
    """Write `parity.json` and `parity.md` into a folder.

    Args:
        folder: must exist.
        report: of `measure_parity`.
        torch_difference: largest difference of a probability between torch and FP32 ONNX, where it was measured.
        quantised: how int8 was chosen, where it was done in this run.

    Returns:
        The two paths.
    """
    content: dict[str, object] = {"torch_difference": torch_difference, **asdict(report)}
    text = [f"# Parity of bundle {report.bundle}", "", report.to_markdown()]
    if torch_difference is not None:
        text += [f"FP32 ONNX against torch: largest difference of a probability {torch_difference:.2g}.", ""]
    if quantised is not None:
        content["int8"] = {
            "rule": quantised.rule.name,
            "rule_scores": dict(quantised.rule_scores),
            "sensitivity": asdict(quantised.sensitivity),
        }
        text += _choice(quantised)
    for miss in report.misses():
        text += [f"Missed: {miss}.", ""]
    paths = folder / f"{REPORT}.json", folder / f"{REPORT}.md"
    write_text_atomically(paths[0], json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    write_text_atomically(paths[1], "\n".join(text).rstrip() + "\n")
    return paths


def _choice(quantised: Quantised) -> list[str]:
    sensitivity = quantised.sensitivity
    kept = ", ".join(sensitivity.chosen) or "none"
    return [
        "## How int8 was chosen",
        "",
        "Score: 0 is no loss (missing mask Dice, mean and worst, and mean difference, on held-out frames).",
        "",
        *_table("rule of the ranges", quantised.rule_scores),
        f"Chosen: {quantised.rule.name}.",
        "",
        *_table(f"left in float (all int8: {sensitivity.all_int8:.5f})", sensitivity.float_alone),
        f"Left in float: {kept}; score {sensitivity.final:.5f}.",
        "",
    ]


def _table(title: str, scores: Mapping[str, float]) -> list[str]:
    rows = [f"| {name} | {score:.5f} |" for name, score in sorted(scores.items(), key=lambda item: item[1])]
    return [f"| {title} | score |", "|---|---|", *rows, ""]
