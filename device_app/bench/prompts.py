"""`scalpscope bench prompts`: what refining a picture takes beside SAM, at 640 x 480 with about 300 points.

Goal: prompt points, both masks' combination and the clean-up in 15 ms together on two processor cores. Also run as
``python -m device_app.bench.prompts``.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from device_app.bench.live_rate import hold_to_cores
from device_app.bench.phantom_masks import NETWORK_SIZE, degraded_probability
from device_app.camera.phantom import render_phantom
from device_app.images import write_text_atomically
from device_app.vision.masks import CleanUp, Combination, combine_masks, drop_small, hair_mask
from device_app.vision.prompts import draw_prompts

GOAL_MS = 15.0
_SCALE_UM_PER_PX, _HAIRS = 3.0, 8  # about 300 points
_WARM_UP_RUNS = 5


@dataclass(frozen=True)
class PromptTimes:
    """What prompting, combining and clean-up took.

    Attributes:
        combination: the combination of the masks.
        cores: processor cores it was held to.
        pictures, runs: phantoms, and how often each was gone through.
        points_min, points_median, points_max: prompt points of a picture, positive and negative.
        stage_ms: p50 and p95 of each stage and of all together, ``total``, over every run of every picture.
    """

    combination: str
    cores: int
    pictures: int
    runs: int
    points_min: int
    points_median: int
    points_max: int
    stage_ms: dict[str, dict[str, float]]

    @property
    def met(self) -> bool:
        """The goal is met, at the median."""
        return self.stage_ms["total"]["p50"] <= GOAL_MS


def measure(pictures: int, runs: int, first_seed: int, how: Combination, cores: int) -> PromptTimes:
    """Time the stages on phantoms' masks, damaged as a network would damage them, once for each of the two views.

    Raises:
        ScalpScopeError: this machine has fewer cores.
    """
    hold_to_cores(cores)
    cv2.setNumThreads(cores)
    took: dict[str, list[float]] = {"clean-up": [], "prompts": [], "ensemble": [], "total": []}
    points = []
    for seed in range(first_seed, first_seed + pictures):
        phantom = render_phantom(seed, *NETWORK_SIZE, _SCALE_UM_PER_PX, _HAIRS)
        views = degraded_probability(phantom, 2 * seed), degraded_probability(phantom, 2 * seed + 1)
        for run in range(-_WARM_UP_RUNS, runs):
            count, times = _run(*views, how)
            if run >= 0:
                for stage, ms in times.items():
                    took[stage].append(ms)
        points.append(count)
    return PromptTimes(
        combination=how.value,
        cores=cores,
        pictures=pictures,
        runs=runs,
        points_min=min(points),
        points_median=round(float(np.median(points))),
        points_max=max(points),
        stage_ms={
            stage: {"p50": float(np.quantile(times, 0.5)), "p95": float(np.quantile(times, 0.95))}
            for stage, times in took.items()
        },
    )


def _run(coarse: np.ndarray, refined: np.ndarray, how: Combination) -> tuple[int, dict[str, float]]:
    """Go once through what the refine lane does beside SAM: the number of points and the milliseconds of each stage."""
    clean_up = CleanUp()
    coarse_mask = hair_mask(coarse, NETWORK_SIZE)  # the live lane's own, and not counted here
    at = [time.perf_counter()]
    prompted = drop_small(coarse_mask, clean_up.least_before(_SCALE_UM_PER_PX))
    at.append(time.perf_counter())
    points = draw_prompts(prompted)
    at.append(time.perf_counter())
    mask = combine_masks(coarse, refined, how, NETWORK_SIZE)
    at.append(time.perf_counter())
    drop_small(mask, clean_up.least_after(_SCALE_UM_PER_PX))
    at.append(time.perf_counter())
    before, prompts, ensemble, after = (1000 * np.diff(at)).tolist()
    times = {"clean-up": before + after, "prompts": prompts, "ensemble": ensemble, "total": 1000 * (at[-1] - at[0])}
    return points.count, times


def command(
    count: Annotated[int, typer.Option("--count", min=1, help="Phantoms to go through.")] = 10,
    runs: Annotated[int, typer.Option("--runs", min=1, help="How often each is gone through.")] = 30,
    first_seed: Annotated[int, typer.Option("--seed", min=0, help="First seed; one seed gives one phantom.")] = 0,
    how: Annotated[
        Combination, typer.Option("--combination", help="How both masks are combined.")
    ] = Combination.PRODUCT,
    cores: Annotated[int, typer.Option("--cores", min=1, help="Processor cores to be held to.")] = 2,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="R.json", help="Write the result here too.")
    ] = None,
) -> None:
    """Time prompts, ensemble and clean-up at 640 x 480. Exit code 1 when the goal is missed.

    \b
    Examples:
      scalpscope bench prompts
      scalpscope bench prompts --combination grown --report prompts.json
    """
    found = measure(count, runs, first_seed, how, cores)
    _print(found)
    if report is not None:
        content = {"goal_ms": GOAL_MS, "met": found.met, **asdict(found)}
        write_text_atomically(report, json.dumps(content, indent=2) + "\n")
    if not found.met:
        raise typer.Exit(1)


def _print(found: PromptTimes) -> None:
    width, height = NETWORK_SIZE
    table = Table(
        title=f"{found.pictures} phantoms of {width} x {height}, {found.runs} runs each", title_justify="left"
    )
    for heading in ("stage", "p50 ms", "p95 ms"):
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    for stage, spread in found.stage_ms.items():
        named = f"ensemble ({found.combination})" if stage == "ensemble" else stage
        table.add_row(named, *(f"{spread[key]:.2f}" for key in ("p50", "p95")))
    console = Console()
    console.print(table)
    total = found.stage_ms["total"]
    console.print(
        f"{found.points_median} points a picture ({found.points_min} to {found.points_max}); prompts, ensemble and "
        f"clean-up {total['p50']:.1f} ms, {total['p95']:.1f} ms at the 95th percentile, on {found.cores} cores "
        f"(goal {GOAL_MS:g} ms): " + ("goal met" if found.met else "goal missed"),
        highlight=False,
        soft_wrap=True,
    )


if __name__ == "__main__":
    typer.run(command)
