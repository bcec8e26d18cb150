"""The live-rate bench: run as a command of its own, and its arithmetic."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from support.command import ROOT, environment

from calibration.errors import ScalpScopeError
from device_app.bench.live_rate import hold_to_cores, rate_of


def test_shares_and_overhead_follow_from_the_report():
    stages = {"segment": {"mean": 45.0}, "total": {"mean": 60.0}}
    rate = rate_of({"stage_ms": stages, "analysed_per_s": 16.0, "captured_per_s": 30.0}, cores=2)
    assert rate.other_share == pytest.approx(0.25)
    assert rate.overhead_ms == pytest.approx(62.5 - 60.0)
    assert rate.met
    slower = rate_of({"stage_ms": stages, "analysed_per_s": 14.9, "captured_per_s": 30.0}, cores=2)
    assert not slower.met


def test_more_cores_than_there_are_is_refused():
    with pytest.raises(ScalpScopeError, match="usable cores"):
        hold_to_cores(len(os.sched_getaffinity(0)) + 1)


def test_the_command_measures_writes_and_judges(tiny_bundle, tmp_path):
    report = tmp_path / "rate.json"
    words = ["--seconds", "1", "--cores", "1", "--bundle", str(tiny_bundle), "--report", str(report)]
    done = subprocess.run(
        [sys.executable, "-m", "device_app.bench.live_rate", *words],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    content = json.loads(report.read_text())
    met = content["analysed_fps"] >= content["goal_fps"] and content["other_share"] <= content["goal_other_share"]
    assert done.returncode == (0 if met else 1)
    assert ("goals met" if met else "goal missed") in done.stdout
    assert content["cores"] == 1 and content["run"]["reconciles"]
