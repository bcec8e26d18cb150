"""The refine lane of a live session: real processes, really stopped, killed and cancelled.

A stopped process (SIGSTOP) stands for one that takes long: what happens meanwhile does not depend on the clock.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress

import numpy as np
import psutil
import pytest
from support.sources import BenchSource, numbered_picture
from support.tiny_bundle import make_tiny_bundle
from support.tiny_sam import make_sam_bundle
from support.waiting import wait_until

from device_app.camera.source import Frame
from device_app.live.link import WorkerLink
from device_app.live.messages import CancelRefine, Ready, Refine, RefineCancelled, Refined, UseSettings
from device_app.live.pipeline import Pipeline
from device_app.live.refine_lane import RefineLane
from device_app.live.refine_requests import GIVEN_UP, RefineRequests, RefineState, RefineStatus
from device_app.live.refinement import Correction, Refinement
from device_app.live.ring import FrameRing
from device_app.live.settings import DEFAULT_PATIENCE, Patience, PipelineSettings
from device_app.live.supervisor import LiveSession

WIDTH, HEIGHT = 320, 240
ENDED = {RefineState.DONE, RefineState.FAILED, RefineState.CANCELLED}


@pytest.fixture(scope="module")
def sam(tmp_path_factory) -> PipelineSettings:
    """Settings with a bundle that can refine."""
    folder = make_sam_bundle(tmp_path_factory.mktemp("refine") / "tiny-sam", WIDTH, HEIGHT)
    return PipelineSettings(folder, scale_um_per_px=4.0, threads=1)


@pytest.fixture()
def session(start_session, sam) -> LiveSession:
    """A live session whose bundle can refine, with its first analyses."""
    session = start_session(BenchSource(20.0, (WIDTH, HEIGHT)), sam)
    wait_until(lambda: session.health().analysed > 2, "analyses")
    return session


@pytest.fixture()
def lane(sam) -> Iterator[tuple[RefineLane, RefineRequests]]:
    """A lane without a session round it."""
    requests = RefineRequests()
    lane = RefineLane(requests, sam, Patience(refine_idle_s=1e9))
    lane.start()
    yield lane, requests
    lane.stop()


def picture(number: int) -> Frame:
    """A frame that no source has delivered."""
    return Frame(1_000_000 + number, numbered_picture(5 * number, WIDTH, HEIGHT), 0)


def ended(asked: LiveSession | RefineRequests) -> RefineStatus:
    """Wait for the end of the present request."""
    get = asked.refinement if isinstance(asked, LiveSession) else asked.get
    wait_until(lambda: get().state in ENDED, "the end of the request")
    return get()


def refined(asked: LiveSession | RefineRequests) -> Refinement:
    """Wait for the result of the present request."""
    status = ended(asked)
    assert status.state is RefineState.DONE, status.problem
    assert status.problem == "" and status.latency_ms > 0
    assert status.result.frame_id == status.frame.id == status.result.analysis.frame_id
    return status.result


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """The process stands still meanwhile, if it is not killed."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def warm(session: LiveSession) -> int:
    """Have a first picture refined; the process that did it."""
    session.refine(picture(0))
    refined(session)
    return session.health().refine_pid


