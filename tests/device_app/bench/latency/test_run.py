"""A run as a whole: what is refused before anything is measured, and how a run is put together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from calibration.errors import ScalpScopeError
from device_app.bench.latency.cold_start import Wanted
from device_app.bench.latency.plan import Plan, check_plan
from device_app.bench.latency.report import Model, Scenario
from device_app.bench.latency.run import frame_times, run_bench, warm_up
from device_app.bench.latency.subjects import open_network
from device_app.bundle import load_bundle
from tests.support.latency_reports import SUBJECT, made_up_frames, write_report
from tests.support.tiny_bundle import golden_picture


@pytest.fixture()
def plan(tiny_bundle: Path, tmp_path: Path) -> Plan:
    wanted = Wanted(tiny_bundle, Model.PIPELINE, threads=1)
    return Plan(wanted, Scenario.SINGLE_STREAM, 0.5, "demo", 1, tmp_path / "out", "scalpscope bench")


def other(plan: Plan, model: Model) -> Plan:
    return replace(plan, wanted=replace(plan.wanted, model=model))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda plan: other(replace(plan, scenario=Scenario.LIVE), Model.HAIR), "live scenario is the whole pipeline"),
        (lambda plan: replace(plan, window=(640, 480)), "--window belongs to the live scenario"),
        (lambda plan: replace(plan, scenario=Scenario.LIVE, peers=True), "--peers"),
        (lambda plan: other(replace(plan, peers=True), Model.CONDITIONS), "--peers"),
        (lambda plan: replace(plan, checkpoint=Path("x")), "Add --peers"),
        (lambda plan: replace(plan, fp32=Path("/no/such.onnx")), r"no file '/no/such\.onnx' \(--fp32\)"),
        (lambda plan: replace(plan, peers=True, checkpoint=Path("/no/such.pt")), r"\(--checkpoint\)"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is_opened(plan, change, words):
    check_plan(plan)
    with pytest.raises(ScalpScopeError, match=words):
        run_bench(change(plan))
    assert not plan.out.exists()


def test_a_report_is_never_written_over(plan):
    write_report(plan.out, made_up_frames([{"compute": 1.0}]))
    with pytest.raises(ScalpScopeError, match="holds a report already"):
        run_bench(plan)


@pytest.mark.parametrize(
    ("subject", "words"),
    [
        ({"model": Model.CONDITIONS}, "model conditions and pipeline"),
        ({"model": Model.PIPELINE, "scenario": Scenario.LIVE}, "scenario live and single-stream"),
        ({"model": Model.PIPELINE, "cores": 7}, "processor cores 7 and 1"),
    ],
)
def test_an_earlier_report_that_does_not_compare_is_refused_before_a_minute_is_spent(plan, tmp_path, subject, words):
    subject = SUBJECT.model_copy(update=subject)
    earlier = write_report(tmp_path / "earlier", made_up_frames([{"compute": 1.0}]), subject)
    with pytest.raises(ScalpScopeError, match=f"do not compare: {words}"):
        run_bench(replace(plan, against=earlier))
    assert not plan.out.exists()


def test_a_source_without_pictures_is_refused(plan, tmp_path):
    with pytest.raises(ScalpScopeError, match="no source"):
        run_bench(replace(plan, source=str(tmp_path / "none")))


def test_the_warm_up_is_no_part_of_the_frames(tiny_bundle):
    subject = open_network(load_bundle(tiny_bundle), Model.HAIR, None, 1, None, 1)
    picture = golden_picture()
    count, expected_ms = warm_up(subject, [picture], 0.05)
    assert count >= 5 and expected_ms > 0
    stamps = subject.stamps()
    subject.run(picture, stamps)
    subject.close()
    assert len(frame_times(subject, stamps)) == 1
