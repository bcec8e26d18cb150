"""The screen-rate bench: the app itself, run as a command of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.command import ROOT, environment

from device_app.bench.screen_rate import GOAL_FPS, ScreenRate


def _rate(picture_fps: float, foreign: int) -> ScreenRate:
    return ScreenRate((800, 480), 40.0, picture_fps, 30.0, 40.0, 10, 505.0, foreign)


def test_the_goal_is_a_rate_and_no_foreign_overlay() -> None:
    assert _rate(GOAL_FPS, 0).met
    assert not _rate(GOAL_FPS - 0.1, 0).met
    assert not _rate(60.0, 1).met


def test_the_command_measures_writes_and_judges(tiny_bundle: Path, tmp_path: Path) -> None:
    starter: list[str] = []
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        if shutil.which("xvfb-run") is None:
            pytest.skip("no display, and no xvfb-run to make one")
        starter = ["xvfb-run", "-a"]
    report = tmp_path / "rate.json"
    words = ["--seconds", "2", "--network-ms", "300", "--cores", "1", "--window", "800x480", "--camera-fps", "20"]
    words += ["--bundle", str(tiny_bundle), "--report", str(report)]
    done = subprocess.run(
        [*starter, sys.executable, "-m", "device_app.bench.screen_rate", *words],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert report.exists(), done.stderr
    content = json.loads(report.read_text(encoding="utf-8"))
    assert content["foreign_overlays"] == 0
    assert content["network_ms"] >= 300
    assert 0 < content["picture_fps"] <= content["camera_fps"] + 1
    assert not content["met"]  # twenty pictures a second cannot be thirty
    assert done.returncode == 1
    assert "goal missed" in done.stdout
