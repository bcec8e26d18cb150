"""Two reports side by side: ratios that are there, and refusals of what does not compare."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from calibration.errors import ScalpScopeError
from device_app.bench.latency.compare import check_comparable, compare, read_measured
from device_app.bench.latency.report import Model, Scenario, Verdict
from tests.support.latency_reports import MACHINE, SUBJECT, made_up_frames, write_report


def frames(factor: float, seed: int, count: int = 400, **more: float):
    rng = np.random.default_rng(seed)
    return made_up_frames(
        [
            {"preprocess": 1 + rng.random() / 10, "compute": factor * (20 + rng.normal(0, 1)), **more}
            for _ in range(count)
        ],
        {"network": 21.0 * factor},
    )


def test_a_faster_run_is_faster_where_it_is(tmp_path):
    before = read_measured(write_report(tmp_path / "a", frames(1.0, 1)))
    after = read_measured(write_report(tmp_path / "b", frames(0.5, 2, postprocess=0.5)).parent)
    found = compare(before, after)
    rows = found.by_name
    assert list(rows) == ["preprocess", "compute", "network", "end to end"]
    assert found.end_to_end is rows["end to end"]
    assert rows["compute"].ratio.low < 2.0 < rows["compute"].ratio.high
    assert rows["compute"].before_ms == pytest.approx(20, rel=0.02)
    assert rows["compute"].after_ms == pytest.approx(10, rel=0.02)
    assert rows["preprocess"].ratio.low < 1.0 < rows["preprocess"].ratio.high
    assert rows["end to end"].ratio.ratio == pytest.approx(21.05 / 11.55, rel=0.02)
    assert found.only_one == ("postprocess",)
    assert found.differs == () and found.warnings == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": Model.CONDITIONS}, "model hair and conditions"),
        ({"scenario": Scenario.MULTI_STREAM}, "scenario single-stream and multi-stream"),
        ({"picture_size": (1280, 720)}, "picture size 640 x 480 and 1280 x 720"),
        ({"points": 300}, "points none and 300"),
        ({"cores": 4, "threads": 4}, "processor cores 2 and 4; threads 2 and 4"),
    ],
)
def test_what_measured_something_else_is_refused(change, words):
    with pytest.raises(ScalpScopeError, match=f"do not compare: {words}"):
        check_comparable(SUBJECT, SUBJECT.model_copy(update=change))


def test_what_one_compares_is_said_and_an_invalid_report_is_a_warning(tmp_path):
    other = SUBJECT.model_copy(update={"backend": "tensorrt", "precision": "fp16", "source": "photos"})
    machine = MACHINE.model_copy(update={"identity": {"processor": "another", "gpu": "Orin"}})
    before = read_measured(write_report(tmp_path / "a", frames(1.0, 1)))
    invalid = Verdict(valid=False, reasons=("Too short.",))
    after = read_measured(write_report(tmp_path / "b", frames(1.0, 2), other, machine=machine, verdict=invalid))
    found = compare(before, after)
    assert "back end: onnxruntime-cpu, then tensorrt" in found.differs
    assert "precision: int8_u8s8, then fp16" in found.differs
    assert "processor: made up, then another" in found.differs
    assert "gpu: none, then Orin" in found.differs
    assert found.warnings[0] == "The second report is INVALID: Too short."
    assert "different pictures" in found.warnings[1]


def test_frames_of_another_run_are_refused(tmp_path):
    file = write_report(tmp_path / "a", frames(1.0, 1, 10))
    write_report(tmp_path / "b", frames(1.0, 1, 11))
    (tmp_path / "a" / "frames.jsonl").write_text((tmp_path / "b" / "frames.jsonl").read_text())
    with pytest.raises(ScalpScopeError, match=r"tells of 10 frames, and frames\.jsonl beside it holds 11"):
        read_measured(file)


@pytest.mark.parametrize("raw", ["../frames.jsonl", "/etc/passwd"])
def test_a_report_names_no_file_elsewhere(tmp_path: Path, raw: str):
    file = write_report(tmp_path / "a", frames(1.0, 1, 10))
    file.write_text(json.dumps({**json.loads(file.read_text()), "raw": raw}))
    with pytest.raises(ScalpScopeError, match="outside of its folder"):
        read_measured(file)


def test_a_report_without_its_frames_is_one_error(tmp_path):
    file = write_report(tmp_path / "a", frames(1.0, 1, 10))
    (tmp_path / "a" / "frames.jsonl").unlink()
    with pytest.raises(ScalpScopeError, match="Keep the JSONL file beside its report"):
        read_measured(file.parent)
