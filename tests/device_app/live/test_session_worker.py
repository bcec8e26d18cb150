"""The worker's side of a live session: real processes, really killed, hung and refused."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from support.sources import HAIR, BenchSource
from support.tiny_bundle import make_tiny_bundle
from support.waiting import wait_until

from device_app.camera.mailbox import DropCause
from device_app.live.health import HealthMessage, WorkerState
from device_app.live.settings import Patience
from device_app.live.supervisor import LiveSession

ROOT = Path(__file__).resolve().parents[3]


def analysed_more(session: LiveSession) -> None:
    """Wait until a few more frames were analysed than now."""
    target = session.health().analysed + 3
    wait_until(lambda: session.health().analysed >= target, "more analysed frames")


def settle(session: LiveSession) -> dict[DropCause, int]:
    """Stop the session; its book must balance with nothing pending. Returns what was dropped."""
    session.stop()
    counts = session.health().counts
    assert counts.reconciles and counts.pending == 0
    return dict(counts.dropped)


def test_a_result_comes_with_the_very_frame_it_was_computed_from(start_session):
    session = start_session(BenchSource())
    for _ in range(5):
        analysed_more(session)
        frame, analysis = session.latest_result()
        assert analysis.frame_id == frame.id
        dark = (frame.image == HAIR).all(axis=2)
        assert np.array_equal(analysis.mask[:, 5:-5][dark[:, 5:-5]], np.full(np.count_nonzero(dark[:, 5:-5]), 255))
        assert np.count_nonzero(analysis.mask) < 3 * np.count_nonzero(dark)
    health = session.health()
    assert health.message is HealthMessage.OK and health.detail == ""
    assert health.bundle == "tiny 1" and "fp32" in health.backend and health.demonstration
    assert health.fallback and any("not used" in reason for reason in health.engine_reasons)
    assert {"preprocess", "segment", "mask", "measure", "focus", "total"} <= set(health.stage_ms)
    assert health.latency_ms.p50 >= health.stage_ms["total"].p50
    assert health.worker_memory_mb > 0 and health.memory_mb > 0
    assert session.latest_frame().id >= frame.id
    assert session.sharpest_recent() is not None


def test_a_killed_worker_is_replaced_and_its_frame_is_booked(start_session):
    session = start_session(BenchSource())
    analysed_more(session)
    pid = session.health().worker_pid
    # Stopped first, so that it surely has a frame in its hands when it dies.
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: session.health().counts.pending == 2, "a frame in the stopped worker's hands")
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: session.health().worker is WorkerState.RESTARTING, "the loss to be seen")
    assert "SIGKILL" in session.health().detail
    assert session.health().message is HealthMessage.WORKER_RESTARTING
    captured = session.health().captured
    analysed_more(session)
    health = session.health()
    assert health.captured > captured  # the picture went on
    assert health.worker_pid != pid and health.worker_restarts == 1 and health.worker_problem == ""
    assert session.restarts()[0].back_after_s > 0
    dropped = settle(session)
    assert dropped[DropCause.WORKER_LOST] == 1
    assert dropped[DropCause.WORKER_DOWN] > 0
    assert dropped[DropCause.WORKER_HUNG] == 0


def test_a_hung_worker_is_found_out_and_replaced(start_session):
    session = start_session(BenchSource(), patience=Patience(hang_s=0.5))
    analysed_more(session)
    pid = session.health().worker_pid
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: session.health().worker_restarts == 1, "the hang to be seen")
    analysed_more(session)
    assert not psutil.pid_exists(pid)
    assert "did not answer" in session.restarts()[0].problem
    assert settle(session)[DropCause.WORKER_HUNG] == 1


def test_no_frames_are_not_taken_for_a_hung_worker(start_session):
    source = BenchSource()
    session = start_session(source, patience=Patience(hang_s=0.3, stall_s=60.0))
    analysed_more(session)
    source.stall()
    wait_until(lambda: session.health().frame_age_s > 1.0, "a second without frames")
    health = session.health()
    source.flow()
    assert health.worker is WorkerState.READY and health.worker_restarts == 0


def test_a_worker_that_dies_while_idle_is_replaced_too(start_session):
    source = BenchSource()
    session = start_session(source)
    analysed_more(session)
    source.unplug()
    wait_until(lambda: session.health().counts.pending == 0, "the worker to run dry")
    os.kill(session.health().worker_pid, signal.SIGKILL)
    wait_until(lambda: session.health().worker_restarts == 1, "the death to be seen")
    wait_until(lambda: session.health().worker is WorkerState.READY, "the next worker")
    source.plug()
    analysed_more(session)
    assert settle(session)[DropCause.WORKER_LOST] == 0


def test_a_worker_killed_again_and_again_still_comes_back(start_session):
    session = start_session(BenchSource())
    wait_until(lambda: session.health().worker_pid is not None, "the first worker")
    for kills in range(1, 4):
        os.kill(session.health().worker_pid, signal.SIGKILL)
        wait_until(lambda: session.health().worker_restarts == kills, "the loss to be seen")  # noqa: B023
        wait_until(lambda: session.health().worker_pid is not None, "the next worker")
    analysed_more(session)
    # The three were one time away: it never got ready between them.
    assert len(session.restarts()) == 1 and session.restarts()[0].back_after_s is not None


def test_a_refused_bundle_is_said_and_another_one_taken_without_a_new_session(start_session, settings, tmp_path):
    bad = make_tiny_bundle(tmp_path / "bad", 160, 120)
    next(bad.glob("*.onnx")).write_bytes(b"changed")
    source = BenchSource()
    session = start_session(source, dataclasses.replace(settings, bundle_path=bad))
    wait_until(lambda: session.health().worker is WorkerState.REFUSED, "the refusal")
    health = session.health()
    assert health.message is HealthMessage.WORKER_REFUSED
    assert "SHA-256" in health.detail
    assert session.refusal() is not None and session.refusal().remedy
    wait_until(lambda: session.health().captured > 5, "the picture, which is live without a worker")
    session.use(settings)
    analysed_more(session)
    assert session.health().message is HealthMessage.OK and session.refusal() is None
    settle(session)


def test_new_settings_hold_from_the_next_frames_on_in_the_same_worker(start_session, settings):
    session = start_session(BenchSource(), dataclasses.replace(settings, scale_um_per_px=None))
    analysed_more(session)
    assert session.latest_result()[1].measurements.mean_diameter_um.value is None
    pid = session.health().worker_pid
    session.use(settings)
    wait_until(lambda: session.latest_result()[1].measurements.scale_um_per_px == 4.0, "the scale")
    assert session.health().worker_pid == pid and session.health().worker_restarts == 0


def test_a_calibration_for_another_picture_size_is_refused_with_a_clear_message(start_session, settings):
    session = start_session(BenchSource(), dataclasses.replace(settings, picture_size=(1280, 1024)))
    wait_until(lambda: session.health().dropped[DropCause.FAILED] > 2, "refused frames")
    health = session.health()
    assert health.message is HealthMessage.ANALYSIS_FAILED and health.analysed == 0
    assert "1280 x 1024" in health.detail and "160 x 120" in health.detail
    session.use(settings)
    analysed_more(session)
    assert session.health().message is HealthMessage.OK
    settle(session)


@pytest.mark.parametrize("picture", [np.zeros((1, 1, 3)), np.full((120, 160, 3), 255), np.zeros((3, 500, 3))])
def test_odd_pictures_do_not_end_the_worker(start_session, picture):
    source = BenchSource()
    session = start_session(source)
    analysed_more(session)
    pid = session.health().worker_pid
    source.always_deliver = picture.astype(np.uint8)
    before = session.health()
    wait_until(
        lambda: session.health().analysed + session.health().dropped[DropCause.FAILED] > before.analysed + 3,
        "odd pictures to go through",
    )
    source.always_deliver = None
    analysed_more(session)
    assert session.health().worker_pid == pid


def entries(folder: str) -> set[str]:
    """The names in a folder; none where there is no such folder."""
    return {entry.name for entry in Path(folder).iterdir()} if Path(folder).is_dir() else set()


def test_stopping_leaves_no_process_and_no_shared_memory(start_session):
    shared = entries("/dev/shm")
    session = start_session(BenchSource(), patience=Patience(spare_s=1e9))
    analysed_more(session)
    pid = session.health().worker_pid
    descriptors = len(entries("/proc/self/fd"))
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: session.health().worker_pid not in (None, pid), "the next worker")
    analysed_more(session)
    second = session.health().worker_pid
    assert len(entries("/proc/self/fd")) == descriptors  # a restart leaks none
    settle(session)
    session.stop()
    assert not psutil.pid_exists(pid) and not psutil.pid_exists(second)
    assert session.health().message is HealthMessage.STOPPED
    assert len(entries("/proc/self/fd")) < descriptors
    # Other programs of this machine may share memory meanwhile, but under names of their own.
    assert not [name for name in entries("/dev/shm") - shared if "scalpscope" in name or name.startswith("psm_")]


PARENT = """
import json, sys
from device_app.live import LiveSession, PipelineSettings
from support.sources import BenchSource
from support.waiting import wait_until
from pathlib import Path
session = LiveSession(BenchSource(), PipelineSettings(Path(sys.argv[1]), threads=1))
session.start()
wait_until(lambda: session.health().analysed > 2, "analyses")
print(json.dumps({"worker": session.health().worker_pid}), flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("worker_is", ["busy", "hung"])
def test_a_killed_session_takes_its_worker_along(bundle, worker_is):
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(bundle)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
        text=True,
    )
    try:
        worker = json.loads(parent.stdout.readline())["worker"]
        if worker_is == "hung":
            os.kill(worker, signal.SIGSTOP)
        parent.kill()
        parent.wait()
        if worker_is == "hung":
            os.kill(worker, signal.SIGCONT)
        wait_until(lambda: not psutil.pid_exists(worker), "the orphan to end")
    finally:
        parent.kill()
        parent.communicate()


def test_a_spare_stands_by_and_takes_the_place_of_the_lost_worker(start_session):
    session = start_session(BenchSource(), patience=Patience(spare_s=0.0))

    def children() -> set[int]:
        return {child.pid for child in psutil.Process().children()}

    before = children()
    analysed_more(session)
    worker = session.health().worker_pid
    (spare,) = children() - before - {worker} or {None}
    assert spare is not None
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: session.health().worker_pid == spare, "the spare to take over")
    analysed_more(session)
    os.kill(next(iter(children() - before - {spare})), signal.SIGKILL)  # a dead spare is no harm
    os.kill(spare, signal.SIGKILL)
    wait_until(lambda: session.health().worker_pid not in (None, worker, spare), "a new worker")
    analysed_more(session)
    settle(session)
    wait_until(lambda: not children() - before, "all children to be gone")


def test_the_worker_brings_neither_screen_nor_torch_nor_what_only_calibration_needs():
    program = (
        "import sys, device_app.live.worker; "
        "print(sorted({'kivy', 'torch', 'typer', 'rich', 'scipy.signal', 'device_app.camera.demo'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
