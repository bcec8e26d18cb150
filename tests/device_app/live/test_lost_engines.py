"""Which back end is left out, and from when on."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_app.live.lost_engines import MOST_LOSSES, PROCESSOR, WITHIN_S, LostEngines, accelerators
from device_app.live.settings import PipelineSettings

SETTINGS = PipelineSettings(Path("bundle"))
WITH = {name: PipelineSettings(Path("bundle"), backend=name) for name in ("gpu", "npu", PROCESSOR)}


@given(st.lists(st.tuples(st.floats(0, 100), st.sampled_from(["gpu", "npu"])), max_size=12))
def test_a_back_end_is_left_out_once_it_failed_so_often_in_so_short_a_time(losses: list[tuple[float, str]]) -> None:
    clock = 0.0
    lost = LostEngines(lambda: clock)
    times: dict[str, list[float]] = {"gpu": [], "npu": []}
    out: set[str] = set()
    for after_s, backend in losses:
        clock += after_s
        times[backend].append(clock)
        last = times[backend][-MOST_LOSSES:]
        news = len(last) == MOST_LOSSES and last[-1] - last[0] <= WITHIN_S and backend not in out
        out |= {backend} if news else set()
        assert lost.book([backend], "It fell off the bus.") is news
        assert len(lost.given_up) == len(out)
        assert lost.allowed(SETTINGS).backend == (PROCESSOR if out else None)
        for name in ("gpu", "npu"):
            assert lost.allowed(WITH[name]).backend == (PROCESSOR if name in out else name)
    assert lost.count == len(losses)
    assert lost.allowed(WITH[PROCESSOR]) is WITH[PROCESSOR]


def test_what_fails_while_it_is_opened_leaves_the_processor_whoever_was_asked_for() -> None:
    lost = LostEngines(lambda: 0.0)
    assert lost.allowed(SETTINGS) is SETTINGS
    assert [lost.book((), "It crashed.") for _ in range(MOST_LOSSES)] == [False] * (MOST_LOSSES - 1) + [True]
    assert lost.allowed(WITH["gpu"]).backend == PROCESSOR
    assert "It crashed." in lost.given_up[0]


@pytest.mark.parametrize(
    ("engines", "found"),
    [
        (("onnxruntime-cpu int8_u8s8", ""), ()),
        (("tensorrt int8_symmetric", "tensorrt fp16"), ("tensorrt",)),
        (("encoder tensorrt fp16, decoder onnxruntime-cpu fp32", "npu fp16"), ("tensorrt", "npu")),
    ],
)
def test_accelerators_are_told_from_what_the_results_name(engines: tuple[str, ...], found: tuple[str, ...]) -> None:
    assert accelerators(*engines) == found
