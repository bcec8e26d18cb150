"""The report's file: strict, and an error that says where."""

from __future__ import annotations

import json

import pytest

from calibration.errors import ScalpScopeError
from device_app.bench.latency.report import Stage, in_order, read_report
from tests.support.latency_reports import made_up_frames, made_up_report, write_report

FRAMES = made_up_frames([{"preprocess": 1.0, "compute": 10.0}] * 3)


def test_what_was_written_is_read(tmp_path):
    assert read_report(write_report(tmp_path, FRAMES)) == made_up_report(FRAMES)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"lunch": 1}, "lunch"),
        ({"schema_version": 2}, "schema_version"),
        ({"throughput_per_s": 0}, "throughput_per_s"),
        ({"stages": {"lunch": None}}, "stages"),
        ({"verdict": {}}, "verdict"),
    ],
)
def test_what_is_no_report_is_refused_with_the_place(tmp_path, change, where):
    file = write_report(tmp_path, FRAMES)
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(ScalpScopeError, match=where):
        read_report(file)


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"{"])
def test_a_missing_or_broken_file_is_one_error(tmp_path, content):
    file = tmp_path / "report.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ScalpScopeError, match=r"report\.json"):
        read_report(file)


def test_stages_come_in_their_order():
    stages = made_up_report(made_up_frames([{"postprocess": 1.0, "capture": 2.0, "compute": 3.0}])).stages
    assert in_order(stages) == (Stage.CAPTURE, Stage.COMPUTE, Stage.POSTPROCESS)
