"""The refine bench: run as a command of its own with a tiny SAM, and what it judges by."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from support.command import ROOT, environment
from support.sources import BenchSource
from support.tiny_sam import make_sam_bundle

from calibration.errors import ScalpScopeError
from device_app.bench.refine import RefineTimes, measure, tap_on
from device_app.bundle import Combination
from device_app.camera.source import Frame
from device_app.live.pipeline import Pipeline
from device_app.live.settings import PipelineSettings


def spread(p95: float) -> dict[str, float]:
    return {"p50": p95 / 2, "p95": p95, "count": 10}


TIMES = RefineTimes("tiny", 2, 4000.0, spread(1500.0), spread(400.0), spread(900.0), 300.0, 20.0, 18.0, 300.0, 90.0, 90)


@pytest.mark.parametrize(
    ("times", "met"),
    [
        (TIMES, True),
        (replace(TIMES, freeze_ms=spread(1501.0)), False),
        (replace(TIMES, live_fps_with=17.9), False),
        (replace(TIMES, correction_ms=spread(9000.0), first_ms=9000.0), True),
    ],
)
def test_goals_are_the_latency_of_95_of_100_and_the_live_rate(times, met):
    assert times.met is met
    assert TIMES.rate_kept == pytest.approx(0.9)


def test_the_command_measures_writes_and_judges(tmp_path):
    bundle = make_sam_bundle(tmp_path / "sam")
    report = tmp_path / "refine.json"
    words = ["--rounds", "1", "--seconds", "1", "--cores", "1", "--bundle", str(bundle), "--report", str(report)]
    done = subprocess.run(
        [sys.executable, "-m", "device_app.bench.refine", *words],
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
    assert content["freeze_ms"]["count"] == content["correction_ms"]["count"] >= 1
    assert content["alone_ms"]["count"] == 3
    assert content["points"] > 0 and content["memory_mb"] > 0
    assert content["live_fps_without"] > 0 and content["live_fps_with"] > 0
    assert content["rate_kept"] == pytest.approx(content["live_fps_with"] / content["live_fps_without"])


def test_a_bundle_without_sam_is_an_error_before_anything_is_measured(tiny_bundle):
    with pytest.raises(ScalpScopeError, match="SAM"):
        measure(BenchSource(), PipelineSettings(tiny_bundle, threads=1), rounds=1, seconds=1.0, cores=1)


def test_the_tap_falls_where_hair_was_asked_for_and_left_out(tmp_path):
    bundle = make_sam_bundle(tmp_path / "sam", 320, 240, combination=Combination.PRODUCT)
    pipeline = Pipeline(PipelineSettings(bundle, threads=1))
    image = np.full((240, 320, 3), 200, np.uint8)
    image[:, 100:110] = 30
    found = pipeline.refine(Frame(1, image, 0))
    pipeline.close()
    x, y = found.points.positive[0]
    mask = found.mask.copy()
    assert tap_on(found).x == 160.0  # nothing was left out
    mask[int(y), int(x)] = 0
    tap = tap_on(replace(found, mask=mask))
    assert (tap.x, tap.y, tap.hair) == (float(x), float(y), True)
