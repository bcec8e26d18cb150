"""From the command line to the first analysed frame: the real command, in a process of its own."""

from __future__ import annotations

import time

import psutil
import pytest

from calibration.errors import ScalpScopeError
from device_app.bench.latency.first_frame import measure_first_frame
from device_app.engines.engine import Precision


def test_it_lies_between_the_start_and_the_end_of_the_command(tiny_bundle):
    began = time.monotonic()
    seconds = measure_first_frame(tiny_bundle, Precision.FP32, "onnxruntime-cpu", runs=1)
    assert 0.0 < seconds < time.monotonic() - began
    assert not psutil.Process().children(recursive=True)


def test_an_app_that_cannot_start_is_said_in_its_own_words(tiny_bundle, tmp_path):
    with pytest.raises(ScalpScopeError, match=r"ended with code 2.*no bundle"):
        measure_first_frame(tmp_path / "none", runs=1)
    with pytest.raises(ScalpScopeError, match=r"ended with code 2.*no back end 'warp'"):
        measure_first_frame(tiny_bundle, backend="warp", runs=1)
