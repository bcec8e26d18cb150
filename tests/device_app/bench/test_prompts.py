"""The bench of prompts, ensemble and clean-up, run as a command of its own: it holds its process to so many cores."""

from __future__ import annotations

import json

import pytest
from support.command import scalpscope

STAGES = ["clean-up", "prompts", "ensemble", "total"]


@pytest.mark.parametrize("combination", ["product", "grown"])
def test_the_command_measures_writes_and_judges(tmp_path, combination):
    report = tmp_path / "prompts.json"
    words = ["--count", "2", "--runs", "3", "--cores", "1", "--combination", combination, "--report", report]
    done = scalpscope("bench", "prompts", *words)
    content = json.loads(report.read_text())
    assert (content["combination"], content["pictures"], content["runs"]) == (combination, 2, 3)
    assert 200 <= content["points_min"] <= content["points_median"] <= content["points_max"] <= 450
    spread = content["stage_ms"]
    assert list(spread) == STAGES
    assert all(0 < spread[stage]["p50"] <= spread[stage]["p95"] for stage in STAGES)
    assert spread["total"]["p50"] >= max(spread[stage]["p50"] for stage in STAGES[:3])
    met = spread["total"]["p50"] <= content["goal_ms"] == 15
    assert content["met"] == met and done.returncode == (0 if met else 1)
    assert f"ensemble ({combination})" in done.stdout
    assert ("goal met" if met else "goal missed") in done.stdout
