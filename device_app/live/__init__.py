"""The live loop. `LiveSession` reads a source on a thread, hands the newest frame to a worker process through shared
memory, and keeps both alive: a lost source is opened again, a dead or hung worker replaced. Some of the pictures are
graded besides, on a thread of the worker: the classify lane. A second process, the refine lane, looks more closely at
the one picture that is wanted refined. Where better engines could be built, a builder does so meanwhile, and a
successor of the worker takes over between two frames. `Pipeline` is what either lane does to one frame; `Health` says
how everything is; `run_headless` is the loop without a window.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from device_app.live.analysis import Analysis, ClassJudgement, Conditions
from device_app.live.build_status import BuildState, BuildStatus
from device_app.live.health import Health, HealthMessage, SourceState, Spread, WorkerState
from device_app.live.refine_requests import RefineState, RefineStatus
from device_app.live.settings import Patience, PipelineSettings

if TYPE_CHECKING:
    from device_app.live.headless import run_headless as run_headless
    from device_app.live.supervisor import LiveSession as LiveSession

__all__ = [
    "Analysis",
    "BuildState",
    "BuildStatus",
    "ClassJudgement",
    "Conditions",
    "Health",
    "HealthMessage",
    "LiveSession",
    "Patience",
    "PipelineSettings",
    "RefineState",
    "RefineStatus",
    "SourceState",
    "Spread",
    "WorkerState",
    "run_headless",
]


def __getattr__(name: str) -> Any:
    """Import the session's side when it is first asked for: a worker comes up sooner without it."""
    if name == "LiveSession":
        from device_app.live.supervisor import LiveSession

        return LiveSession
    if name == "run_headless":
        from device_app.live.headless import run_headless

        return run_headless
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
