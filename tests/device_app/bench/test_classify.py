"""The classify bench: run as a command of its own with a tiny network, and what it judges by."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
from support.colour_classifier import make_classifier_bundle, make_conditions_network
from support.command import ROOT, environment
from support.sources import BenchSource

from calibration.errors import ScalpScopeError
from device_app.bench.classify import ClassifyTimes, files_to_compare, measure, speed_of, time_networks
from device_app.bundle import load_bundle
from device_app.engines.engine import Precision
from device_app.live.settings import PipelineSettings

TIMES = ClassifyTimes("tiny", 2, 100, {"fp32": 20.0, "int8_u8s8": 10.0}, 2.0, 12.0, 2.0, 20.0, 19.1, 45.0)


@pytest.mark.parametrize(
    ("times", "met"),
    [
        (TIMES, True),
        (replace(TIMES, speed=1.99), False),
        (replace(TIMES, speed=None), True),
        (replace(TIMES, live_fps_with=18.9), False),
        (replace(TIMES, live_fps_with=20.4), True),
    ],
)
def test_goals_are_the_speed_and_the_live_rate(times, met):
    assert times.met is met
    assert TIMES.rate_taken == pytest.approx(0.045) and TIMES.time_share == pytest.approx(0.024)


def test_the_speed_is_fp32_over_the_fastest_int8():
    assert speed_of({"fp32": 30.0, "int8_u8s8": 10.0, "int8_symmetric": 20.0}) == 3.0
    assert speed_of({"fp32": 30.0, "fp16": 10.0}) is None
    assert speed_of({"int8_u8s8": 10.0}) is None


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return make_classifier_bundle(tmp_path_factory.mktemp("bench") / "b")


def test_the_files_of_the_bundle_are_run_and_one_from_elsewhere_stands_for_fp32(bundle, tmp_path):
    loaded = load_bundle(bundle)
    other = make_conditions_network(tmp_path / "other.onnx", work=40)
    own, against = files_to_compare(loaded, None), files_to_compare(loaded, other)
    assert list(own) == [Precision.FP32] and against[Precision.FP32] == other
    quick, slow = (time_networks(loaded, files, 3)["fp32"] for files in (own, against))
    assert 0 < quick < slow
    with pytest.raises(ScalpScopeError, match="There is no file"):
        files_to_compare(loaded, tmp_path / "none.onnx")
    wrong = shutil.copyfile(bundle / "hair_fp32.onnx", tmp_path / "hair.onnx")
    with pytest.raises(ScalpScopeError, match="the manifest says"):
        time_networks(loaded, files_to_compare(loaded, wrong), 1)


def test_the_command_measures_writes_and_judges(bundle, tmp_path):
    report = tmp_path / "classify.json"
    words = ["--rounds", "1", "--seconds", "1", "--runs", "3", "--cores", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "device_app.bench.classify", *words, "--bundle", str(bundle), "--report", str(report)],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert report.is_file(), done.stderr
    content = json.loads(report.read_text())
    assert done.returncode == (0 if content["met"] else 1)
    assert ("goals met" if content["met"] else "goal missed") in done.stdout
    assert content["speed"] is None and content["network_ms"]["fp32"] > 0
    assert content["graded_per_s"] > 0 and content["grade_ms"] > 0
    assert content["live_fps_without"] > 0 and content["live_fps_with"] > 0


def test_a_bundle_that_cannot_grade_is_an_error_before_anything_is_measured(tiny_bundle, tmp_path):
    settings = PipelineSettings(tiny_bundle, threads=1)
    with pytest.raises(ScalpScopeError, match="no network for the task 'conditions'"):
        measure(BenchSource(), settings, None, rounds=1, seconds=1.0, cores=1, runs=1)
