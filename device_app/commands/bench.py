"""`scalpscope bench`: latency in one report; and `scalpscope bench NAME`: the other measurements of docs/benchmarks.md.

Each is loaded only when it is asked for.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from calibration.errors import ScalpScopeError
from device_app.commands.options import BundlePath, ChosenPrecision

BENCHES = {
    "phantoms": "Diameter, count and density on phantoms with known truth.",
    "no-hair": "How often hair is found in pictures that have none.",
    "precision": "int8 against FP32: masks, diameters and speed.",
    "prompts": "Prompt points, combined masks and clean-up: what refining takes beside SAM.",
    "live-rate": "Analysed frames a second of the live loop, and where the time goes.",
    "refine": "From freeze to refined figures, and whether the live loop keeps its rate meanwhile.",
    "classify": "The conditions network in int8 and FP32, and what grading takes from the live loop.",
    "screen-rate": "Pictures a second on the screen while the network is slow.",
    "soak": "The live loop for long, with killed workers and dropped sources.",
}
"""Name on the command line (the module is called the same, with _) and what `scalpscope bench --help` says of it."""

EXIT_INVALID = 1


class ModelName(str, Enum):
    """`device_app.bench.latency.report.Model` by its values; a copy, so that --help does not load the bench."""

    HAIR = "hair"
    SAM_ENCODER = "sam-encoder"
    SAM_DECODER = "sam-decoder"
    CONDITIONS = "conditions"
    PIPELINE = "pipeline"


class ScenarioName(str, Enum):
    """The same for `report.Scenario`."""

    SINGLE_STREAM = "single-stream"
    MULTI_STREAM = "multi-stream"
    LIVE = "live"


app = typer.Typer(rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]})


@app.callback(invoke_without_command=True)
def latency(
    context: typer.Context,
    model: Annotated[
        ModelName,
        typer.Option("--model", help="One network alone, or the live pipeline: all that is done with a frame."),
    ] = ModelName.PIPELINE,
    backend: Annotated[
        str | None,
        typer.Option(
            "--backend",
            metavar="NAME",
            help="Where it runs, such as tensorrt or onnxruntime-cpu. If it cannot, the best that can is measured and "
            "the report is INVALID. [default: the best for this machine]",
        ),
    ] = None,
    precision: ChosenPrecision = None,
    scenario: Annotated[
        ScenarioName,
        typer.Option(
            "--scenario",
            help="MLPerf's single-stream and multi-stream, by its own load generator; or live: the real loop at the "
            "camera's pace.",
        ),
    ] = ScenarioName.SINGLE_STREAM,
    seconds: Annotated[
        float,
        typer.Option(
            "--seconds",
            min=0.5,
            help="For how long, at least. Below 60 it is a quick look, and INVALID; MLPerf asks for 600.",
        ),
    ] = 60.0,
    source: Annotated[
        str,
        typer.Option(
            "--source",
            metavar="demo|PATH",
            help="The frames: the demo scalp, a folder of pictures, or a video; for live also camera[:N].",
        ),
    ] = "demo",
    points: Annotated[int, typer.Option("--points", min=1, help="Prompt points, for sam-decoder.")] = 300,
    cores: Annotated[
        int | None,
        typer.Option("--cores", min=1, help="Processor cores to be held to. [default: all that may be used]"),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads", min=1, max=256, help="Threads of an engine on the processor. [default: as many as cores]"
        ),
    ] = None,
    window: Annotated[
        str | None,
        typer.Option("--window", metavar="WxH", help="With live: the app in a window, with upload and present."),
    ] = None,
    peers: Annotated[
        bool,
        typer.Option("--peers", help="The same frames through PyTorch and others, by turns; takes scalpscope[export]."),
    ] = False,
    checkpoint: Annotated[
        Path | None,
        typer.Option("--checkpoint", metavar="FILE", help="With --peers: the hair network's trained weights."),
    ] = None,
    against: Annotated[
        Path | None, typer.Option("--against", metavar="REPORT", help="Compare with this earlier report.")
    ] = None,
    bundle: BundlePath = None,
    fp32: Annotated[
        Path | None,
        typer.Option("--fp32", metavar="FILE", help="The network's FP32 file, to compare masks and diameters with."),
    ] = None,
    first_frame: Annotated[
        bool,
        typer.Option(
            "--first-frame/--no-first-frame", help="For the pipeline: time the app from its start to its first frame."
        ),
    ] = True,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Folder for the report. [default: bench-MODEL-SCENARIO-TIME]"),
    ] = None,
) -> None:
    """Measure latency on this machine, in one report that is VALID or says why it is INVALID.

    Without a name behind it this times the live pipeline, or one network, stage by stage and end to end, and writes a
    folder: report.json, frames.jsonl (the times of every frame), report.html (a page to look at) and the logs of
    MLPerf's load generator. Beside the speed stands what the engine computes against FP32. Leave the machine alone
    meanwhile: what it did before, during and after is in the report.

    With a name it runs one of the other measurements of docs/benchmarks.md.

    Exit code 0 VALID, 1 INVALID, 2 something to mend.

    \b
    Examples:
      scalpscope bench
      scalpscope bench --model hair --backend onnxruntime-cpu --cores 2
      scalpscope bench --scenario live --window 1280x800 --seconds 120
      scalpscope bench --against bench-pipeline-single-stream-20261130-120000
      scalpscope bench --peers --cores 2
      scalpscope bench compare BEFORE AFTER
    """
    if context.invoked_subcommand is not None:
        given = [
            name.replace("_", "-")
            for name in context.params
            if (source_of := context.get_parameter_source(name)) is not None and source_of.name == "COMMANDLINE"
        ]
        if given:
            raise ScalpScopeError(
                f"--{given[0]} stands before '{context.invoked_subcommand}' and is no option of it.",
                f"See scalpscope bench {context.invoked_subcommand} --help.",
            )
        return

    from device_app.bench.latency.cold_start import Wanted
    from device_app.bench.latency.plan import Plan, check_plan
    from device_app.bench.latency.report import Model, Scenario
    from device_app.bench.latency.run import run_bench
    from device_app.bench.live_rate import hold_to_cores
    from device_app.bundle import default_bundle_path
    from device_app.commands import bench_words
    from device_app.engines.engine import Precision

    held = cores or len(os.sched_getaffinity(0))
    now = datetime.now().strftime("%Y%m%d-%H%M%S")
    plan = Plan(
        wanted=Wanted(
            bundle or default_bundle_path(),
            Model(model.value),
            backend,
            None if precision is None else Precision(precision.value),
            threads or held,
            points,
        ),
        scenario=Scenario(scenario.value),
        seconds=seconds,
        source=source,
        cores=held,
        out=out or Path(f"bench-{model.value}-{scenario.value}-{now}"),
        command=" ".join(["scalpscope", *sys.argv[1:]]),
        window=None if window is None else window_size(window),
        peers=peers,
        checkpoint=checkpoint,
        against=against,
        fp32=fp32,
        first_frame=first_frame,
    )
    check_plan(plan)
    hold_to_cores(held)
    with bench_words.progress() as tell:
        outcome = run_bench(plan, tell)
    bench_words.print_outcome(outcome)
    if not outcome.measured.report.verdict.valid:
        raise typer.Exit(EXIT_INVALID)


def window_size(text: str) -> tuple[int, int]:
    """(width, height) of ``WxH``. Raises `ScalpScopeError` for anything else."""
    match = re.fullmatch(r"([1-9]\d{1,4})x([1-9]\d{1,4})", text)
    if match is None:
        raise ScalpScopeError(f"'{text}' is no size of a window.", "Write it as 1280x800.")
    return int(match[1]), int(match[2])


@app.command("compare")
def compare(
    before: Annotated[Path, typer.Argument(metavar="BEFORE", help="A report, or the folder that it lies in.")],
    after: Annotated[Path, typer.Argument(metavar="AFTER", help="Another, of the same model and scenario.")],
) -> None:
    """Lay two latency reports side by side: by which ratio each stage differs, with its 95 % interval.

    A ratio above 1 says that AFTER is faster. Another machine, bundle, back end or precision is what one compares, and
    is said; another model, scenario, picture size, number of points, cores or threads is refused. The interval knows
    how the frames spread within both runs, and not how the machine differs from one run to the next: 5 % and less is
    called no difference. Exit code 1 when one of the two is INVALID.

    \b
    Examples:
      scalpscope bench compare bench-hair-single-stream-20261130-120000 bench-hair-single-stream-20261201-090000
      scalpscope bench compare orin/report.json thor/report.json
    """
    from device_app.bench.latency.compare import compare as lay_side_by_side
    from device_app.bench.latency.compare import read_measured
    from device_app.commands.bench_words import print_comparison

    comparison = lay_side_by_side(read_measured(before), read_measured(after))
    print_comparison(comparison)
    if not comparison.counts:
        raise typer.Exit(1)


def _mount(name: str, summary: str) -> None:
    def forward(context: typer.Context) -> None:
        module = importlib.import_module(f"device_app.bench.{name.replace('-', '_')}")
        single = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
        single.command(context_settings={"help_option_names": ["-h", "--help"]})(module.command)
        single(args=context.args, prog_name=f"scalpscope bench {name}")

    # Everything behind the name, --help too, is the bench's own to understand.
    settings = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
    app.command(name, help=summary, context_settings=settings)(forward)


for _name, _summary in BENCHES.items():
    _mount(_name, _summary)