def assert_same(found: Refinement, expected: Refinement) -> None:
    for name in ("coarse_mask", "refined_mask", "mask"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    np.testing.assert_array_equal(found.analysis.mask, expected.mask)
    np.testing.assert_array_equal(found.points.positive, expected.points.positive)
    np.testing.assert_array_equal(found.points.negative, expected.points.negative)
    ours, theirs = (dataclasses.replace(each.analysis.measurements, hairs=()) for each in (found, expected))
    assert ours == theirs and ours.hair_count > 0
    assert (found.corrections, found.combination) == (expected.corrections, expected.combination)
    assert found.predicted_iou == pytest.approx(expected.predicted_iou)


def test_the_lane_gives_what_the_pipeline_gives_corrections_and_all(session, sam):
    pipeline = Pipeline(sam)
    frame = picture(3)
    for corrections in ((), (Correction(60.0, 120.0, True), Correction(10.0, 10.0, False)), (), ()):
        session.refine(frame, list(corrections))
        assert session.refinement().frame is frame and session.refinement().corrections == corrections
        found = refined(session)
        assert_same(found, pipeline.refine(frame, corrections))
        assert found.mask.any() and found.mask.shape == (HEIGHT, WIDTH)
    # The embedding was kept for all but the first: it is none of the stages that ran.
    assert "embed" not in found.timings_ms and "decode" in found.timings_ms
    pipeline.close()
    health = session.health()
    assert health.refine_missing == "" and "fp16" in health.refine_backend
    assert health.refine_latency_ms.count == 4 and health.refine_memory_mb > 0
    assert psutil.Process(health.refine_pid).nice() > psutil.Process(health.worker_pid).nice() > psutil.Process().nice()


def test_nothing_is_started_before_somebody_asks(session):
    assert session.refinement() is None and session.health().refine_pid is None
    assert session.report()["refinements"]["asked"] == 0
    session.cancel_refinement()
    assert session.refinement() is None


def test_the_live_lane_goes_on_while_a_picture_is_refined(session):
    with stopped(warm(session)):
        session.refine(picture(1))
        wait_until(lambda: session.refinement().state is RefineState.WORKING, "the request to be taken up")
        before = session.health()
        wait_until(lambda: session.health().analysed > before.analysed + 5, "live analyses")
        assert session.refinement().state is RefineState.WORKING
        assert session.refinement().result is None
    refined(session)
    assert session.health().worker_restarts == 0 and session.health().counts.reconciles


def test_a_cancelled_refinement_ends_and_the_same_process_takes_the_next(session):
    pid = warm(session)
    with stopped(pid):
        session.refine(picture(1))
        wait_until(lambda: session.refinement().state is RefineState.WORKING, "the request to be taken up")
        session.cancel_refinement()
        status = session.refinement()
        assert status.state is RefineState.CANCELLED and status.result is None and status.problem
    session.refine(picture(2))
    refined(session)
    assert session.health().refine_pid == pid
    counts = session.report()["refinements"]
    assert (counts["asked"], counts["done"], counts["cancelled"], counts["failed"]) == (3, 2, 1, 0)
    assert counts["processes_lost"] == 0 and counts["latency_ms"]["count"] == 2


def test_the_newest_request_wins(session):
    pid = warm(session)
    with stopped(pid):
        for number in range(1, 6):
            session.refine(picture(number))
    assert refined(session).frame_id == picture(5).id
    assert session.health().refine_pid == pid
    assert session.report()["refinements"]["cancelled"] == 4


def test_a_process_that_is_told_leaves_the_request_between_two_stages(sam):
    """The lane's messages, one by one: both lie in the socket before the process reads the first."""
    link, ring = WorkerLink(), FrameRing(WIDTH * HEIGHT, masks=3)
    try:
        link.send(UseSettings(sam))
        assert isinstance(link.receive(60.0), Ready)
        link.use_ring(ring)
        use = ring.put(picture(1).image)
        with stopped(link.pid):
            link.send(Refine(7, 1, 0, use))
            link.send(CancelRefine(7))
        assert link.receive(60.0) == RefineCancelled(7)
        link.send(CancelRefine(7))  # too late: passed over
        with stopped(link.pid):
            link.send(Refine(8, 1, 0, use))
            link.send(CancelRefine(7))  # not this one
        answer = link.receive(60.0)
        assert isinstance(answer, Refined) and answer.request == 8
        assert ring.mask(use, 2).any()
    finally:
        link.end(kill=True)
        ring.close()


def test_a_process_killed_at_work_is_replaced_and_the_result_still_comes(session):
    pid = warm(session)
    analysed = session.health().analysed
    with stopped(pid):
        session.refine(picture(1))
        wait_until(lambda: session.refinement().state is RefineState.WORKING, "the request to be taken up")
        os.kill(pid, signal.SIGKILL)
    assert refined(session).frame_id == picture(1).id
    health = session.health()
    assert health.refine_pid != pid and not psutil.pid_exists(pid)
    assert session.refinement().attempts == 2 and session.report()["refinements"]["processes_lost"] == 1
    assert health.worker_restarts == 0 and health.analysed > analysed  # the live lane has not noticed


def test_a_process_that_died_idle_costs_the_next_request_no_attempt(session):
    pid = warm(session)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: session.health().refine_pid is None, "the death to be seen")
    session.refine(picture(1))
    refined(session)
    assert session.refinement().attempts == 1


