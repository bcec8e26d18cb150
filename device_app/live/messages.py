"""What session and worker say to each other. Pickled over a socket pair that only the two of them hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from device_app.live.analysis import Analysis, Conditions
from device_app.live.ring import SlotUse
from device_app.live.settings import PipelineSettings

if TYPE_CHECKING:
    from device_app.live.refinement import Correction, Refinement


@dataclass(frozen=True)
class UseSettings:
    """To the worker: analyse like this from now on. The first message; answered by `Ready` or `Refused`."""

    settings: PipelineSettings


@dataclass(frozen=True)
class UseRing:
    """To the worker: frames come in this ring from now on; its file descriptor follows on the same socket."""

    pixels: int
    masks: int = 1


@dataclass(frozen=True)
class Analyse:
    """To the worker: analyse this frame. Answered by `Analysed` or `Failed`."""

    frame_id: int
    captured_ns: int
    use: SlotUse


@dataclass(frozen=True)
class Classify:
    """To the worker: grade this frame with its mask, which lies in the slot, beside what else it does.

    Answered by `Classified` or `ClassifyFailed`, at any time. The slot may be used again when the next message but one
    is sent.
    """

    frame_id: int
    captured_ns: int
    use: SlotUse


@dataclass(frozen=True)
class Refine:
    """To the refine process: refine this frame. Answered by `Refined`, `RefineFailed` or `RefineCancelled`."""

    request: int
    frame_id: int
    captured_ns: int
    use: SlotUse
    corrections: tuple[Correction, ...] = ()


@dataclass(frozen=True)
class CancelRefine:
    """To the refine process: leave that request. Not answered itself; too late, it is passed over."""

    request: int


@dataclass(frozen=True)
class Ready:
    """From the worker: the settings are in use, with this engine, chosen for these reasons.

    `refine_missing` says why the bundle cannot refine, `conditions_missing` why conditions are not graded; empty when
    they can be. `conditions_refused`: the bundle has a network for them, and no engine that may run it.
    `absent`: the back ends that this machine has no hardware for. `build_commands`: command lines that build better
    engines than these.
    """

    backend: str
    bundle: str
    demonstration: bool
    engine_reasons: tuple[str, ...]
    fallback: bool
    refine_missing: str = ""
    conditions_missing: str = ""
    conditions_backend: str = ""
    conditions_refused: bool = False
    absent: tuple[str, ...] = ()
    build_commands: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Refused:
    """From the worker: it cannot work with these settings. It ends after saying so."""

    what: str
    remedy: str


@dataclass(frozen=True)
class EnginesLost:
    """From the worker, at any time: nothing in this process can use the accelerator any more. It ends after saying so.

    `backends`: the accelerators that it had engines on, by the names of their back ends; empty while it opened them.
    """

    problem: str
    backends: tuple[str, ...] = ()


@dataclass(frozen=True)
class Analysed:
    """From the worker: the analysis, its mask left in the frame's slot (the array here is empty)."""

    analysis: Analysis


@dataclass(frozen=True)
class Failed:
    """From the worker: this frame could not be analysed; it goes on with the next."""

    frame_id: int
    problem: str


@dataclass(frozen=True)
class Classified:
    """From the worker: a frame's conditions."""

    conditions: Conditions


@dataclass(frozen=True)
class ClassifyFailed:
    """From the worker: this frame could not be graded; it goes on with the next."""

    frame_id: int
    problem: str


@dataclass(frozen=True)
class Refined:
    """From the refine process: the refinement, its masks left in the frame's slot (the arrays here are empty).

    They lie there in the order of `REFINED_MASKS`; the analysis has the last of them too. `build_commands`: command
    lines that build better engines than SAM's present ones.
    """

    request: int
    refinement: Refinement
    backend: str
    build_commands: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class RefineFailed:
    """From the refine process: this picture could not be refined; it waits for the next."""

    request: int
    problem: str


@dataclass(frozen=True)
class RefineCancelled:
    """From the refine process: it has left this request, as it was told."""

    request: int


REFINED_MASKS = ("coarse_mask", "refined_mask", "mask")
"""The masks of a `Refinement` that pass through shared memory."""
