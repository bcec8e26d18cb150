"""Whether the machine was quiet while it was measured, from what was sampled: each disturbance in one sentence."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from device_app.bench.latency.report import MachineSample

MOST_OTHER_CORES = 0.15
MOST_CLOCK_CHANGE = 0.05
MOST_SWAPPED_MIB = 1.0
_WINDOW = 10
_LEAST_SAMPLES = 6
_PIECE = bytes(256 * 1024)
_PIECES = 41


@dataclass(frozen=True)
class Disturbances:
    """What no single sample shows.

    Attributes:
        swapped_mib: moved between memory and swap while it ran.
        stolen_cores: how many of the cores the host of a virtual machine gave to others, on average.
        work_before_ms, work_after_ms: what one small piece of work took of the processor's time at rest; None where the
            clock is told, which says more.
        gpu_was_busy: somebody used the GPU before it began.
    """

    swapped_mib: float = 0.0
    stolen_cores: float = 0.0
    work_before_ms: float | None = None
    work_after_ms: float | None = None
    gpu_was_busy: bool = False


def problems_of(during: Sequence[MachineSample], found: Disturbances) -> tuple[str, ...]:
    """What moved the machine or held it down while it ran, one sentence each; none when it was quiet.

    Args:
        during: the samples of the timed part, in order.
        found: what they do not show.
    """
    return tuple(_problems(during, found))


def _problems(during: Sequence[MachineSample], found: Disturbances) -> Iterable[str]:
    throttled = Counter(what for sample in during for what in sample.throttled)
    for what, count in throttled.items():
        yield f"The machine was throttled in {count} of {len(during)} samples: {what}."
    for name, values in {
        "processor's": [sample.cpu_mhz for sample in during],
        "GPU's": [sample.gpu_mhz for sample in during],
        "memory's": [sample.memory_mhz for sample in during],
    }.items():
        clocks = [value for value in values if value is not None]
        moved = moved_by(clocks)
        if moved is not None and moved[0] > MOST_CLOCK_CHANGE:
            share, low, high = moved
            yield f"The {name} clock moved by {share:.0%} while it ran, between {low:.0f} and {high:.0f} MHz."
    others = [sample.other_cores for sample in during if sample.other_cores is not None]
    if others and (mean := float(np.mean(others))) > MOST_OTHER_CORES:
        host = (
            f", {found.stolen_cores:.2f} of them the host of this virtual machine" if found.stolen_cores > 0.01 else ""
        )
        yield f"Other programs kept {mean:.2f} cores busy{host}; at most {MOST_OTHER_CORES} is allowed."
    if found.swapped_mib > MOST_SWAPPED_MIB:
        yield f"Memory ran short: {found.swapped_mib:.0f} MiB were moved between memory and swap while it ran."
    if found.work_before_ms and found.work_after_ms:
        change = found.work_after_ms / found.work_before_ms - 1
        if abs(change) > MOST_CLOCK_CHANGE:
            word = "slower" if change > 0 else "faster"
            yield f"The processor was {abs(change):.0%} {word} after it than before, by a small piece of work at rest."
    if found.gpu_was_busy:
        yield "Another program used the GPU before it began."


def moved_by(clocks_mhz: Sequence[float]) -> tuple[float, float, float] | None:
    """How far a clock moved, as a share of its median, and between which values in MHz.

    A single sample says little: a core that rests for a moment lowers its clock. So the medians of windows of about ten
    samples are compared. None for fewer samples than make two windows.
    """
    if len(clocks_mhz) < _LEAST_SAMPLES:
        return None
    windows = np.array_split(np.asarray(clocks_mhz, np.float64), max(2, len(clocks_mhz) // _WINDOW))
    medians = [float(np.median(window)) for window in windows]
    low, high, middle = min(medians), max(medians), float(np.median(clocks_mhz))
    return ((high - low) / middle if middle > 0 else 0.0), low, high


def small_piece_of_work_ms() -> float:
    """What the same small piece of work takes of the processor's time here and now: the median of some.

    Processor time, not the clock on the wall, so that who else wants the core does not count, only how fast it is.
    """
    times = []
    for _ in range(_PIECES):
        began = time.thread_time_ns()
        hashlib.sha256(_PIECE).digest()
        times.append(time.thread_time_ns() - began)
    return float(np.median(times)) / 1e6
