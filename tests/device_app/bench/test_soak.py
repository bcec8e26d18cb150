"""The soak bench: real kills, real outages, a result that adds up."""

from __future__ import annotations

import pytest
from support.sources import BenchSource

from device_app.bench.soak import Recovery, SoakResult, UnpluggableSource, soak
from device_app.camera.source import SourceLost
from device_app.live.settings import PipelineSettings


def test_every_disturbance_is_survived_and_timed(tiny_bundle):
    result, found = soak(
        BenchSource(), PipelineSettings(tiny_bundle, threads=1), seconds=7.0, kill_every_s=3.0, drop_every_s=3.0
    )
    kinds = [recovery.kind for recovery in result.recoveries]
    assert kinds[:3] == ["source dropped", "worker killed", "source dropped"]
    assert all(recovery.back_after_s is not None and recovery.back_after_s > 0 for recovery in result.recoveries)
    assert result.reconciles
    assert found["captured"] == found["analysed"] + sum(found["dropped"].values())
    assert len(found["worker_restarts"]) == kinds.count("worker killed")
    assert len(found["source_losses"]) == kinds.count("source dropped")


def test_a_pulled_cable_fails_reads_and_opening_until_it_is_back():
    source = UnpluggableSource(BenchSource())
    source.open()
    assert source.read().shape == (120, 160, 3)
    source.unplug()
    with pytest.raises(SourceLost):
        source.read()
    with pytest.raises(SourceLost):
        source.open()
    source.plug()
    source.open()
    assert source.read().shape == (120, 160, 3)


@pytest.mark.parametrize(
    "back_after_s,reconciles,growth,met",
    [(1.9, True, 0.01, True), (2.1, True, 0.01, False), (None, True, 0.01, False), (1.0, False, 0.01, False),
     (1.0, True, 0.2, False)],
)  # fmt: skip
def test_the_goal_is_met_only_when_all_of_it_is(back_after_s, reconciles, growth, met):
    recoveries = (Recovery("worker killed", 60.0, 0.5), Recovery("worker killed", 120.0, back_after_s))
    assert SoakResult(30.0, recoveries, reconciles, growth).met == met
