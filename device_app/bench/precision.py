"""`scalpscope bench precision`: what int8 and FP16 change on real frames, and how much faster they are than FP32.

Goals: int8 mask Dice >= 0.99 in the median and >= 0.97 at worst, median diameter shift <= 1 µm, and twice the speed.
Also run as ``python -m device_app.bench.precision``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress

from calibration.errors import ScalpScopeError
from device_app.bench.same_hairs import measured_hairs, shifts_of_same_hairs
from device_app.bundle import Bundle, Task, default_bundle_path, load_bundle
from device_app.commands.options import BundlePath, PrecisionName, UmPerPx
from device_app.engines.engine import Engine, Precision
from device_app.engines.goldens import check_goldens, mask_dice
from device_app.engines.onnxruntime_engine import OnnxRuntimeEngine
from device_app.images import find_images, read_image, write_text_atomically
from device_app.vision.hairs import Hair
from device_app.vision.masks import hair_mask
from device_app.vision.preprocess import to_network_input

GOAL_DICE_MEDIAN, GOAL_DICE_WORST, GOAL_SHIFT_UM, GOAL_SPEED = 0.99, 0.97, 1.0, 2.0


@dataclass(frozen=True)
class PrecisionResult:
    """One precision against FP32 of the same bundle, same pictures, same run.

    Attributes:
        precision: its name.
        backend: where it ran.
        pictures: how many.
        dice_median, dice_worst: of its mask with FP32's mask, at the picture's own resolution.
        worst_picture: the name of the picture with the least Dice.
        prob_mae: mean absolute difference of the probabilities, over all pictures.
        prob_max: the largest difference of one probability.
        diameter_shift_px: median over all hairs found by both of |diameter - FP32's diameter of the same hair|; None
            where there is no such hair.
        diameter_shift_um: the same in micrometres; None without a scale.
        hairs_matched: share of FP32's measured hairs that this precision found as well.
        picture_shift_px: median over the pictures of |median diameter - FP32's median diameter|: holds what hairs that
            only one of them found do to the figure on the screen.
        latency_ms: median time of one run.
        speed: FP32's median time over this one.
    """

    precision: str
    backend: str
    pictures: int
    dice_median: float
    dice_worst: float
    worst_picture: str
    prob_mae: float
    prob_max: float
    diameter_shift_px: float | None
    diameter_shift_um: float | None
    hairs_matched: float | None
    picture_shift_px: float | None
    latency_ms: float
    speed: float


@dataclass(frozen=True)
class PrecisionReport:
    """All precisions of a bundle on a set of pictures."""

    bundle: str
    scale_um_per_px: float | None
    threads: int
    results: tuple[PrecisionResult, ...]

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    def to_markdown(self) -> str:
        """A table, one row per precision."""
        head = "| precision | mask Dice median | worst | probability MAE | diameter shift | hairs found | ms | speed |"
        rows = [
            f"| {r.precision} | {r.dice_median:.4f} | {r.dice_worst:.4f} | {r.prob_mae:.5f} | {_shift(r)} "
            f"| {_share(r.hairs_matched)} | {r.latency_ms:.1f} | {r.speed:.2f}x |"
            for r in self.results
        ]
        pictures = self.results[0].pictures if self.results else 0
        title = f"Bundle {self.bundle}, {pictures} pictures, {self.threads} threads."
        return "\n".join([title, "", head, "|---|---|---|---|---|---|---|---|", *rows]) + "\n"

    def misses(self) -> list[str]:
        """The goals that the int8 file of ONNX Runtime misses, each with the figure."""
        missed = []
        for r in self.results:
            if r.precision != "int8_u8s8":
                continue
            shift = r.diameter_shift_um
            for name, value, goal, good in (
                ("median mask Dice", r.dice_median, GOAL_DICE_MEDIAN, r.dice_median >= GOAL_DICE_MEDIAN),
                ("worst mask Dice", r.dice_worst, GOAL_DICE_WORST, r.dice_worst >= GOAL_DICE_WORST),
                ("diameter shift, µm", shift or 0.0, GOAL_SHIFT_UM, shift is None or shift <= GOAL_SHIFT_UM),
                ("speed against FP32", r.speed, GOAL_SPEED, r.speed >= GOAL_SPEED),
            ):
                if not good:
                    missed.append(f"{r.precision}: {name} is {value:.3f}, the goal is {goal:g}")
        return missed


def measure_precisions(
    bundle: Bundle,
    pictures: Sequence[tuple[str, np.ndarray]],
    precisions: Sequence[Precision] | None = None,
    threads: int = 2,
    scale_um_per_px: float | None = None,
    advance: Callable[[], None] = lambda: None,
    fp32: Path | None = None,
) -> PrecisionReport:
    """Run every precision of the hair network on every picture and compare with FP32.

    The engines take turns on each picture, so that whatever else the machine does slows all of them alike.

    Args:
        bundle: with an FP32 file, unless `fp32` is given.
        pictures: names and (H, W, 3) uint8 RGB; at least one.
        precisions: which to compare; None takes all that the bundle has.
        threads: of each engine.
        scale_um_per_px: of the pictures, for the shift in micrometres.
        advance: called after each picture.
        fp32: the network's FP32 file, for a bundle that ships without. The bundle's goldens prove that it is the same
            network; of the other precisions they are not asked: this measures.

    Raises:
        ScalpScopeError: no pictures, no FP32 or that of another network, or an engine that fails.
    """
    model = bundle.model(Task.HAIR)
    if not pictures:
        raise ScalpScopeError("There are no pictures to compare on.", "Give a folder with pictures.")
    if fp32 is None and Precision.FP32 not in model.files:
        raise ScalpScopeError(
            "This bundle has no FP32 file to compare with.",
            "Give that of its hair network with --fp32, or use a bundle that has one.",
        )
    if fp32 is not None and Precision.FP32 not in model.goldens.tolerance:
        raise ScalpScopeError(
            "The bundle's goldens do not say how near an FP32 file must come, so none can be compared with.",
            "Use a bundle that has one.",
        )
    wanted: list[Precision] = [p for p in (precisions or list(model.files)) if p != Precision.FP32]
    for precision in wanted:
        if precision not in model.files:
            raise ScalpScopeError(f"This bundle has no {precision.value} file.", "Ask for one it has.")
    files = {p: bundle.file(file) for p, file in model.files.items()} | ({Precision.FP32: fp32} if fp32 else {})
    engines: dict[Precision, Engine] = {
        p: OnnxRuntimeEngine(files[p], model, p, threads) for p in (Precision.FP32, *wanted)
    }
    if fp32 is not None:
        check_goldens(engines[Precision.FP32], bundle, model)
    found: dict[Precision, list[_Comparison]] = {p: [] for p in engines}
    times: dict[Precision, list[float]] = {p: [] for p in engines}
    for number, (_, image) in enumerate(pictures):
        feed = {model.input_name: to_network_input(image, model)}
        size = (image.shape[1], image.shape[0])
        answers: dict[Precision, _Answer] = {}
        for precision, engine in engines.items():
            if number == 0:
                engine.run(feed)  # the first run of an engine is slower than all others
            start = time.perf_counter()
            probability = engine.run(feed)[model.output_name]
            times[precision].append(time.perf_counter() - start)
            mask = hair_mask(probability[0, 0], size, model.threshold)
            answers[precision] = _Answer(probability, mask > 0, measured_hairs(image, mask))
            found[precision].append(_compare(answers[precision], answers[Precision.FP32]))
        advance()
    names = [name for name, _ in pictures]
    base = float(np.median(times[Precision.FP32]))
    results = tuple(
        _summary(p.value, engines[p].backend, names, found[p], float(np.median(times[p])), base, scale_um_per_px)
        for p in engines
    )
    for engine in engines.values():
        engine.close()
    return PrecisionReport(f"{bundle.name} {bundle.version}", scale_um_per_px, threads, results)


@dataclass(frozen=True)
class _Answer:
    probability: np.ndarray
    mask: np.ndarray
    hairs: tuple[Hair, ...]


@dataclass(frozen=True)
class _Comparison:
    dice: float
    mae: float
    largest: float
    hair_shifts_px: tuple[float, ...]
    reference_hairs: int
    picture_shift_px: float | None


def _compare(answer: _Answer, reference: _Answer) -> _Comparison:
    difference = np.abs(answer.probability - reference.probability)
    shift = None
    if answer.hairs and reference.hairs:
        medians = [float(np.median([hair.diameter_px for hair in hairs])) for hairs in (answer.hairs, reference.hairs)]
        shift = abs(medians[0] - medians[1])
    return _Comparison(
        dice=mask_dice(answer.mask, reference.mask),
        mae=float(difference.mean()),
        largest=float(difference.max()),
        hair_shifts_px=shifts_of_same_hairs(answer.hairs, reference.hairs),
        reference_hairs=len(reference.hairs),
        picture_shift_px=shift,
    )


def _summary(
    precision: str,
    backend: str,
    names: Sequence[str],
    found: Sequence[_Comparison],
    seconds: float,
    base_seconds: float,
    scale_um_per_px: float | None,
) -> PrecisionResult:
    dices = [f.dice for f in found]
    shifts = [shift for f in found for shift in f.hair_shifts_px]
    shift = float(np.median(shifts)) if shifts else None
    picture_shifts = [f.picture_shift_px for f in found if f.picture_shift_px is not None]
    hairs = sum(f.reference_hairs for f in found)
    return PrecisionResult(
        precision=precision,
        backend=backend,
        pictures=len(found),
        dice_median=float(np.median(dices)),
        dice_worst=min(dices),
        worst_picture=names[int(np.argmin(dices))],
        prob_mae=float(np.mean([f.mae for f in found])),
        prob_max=max(f.largest for f in found),
        diameter_shift_px=shift,
        diameter_shift_um=None if shift is None or scale_um_per_px is None else shift * scale_um_per_px,
        hairs_matched=len(shifts) / hairs if hairs else None,
        picture_shift_px=float(np.median(picture_shifts)) if picture_shifts else None,
        latency_ms=seconds * 1e3,
        speed=base_seconds / seconds,
    )


def _shift(result: PrecisionResult) -> str:
    if result.diameter_shift_px is None:
        return "no hairs"
    in_um = "" if result.diameter_shift_um is None else f" = {result.diameter_shift_um:.3f} µm"
    return f"{result.diameter_shift_px:.3f} px{in_um}"


def _share(value: float | None) -> str:
    return "no hairs" if value is None else f"{100 * value:.1f} %"


def command(
    images: Annotated[Path, typer.Option("--images", metavar="DIR", help="Pictures to compare on: real frames.")],
    count: Annotated[int, typer.Option("--count", min=1, help="At most this many, spread over the folder.")] = 60,
    bundle: BundlePath = None,
    precision: Annotated[
        list[PrecisionName] | None, typer.Option("--precision", help="Compare these only; may be repeated.")
    ] = None,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Threads of each engine.")] = 2,
    um_per_px: UmPerPx = None,
    fp32: Annotated[
        Path | None,
        typer.Option("--fp32", metavar="FILE", help="The hair network's FP32 file, if the bundle ships without it."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="R.json", help="Write the result here, and a table beside it.")
    ] = None,
) -> None:
    """Compare int8 and FP16 with FP32 on real pictures: masks, diameters, speed. Exit code 1 if int8 misses a goal.

    \b
    Examples:
      scalpscope bench precision --images pictures
      scalpscope bench precision --images pictures --um-per-px 4 --report precision.json
    """
    files = find_images([images])
    chosen = [files[i] for i in np.linspace(0, len(files) - 1, min(count, len(files))).round().astype(int)]
    loaded = load_bundle(bundle or default_bundle_path())
    precisions = [Precision(name.value) for name in precision] if precision else None
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("comparing", total=len(chosen))
        result = measure_precisions(
            loaded,
            [(file.name, read_image(file)) for file in chosen],
            precisions,
            threads,
            um_per_px,
            lambda: progress.advance(task),
            fp32,
        )
    typer.echo(result.to_markdown())
    if report is not None:
        write_text_atomically(report, result.to_json())
        write_text_atomically(report.with_suffix(".md"), result.to_markdown())
    for miss in (missed := result.misses()):
        typer.echo(miss)
    if missed:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(command)
