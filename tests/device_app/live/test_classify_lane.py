"""Which picture is graded when, and what becomes of it: the session's side of the lane, without a process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from device_app.camera.source import Frame
from device_app.live.analysis import Conditions
from device_app.live.asked import AskedFrame
from device_app.live.classify_lane import ClassifyLane
from device_app.live.messages import Classified, ClassifyFailed, Ready
from device_app.live.settings import PipelineSettings
from device_app.vision.conditions import Condition, Grade, Refusal, Severity, grade
from tests.support.analyses import make_analysis, make_frame

READY = Ready("onnxruntime-cpu fp32", "tiny 1", True, (), False, conditions_backend="onnxruntime-cpu fp32")
SETTINGS = PipelineSettings(Path("nowhere"), classify_every_s=0.5)
CLAIMED = dict.fromkeys(Condition, True)


def graded(frame: Frame, refused: Refusal | None = None) -> Classified:
    joint = np.tile([0.05, 0.9, 0.05, 0.0], (3, 1))
    conditions = Conditions(
        frame.id,
        grade(joint, refused, CLAIMED),
        None if refused else joint,
        np.zeros((3, 2, 2), np.float32),
        refused,
        {"total": 12.0},
        "tiny 1",
        "onnxruntime-cpu fp32",
        True,
    )
    return Classified(conditions)


ANALYSIS = make_analysis(make_frame(0))


class Bench:
    """A lane, its clock, and the frames that go by."""

    def __init__(self, ready: Ready = READY, settings: PipelineSettings = SETTINGS) -> None:
        self.now_s = 100.0
        self.asked = AskedFrame()
        self.lane = ClassifyLane(self.asked, lambda: self.now_s)
        self.lane.begin(ready, settings)
        self.frame = make_frame(0)

    def lose_worker(self) -> None:
        """The worker ends, whatever it is grading, and another one comes up."""
        self.lane.end()
        assert self.lane.waited_s() == 0
        self.lane.begin(READY, SETTINGS)

    def next_frame(self, after_s: float = 0.125) -> int | None:
        """The next frame is analysed; returns the id of the frame that is to be graded now."""
        self.now_s += after_s
        self.frame = make_frame(self.frame.id + 1, round(self.now_s * 1e9))
        due = self.lane.next((self.frame, ANALYSIS))
        return None if due is None else due[0].id


def test_pictures_are_graded_at_the_lanes_own_pace() -> None:
    bench = Bench()
    due = []
    for _ in range(21):
        if bench.next_frame() is not None:
            due.append(bench.frame.id)
            assert bench.lane.take(graded(bench.frame))
    assert due == [1, 5, 9, 13, 17, 21]
    assert bench.lane.graded == 6 and bench.lane.failed == 0
    assert bench.lane.latency.spreads()["grade"].p50 == 12.0


def test_one_picture_at_a_time_and_a_slow_network_rests_as_long_as_it_works() -> None:
    bench = Bench()
    assert bench.next_frame() == 1
    first = bench.frame
    for _ in range(16):
        assert bench.next_frame() is None
    assert bench.lane.waited_s() == pytest.approx(2.0)
    assert bench.lane.take(graded(first))
    assert bench.lane.waited_s() == 0
    assert [bench.next_frame() is not None for _ in range(16)].index(True) == 15


def test_a_picture_is_graded_once() -> None:
    bench = Bench()
    assert bench.next_frame() == 1
    bench.lane.take(graded(bench.frame))
    bench.now_s += 60
    assert bench.lane.next((bench.frame, ANALYSIS)) is None
    assert bench.lane.next(None) is None


def test_grades_are_steady_and_come_with_the_frame_that_they_are_of() -> None:
    bench = Bench()
    assert bench.lane.result is None
    assert bench.next_frame() == 1
    bench.lane.take(graded(bench.frame))
    first = bench.frame
    assert bench.lane.result is not None and bench.lane.result[0] is first
    assert bench.lane.result[1].grades[Condition.DANDRUFF].severity is Severity.MILD
    assert bench.next_frame(0.5) == 2
    bench.lane.take(graded(bench.frame, Refusal.OUT_OF_FOCUS))
    assert bench.lane.result[0] is first and bench.lane.result[1].frame_id == first.id  # held
    assert bench.next_frame(1.0) == 3
    bench.lane.take(graded(bench.frame, Refusal.OUT_OF_FOCUS))
    assert bench.lane.result[0] is bench.frame
    assert bench.lane.result[1].grades[Condition.DANDRUFF] == Grade.refusal(Refusal.OUT_OF_FOCUS)


def _at_another_place(frame: Frame, seed: int) -> Frame:
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return replace(frame, image=np.kron(coarse, np.ones((40, 40, 1), np.uint8)))


def test_at_another_place_the_grades_of_the_one_before_are_gone_at_once() -> None:
    bench = Bench()
    here = _at_another_place(make_frame(1, round(bench.now_s * 1e9)), seed=1)
    assert bench.lane.next((here, ANALYSIS)) is not None
    bench.lane.take(graded(here))
    assert bench.lane.result is not None
    there = _at_another_place(make_frame(2, here.captured_ns + 10**8), seed=2)
    bench.lane.next((there, ANALYSIS))  # too soon to be graded, and not what was graded
    assert bench.lane.result is None


def test_what_was_graded_while_the_microscope_moved_on_is_not_shown() -> None:
    bench = Bench()
    here = _at_another_place(make_frame(1, round(bench.now_s * 1e9)), seed=1)
    assert bench.lane.next((here, ANALYSIS)) is not None
    there = _at_another_place(make_frame(2, here.captured_ns + 10**8), seed=2)
    assert bench.lane.next((there, ANALYSIS)) is None  # one at a time
    assert bench.lane.take(graded(here)) and bench.lane.result is None
    bench.now_s += 1
    later = replace(there, id=3, captured_ns=round(bench.now_s * 1e9))
    assert bench.lane.next((later, ANALYSIS)) is not None
    bench.lane.take(graded(later))
    assert bench.lane.result is not None and bench.lane.result[0] is later


def test_a_failure_is_said_and_no_older_grade_stands_for_newer_pictures() -> None:
    bench = Bench()
    bench.next_frame()
    bench.lane.take(graded(bench.frame))
    assert bench.next_frame(0.5) == 2
    bench.lane.take(ClassifyFailed(2, "It broke."))
    assert bench.lane.result is None and bench.lane.failed == 1
    assert bench.lane.problem == "Frame 2 could not be graded: It broke."
    assert bench.next_frame(0.5) == 3
    bench.lane.take(graded(bench.frame))
    assert bench.lane.problem == "" and bench.lane.result is not None


def test_an_answer_to_nothing_is_none() -> None:
    bench = Bench()
    assert not bench.lane.take(graded(bench.frame))
    bench.next_frame()
    assert not bench.lane.take(graded(make_frame(99)))


def test_a_frozen_picture_goes_first_and_its_grades_are_its_own() -> None:
    bench = Bench()
    bench.next_frame()
    bench.lane.take(graded(bench.frame))
    frozen = bench.frame
    bench.asked.ask(frozen)
    assert bench.next_frame() is None  # not analysed yet
    bench.asked.settle(frozen, ANALYSIS)
    assert bench.next_frame() == frozen.id  # although the next is not due
    shown = bench.lane.result
    bench.lane.take(graded(frozen, Refusal.TOO_DARK))
    asked = bench.asked.get()
    assert asked is not None and asked.conditions is not None
    assert asked.conditions.refused is Refusal.TOO_DARK  # of this picture alone, nothing held
    assert bench.lane.result is shown
    assert bench.next_frame() is None


def test_a_frozen_picture_that_cannot_be_graded_has_a_reason() -> None:
    bench = Bench()
    bench.asked.ask(bench.frame)
    bench.asked.settle(bench.frame, ANALYSIS)
    assert bench.next_frame() == 0
    bench.lane.take(ClassifyFailed(0, "It broke."))
    asked = bench.asked.get()
    assert asked is not None and asked.conditions is None and "It broke." in asked.conditions_problem
    assert bench.next_frame() == 2  # and the live picture goes on


def test_where_nothing_can_be_graded_nothing_is_and_a_frozen_picture_has_the_reason() -> None:
    bench = Bench(replace(READY, conditions_missing="There is no network."))
    bench.asked.ask(bench.frame)
    assert [bench.next_frame() for _ in range(10)] == [None] * 10
    asked = bench.asked.get()
    assert asked is not None and asked.conditions_problem == "There is no network."


def test_a_picture_that_ends_worker_after_worker_is_left() -> None:
    bench = Bench()
    bench.asked.ask(bench.frame)
    bench.asked.settle(bench.frame, ANALYSIS)
    for _ in range(2):
        assert bench.next_frame() == 0
        bench.lose_worker()
    assert bench.next_frame() == 0
    bench.lane.take(graded(bench.frame))  # out of turn: it is not what was asked
    assert bench.next_frame() != 0
    asked = bench.asked.get()
    assert asked is not None and "every time" in asked.conditions_problem


def test_a_network_that_ends_worker_after_worker_is_given_up_until_the_settings_change() -> None:
    bench = Bench()
    for _ in range(3):
        assert bench.next_frame(1.0) is not None
        bench.lose_worker()
    assert "3 times" in bench.lane.problem
    assert [bench.next_frame(1.0) for _ in range(5)] == [None] * 5
    bench.lane.begin(READY, replace(SETTINGS, threads=1))
    assert bench.lane.problem == "" and bench.next_frame(1.0) is not None


def test_workers_lost_for_other_reasons_cost_the_grades_nothing() -> None:
    bench = Bench()
    for _ in range(5):
        assert bench.next_frame(1.0) is not None
        bench.lane.take(graded(bench.frame))
        bench.lose_worker()
        assert bench.lane.problem == "" and bench.lane.result is None
