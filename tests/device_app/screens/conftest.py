"""Runs the real app in a process of its own, under a display that is there or one that is started for it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
DEMO = {"width": 320, "height": 240, "scale_um_per_px": 6.0}

RunPlan = Callable[..., None]


@pytest.fixture
def run_plan(tmp_path: Path, tiny_bundle: Path) -> RunPlan:
    """A function that runs a plan of `tests.support.screen_child` and fails with what the app saw."""

    def run(steps: list[dict[str, Any]], **plan: Any) -> None:
        display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
        starter: list[str] = []
        if not display:
            if shutil.which("xvfb-run") is None:
                pytest.skip("no display, and no xvfb-run to make one")
            starter = ["xvfb-run", "-a", "-s", "-screen 0 1920x1080x24"]
        plan = {"bundle": str(tiny_bundle), "records": str(tmp_path / "records"), "demo": DEMO, "steps": steps, **plan}
        plan_file = tmp_path / "plan.json"
        plan_file.write_text(json.dumps(plan), encoding="utf-8")
        environment = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path / "config"), "HOME": str(tmp_path)}
        environment["OMP_NUM_THREADS"] = "1"
        command = [*starter, sys.executable, "-m", "tests.support.screen_child", str(plan_file)]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr[-6000:]

    return run
