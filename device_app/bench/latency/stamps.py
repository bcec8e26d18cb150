"""Time stamps that cost next to nothing, and what they cost all the same, measured in the run that uses them."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter_ns

import numpy as np

from device_app.bench.latency.frames import FrameTimes
from device_app.bench.latency.report import Harness, Stage

_BATCH, _BATCHES = 500, 21
_DEVICE_STAGES = (Stage.HOST_TO_DEVICE, Stage.COMPUTE, Stage.DEVICE_TO_HOST)


@dataclass(frozen=True)
class Row:
    """One frame as it was stamped.

    Attributes:
        at_ns: the stamps of `Stamps.begin` and of every `Stamps.mark`, by `time.perf_counter_ns`.
        parts_ms: by name, what an engine or the pipeline told of itself; those that it did not tell are missing.
    """

    at_ns: tuple[int, ...]
    parts_ms: Mapping[str, float]


class Stamps:
    """The stamps of many frames, in memory that was there before the first: nothing is allocated between two stamps.

    A frame is `begin`, one `mark` at the end of each stage, and `end`. A stamp between two stages is the end of one and
    the beginning of the next, so that each stage carries the cost of one stamp.

    Args:
        marks: how many stages a frame has.
        parts: names of what `end` may be told.
        room: for how many frames; more are made room for between two frames.
    """

    def __init__(self, marks: int, parts: Sequence[str] = (), room: int = 4096) -> None:
        if marks < 1 or room < 1:
            raise ValueError("a frame has at least one stage, and there is room for one frame")
        self._width, self._parts, self._room = marks + 1, tuple(parts), room
        self._at = array("q", bytes(8 * self._width * room))
        self._told = array("d", bytes(8 * len(self._parts) * room))
        self._next = 0
        self.count = 0

    def begin(self) -> None:
        """The frame's first stage begins now. A frame that was begun and never ended (it failed) is forgotten."""
        if self.count == self._room:
            self._at.extend(array("q", bytes(8 * len(self._at))))
            self._told.extend(array("d", bytes(8 * len(self._told))))
            self._room *= 2
        self._next = self.count * self._width + 1
        self._at[self._next - 1] = perf_counter_ns()

    def mark(self) -> None:
        """A stage ends now."""
        self._at[self._next] = perf_counter_ns()
        self._next += 1

    def end(self, parts_ms: Mapping[str, float] | None = None) -> None:
        """The frame is over; nothing of this is in its times.

        Args:
            parts_ms: what an engine or the pipeline told of itself, by the names given at the start.
        """
        if self._next != (self.count + 1) * self._width:
            raise ValueError(f"a frame has {self._width - 1} stages, not {self._next - self.count * self._width - 1}")
        told = parts_ms or {}
        for place, name in enumerate(self._parts, self.count * len(self._parts)):
            self._told[place] = told.get(name, -1.0)
        self.count += 1

    def last_ms(self) -> float:
        """How long the last frame took, from its first stamp to its last."""
        end = self.count * self._width
        return (self._at[end - 1] - self._at[end - self._width]) / 1e6

    def rows(self) -> Iterator[Row]:
        """Every frame that came to its end, in order."""
        for number in range(self.count):
            first, told = number * self._width, number * len(self._parts)
            parts = {name: self._told[told + place] for place, name in enumerate(self._parts)}
            yield Row(
                tuple(self._at[first : first + self._width]), {name: ms for name, ms in parts.items() if ms >= 0.0}
            )

    def clear(self) -> None:
        """Forget every frame: the warm-up."""
        self.count = self._next = 0


def cost_us(mark: Callable[[], object], again: Callable[[], object] = lambda: None) -> float:
    """What one call of `mark` takes, in microseconds: the median over batches, so that an interruption does not count.

    Args:
        mark: the stamp.
        again: called before each batch of some hundred, to make room.
    """
    batches = []
    for _ in range(_BATCHES):
        again()
        began = perf_counter_ns()
        for _ in range(_BATCH):
            mark()
        batches.append((perf_counter_ns() - began) / _BATCH)
    return float(np.median(batches)) / 1000


def stamp_cost_us() -> float:
    """What one stamp of `Stamps` takes here and now, in microseconds."""
    stamps = Stamps(_BATCH, room=1)
    return cost_us(stamps.mark, stamps.begin)


def harness_of(mark_us: float, frames: Sequence[FrameTimes], network: str = "network") -> Harness:
    """What the stamps take of the shortest stage that they enclose, by its median.

    The parts of an engine's call are told by the engine itself (on an accelerator by its own clock): what our stamps
    enclose there is the whole call, the detail `network`, where there is one. Finer parts are stages as well here.

    Args:
        mark_us: what one stamp takes.
        frames: those that were timed, at least one.
    """
    values: dict[str, list[float]] = {}
    for frame in frames:
        inside = _DEVICE_STAGES if network in frame.details_ms else ()
        for stage, ms in frame.stages_ms.items():
            if stage not in inside:
                values.setdefault(stage.value, []).append(ms)
        for name, ms in frame.details_ms.items():
            values.setdefault(name, []).append(ms)
    medians = {name: float(np.median(own)) for name, own in values.items()}
    shortest = min((name for name, ms in medians.items() if ms > 0), key=medians.__getitem__, default="")
    share = mark_us / 1000 / medians[shortest] if shortest else 1.0
    return Harness(mark_us=mark_us, shortest_stage=shortest, share=min(1.0, share))
