"""Time stamps: what they say, that they make room, and that they cost next to nothing, seen by a null engine."""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_app.bench.latency.frames import FrameTimes
from device_app.bench.latency.report import Stage
from device_app.bench.latency.run import frame_times
from device_app.bench.latency.stamps import Stamps, cost_us, harness_of, stamp_cost_us
from device_app.bench.latency.subjects import TimedHair
from device_app.bench.latency.timed import NETWORK
from device_app.bundle import Task, default_bundle_path, load_bundle
from device_app.camera.demo import DemoScalp
from device_app.engines.engine import Precision
from device_app.engines.goldens import GoldenCheck
from device_app.engines.select import SelectedEngine, open_engine


def stamped(stamps: Stamps, marks: int, parts: dict[str, float] | None = None) -> None:
    stamps.begin()
    for _ in range(marks):
        stamps.mark()
    stamps.end(parts)


@settings(max_examples=30)
@given(st.integers(1, 5), st.integers(1, 9), st.integers(0, 40))
def test_every_frame_is_kept_however_little_room_there_was(marks, room, frames):
    stamps = Stamps(marks, ("compute",), room)
    for number in range(frames):
        stamped(stamps, marks, {"compute": float(number)} if number % 2 else None)
    rows = list(stamps.rows())
    assert len(rows) == stamps.count == frames
    assert [dict(row.parts_ms) for row in rows] == [{"compute": float(n)} if n % 2 else {} for n in range(frames)]
    at_ns = [ns for row in rows for ns in row.at_ns]
    assert len(at_ns) == frames * (marks + 1)
    assert at_ns == sorted(at_ns)


def test_stamps_are_the_clock_and_nothing_else():
    stamps = Stamps(2)
    before = time.perf_counter_ns()
    stamps.begin()
    time.sleep(0.02)
    stamps.mark()
    stamps.mark()
    after = time.perf_counter_ns()
    stamps.end()
    (row,) = stamps.rows()
    assert before <= row.at_ns[0] and row.at_ns[2] <= after
    assert row.at_ns[1] - row.at_ns[0] >= 20_000_000
    assert stamps.last_ms() == pytest.approx((row.at_ns[2] - row.at_ns[0]) / 1e6)


def test_a_frame_that_failed_is_forgotten_and_one_of_other_stages_refused():
    stamps = Stamps(2)
    stamps.begin()
    stamps.mark()
    with pytest.raises(ValueError, match="2 stages, not 1"):
        stamps.end()
    stamped(stamps, 2)
    assert stamps.count == 1
    assert len(next(stamps.rows()).at_ns) == 3
    stamps.clear()
    assert list(stamps.rows()) == []
    stamped(stamps, 2)
    assert stamps.count == 1


@pytest.mark.parametrize("arguments", [{"marks": 0}, {"marks": 1, "room": 0}])
def test_no_stages_and_no_room_are_refused(arguments):
    with pytest.raises(ValueError, match="at least one"):
        Stamps(**arguments)


def test_the_cost_is_that_of_what_is_called():
    assert cost_us(lambda: sum(range(2000))) > 4 * cost_us(lambda: None)
    assert stamp_cost_us() > 0


def frame(stages: dict[Stage, float], details: dict[str, float]) -> FrameTimes:
    return FrameTimes(0, 0.0, stages, details, sum(stages.values()))


def test_the_harness_is_laid_against_the_shortest_that_stamps_enclose():
    stages = {Stage.PREPROCESS: 2.0, Stage.HOST_TO_DEVICE: 0.01, Stage.COMPUTE: 1.0, Stage.POSTPROCESS: 0.5}
    found = harness_of(1.0, [frame(stages, {"network": 1.2})])
    assert (found.shortest_stage, found.share) == ("postprocess", pytest.approx(0.002))
    found = harness_of(1.0, [frame(stages, {"network": 1.2, "focus": 0.1})])
    assert (found.shortest_stage, found.share) == ("focus", pytest.approx(0.01))
    # Without the call of the engine as a whole its parts are what was stamped.
    assert harness_of(1.0, [frame(stages, {})]).shortest_stage == "host_to_device"
    # A stage that took no time at all is not one; and without any the harness is everything.
    assert harness_of(1.0, [frame({**stages, Stage.DECODE: 0.0}, {"network": 1.2})]).shortest_stage == "postprocess"
    assert harness_of(1.0, [frame({Stage.DECODE: 0.0}, {})]).share == 1.0


class NullEngine:
    """Answers at once with what it was given: all that is left of a frame's network is the harness."""

    backend = "null-cpu"
    precision = Precision.FP32

    def __init__(self, outputs: dict[str, np.ndarray]) -> None:
        self._outputs = outputs

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return self._outputs

    def close(self) -> None:
        pass


def test_with_a_null_engine_the_harness_takes_one_per_cent_of_the_shortest_real_stage_at_most():
    bundle = load_bundle(default_bundle_path())
    entry = bundle.model(Task.HAIR)
    picture = DemoScalp().picture_at(0)
    null = SelectedEngine(
        NullEngine({entry.output_name: np.zeros(entry.output_shape, np.float32)}), GoldenCheck(0.0), ("null",), False
    )

    def times_of(engine: SelectedEngine, count: int) -> list[FrameTimes]:
        subject = TimedHair(bundle, engine)
        stamps = subject.stamps()
        for _ in range(count):
            subject.run(picture, stamps)
        return list(frame_times(subject, stamps))

    idle = times_of(null, 200)
    engine = open_engine(bundle, Task.HAIR, threads=1)
    real = times_of(engine, 12)
    engine.close()
    shortest_ms = min(np.median([frame.stages_ms[stage] for frame in real]) for stage in real[0].stages_ms)
    whole_call_ms = np.median([frame.details_ms[NETWORK] for frame in idle])
    assert whole_call_ms <= 0.01 * shortest_ms
    assert harness_of(stamp_cost_us(), real).share <= 0.01


def test_frames_begin_when_they_did():
    subject = TimedHair(
        load_bundle(default_bundle_path()), SelectedEngine(NullEngine({}), GoldenCheck(0.0), ("null",), False)
    )
    stamps = subject.stamps()
    for _ in range(3):
        stamps.begin()
        time.sleep(0.002)
        stamps.mark()
        stamps.mark()
        stamps.mark()
        stamps.end({"compute": 0.25})
    frames = frame_times(subject, stamps)
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert frames[0].at_s == 0.0
    assert all(later.at_s - earlier.at_s >= 0.002 for earlier, later in pairwise(frames))
    for found in frames:
        assert found.stages_ms[Stage.COMPUTE] == 0.25
        assert found.stages_ms[Stage.PREPROCESS] >= 2.0
        enclosed = found.stages_ms[Stage.PREPROCESS] + found.stages_ms[Stage.POSTPROCESS] + found.details_ms[NETWORK]
        assert found.end_to_end_ms == pytest.approx(enclosed)
