"""`scalpscope bench phantoms`: diameters, counts and densities against phantoms whose every hair is known."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from device_app import __version__
from device_app.commands.options import BundlePath, ChosenPrecision

if TYPE_CHECKING:
    from device_app.camera.phantom import Phantom, PhantomLook
    from device_app.vision.hairs import Hair

    FindHairs = Callable[[Phantom, int], tuple[Hair, ...]]

SIZES = ((640, 480), (1280, 1024))
SCALES_UM_PER_PX = (2.0, 3.0, 4.0, 5.0, 6.0)
DIAMETERS_UM = (30.0, 100.0)
COVERAGE = 0.18
"""About this share of a phantom is hair, whatever its size and scale."""

GOAL_BIAS_UM = 1.0
GOAL_ERROR_95_UM = 4.0
GOAL_COUNT_FRACTION = 0.03


class Masks(str, Enum):
    """Where the hair masks come from."""

    BUNDLE = "bundle"  # the network: the whole way of a frame
    REFINED = "refined"  # the same, refined by SAM as a frozen picture is
    DEGRADED = "degraded"  # the truth, damaged as a network would: the measuring by itself
    TRUTH = "truth"  # the truth: what measuring can reach


@dataclass(frozen=True)
class CaseResult:
    """What was measured at one picture size and scale, over all seeds.

    Attributes:
        pictures, true_hairs: how much was looked at.
        matched: hairs that were found, each true hair at most once.
        unmeasured: of these, hairs that got no diameter.
        bias_um: mean of measured minus true diameter.
        error_95_um: 95 % of the matched and measured hairs err by no more than this.
        count_error_fraction: |found - true| hairs over true ones, summed over pictures with sign.
        density_error_fraction: the same for the hairs that density counts.
        count_error_per_picture: mean over the pictures of |found - true| / true, where errors do not cancel.
    """

    width: int
    height: int
    scale_um_per_px: float
    pictures: int
    true_hairs: int
    matched: int
    unmeasured: int
    bias_um: float
    error_95_um: float
    count_error_fraction: float
    density_error_fraction: float
    count_error_per_picture: float

    @property
    def met(self) -> bool:
        """Whether the goals of docs/benchmarks.md are met here."""
        return (
            abs(self.bias_um) <= GOAL_BIAS_UM
            and self.error_95_um <= GOAL_ERROR_95_UM
            and abs(self.count_error_fraction) <= GOAL_COUNT_FRACTION
            and abs(self.density_error_fraction) <= GOAL_COUNT_FRACTION
        )


def command(
    count: Annotated[int, typer.Option("--count", min=1, help="Phantoms of each size and scale.")] = 6,
    first_seed: Annotated[int, typer.Option("--seed", min=0, help="First seed; one seed gives one phantom.")] = 0,
    masks: Annotated[Masks, typer.Option("--masks", help="Where the hair masks come from.")] = Masks.BUNDLE,
    bundle: BundlePath = None,
    precision: ChosenPrecision = None,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="R.json", help="Write the result here too.")
    ] = None,
) -> None:
    """Measure phantoms with known hairs: 30 to 100 µm, 2 to 6 µm per pixel, two picture sizes, crossings and all.

    Every other phantom has flat dark hairs; the rest have shading, gloss, pale hairs, blur, taper or JPEG in turn.
    Exit code 1 if a goal of docs/benchmarks.md is missed over all phantoms.

    \b
    Examples:
      scalpscope bench phantoms
      scalpscope bench phantoms --masks refined                 from SAM's masks
      scalpscope bench phantoms --masks degraded --count 20     the measuring alone, without the network
    """
    from rich.console import Console
    from rich.progress import track

    from device_app.images import write_text_atomically

    find_hairs, made_by = _finder(masks, bundle, None if precision is None else precision.value)
    console = Console(stderr=True)
    cases = [(size, scale) for size in SIZES for scale in SCALES_UM_PER_PX]
    looks = looks_in_turn()
    tallies = []
    for size, scale in track(cases, "phantoms", console=console, transient=True, disable=not console.is_terminal):
        tally = Tally(*size, scale)
        for seed in range(first_seed, first_seed + count):
            look = looks[0] if seed % 2 == 0 else looks[1 + (seed // 2) % (len(looks) - 1)]
            tally.add(draw_phantom(seed, size, scale, look), seed, find_hairs)
        tallies.append(tally)
    results = [tally.result() for tally in tallies]
    over_all = Tally.together(tallies).result()
    _print_table(results, over_all, made_by)
    if report is not None:
        content = {
            "software": f"scalpscope {__version__}",
            "masks": made_by,
            "first_seed": first_seed,
            "goals": {
                "bias_um": GOAL_BIAS_UM,
                "error_95_um": GOAL_ERROR_95_UM,
                "count_and_density_error_fraction": GOAL_COUNT_FRACTION,
            },
            "over_all": asdict(over_all),
            "cases": [asdict(result) for result in results],
        }
        write_text_atomically(report, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    if not over_all.met:
        raise typer.Exit(1)


def looks_in_turn() -> tuple[PhantomLook, ...]:
    """The looks that phantoms take: plain first, then one difficulty each."""
    from device_app.camera.phantom import PhantomLook

    return (
        PhantomLook(shading=0.0),
        PhantomLook(shading=0.5),
        PhantomLook(gloss=0.6),
        PhantomLook(pale_fraction=0.4),
        PhantomLook(blur_px=1.6),
        PhantomLook(jpeg_quality=70, noise=5.0),
        PhantomLook(taper=0.4),
        PhantomLook(curvature=0.2),
    )


def draw_phantom(seed: int, size: tuple[int, int], scale_um_per_px: float, look: PhantomLook) -> Phantom:
    """A phantom with as many hairs as make up `COVERAGE`."""
    from device_app.camera.phantom import render_phantom

    width, height = size
    one_hair_px = 0.42 * height * sum(DIAMETERS_UM) / 2 / scale_um_per_px
    hairs = max(4, round(COVERAGE * width * height / one_hair_px))
    return render_phantom(seed, width, height, scale_um_per_px, hairs, DIAMETERS_UM, look)


class Tally:
    """Adds up measured phantoms of one size and scale."""

    def __init__(self, width: int, height: int, scale_um_per_px: float) -> None:
        self.width, self.height, self.scale = width, height, scale_um_per_px
        self.errors_um: list[float] = []
        self.counts: list[tuple[int, int, int, int]] = []  # true, found, true rooted, found rooted

    @classmethod
    def together(cls, tallies: list[Tally]) -> Tally:
        """All of them as one; its size and scale are 0."""
        whole = cls(0, 0, 0.0)
        for tally in tallies:
            whole.errors_um += tally.errors_um
            whole.counts += tally.counts
        return whole

    def add(self, phantom: Phantom, seed: int, find_hairs: FindHairs) -> None:
        """Measure a phantom and compare."""
        found = find_hairs(phantom, seed)
        for truth, hair in match_hairs(phantom, found):
            self.errors_um.append((hair.diameter_px - phantom.hairs[truth].diameter_px) * phantom.scale_um_per_px)
        rooted = sum(any(hair.ends_inside) for hair in found)
        self.counts.append((len(phantom.hairs), len(found), phantom.rooted_count, rooted))

    def result(self) -> CaseResult:
        """The figures so far."""
        import numpy as np

        errors = np.array(self.errors_um, float)
        measured = errors[np.isfinite(errors)]
        true, found, true_rooted, found_rooted = np.array(self.counts, float).reshape(-1, 4).T
        return CaseResult(
            width=self.width,
            height=self.height,
            scale_um_per_px=self.scale,
            pictures=len(self.counts),
            true_hairs=int(true.sum()),
            matched=len(errors),
            unmeasured=len(errors) - len(measured),
            bias_um=float(measured.mean()) if len(measured) else float("nan"),
            error_95_um=float(np.quantile(np.abs(measured), 0.95)) if len(measured) else float("nan"),
            count_error_fraction=float((found - true).sum() / max(true.sum(), 1)),
            density_error_fraction=float((found_rooted - true_rooted).sum() / max(true_rooted.sum(), 1)),
            count_error_per_picture=float(np.mean(np.abs(found - true) / np.maximum(true, 1))),
        )


def match_hairs(phantom: Phantom, found: tuple[Hair, ...]) -> list[tuple[int, Hair]]:
    """Which found hair is which true one: (index in `phantom.hairs`, hair), best overlap first, each used once.

    They match where at least half of the found centre line lies within half a diameter of the true one.
    """
    import numpy as np
    from scipy.spatial import cKDTree

    overlaps = []
    for index, truth in enumerate(phantom.hairs):
        steps = np.arange(0, len(truth.centre_line) - 1 + 1e-9, 0.25)
        nodes = np.arange(len(truth.centre_line))
        dense = np.stack([np.interp(steps, nodes, truth.centre_line[:, axis]) for axis in (0, 1)], axis=1)
        tree = cKDTree(dense)
        for hair in found:
            distance, _ = tree.query(hair.centre_line)
            share = float((distance < max(truth.diameter_px / 2, 2.0)).mean())
            if share >= 0.5:
                overlaps.append((share * hair.length_px, index, hair))
    matches, used_truths, used_hairs = [], set(), set()
    for _, index, hair in sorted(overlaps, key=lambda overlap: -overlap[0]):
        if index not in used_truths and hair.id not in used_hairs:
            used_truths.add(index)
            used_hairs.add(hair.id)
            matches.append((index, hair))
    return matches


def _finder(masks: Masks, bundle: Path | None, precision: str | None) -> tuple[FindHairs, str]:
    """The function that finds a phantom's hairs, and what to call it."""
    from device_app.vision.measure import measure_hairs

    if masks is Masks.TRUTH:
        return lambda phantom, seed: measure_hairs(phantom.image, phantom.mask).hairs, "the truth"
    if masks is Masks.DEGRADED:
        from device_app.bench.phantom_masks import degraded_probability
        from device_app.vision.masks import hair_mask

        def degraded(phantom: Phantom, seed: int) -> tuple[Hair, ...]:
            mask = hair_mask(degraded_probability(phantom, seed), phantom.mask.shape[::-1])
            return measure_hairs(phantom.image, mask).hairs

        return degraded, "the truth, damaged as by a network"
    from device_app.analyse import PictureAnalyser
    from device_app.engines.engine import Precision

    chosen = None if precision is None else Precision(precision)
    analyser = PictureAnalyser(bundle_path=bundle, precision=chosen, threads=2)
    named = f"{analyser.bundle}, {analyser.backend}"
    if masks is Masks.REFINED:
        analyser.open_refiner()
        return lambda phantom, seed: analyser.refine(phantom.image).analysis.measurements.hairs, f"{named}, refined"
    return lambda phantom, seed: analyser.analyse(phantom.image).measurements.hairs, named


def _print_table(results: list[CaseResult], over_all: CaseResult, made_by: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"phantoms, masks: {made_by}", title_justify="left")
    for heading in (
        "size",
        "µm/px",
        "hairs",
        "found",
        "bias µm",
        "95 % within µm",
        "count",
        "density",
        "per picture",
        "",
    ):
        table.add_column(heading, justify="right")
    for result in [*results, over_all]:
        whole = result is over_all
        table.add_row(
            "all" if whole else f"{result.width} x {result.height}",
            "" if whole else f"{result.scale_um_per_px:g}",
            str(result.true_hairs),
            str(result.matched) + (f" ({result.unmeasured} unmeasured)" if result.unmeasured else ""),
            f"{result.bias_um:+.2f}",
            f"{result.error_95_um:.2f}",
            f"{result.count_error_fraction:+.1%}",
            f"{result.density_error_fraction:+.1%}",
            f"{result.count_error_per_picture:.1%}",
            "met" if result.met else "missed",
            end_section=not whole and result is results[-1],
        )
    Console().print(table)
