"""What makes a live run not count."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from device_app.bench.latency.live_problems import not_shown, other_engines
from device_app.engines.engine import Precision
from device_app.live.settings import PipelineSettings


def test_another_engine_than_was_asked_for_and_a_change_of_engines_are_problems():
    settings = PipelineSettings(Path("bundle"))
    named = dataclasses.replace(settings, backend="tensorrt", precision=Precision.FP16)
    assert other_engines(["tensorrt fp16"] * 3, named) == []
    assert other_engines(["onnxruntime-cpu fp32"] * 3, settings) == []
    (problem,) = other_engines(["tensorrt fp16", "onnxruntime-cpu fp16"], named)
    assert "tensorrt fp16 was asked for, and onnxruntime-cpu fp16 analysed 1 of 2" in problem
    (problem,) = other_engines(["tensorrt fp32"], named)
    assert "tensorrt fp32 analysed 1 of 1" in problem
    (problem,) = other_engines(["onnxruntime-cpu fp32", "tensorrt fp16", "tensorrt fp16"], settings)
    assert "changed" in problem and "tensorrt fp16 for 2 frames" in problem


def test_frames_that_the_screen_overtook_are_a_problem_once_they_are_more_than_a_few():
    assert not_shown(300, 300) == not_shown(300, 298) == not_shown(3000, 2970) == []
    (problem,) = not_shown(300, 296)
    assert "4 of 300" in problem
    assert not_shown(10, 7) != []
