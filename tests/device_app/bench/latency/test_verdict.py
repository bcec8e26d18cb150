"""The verdict: each rule alone makes a run INVALID, with words that name it, and nothing else does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_app.bench.latency.report import Frames, Quality, Scenario, Stage, Verdict
from device_app.bench.latency.spread import spread_of
from device_app.bench.latency.verdict import MIN_SAMPLES, judge
from device_app.engines.backend import is_accelerator
from tests.support.latency_reports import HARNESS, LOADGEN, MACHINE, QUALITY, SUBJECT

GPU = SUBJECT.model_copy(update={"backend": "tensorrt", "precision": "int8_symmetric"})
LIVE = SUBJECT.model_copy(update={"scenario": Scenario.LIVE})
BOOK = Frames(captured=1800, analysed=1200, dropped={"newer frame": 600}, reconciles=True, captured_per_s=30.0)


def times(cv: float, count: int = 2400, mean: float = 25.0) -> Any:
    values = np.linspace(-1, 1, count)
    return spread_of(mean + values / values.std(ddof=1) * cv * mean)


def verdict(**changes: Any) -> Verdict:
    given_ = {
        "subject": SUBJECT,
        "stages": {Stage.COMPUTE: times(0.01)},
        "end_to_end": times(0.01),
        "measured_s": 600.0,
        "machine": MACHINE,
        "harness": HARNESS,
        "quality": QUALITY,
        "loadgen": LOADGEN,
        **changes,
    }
    return judge(**given_)


def test_a_good_run_is_valid_without_a_word():
    assert verdict() == Verdict(valid=True)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"measured_s": 59.0}, ["59.0 s", "at least 60 s"]),
        ({"end_to_end": times(0.01, 1023)}, ["1023 frames", "at least 1024"]),
        ({"subject": SUBJECT.model_copy(update={"asked_backend": "tensorrt"})}, ["tensorrt was asked for"]),
        (
            {"subject": SUBJECT.model_copy(update={"asked_precision": "fp16"})},
            ["fp16 was asked for, and int8_u8s8 ran"],
        ),
        ({"machine": MACHINE.model_copy(update={"problems": ("The GPU was throttled.",)})}, ["throttled"]),
        ({"harness": HARNESS.model_copy(update={"share": 0.011})}, ["1.1%", "preprocess"]),
        ({"quality": Quality(pictures=2, passed=False, misses=("Dice 0.9 (at least 0.97)",))}, ["Dice 0.9"]),
        ({"loadgen": LOADGEN.model_copy(update={"valid": False, "reasons": ("Too few.",)})}, ["INVALID: Too few."]),
        ({"problems": ("The worker was started again.",)}, ["started again"]),
        ({"subject": GPU, "stages": {Stage.COMPUTE: times(0.026)}}, ["2.6%", "GPU", "computing"]),
        ({"subject": GPU, "stages": {}, "end_to_end": times(0.03)}, ["3.0%", "frames"]),
        (
            {"subject": LIVE, "loadgen": None, "frames": BOOK.model_copy(update={"reconciles": False})},
            ["do not reconcile: 1800 captured, 1200 analysed, 600 dropped"],
        ),
    ],
)
def test_every_rule_alone_makes_it_invalid_and_says_why(changes, words):
    found = verdict(**changes)
    assert not found.valid
    assert len(found.reasons) == 1
    assert all(word in found.reasons[0] for word in words)
    assert found.reasons[0].endswith((".", ")"))


def test_every_reason_is_said_once():
    machine = MACHINE.model_copy(update={"problems": ("Swapped.",)})
    found = verdict(measured_s=1.0, machine=machine, problems=("Swapped.",), end_to_end=times(0.01, 10))
    assert len(found.reasons) == 3
    assert found.reasons.count("Swapped.") == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"measured_s": 60.0}, "--seconds 600"),
        ({"end_to_end": times(0.1)}, "vary by 10.0%"),
        ({"quality": None}, "not compared with FP32"),
        ({"parts_cost": 0.05}, "by 5.0%"),
        ({"subject": SUBJECT.model_copy(update={"demonstration": True})}, "demonstration"),
        ({"subject": SUBJECT.model_copy(update={"fallback": True, "reasons": ("a", "b not used: old")})}, "b not used"),
    ],
)
def test_what_is_worth_knowing_is_a_note_and_no_reason(changes, words):
    found = verdict(**changes)
    assert found.valid
    assert len(found.notes) == 1 and words in found.notes[0]


def test_what_makes_a_live_run_and_one_of_many_streams_long_enough():
    for scenario in Scenario:
        subject = SUBJECT.model_copy(update={"scenario": scenario})
        least = MIN_SAMPLES[scenario]
        assert verdict(subject=subject, end_to_end=times(0.01, least)).valid
        assert not verdict(subject=subject, end_to_end=times(0.01, least - 1)).valid
    assert any("99.9th" in note for note in verdict(subject=LIVE, end_to_end=times(0.01, 400)).notes)


@given(st.floats(0, 0.2))
def test_on_a_gpu_the_computing_must_be_steady_and_on_a_processor_it_need_not(cv):
    stages = {Stage.COMPUTE: times(cv)}
    assert verdict(subject=GPU, stages=stages).valid is (stages[Stage.COMPUTE].cv <= 0.025)
    assert verdict(stages=stages, end_to_end=times(cv)).valid


def test_back_ends_tell_by_their_name_where_they_run():
    assert [is_accelerator(name) for name in ("onnxruntime-cpu", "tensorrt", "onnxruntime-cuda", "tensorrt-dla0")] == [
        False,
        True,
        True,
        True,
    ]
