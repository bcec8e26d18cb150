"""Grading beside the live loop: real worker processes with a network whose answer can be told from the picture."""

from __future__ import annotations

import dataclasses
import os
import signal

import pytest
from support.colour_classifier import GREY, graded_picture, make_classifier_bundle
from support.sources import BenchSource
from support.waiting import wait_until

from device_app.live.health import HealthMessage, WorkerState
from device_app.live.settings import Patience, PipelineSettings
from device_app.live.supervisor import LiveSession
from device_app.vision.conditions import Condition, Refusal, Severity


@pytest.fixture(scope="module")
def graded(tmp_path_factory) -> PipelineSettings:
    """Settings with a bundle that grades."""
    bundle = make_classifier_bundle(tmp_path_factory.mktemp("live") / "graded", mask=True)
    return PipelineSettings(bundle, threads=1, classify_every_s=0.1)


def showing(*severities: int) -> BenchSource:
    """A source that shows one picture with these severities."""
    source = BenchSource()
    source.always_deliver = graded_picture(severities)
    return source


def severities(session: LiveSession) -> list[Severity | None]:
    latest = session.latest_conditions()
    return [] if latest is None else [grade.severity for grade in latest[1].grades.values()]


def analysed_more(session: LiveSession, count: int = 3) -> None:
    target = session.health().analysed + count
    wait_until(lambda: session.health().analysed >= target, "more analysed frames")


def test_the_live_picture_is_graded_and_moves_on(start_session, graded):
    source = showing(2, 1, 0)
    session = start_session(source, graded)
    wait_until(lambda: severities(session) == [2, 1, 0], "the grades")
    frame, conditions = session.latest_conditions()
    assert conditions.frame_id == frame.id and conditions.demonstration
    health = session.health()
    assert health.conditions_missing == "" and health.conditions_problem == ""
    assert health.conditions_backend == "onnxruntime-cpu fp32"
    assert health.classify_latency_ms.p50 > 0
    assert any(reason.startswith("conditions: ") for reason in health.engine_reasons)
    source.always_deliver = graded_picture((0, 0, 3))
    wait_until(lambda: severities(session) == [0, 0, 3], "the grades of the next picture")
    report = session.report()["conditions"]
    assert report["graded"] >= 2 and report["failed"] == 0 and report["grade_ms"]["mean"] > 0
    session.stop()
    counts = session.health().counts
    assert counts.reconciles and counts.pending == 0


def test_a_picture_that_must_not_be_judged_is_refused_with_the_reason(start_session, graded):
    source = showing(1, 1, 1)
    session = start_session(source, graded)
    wait_until(lambda: severities(session) == [1, 1, 1], "the grades")
    source.always_deliver = graded_picture()
    source.always_deliver[:] = GREY
    wait_until(lambda: severities(session) == [None] * 3, "the refusal")
    grades = session.latest_conditions()[1].grades
    assert grades[Condition.DANDRUFF].refused is Refusal.OUT_OF_FOCUS


def test_a_frozen_picture_is_graded_itself(start_session, graded):
    source = showing(0, 2, 0)
    session = start_session(source, graded)
    wait_until(lambda: session.latest_frame() is not None, "a frame")
    frozen = session.latest_frame()
    source.always_deliver = graded_picture((3, 0, 0))
    analysed_more(session)
    session.ask(frozen)
    wait_until(lambda: session.asked().conditions is not None, "the frozen picture's grades")
    asked = session.asked()
    assert asked.conditions.frame_id == frozen.id == asked.analysis.frame_id
    assert asked.conditions.grades[Condition.EXCESS_SEBUM].severity is Severity.MODERATE
    wait_until(lambda: severities(session) == [3, 0, 0], "the live picture's grades")


def test_a_worker_killed_while_it_grades_comes_back_and_grades_again(start_session, tmp_path):
    slow = make_classifier_bundle(tmp_path / "slow", work=10)
    session = start_session(showing(1, 0, 2), PipelineSettings(slow, threads=1, classify_every_s=0.01))
    wait_until(lambda: len(severities(session)) == 3, "the first grades")
    analysed_more(session)
    pid = session.health().worker_pid
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: session.health().worker_restarts == 1, "the loss to be seen")
    wait_until(lambda: session.health().worker is WorkerState.READY, "the next worker")
    wait_until(lambda: severities(session) == [1, 0, 2], "grades by the next worker")
    assert session.health().worker_pid != pid
    session.stop()
    assert session.health().counts.reconciles


