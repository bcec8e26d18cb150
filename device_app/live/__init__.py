"""The live loop. `LiveSession` reads a source on a thread, hands the newest frame to a worker process through shared
memory, and keeps both alive: a lost source is opened again, a dead or hung worker replaced. `Pipeline` is what the
worker does to one frame; `Health` says how everything is; `run_headless` is the loop without a window. What is not
handed out here is imported where it is used, so that a worker comes up without the rest.
"""

from device_app.live.analysis import Analysis
from device_app.live.health import Health, HealthMessage, SourceState, Spread, WorkerState
from device_app.live.settings import Patience, PipelineSettings

__all__ = [
    "Analysis",
    "Health",
    "HealthMessage",
    "Patience",
    "PipelineSettings",
    "SourceState",
    "Spread",
    "WorkerState",
]
