"""What session and worker say to each other. Pickled over a socket pair that only the two of them hold."""

from __future__ import annotations

from dataclasses import dataclass

from device_app.live.analysis import Analysis
from device_app.live.ring import SlotUse
from device_app.live.settings import PipelineSettings


@dataclass(frozen=True)
class UseSettings:
    """To the worker: analyse like this from now on. The first message; answered by `Ready` or `Refused`."""

    settings: PipelineSettings


@dataclass(frozen=True)
class UseRing:
    """To the worker: frames come in this ring from now on; its file descriptor follows on the same socket."""

    pixels: int


@dataclass(frozen=True)
class Analyse:
    """To the worker: analyse this frame. Answered by `Analysed` or `Failed`."""

    frame_id: int
    captured_ns: int
    use: SlotUse


@dataclass(frozen=True)
class Ready:
    """From the worker: the settings are in use, with this engine, chosen for these reasons."""

    backend: str
    bundle: str
    demonstration: bool
    engine_reasons: tuple[str, ...]
    fallback: bool


@dataclass(frozen=True)
class Refused:
    """From the worker: it cannot work with these settings. It ends after saying so."""

    what: str
    remedy: str


@dataclass(frozen=True)
class Analysed:
    """From the worker: the analysis, its mask left in the frame's slot (the array here is empty)."""

    analysis: Analysis


@dataclass(frozen=True)
class Failed:
    """From the worker: this frame could not be analysed; it goes on with the next."""

    frame_id: int
    problem: str
