"""Engines that are built, swapped in and lost under a live session: real processes, a back end that is a package."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from support.building_backend import NAME, BenchBackend, install_bench_backend, python_path
from support.colour_classifier import add_conditions, graded_picture
from support.sources import BenchSource, numbered_picture
from support.tiny_bundle import make_tiny_bundle
from support.tiny_sam import make_sam_bundle
from support.waiting import wait_until

from device_app.camera.mailbox import DropCause
from device_app.camera.source import Frame
from device_app.live.analysis import Analysis
from device_app.live.build_status import BuildState
from device_app.live.health import Health, HealthMessage, WorkerState
from device_app.live.link import EngineGone, WorkerLink
from device_app.live.lost_engines import PROCESSOR, LostEngines
from device_app.live.messages import Analyse, Classify, Ready, UseSettings
from device_app.live.refine_lane import RefineLane
from device_app.live.refine_requests import RefineRequests, RefineState
from device_app.live.ring import FrameRing
from device_app.live.settings import Patience, PipelineSettings
from device_app.live.supervisor import LiveSession

WIDTH, HEIGHT = 320, 240


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BenchBackend:
    """A back end that every process of the app knows, this one apart."""
    bench = install_bench_backend(tmp_path / "bench")
    monkeypatch.setenv("PYTHONPATH", python_path(bench))
    return bench


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> PipelineSettings:
    """Settings with a bundle that grades and refines."""
    bundle = add_conditions(make_sam_bundle(tmp_path_factory.mktemp("engines") / "whole", WIDTH, HEIGHT))
    return PipelineSettings(bundle, threads=1, classify_every_s=0.05)


def building(session: LiveSession) -> Health:
    """Wait until the builder waits and some pictures were analysed."""
    wait_until(lambda: session.health().engine_build.fraction > 0 and session.health().analysed > 2, "the building")
    return session.health()


def analysed_more(session: LiveSession, count: int = 3) -> None:
    target = session.health().analysed + count
    wait_until(lambda: session.health().analysed >= target, "more analysed frames")


def test_a_built_engine_takes_over_between_two_frames(start_session, graded, bench) -> None:
    source = BenchSource()
    source.always_deliver = graded_picture((2, 1, 0), WIDTH, HEIGHT)
    session: LiveSession = start_session(source, graded)
    session.refine(Frame(1_000_000, numbered_picture(1, WIDTH, HEIGHT), 0))
    before = building(session)
    assert (before.engine_build.fraction, before.engine_build.what) == (0.1, "hair: looking at the graph")
    assert before.message is HealthMessage.OK and before.backend.startswith(PROCESSOR)
    assert before.engine_build.state is BuildState.BUILDING and before.fallback
    assert any("not built yet" in reason for reason in before.engine_reasons)
    wait_until(lambda: session.latest_conditions() is not None, "the first grades")
    wait_until(lambda: not session.refinement().pending, "the refinement")
    refiner = session.health().refine_pid
    seen: list[tuple[int, str, bool]] = []

    def watch(frame: Frame, analysis: Analysis, done_ns: int) -> None:
        assert analysis.frame_id == frame.id
        seen.append((frame.id, analysis.backend, session.latest_conditions() is not None))
        if len(seen) % 4 == 0:
            session.ask(frame)  # somebody freezes picture after picture, at the swap too

    session.watch(watch)
    bench.says("go")
    wait_until(lambda: session.health().engine_swaps == 1, "the swap")
    analysed_more(session)
    wait_until(
        lambda: (of := session.asked().conditions) is not None and NAME in of.backend, "grades by the new engine"
    )
    # The refine process holds what somebody looks at; it is renewed when that is left.
    assert session.refinement().state is RefineState.DONE and session.health().refine_pid == refiner
    session.cancel_refinement()
    wait_until(lambda: session.health().refine_pid is None, "the outdated process to end")
    session.stop()
    after = session.health()
    assert after.backend == f"{NAME} fp32" and NAME in after.conditions_backend and not after.fallback
    assert after.engine_build.built == ("hair fp32",) and after.engine_swap_problem == ""
    # No frame was lost in a worker's hands, none was analysed twice, and the grades never went away.
    dropped = {cause: after.dropped[cause] - before.dropped[cause] for cause in DropCause}
    assert not dropped[DropCause.WORKER_LOST] and not dropped[DropCause.WORKER_DOWN] and not dropped[DropCause.FAILED]
    assert after.worker_restarts == 0 and after.counts.reconciles and after.counts.pending == 0
    ids = [frame_id for frame_id, _, _ in seen]
    assert ids == sorted(set(ids)) and all(graded for _, _, graded in seen)
    made_by = [backend for _, backend, _ in seen]
    swap = made_by.index(f"{NAME} fp32")
    assert swap > 0 and set(made_by[:swap]) == {before.backend} and set(made_by[swap:]) == {after.backend}
    assert not any(psutil.pid_exists(pid) for pid in (before.worker_pid, *map(int, bench.lines("pids"))))
    assert not [child for child in psutil.Process().children() if "device_app" in " ".join(child.cmdline())]
    report = session.report()["engines"]
    assert (report["swaps"], report["build"]["state"], report["lost"]) == (1, "built", 0)


def test_a_failed_build_is_told_and_not_begun_again(start_session, settings, bench) -> None:
    bench.says("mode", "fails")
    bench.says("go")
    session: LiveSession = start_session(BenchSource(), settings)
    wait_until(lambda: session.health().engine_build.state is BuildState.FAILED, "the failure")
    assert "ran out of memory" in session.health().engine_build.problem
    session.use(dataclasses.replace(settings, scale_um_per_px=2.0))
    psutil.Process(session.health().worker_pid).kill()
    wait_until(lambda: session.health().worker_restarts == 1, "the loss to be seen")
    wait_until(lambda: session.health().worker is WorkerState.READY, "another worker, which lacks the same engine")
    analysed_more(session)
    assert session.health().engine_build.state is BuildState.FAILED and session.health().engine_swaps == 0
    session.use(dataclasses.replace(settings, backend=PROCESSOR))
    wait_until(lambda: session.health().engine_build.state is BuildState.NONE, "nothing to be missed")
    session.stop()
    assert len(bench.lines("runs")) == 1


def test_where_nothing_is_to_be_built_nothing_is(settings, bench) -> None:
    """A measurement must not share the machine with a builder."""
    session = LiveSession(BenchSource(), settings, build_engines=False)
    session.start()
    try:
        wait_until(lambda: session.health().analysed > 2, "analyses")
        assert session.health().engine_build.state is BuildState.NONE and bench.lines("runs") == []
    finally:
        session.stop()


@pytest.mark.parametrize(
    ("fault", "told"),
    [("refused", "SHA-256"), ("open_crashes", "SIGSEGV"), ("open_hangs", "did not get ready")],
)
def test_a_successor_that_fails_takes_nothing_down(start_session, bench, tmp_path, fault: str, told: str) -> None:
    own = PipelineSettings(make_tiny_bundle(tmp_path / "own", 160, 120), threads=1)
    if fault == "refused":
        bench.says("mode", "spoils the bundle")
    else:
        bench.says(fault)
    session: LiveSession = start_session(BenchSource(), own, Patience(start_s=3.0 if fault == "open_hangs" else 60.0))
    before = building(session)
    bench.says("go")
    wait_until(lambda: session.health().engine_swap_problem != "", "the successor's failure")
    analysed_more(session)
    health = session.health()
    assert told in health.engine_swap_problem
    assert (health.worker_pid, health.engine_swaps, health.engine_swapping) == (before.worker_pid, 0, False)
    assert health.message is HealthMessage.OK and health.worker_restarts == before.worker_restarts
    session.stop()
    assert session.health().counts.reconciles and session.health().dropped[DropCause.WORKER_LOST] == 0
    assert not [child for child in psutil.Process().children() if "device_app" in " ".join(child.cmdline())]


def test_a_worker_that_dies_meanwhile_is_followed_by_its_successor(start_session, settings, bench) -> None:
    session: LiveSession = start_session(BenchSource(), settings)
    pid = building(session).worker_pid
    bench.says("go")
    wait_until(lambda: session.health().engine_swapping, "the successor")
    psutil.Process(pid).kill()
    wait_until(lambda: NAME in session.health().backend, "the new engine")
    analysed_more(session)
    session.stop()
    assert session.health().counts.reconciles


def test_an_accelerator_that_fails_again_and_again_is_left_out(start_session, settings, bench) -> None:
    bench.says("engine")
    source = BenchSource()
    session: LiveSession = start_session(source, settings, Patience(spare_s=0.0))
    wait_until(lambda: session.health().analysed > 2, "analyses")
    assert NAME in session.health().backend
    source.unplug()
    wait_until(lambda: session.health().counts.pending == 0, "the worker to run dry")
    bench.says("lose_hair", "2")  # the goldens pass
    session.ask(session.latest_frame())  # worker after worker takes it up
    wait_until(lambda: session.asked().analysis is not None, "the frozen picture's analysis")
    assert session.asked().analysis.backend.startswith(PROCESSOR)
    source.plug()
    analysed_more(session)
    health = session.health()
    assert health.engines_lost == 3 == health.worker_restarts
    assert all("fell off the bus" in restart.problem for restart in session.restarts())
    assert health.backend.startswith(PROCESSOR) and health.fallback and health.message is HealthMessage.OK
    (told,) = health.engines_given_up
    assert NAME in told and "3 times" in told and told in health.engine_reasons
    session.use(dataclasses.replace(settings, scale_um_per_px=2.0))  # as a new calibration does
    wait_until(lambda: session.latest_result()[1].measurements.scale_um_per_px == 2.0, "the scale")
    assert session.settings.backend == PROCESSOR and session.health().backend.startswith(PROCESSOR)
    session.stop()
    assert session.health().counts.reconciles
    assert bench.lines("runs") == []


@pytest.mark.parametrize("lane", ["hair", "conditions"])
def test_a_worker_that_loses_its_engine_says_so_and_ends(graded, bench, lane: str) -> None:
    bench.says("engine")
    link, ring = WorkerLink(), FrameRing(WIDTH * HEIGHT)
    try:
        link.send(UseSettings(graded))
        wait_until(lambda: isinstance(link.receive(0.1), Ready), "the worker")
        bench.says(f"lose_{lane}", "0")
        link.use_ring(ring)
        use = ring.put(graded_picture((1, 1, 1), WIDTH, HEIGHT))
        link.send(Analyse(1, 0, use) if lane == "hair" else Classify(1, 0, use))
        with pytest.raises(EngineGone, match="fell off the bus") as lost:
            wait_until(lambda: link.receive(0.1) is not None, "the message")
        assert lost.value.said.backends == (NAME,)
        wait_until(lambda: link.gone, "the end of the process")
    finally:
        link.end(kill=True)
        ring.close()


def test_the_refine_process_is_renewed_and_replaced(tmp_path, bench) -> None:
    bundle = make_sam_bundle(tmp_path / "sam", WIDTH, HEIGHT)
    requests, lost, given_up, buildable, ticks = RefineRequests(), LostEngines(), [], [], []
    lane = RefineLane(
        requests,
        PipelineSettings(bundle, threads=1),
        Patience(),
        on_tick=lambda: ticks.append(1),
        lost_engines=lost,
        on_given_up=lambda: given_up.append(True),
        on_buildable=buildable.append,
    )

    def refined(number: int) -> None:
        requests.ask(Frame(number, numbered_picture(number, WIDTH, HEIGHT), 0))
        wait_until(lambda: not requests.get().pending, "the refinement")
        assert requests.get().state is RefineState.DONE, requests.get().problem

    lane.start()
    try:
        refined(1)
        assert NAME not in lane.backend and buildable == [((*bench.command, str(bundle)),)]
        bench.says("engine")
        lane.renew()
        held, seen = lane.pid, len(ticks)
        wait_until(lambda: len(ticks) > seen + 3, "the lane to look round")
        refined(2)  # somebody works with it: corrections take a moment only
        assert lane.pid == held and NAME not in lane.backend
        requests.cancel()
        wait_until(lambda: lane.pid is None, "the outdated process to end")
        refined(3)
        assert lane.backend.count(NAME) == 2 and lane.losses == 0
        bench.says("lose_sam_decoder", "1")
        requests.ask(Frame(4, numbered_picture(4, WIDTH, HEIGHT), 0))
        wait_until(lambda: lost.count == 1, "the loss")
        bench.unsays("lose_sam_decoder")
        wait_until(lambda: not requests.get().pending, "the next process")
        assert requests.get().state is RefineState.DONE and lane.losses == 1 and not given_up
    finally:
        lane.stop()


def test_stopping_while_a_successor_comes_up_leaves_nothing(start_session, settings, bench) -> None:
    session: LiveSession = start_session(BenchSource(), settings)
    building(session)
    bench.says("open_hangs")
    bench.says("go")
    wait_until(lambda: session.health().engine_swapping, "the successor")
    session.stop()
    assert not [child for child in psutil.Process().children() if "device_app" in " ".join(child.cmdline())]


@pytest.fixture(autouse=True)
def _no_descriptor_leaks() -> Iterator[None]:
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) <= before + 2, "descriptors leaked"