def test_a_hung_process_is_replaced_too(start_session, sam):
    session = start_session(BenchSource(20.0, (WIDTH, HEIGHT)), sam, Patience(refine_hang_s=5.0))
    pid = warm(session)
    with stopped(pid):
        session.refine(picture(1))
        wait_until(lambda: session.refinement().attempts == 2, "the hang to be seen")
    refined(session)
    assert not psutil.pid_exists(pid)


def test_a_picture_that_ends_process_after_process_is_given_up_with_a_plain_sentence(session):
    stop = threading.Event()

    def kill_each() -> None:
        while not stop.wait(0.01):
            if (pid := session.health().refine_pid) is not None:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_each)
    killer.start()
    try:
        session.refine(picture(1))
        status = ended(session)
    finally:
        stop.set()
        killer.join()
    assert status.state is RefineState.FAILED and status.attempts == 3
    assert status.problem.startswith(GIVEN_UP) and "SIGKILL" in status.problem
    session.refine(picture(2))
    refined(session)
    assert session.health().worker_restarts == 0


def test_a_bundle_without_sam_says_so_and_needs_no_process_for_it(start_session, settings, bundle):
    session = start_session(BenchSource(), settings)
    wait_until(lambda: session.health().analysed > 0, "an analysis")
    assert "tiny 1" in session.health().refine_missing and "SAM" in session.health().refine_missing
    session.refine(session.latest_frame())
    status = session.refinement()
    assert status.state is RefineState.FAILED and status.problem == session.health().refine_missing
    assert session.health().refine_pid is None
    assert session.report()["refinements"]["failed"] == 1


def test_settings_reach_the_process_before_the_next_request(session, sam, settings):
    pid = warm(session)
    session.use(dataclasses.replace(sam, scale_um_per_px=2.0))
    session.refine(picture(0))
    assert refined(session).analysis.measurements.scale_um_per_px == 2.0
    assert session.health().refine_pid == pid
    session.use(settings)  # another bundle, without SAM: the refine process finds out by itself, if it is the first
    session.refine(picture(1))
    status = ended(session)
    assert status.state is RefineState.FAILED and "SAM" in status.problem
    session.use(sam)
    session.refine(picture(1))
    assert refined(session).analysis.measurements.scale_um_per_px == 4.0


def test_a_lane_by_itself_finds_out_that_the_bundle_cannot_refine(lane, settings):
    lane, requests = lane
    lane.settings = settings
    requests.ask(picture(1))
    status = ended(requests)
    assert status.state is RefineState.FAILED and "SAM" in status.problem
    wait_until(lambda: lane.pid is None, "the useless process to be ended")


def test_a_refused_bundle_and_a_refused_picture_fail_the_request_and_not_the_lane(lane, sam, tmp_path):
    lane, requests = lane
    bad = make_tiny_bundle(tmp_path / "bad", WIDTH, HEIGHT)
    next(bad.glob("*.onnx")).write_bytes(b"changed")
    lane.settings = dataclasses.replace(sam, bundle_path=bad)
    requests.ask(picture(1))
    status = ended(requests)
    assert status.state is RefineState.FAILED and "SHA-256" in status.problem and status.attempts == 1
    lane.settings = dataclasses.replace(sam, picture_size=(1280, 1024))
    requests.ask(picture(1))
    status = ended(requests)
    assert status.state is RefineState.FAILED and "1280 x 1024" in status.problem and status.attempts == 1
    lane.settings = sam
    requests.ask(picture(1))
    refined(requests)


def test_larger_pictures_find_room(lane):
    lane, requests = lane
    for width, height in ((160, 120), (640, 480), (161, 99)):
        frame = Frame(width, numbered_picture(4, width, height), 0)
        requests.ask(frame)
        found = refined(requests)
        assert found.mask.shape == found.coarse_mask.shape == found.refined_mask.shape == (height, width)
        assert found.mask.any()


def test_an_idle_process_is_ended_and_the_next_request_starts_another(start_session, sam):
    session = start_session(BenchSource(20.0, (WIDTH, HEIGHT)), sam, Patience(refine_idle_s=0.3))
    session.refine(picture(1))
    refined(session)
    wait_until(lambda: session.health().refine_pid is None, "the idle process to be ended")
    session.refine(picture(2))
    refined(session)
    assert session.report()["refinements"]["processes_lost"] == 0


