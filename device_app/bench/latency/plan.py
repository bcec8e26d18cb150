"""What a run is to measure, and whether it can."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from calibration.errors import ScalpScopeError
from device_app.bench.latency.cold_start import Wanted
from device_app.bench.latency.compare import REPORT_NAME
from device_app.bench.latency.loadgen import load_generator
from device_app.bench.latency.report import Model, Scenario, Subject

_PEERS_NEED = ("torch", "onnx")


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes:
        wanted: bundle, network, engine.
        scenario: how it is driven.
        seconds: for how long, at least.
        source: where the frames come from, as `open_source` has it.
        cores: processor cores that this process has been held to.
        out: folder of the report; made if missing.
        command: the command line, for the report.
        window: size of the window for the live scenario; None: without.
        peers: measure what people would otherwise use as well; checkpoint: the weights of the first of them.
        against: an earlier report to compare with.
        fp32: FP32's file of the network, where the quality is to be measured against more than the goldens.
        first_frame: measure the way from the command line to the first analysed frame (the pipeline only).
    """

    wanted: Wanted
    scenario: Scenario
    seconds: float
    source: str
    cores: int
    out: Path
    command: str
    window: tuple[int, int] | None = None
    peers: bool = False
    checkpoint: Path | None = None
    against: Path | None = None
    fp32: Path | None = None
    first_frame: bool = True


def check_plan(plan: Plan) -> None:
    """Whether it can be carried out at all, as far as that is known before anything is opened.

    Raises:
        ScalpScopeError: it cannot.
    """
    live = plan.scenario is Scenario.LIVE
    if live and plan.wanted.model is not Model.PIPELINE:
        raise ScalpScopeError(
            f"The live scenario is the whole pipeline, not '{plan.wanted.model.value}' alone.",
            "Use --model pipeline, or another --scenario.",
        )
    if plan.window is not None and not live:
        raise ScalpScopeError("--window belongs to the live scenario.", "Add --scenario live.")
    if plan.peers and (live or plan.wanted.model not in (Model.PIPELINE, Model.HAIR)):
        raise ScalpScopeError(
            "--peers compares the pipeline or the hair network, on frames in memory.",
            "Use --model pipeline or hair with --scenario single-stream.",
        )
    if plan.peers and (lacking := [name for name in _PEERS_NEED if not _is_installed(name)]):
        raise ScalpScopeError(
            f"--peers needs {' and '.join(lacking)}.",
            "Install the extra: pip install -c constraints.txt -e '.[export]', in ScalpScope's folder.",
        )
    if plan.checkpoint is not None and not plan.peers:
        raise ScalpScopeError("--checkpoint gives the weights of a peer.", "Add --peers.")
    for name, path in (("--fp32", plan.fp32), ("--checkpoint", plan.checkpoint)):
        if path is not None and not path.is_file():
            raise ScalpScopeError(f"There is no file '{path}' ({name}).", "Check the path.")
    if (plan.out / REPORT_NAME).exists():
        raise ScalpScopeError(f"The folder '{plan.out}' holds a report already.", "Name another with --out.")
    if not live:
        load_generator()


def _is_installed(distribution: str) -> bool:
    """Whether a package is there; it is another process that imports it."""
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def as_planned(other: Subject, plan: Plan) -> Subject:
    """What another run measured, with all that this plan says about its own: to refuse it before anything is opened."""
    points = plan.wanted.points if plan.wanted.model is Model.SAM_DECODER else None
    known = {"model": plan.wanted.model, "scenario": plan.scenario, "points": points}
    return other.model_copy(update={**known, "cores": plan.cores, "threads": plan.wanted.threads})
