"""The file of all frames: what goes in comes out, and a damaged one is one clear error."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calibration.errors import ScalpScopeError
from device_app.bench.latency.frames import FrameTimes, detail_values, read_raw, stage_values, write_raw
from device_app.bench.latency.report import Stage
from tests.support.latency_reports import made_up_frames

MS = st.floats(0, 1e6).map(lambda value: round(value, 6))
FRAMES = st.lists(
    st.builds(
        FrameTimes,
        st.integers(0, 10**9),
        MS,
        st.dictionaries(st.sampled_from(Stage), MS, min_size=1),
        st.dictionaries(st.text(min_size=1, max_size=12), MS, max_size=4),
        MS,
    ),
    max_size=20,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(FRAMES)
def test_what_was_written_is_read(tmp_path, frames):
    write_raw(tmp_path / "frames.jsonl", frames)
    if frames:
        assert read_raw(tmp_path / "frames.jsonl") == tuple(frames)


@pytest.mark.parametrize(
    "line",
    ["", "{}", "[]", "null", '{"frame": 1}', '{"frame": 0, "at_s": 0, "end_to_end_ms": 1, "stages_ms": {"lunch": 1}}'],
)
def test_a_damaged_line_is_named(tmp_path, line):
    file = tmp_path / "frames.jsonl"
    write_raw(file, made_up_frames([{"compute": 1.0}]))
    file.write_text(file.read_text() + line + "\n")
    with pytest.raises(ScalpScopeError, match="Line 2 of"):
        read_raw(file)


def test_a_missing_file_is_one_error(tmp_path):
    with pytest.raises(ScalpScopeError, match="cannot be read"):
        read_raw(tmp_path / "none.jsonl")


def test_values_come_in_the_order_of_the_stages():
    frames = made_up_frames([{"postprocess": 3.0, "preprocess": 1.0}, {"preprocess": 2.0}], {"mask": 0.5})
    assert list(stage_values(frames).items()) == [(Stage.PREPROCESS, [1.0, 2.0]), (Stage.POSTPROCESS, [3.0])]
    assert detail_values(frames) == {"mask": [0.5, 0.5]}
