"""Runs the real app in a process of its own, under a display that is there or one that is started for it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.colour_classifier import add_classes, add_conditions
from tests.support.tiny_sam import make_sam_bundle

ROOT = Path(__file__).resolve().parents[3]
DEMO = {"width": 320, "height": 240, "scale_um_per_px": 6.0}

RunPlan = Callable[..., None]


@pytest.fixture(scope="session")
def sam_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real bundle that can refine: hair is what is dark, and what is near a point on hair."""
    return make_sam_bundle(tmp_path_factory.mktemp("bundles") / "tiny-sam", 320, 240)


@pytest.fixture(scope="session")
def grading_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real bundle that can refine, grade what has certain colours, and stage photographs by their brightness.

    Redness it does not claim.
    """
    bundle = make_sam_bundle(tmp_path_factory.mktemp("bundles") / "tiny-grading", 320, 240)
    return add_classes(add_conditions(bundle, claimed=(True, True, False)))


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


def check_controls(name: str, rows: list[dict[str, Any]], window: Sequence[int], least_px: int) -> None:
    """Fail unless every text and control of a screen can be read and hit.

    Args:
        name: of the screen, for the message.
        rows: what `measure_controls` wrote.
        window: its width and height.
        least_px: 9 mm on the smallest usual screen of this size.
    """
    presses = [row for row in rows if row["press"]]
    assert presses, name
    for row in rows:
        left, bottom, right, top = row["box"]
        assert -1 <= left and right <= window[0] + 1, (name, row)
        assert row["scrolled"] or (-1 <= bottom and top <= window[1] + 1), (name, row)
        assert row["texture"][0] <= right - left + 1 and row["texture"][1] <= top - bottom + 1, (name, row)
        assert row["font_px"] is None or row["font_px"] >= 16, (name, row)
        assert not row["shortened"], (name, row)
    for row in presses:
        left, bottom, right, top = row["box"]
        assert min(right - left, top - bottom) >= least_px, (name, row)
    for i, one in enumerate(presses):
        for other in presses[:i]:
            assert _apart(one["box"], other["box"]), (name, one["text"], other["text"])


def _apart(one: list[float], other: list[float]) -> bool:
    return one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
