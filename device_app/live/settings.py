"""What the live loop is told: how to analyse, and when to lose patience."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from calibration.optics.illumination import FlatField
from device_app.engines.engine import Precision
from device_app.vision.hairs import TRICHOSCOPY, HairClasses
from device_app.vision.masks import CleanUp


@dataclass(frozen=True)
class PipelineSettings:
    """How a frame is analysed. Picklable: it travels to the worker.

    Attributes:
        bundle_path: the bundle's folder.
        scale_um_per_px: micrometres per pixel of the native picture; None: no physical figures.
        scale_uncertainty_um_per_px: 1 standard deviation of the scale.
        classes: the cuts between vellus, intermediate and terminal.
        precision: which of the bundle's files to run; None: the best for this machine.
        backend: which back end runs the networks, by its name; None: the best for this machine.
        threads: CPU threads of the network.
        picture_size: (width, height) of the pictures that the scale holds for; a picture of another size is refused.
            None: any.
        flat_field: correction for uneven light; None: none.
        closer: look at large pictures in quarters too (`vision.quarters`): up to five times the network's time, for
            single pictures, not for the live loop.
        refine_still: refine by itself what stands still, where the bundle can. The live session asks for it; the
            pipeline does not look at it.
        classify_every_s: how often the conditions of the live picture are graded, where the bundle can; 0: never. The
            live session asks for it; the pipeline does not look at it.
        clean_up: how large a part of a mask must be to be prompted and to be kept when a picture is refined.
        time_parts: tell in the analysis's timings the copies to and from an accelerator from the computing, for the
            bench.
        network_at_least_ms: run the network again and again until it has taken this long: a slower machine, for the
            bench of the screen. 0: once.
    """

    bundle_path: Path
    scale_um_per_px: float | None = None
    scale_uncertainty_um_per_px: float = 0.0
    classes: HairClasses = TRICHOSCOPY
    precision: Precision | None = None
    backend: str | None = None
    threads: int = 2
    picture_size: tuple[int, int] | None = None
    flat_field: FlatField | None = field(default=None, compare=False)
    closer: bool = False
    clean_up: CleanUp = field(default_factory=CleanUp)
    refine_still: bool = False
    classify_every_s: float = 0.5
    time_parts: bool = False
    network_at_least_ms: float = 0.0


@dataclass(frozen=True)
class Patience:
    """How long the supervisor waits, in seconds, before it acts.

    Attributes:
        stall_s: a read that takes longer is a stall: the source is lost.
        open_s: the same for opening the source.
        retry_s: longest wait between two attempts to open a lost source.
        hang_s: a frame whose analysis takes longer is a hang: the worker is killed.
        grade_hang_s: the same for grading, which stands back behind the analysis.
        start_s: a worker that takes longer to come up is killed.
        spare_s: how long a worker runs before the next one is made ready beside it; starting it costs some pace.
        restart_s: longest wait before a worker that keeps failing is started again.
        refine_hang_s: a refinement that takes longer is a hang; the first one opens and proves its engines in it.
        refine_idle_s: a refine process that is asked for nothing for so long is ended, to free its memory.
    """

    stall_s: float = 2.0
    open_s: float = 15.0
    retry_s: float = 1.0
    hang_s: float = 10.0
    grade_hang_s: float = 30.0
    start_s: float = 60.0
    spare_s: float = 5.0
    restart_s: float = 5.0
    refine_hang_s: float = 60.0
    refine_idle_s: float = 300.0


DEFAULT_PATIENCE = Patience()
