"""`scalpscope bench` as a user runs it: a report on any machine, valid or invalid with reasons; and a comparison."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import pytest

from device_app.bench.latency.compare import Measured, read_measured
from device_app.bench.latency.report import (
    ColdStart,
    Frames,
    Model,
    Peer,
    Quality,
    Scenario,
    Stage,
    Verdict,
    read_report,
)
from device_app.bench.latency.run import Outcome
from device_app.bench.latency.spread import Ratio
from device_app.cli import EXIT_USER, call
from device_app.commands.bench import EXIT_INVALID, ModelName, ScenarioName
from device_app.commands.bench_words import print_outcome
from tests.support.command import environment, scalpscope, start
from tests.support.latency_reports import SUBJECT, made_up_frames, made_up_report, write_report


def test_the_names_on_offer_are_those_there_are():
    assert [name.value for name in ModelName] == [model.value for model in Model]
    assert [name.value for name in ScenarioName] == [scenario.value for scenario in Scenario]


@pytest.fixture(scope="module")
def quick_look(tiny_bundle: Path, hairy_pictures: list[Path], tmp_path_factory: pytest.TempPathFactory):
    """One quick look at the pipeline, of a precision that is not there, against a report that is far slower."""
    folder = tmp_path_factory.mktemp("bench")
    seen = {"model": Model.PIPELINE, "cores": 1, "threads": 1, "picture_size": (320, 240)}
    frames = made_up_frames([{"preprocess": 90.0 + n % 3, "compute": 900.0, "postprocess": 90.0} for n in range(40)])
    earlier = write_report(folder / "earlier", frames, SUBJECT.model_copy(update=seen))
    words = ["--seconds", "0.6", "--cores", "1", "--bundle", tiny_bundle, "--out", folder / "out", "--no-first-frame"]
    more = ["--source", hairy_pictures[0].parent, "--backend", "onnxruntime-cpu", "--precision", "fp16"]
    return scalpscope("bench", *words, *more, "--against", earlier), folder / "out"


def test_a_quick_look_is_a_whole_report_that_says_why_it_is_invalid(quick_look, tiny_bundle):
    done, out = quick_look
    assert done.returncode == EXIT_INVALID, done.stderr
    measured = read_measured(out)
    report, subject = measured.report, measured.report.subject
    assert subject.model is Model.PIPELINE
    assert (subject.backend, subject.precision) == ("onnxruntime-cpu", "fp32")
    assert (subject.asked_backend, subject.asked_precision) == ("onnxruntime-cpu", "fp16")
    assert (subject.cores, subject.threads, subject.picture_size) == (1, 1, (320, 240))
    manifest = json.loads((tiny_bundle / "manifest.json").read_text())
    assert subject.model_files == {"hair": manifest["models"][0]["files"]["fp32"]["sha256"]}
    assert subject.demonstration and subject.fallback
    assert set(report.stages) | set(report.absent_stages) == set(Stage)
    assert {"network", "mask", "measure", "focus"} == set(report.details)
    assert report.end_to_end.count == len(measured.frames) == report.stages[Stage.COMPUTE].count
    assert 0.5 < report.measured_s < 60
    assert report.throughput_per_s == pytest.approx(len(measured.frames) / report.measured_s)
    assert report.loadgen is not None and report.loadgen.queries == len(measured.frames)
    assert "Result is" in (out / report.loadgen.folder / "mlperf_log_summary.txt").read_text()
    # By LoadGen's clock and by ours, of the same frames; ours begins later and ends sooner.
    assert report.loadgen.percentile_ms >= report.end_to_end.p90_ms
    assert report.quality is not None and report.quality.passed and report.quality.mask_dice_worst == 1.0
    assert report.machine.identity and report.machine.during
    assert report.cold_start.load_s > 0
    assert report.cold_start.engine_build_s is None and report.cold_start.first_frame_s is None
    assert report.harness.share > 0
    assert not report.verdict.valid
    assert any("at least 60 s" in reason for reason in report.verdict.reasons)
    assert "fp16 was asked for, and fp32 ran." in report.verdict.reasons
    assert report.command.startswith("scalpscope bench --seconds 0.6")


def test_what_is_printed_is_what_is_in_the_report(quick_look):
    done, out = quick_look
    report = read_report(out / "report.json")
    assert re.search(r"^INVALID$", done.stdout, re.MULTILINE)
    for reason in report.verdict.reasons:
        assert reason in done.stdout
    for stage in report.stages:
        assert stage.value in done.stdout
    p50 = report.end_to_end.p50_ms
    assert (f"{p50:.3f}" if p50 < 10 else f"{p50:.1f}") in done.stdout
    assert "no capture, decode" in done.stdout
    assert str(out) in done.stdout
    assert "which says nothing: not both of them are VALID" in done.stdout
    assert "timing pipeline (single-stream)" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_page_lies_beside_it(quick_look):
    done, out = quick_look
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "INVALID" in page and "<svg" in page
    assert "no page" not in done.stdout


def test_ctrl_c_is_no_report_and_no_traceback(tiny_bundle, tmp_path):
    out = tmp_path / "out"
    words = ["--model", "hair", "--cores", "1", "--bundle", tiny_bundle, "--out", out, "--source", "demo"]
    with start(
        "bench",
        *words,
        env=environment(PYTHONUNBUFFERED="1"),
        preexec=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("looking at the machine"):
                break
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert not (out / "report.json").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--backend", "warp"], "no back end 'warp'"),
        (["--window", "wide", "--scenario", "live"], "'wide' is no size of a window"),
        (["--scenario", "live", "--model", "hair"], "--model pipeline"),
        (["--cores", "4096"], "usable cores"),
        (["--bundle", "/no/such/bundle"], "/no/such/bundle"),
        (["--source", "/no/such/source"], "/no/such/source"),
        (["--against", "/no/such/report.json"], "/no/such/report.json"),
        (["--seconds", "3", "refine"], "--seconds stands before 'refine'"),
    ],
)
def test_what_a_user_can_mend_is_one_line(words, said, tmp_path, tiny_bundle, capfd):
    bundle = [] if "--bundle" in words or "refine" in words else ["--bundle", str(tiny_bundle)]
    out = [] if "refine" in words else ["--out", str(tmp_path / "out")]
    assert call(["bench", *bundle, *out, *words]) == EXIT_USER
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("scalpscope: ")]
    assert len(lines) == 1 and said in lines[0]
    assert not (tmp_path / "out" / "report.json").exists()


def test_whatever_a_report_has_is_printed(tmp_path, capfd):
    """All that a machine with a GPU, peers and a live run would tell, on a terminal of 80 columns."""
    frames = made_up_frames([{"host_to_device": 0.1, "compute": 20.0}] * 50, {"network": 20.2})
    peers = (
        Peer(name="rembg", what="its session class", whole_ratio=Ratio(ratio=9.0, low=8.0, high=10.0)),
        Peer(name="eager", what="", missing="torch is not installed"),
    )
    report = made_up_report(
        frames,
        cold_start=ColdStart(engine_build_s=93.0, load_s=1.0, first_inference_ms=2.0, first_frame_s=2.5),
        frames=Frames(captured=9, analysed=7, dropped={"replaced": 2}, reconciles=True, captured_per_s=30.0),
        peers=peers,
        quality=Quality(pictures=1, feature_difference=0.04, grade_agreement=0.99, passed=True),
    )
    print_outcome(Outcome(Measured(report, frames), tmp_path, None, "matplotlib is not installed"))
    out = capfd.readouterr().out
    for words in (
        "9.00 (8.00 to 10.00)",
        "rembg: its session class",
        "eager: not run: torch is not installed",
        "engines built in 93 s",
        "first frame 2.50 s",
        "9 captured = 7 analysed + dropped (2 replaced)",
        "99.0% of grades alike",
        "features 0.0400 off",
        "host to device",
        "no page: matplotlib is not installed",
    ):
        assert words in out
    assert re.search(r"^VALID$", out, re.MULTILINE)


def test_compare_says_by_how_much_and_what_differs(tmp_path, capfd):
    slow = made_up_frames([{"compute": 20.0 + n % 5 / 10} for n in range(300)])
    fast = made_up_frames([{"compute": 10.0 + n % 7 / 10} for n in range(300)])
    before = write_report(tmp_path / "a", slow)
    after = write_report(tmp_path / "b", fast, SUBJECT.model_copy(update={"backend": "tensorrt"}))
    assert call(["bench", "compare", str(before), str(after.parent)]) == 0
    out = capfd.readouterr().out
    assert "the later run is 1.96 times as fast" in out
    assert "differs: back end: onnxruntime-cpu, then tensorrt" in out
    assert call(["bench", "compare", str(after), str(before)]) == 0
    assert "takes 1.96 times as long" in capfd.readouterr().out
    assert call(["bench", "compare", str(before), str(before)]) == 0
    assert "no difference can be told: two runs of the same thing may be 5% apart" in capfd.readouterr().out


def test_a_report_that_does_not_count_is_compared_with_nothing(tmp_path, capfd):
    frames = made_up_frames([{"compute": 20.0 + n % 5 / 10} for n in range(300)])
    verdict = Verdict(valid=False, reasons=("It was short.",))
    before, after = write_report(tmp_path / "a", frames), write_report(tmp_path / "b", frames, verdict=verdict)
    assert call(["bench", "compare", str(before), str(after)]) == 1
    out = capfd.readouterr().out
    assert "which says nothing" in out and "It was short." in out


def test_compare_refuses_another_model_in_one_line(tmp_path, capfd):
    frames = made_up_frames([{"compute": 20.0}])
    before = write_report(tmp_path / "a", frames)
    after = write_report(tmp_path / "b", frames, SUBJECT.model_copy(update={"model": Model.CONDITIONS}))
    assert call(["bench", "compare", str(before), str(after)]) == EXIT_USER
    err = capfd.readouterr().err
    assert err.count("\n") == 1 and "do not compare: model hair and conditions" in err
