"""States move only as the table says; rates and spreads are what they claim; the screen gets one message."""

from __future__ import annotations

import itertools
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_app.camera.mailbox import FrameCounts
from device_app.live.health import (
    SOURCE_TRANSITIONS,
    WORKER_TRANSITIONS,
    Health,
    HealthMessage,
    RateMeter,
    SourceState,
    SpreadMeter,
    StateKeeper,
    WorkerState,
    resident_mb,
)


@pytest.mark.parametrize("states,transitions", [(SourceState, SOURCE_TRANSITIONS), (WorkerState, WORKER_TRANSITIONS)])
def test_only_legal_moves_are_made(states, transitions):
    assert set(transitions) == set(states)
    for before, after in itertools.permutations(states, 2):
        keeper = StateKeeper(before, transitions, frozenset())
        if after in transitions[before]:
            assert keeper.move(after) and keeper.state is after
        else:
            with pytest.raises(ValueError, match="cannot become"):
                keeper.move(after)
            assert keeper.state is before


@pytest.mark.parametrize("states,transitions", [(SourceState, SOURCE_TRANSITIONS), (WorkerState, WORKER_TRANSITIONS)])
def test_every_state_can_be_stopped_and_stopped_is_the_end(states, transitions):
    stopped = states("stopped")
    assert all(stopped in transitions[state] for state in states if state is not stopped)
    assert transitions[stopped] == frozenset()


def test_the_problem_stays_until_all_is_well():
    keeper = StateKeeper(SourceState.LIVE, SOURCE_TRANSITIONS, frozenset({SourceState.LIVE}))
    assert keeper.move(SourceState.LOST, "unplugged")
    assert not keeper.move(SourceState.LOST, "still not there")
    assert keeper.get()[2] == "still not there"
    keeper.move(SourceState.LIVE)
    assert keeper.get()[2] == ""


def health(source: SourceState, worker: WorkerState, worker_problem: str = "") -> Health:
    return Health(
        source_name="bench",
        source=source,
        source_since_s=0.0,
        source_problem="the cable",
        worker=worker,
        worker_since_s=0.0,
        worker_problem=worker_problem,
        counts=FrameCounts(0, 0, {}, 0),
        captured_fps=0.0,
        analysed_fps=0.0,
        latency_ms=None,
        stage_ms={},
        frame_age_s=None,
        source_losses=0,
        worker_restarts=0,
        memory_mb=0.0,
        worker_memory_mb=None,
        worker_pid=None,
        backend="",
        bundle="",
        demonstration=False,
        engine_reasons=(),
        fallback=False,
    )


@pytest.mark.parametrize(
    "source,worker,problem,message,detail",
    [
        (SourceState.LIVE, WorkerState.READY, "", HealthMessage.OK, ""),
        (SourceState.LOST, WorkerState.RESTARTING, "died", HealthMessage.SOURCE_LOST, "the cable"),
        (SourceState.LIVE, WorkerState.RESTARTING, "died", HealthMessage.WORKER_RESTARTING, "died"),
        (SourceState.ENDED, WorkerState.HUNG, "hung", HealthMessage.WORKER_HUNG, "hung"),
        (SourceState.ENDED, WorkerState.READY, "", HealthMessage.SOURCE_ENDED, ""),
        (SourceState.LIVE, WorkerState.READY, "bad frame", HealthMessage.ANALYSIS_FAILED, "bad frame"),
    ],
)
def test_the_screen_gets_the_message_that_matters_most(source, worker, problem, message, detail):
    snapshot = health(source, worker, problem)
    assert (snapshot.message, snapshot.detail) == (message, detail)


def test_every_pair_of_states_has_a_message():
    for source, worker in itertools.product(SourceState, WorkerState):
        well = source is SourceState.LIVE and worker is WorkerState.READY
        assert (health(source, worker).message is HealthMessage.OK) == well


@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=50))
def test_spreads_are_percentiles_of_the_last_values(values):
    meter = SpreadMeter(keep=20)
    for value in values:
        meter.add({"stage": value})
    spread = meter.spreads()["stage"]
    assert spread.count == min(20, len(values))
    assert spread.p50 == pytest.approx(float(np.percentile(values[-20:], 50)))
    assert spread.p95 == pytest.approx(float(np.percentile(values[-20:], 95)))
    assert meter.spreads(last=1)["stage"].p50 == pytest.approx(values[-1])


def test_a_rate_forgets_what_is_older_than_its_window(monkeypatch):
    now = 100.0
    monkeypatch.setattr("device_app.live.health.time.monotonic", lambda: now)
    meter = RateMeter(window_s=2.0)
    for _ in range(40):
        now += 0.1
        meter.tick()
    assert meter.per_second() == pytest.approx(10.0, abs=0.6)
    now += 5.0
    assert meter.per_second() == 0.0


def test_memory_is_that_of_the_process_or_none_when_it_is_gone():
    assert resident_mb(os.getpid()) > 1
    assert resident_mb(None) is None
    assert resident_mb(2**22 + 1) is None
