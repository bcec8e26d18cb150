"""`scalpscope bench ...`: the measurements of docs/benchmarks.md, each loaded only when it is asked for."""

from __future__ import annotations

import importlib

import typer

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

app = typer.Typer(
    help="Measure what docs/benchmarks.md states, on this machine.", no_args_is_help=True, rich_markup_mode=None
)


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