def test_nothing_waits_for_a_slow_network(start_session, tmp_path):
    """While one picture is graded, many others are analysed."""
    slow = make_classifier_bundle(tmp_path / "slow", work=150)
    session = start_session(showing(0, 0, 1), PipelineSettings(slow, threads=1, classify_every_s=1e6))
    wait_until(lambda: len(severities(session)) == 3, "the first grades")
    session.ask(session.latest_frame())
    wait_until(lambda: session.asked().analysis is not None, "the frozen picture's analysis")
    analysed = session.health().analysed
    assert session.asked().conditions is None
    wait_until(lambda: session.asked().conditions is not None, "its grades")
    assert session.health().analysed - analysed >= 5
    assert session.health().worker_restarts == 0


def test_grading_that_hangs_is_found_out_and_left_in_the_end(start_session, tmp_path):
    slow = make_classifier_bundle(tmp_path / "hangs", work=25)
    settings = PipelineSettings(slow, threads=1, classify_every_s=0.01)
    session = start_session(showing(0, 0, 1), settings, Patience(grade_hang_s=0.001))
    wait_until(lambda: "left out" in session.health().conditions_problem, "grading to be given up")
    assert all("did not grade" in restart.problem for restart in session.restarts())
    assert session.latest_conditions() is None
    analysed_more(session)
    frame = session.latest_frame()
    session.ask(frame)
    wait_until(lambda: "left out" in session.asked().conditions_problem, "the reason for a frozen picture")


def test_an_engine_that_is_refused_is_a_reason_and_the_loop_goes_on(start_session, tmp_path):
    refused = make_classifier_bundle(tmp_path / "refused", refused=True)
    session = start_session(showing(1, 1, 1), PipelineSettings(refused, threads=1))
    analysed_more(session)
    health = session.health()
    assert health.message is HealthMessage.OK and health.worker_restarts == 0
    assert "computes something else" in health.conditions_missing and health.conditions_backend == ""
    assert health.conditions_refused  # and not: the bundle never had one
    assert session.latest_conditions() is None
    session.ask(session.latest_frame())
    wait_until(lambda: session.asked().conditions_problem, "the reason")
    assert session.report()["conditions"]["missing"] == health.conditions_missing


def test_a_network_that_fails_on_a_picture_is_said_and_tried_again(start_session, tmp_path):
    failing = make_classifier_bundle(tmp_path / "fails", fails_above=0.9)
    source = showing(1, 1, 1)
    session = start_session(source, PipelineSettings(failing, threads=1, classify_every_s=0.05))
    wait_until(lambda: severities(session) == [1, 1, 1], "the grades")
    source.always_deliver = graded_picture()
    source.always_deliver[:] = 250
    wait_until(lambda: "not numbers" in session.health().conditions_problem, "the failure")
    assert session.latest_conditions() is None
    assert session.health().message is HealthMessage.OK and session.health().worker_restarts == 0
    source.always_deliver = graded_picture((0, 1, 0))
    wait_until(lambda: severities(session) == [0, 1, 0], "the grades again")
    assert session.health().conditions_problem == ""


def test_a_bundle_that_cannot_grade_and_grading_that_is_switched_off(start_session, settings, graded):
    session = start_session(showing(1, 0, 0), settings)
    analysed_more(session)
    assert "has no network that grades" in session.health().conditions_missing
    assert session.latest_conditions() is None
    pid = session.health().worker_pid
    session.use(graded)
    wait_until(lambda: severities(session) == [1, 0, 0], "the grades of another bundle")
    session.use(dataclasses.replace(graded, classify_every_s=0.0))
    wait_until(lambda: "switched off" in session.health().conditions_missing, "grading to be off")
    assert session.latest_conditions() is None
    assert session.health().worker_pid == pid