@pytest.mark.parametrize("busy", [False, True])
def test_stopping_leaves_no_refine_process(session, busy):
    pid = warm(session)
    with stopped(pid) if busy else nullcontext():
        if busy:
            session.refine(picture(1))
            wait_until(lambda: session.refinement().state is RefineState.WORKING, "the request to be taken up")
        session.stop()
        assert not psutil.pid_exists(pid)
    assert session.refinement().state is (RefineState.CANCELLED if busy else RefineState.DONE)
    assert session.health().refine_pid is None


@contextmanager
def still(session: LiveSession, source: BenchSource, number: int) -> Iterator[None]:
    """The source shows one picture again and again."""
    source.always_deliver = numbered_picture(number, WIDTH, HEIGHT)
    yield
    source.always_deliver = None


def by_itself_done(session: LiveSession) -> bool:
    status = session.refinement()
    return status is not None and status.by_itself and status.state is RefineState.DONE


def test_a_still_picture_is_refined_once_and_dropped_when_it_moves(start_session, sam):
    source = BenchSource(20.0, (WIDTH, HEIGHT))
    session = start_session(source, dataclasses.replace(sam, refine_still=True))
    wait_until(lambda: session.health().captured > 50, "a moving picture")
    assert session.refinement() is None
    with still(session, source, 3):
        wait_until(lambda: by_itself_done(session), "a refinement by itself")
        status = session.refinement()
        np.testing.assert_array_equal(status.frame.image, numbered_picture(3, WIDTH, HEIGHT))
        captured = session.health().captured
        wait_until(lambda: session.health().captured > captured + 50, "more of the still picture")
        assert session.refinement() is status
        assert session.report()["refinements"]["asked"] == session.report()["refinements"]["by_itself"] == 1
    wait_until(lambda: session.refinement() is None, "the result of the picture that was to be dropped")
    with still(session, source, 12):
        wait_until(lambda: by_itself_done(session), "a refinement of the next still moment")
    assert session.report()["refinements"]["by_itself"] == 2


def test_a_still_moment_does_not_take_the_place_of_what_somebody_asked_for(start_session, sam):
    source = BenchSource(20.0, (WIDTH, HEIGHT))
    session = start_session(source, dataclasses.replace(sam, refine_still=True))
    session.refine(picture(1))
    with still(session, source, 3):
        refined(session)
        captured = session.health().captured
        wait_until(lambda: session.health().captured > captured + 50, "a still moment")
        assert session.refinement().frame.id == picture(1).id and session.refinement().result is not None
        session.cancel_refinement()  # the picture is left
        wait_until(lambda: by_itself_done(session), "the still moment's turn")


@pytest.mark.parametrize("why", ["off", "no SAM", "frozen"])
def test_still_moments_are_left_alone(start_session, sam, settings, why):
    source = BenchSource(20.0, (WIDTH, HEIGHT))
    use = settings if why == "no SAM" else sam
    session = start_session(source, dataclasses.replace(use, refine_still=why != "off"), DEFAULT_PATIENCE)
    if why == "frozen":
        session.ask(picture(1))
    with still(session, source, 3):
        wait_until(lambda: session.health().analysed > 0, "an analysis")
        captured = session.health().captured
        wait_until(lambda: session.health().captured > captured + 60, "a still moment")
        assert session.refinement() is None and session.health().refine_pid is None


def test_a_refinement_by_itself_is_cancelled_when_the_picture_moves_meanwhile(start_session, sam):
    source = BenchSource(20.0, (WIDTH, HEIGHT))
    session = start_session(source, sam)
    wait_until(lambda: session.health().analysed > 0, "an analysis")
    with stopped(warm(session)):
        session.cancel_refinement()
        session.use(dataclasses.replace(sam, refine_still=True))
        with still(session, source, 3):
            wait_until(lambda: session.refinement() is not None and session.refinement().by_itself, "a still moment")
        wait_until(lambda: session.refinement() is None, "the wish to be taken back")
    session.refine(picture(2))
    assert refined(session).frame_id == picture(2).id
    assert session.report()["refinements"]["cancelled"] == 1
