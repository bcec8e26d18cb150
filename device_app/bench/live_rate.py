"""`scalpscope bench live-rate`: analysed frames a second of the live loop, and where a frame's time goes.

Goal: 15 analysed frames a second at 640 x 480 on two processor cores, with at most 25 % of a frame's time outside the
network. Also run as ``python -m device_app.bench.live_rate``.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from calibration.errors import ScalpScopeError
from device_app.bundle import default_bundle_path
from device_app.camera.choose import open_source
from device_app.commands.options import BundlePath, ChosenPrecision
from device_app.engines.engine import Precision
from device_app.images import write_text_atomically
from device_app.live.headless import run_headless
from device_app.live.settings import PipelineSettings

GOAL_FPS, GOAL_SHARE = 15.0, 0.25
_STAGES = ("preprocess", "segment", "mask", "measure", "focus", "total")


@dataclass(frozen=True)
class LiveRate:
    """What the live loop reached.

    Attributes:
        cores: processor cores it was held to.
        analysed_fps: analysed frames a second, over the whole run.
        captured_fps: what the source delivered meanwhile.
        other_share: share of the pipeline's time that is not the network, 0 to 1.
        overhead_ms: what one analysed frame takes beyond its pipeline: hand-over, waiting for the next frame.
    """

    cores: int
    analysed_fps: float
    captured_fps: float
    other_share: float
    overhead_ms: float

    @property
    def met(self) -> bool:
        """Both goals are met."""
        return self.analysed_fps >= GOAL_FPS and self.other_share <= GOAL_SHARE


def command(
    seconds: Annotated[float, typer.Option("--seconds", min=1.0, help="For how long.")] = 30.0,
    source: Annotated[str, typer.Option("--source", metavar="demo|camera[:N]|PATH", help="What to look at.")] = "demo",
    cores: Annotated[int, typer.Option("--cores", min=1, help="Processor cores to be held to.")] = 2,
    bundle: BundlePath = None,
    precision: ChosenPrecision = None,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="R.json", help="Write the result here too.")
    ] = None,
) -> None:
    """Run the live loop without a window and measure its rate. Exit code 1 when a goal is missed.

    \b
    Examples:
      scalpscope bench live-rate
      scalpscope bench live-rate --seconds 60 --precision int8_u8s8 --report live_rate.json
    """
    hold_to_cores(cores)
    settings = PipelineSettings(
        bundle or default_bundle_path(),
        scale_um_per_px=3.0,  # the demo's; the figures cost the same on any scale
        precision=None if precision is None else Precision(precision.value),
        threads=cores,
    )
    found = run_headless(open_source(source), settings, seconds, build_engines=False)
    rate = rate_of(found, cores)
    _print(found, rate)
    if report is not None:
        content = {"goal_fps": GOAL_FPS, "goal_other_share": GOAL_SHARE, **asdict(rate), "run": found}
        write_text_atomically(report, json.dumps(content, indent=2) + "\n")
    if not rate.met:
        raise typer.Exit(1)


def hold_to_cores(cores: int) -> None:
    """Hold this process, and those it starts, to the first so many of the cores it may use.

    Raises:
        ScalpScopeError: there are fewer.
    """
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < cores:
        raise ScalpScopeError(f"This machine has {len(usable)} usable cores, not {cores}.", "Ask for fewer.")
    os.sched_setaffinity(0, usable[:cores])


def rate_of(found: dict[str, Any], cores: int) -> LiveRate:
    """The rate, from a report of `run_headless`."""
    stages = found["stage_ms"]
    total, network = stages["total"]["mean"], stages["segment"]["mean"]
    return LiveRate(
        cores=cores,
        analysed_fps=found["analysed_per_s"],
        captured_fps=found["captured_per_s"],
        other_share=1.0 - network / total,
        overhead_ms=1000.0 / max(found["analysed_per_s"], 1e-3) - total,
    )


def _print(found: dict[str, Any], rate: LiveRate) -> None:
    table = Table(title=f"{found['source']}, {found['bundle']}, {found['backend']}", title_justify="left")
    for heading in ("stage", "p50 ms", "p95 ms", "mean ms"):
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    for stage in _STAGES:
        spread = found["stage_ms"][stage]
        table.add_row(stage, *(f"{spread[key]:.1f}" for key in ("p50", "p95", "mean")))
    latency = found["latency_ms"]
    table.add_row("capture to result", *(f"{latency[key]:.1f}" for key in ("p50", "p95", "mean")))
    console = Console()
    console.print(table)
    console.print(
        f"{rate.analysed_fps:.1f} of {rate.captured_fps:.1f} frames a second analysed on {rate.cores} cores "
        f"(goal {GOAL_FPS:g}); {rate.other_share:.0%} of the pipeline is not the network (goal {GOAL_SHARE:.0%}): "
        + ("goals met" if rate.met else "goal missed"),
        highlight=False,
        soft_wrap=True,
    )


if __name__ == "__main__":
    typer.run(command)
