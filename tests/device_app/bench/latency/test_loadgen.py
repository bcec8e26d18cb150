"""MLPerf's own load generator, driven for real: its results, and that no error of ours is lost in it.

It keeps state of its own and runs C++ frames round our code, so each test is a process that must end in order.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from calibration.errors import ScalpScopeError
from device_app.bench.latency.loadgen import MIN_QUERIES, Load, load_generator, parse_logs
from device_app.bench.latency.report import LoadGenResult, Scenario
from tests.support.command import ROOT, environment

PROGRAM = """
import os, signal, sys, threading, time
from pathlib import Path
from device_app.bench.latency.loadgen import *
seen, shares = [], []
def run(load, work, name):
    try:
        return run_load(load, lambda n: (seen.append((n, threading.current_thread().name)), work(n)),
                        Path(sys.argv[1]) / name, shares.append)
    finally:
        before = signal.getsignal(signal.SIGINT)
        assert before is signal.default_int_handler, before
"""


def child(tmp_path: Path, program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM + program, str(tmp_path)],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_both_scenarios_in_its_own_words(tmp_path):
    done = child(
        tmp_path,
        """
work = lambda n: time.sleep(0.002)
first = run(Load(Scenario.SINGLE_STREAM, 0.5, 2.0, 5), work, "single")
print(first.model_dump_json())
assert {n for n, _ in seen} == set(range(5)) and {thread for _, thread in seen} == {"MainThread"}
print(len(seen))
seen.clear()
second = run(Load(Scenario.MULTI_STREAM, 0.5, 2.0, 9), work, "multi")
print(second.model_dump_json())
print(len(seen))
assert shares[0] < 0.2 and shares == sorted(shares[:1]) + shares[1:]
""",
    )
    assert done.returncode == 0, done.stderr
    single, single_count, multi, multi_count = done.stdout.splitlines()
    found = LoadGenResult.model_validate_json(single)
    assert found.valid and found.reasons == ()
    assert found.percentile == 90.0
    assert 2.0 <= found.percentile_ms <= found.early_stopping_ms
    assert found.queries == found.samples == int(single_count) >= 64
    assert found.min_duration_s == 0.5 <= found.duration_s
    assert found.settings["scenario"] == "SingleStream" and found.settings["performance_sample_count"] == 5
    summary = (tmp_path / "single" / found.folder / "mlperf_log_summary.txt").read_text()
    assert f"90.0th percentile latency (ns) : {found.percentile_ms * 1e6:.0f}" in summary
    assert "Result is : VALID" in summary

    found = LoadGenResult.model_validate_json(multi)
    assert not found.valid
    assert "at least 662 queries for early stopping" in " ".join(found.reasons)
    assert found.percentile == 99.0 and found.percentile_ms >= 16.0
    assert found.early_stopping_ms is None
    assert found.samples == found.queries * 8 == int(multi_count)


def test_an_error_comes_out_as_it_is_at_once_and_the_process_ends_in_order(tmp_path):
    done = child(
        tmp_path,
        """
def work(n):
    if len(seen) == 20:
        raise ScalpScopeError("The engine failed.", "Try another.")
    time.sleep(0.001)
began = time.monotonic()
try:
    run(Load(Scenario.SINGLE_STREAM, 60.0, 1.0, 4), work, "out")
except ScalpScopeError as error:
    print(error, len(seen))
assert time.monotonic() - began < 50
""",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "The engine failed. Try another. 20\n"


def test_an_error_while_telling_how_far_it_is_comes_out_too(tmp_path):
    done = child(
        tmp_path,
        """
def advance(share):
    raise OSError("the terminal is gone")
try:
    run_load(Load(Scenario.MULTI_STREAM, 30.0, 1.0, 4), lambda n: time.sleep(0.001), Path(sys.argv[1]), advance)
except OSError as error:
    print(error)
""",
    )
    assert (done.returncode, done.stdout) == (0, "the terminal is gone\n"), done.stderr


def test_ctrl_c_ends_it_between_two_frames(tmp_path):
    program = """
done = []
def work(n):
    if len(seen) == 10:
        print("running", flush=True)
    time.sleep(0.02)
    done.append(n)
try:
    run(Load(Scenario.SINGLE_STREAM, 60.0, 2.0, 4), work, "out")
except KeyboardInterrupt:
    print("interrupted", len(seen) - len(done), flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM + program, str(tmp_path)],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
        # A suite that runs in the background hands down SIGINT ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted 0\n"  # the frame under way was done
        assert process.wait(30) == 0


def test_without_the_package_there_is_one_error_with_the_remedy():
    program = (
        "import sys\nsys.modules['mlperf_loadgen'] = None\n"
        "from device_app.bench.latency.loadgen import load_generator\n"
        "try:\n    load_generator()\nexcept Exception as error:\n    print(type(error).__name__, error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("ScalpScopeError MLPerf's load generator")
    assert "scalpscope[bench]" in done.stdout and "--scenario live" in done.stdout
    assert load_generator().__name__ == "mlperf_loadgen"


@pytest.mark.parametrize("in_the_way", ["out", "out/loadgen/mlperf_log_detail.txt/folder"])
def test_a_folder_that_cannot_be_written_is_an_error_and_not_the_end_of_the_process(tmp_path, in_the_way):
    (tmp_path / in_the_way).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / in_the_way).write_text("a file")
    done = child(
        tmp_path,
        """
try:
    run(Load(Scenario.SINGLE_STREAM, 0.5, 2.0, 5), lambda n: None, "out")
except ScalpScopeError as error:
    print("one line:", error)
""",
    )
    assert done.returncode == 0 and done.stdout.startswith("one line:"), done.stderr


@pytest.mark.parametrize("content", [None, "", ':::MLLOG {"key": "result_validity", "value": "VALID"}\n', ":::MLLOG {"])
def test_a_log_that_is_not_whole_is_one_error(tmp_path, content):
    if content is not None:
        (tmp_path / "mlperf_log_detail.txt").write_text(content)
    with pytest.raises(ScalpScopeError, match="log of the load generator"):
        parse_logs(tmp_path, Load(Scenario.SINGLE_STREAM, 60.0, 1.0, 1), 60.0)


def test_its_errors_are_reasons_too(tmp_path):
    rows = [
        {"key": "effective_target_latency_percentile", "value": 0.9},
        {"key": "effective_min_duration_ms", "value": 1000},
        {"key": "effective_print_timestamps", "value": False},
        {"key": "error_generic_message", "value": "too late", "metadata": {"is_error": True}},
        {"key": "result_validity", "value": "INVALID"},
        {"key": "result_invalid_reason", "value": "Not long enough. "},
        {"key": "early_stopping_met", "value": True},
        {"key": "early_stopping_latency_ss", "value": 0},
        {"key": "result_query_count", "value": 3},
        {"key": "result_90.00_percentile_latency_ns", "value": 2_500_000},
    ]
    lines = [":::MLLOG " + json.dumps(row) for row in rows]
    (tmp_path / "mlperf_log_detail.txt").write_text("\n".join([*lines, "something else", ":::MLLOG no json"]))
    found = parse_logs(tmp_path, Load(Scenario.SINGLE_STREAM, 1.0, 1.0, 1), 0.9)
    assert found.reasons == ("error_generic_message: too late", "Not long enough.")
    assert (found.valid, found.percentile_ms, found.early_stopping_ms) == (False, 2.5, None)
    assert found.settings == {"target_latency_percentile": 0.9, "min_duration_ms": 1000, "print_timestamps": 0}


def test_a_run_that_is_to_count_goes_on_until_it_has_its_queries():
    look, counts = (Load(Scenario.SINGLE_STREAM, seconds, 100.0, 8) for seconds in (10.0, 60.0))
    assert (look.min_queries, look.expected_s) == (1, 10.0)
    assert (counts.min_queries, counts.expected_s) == (MIN_QUERIES[Scenario.SINGLE_STREAM], pytest.approx(102.4))
    assert Load(Scenario.MULTI_STREAM, 60.0, 100.0, 8).expected_s == pytest.approx(662 * 8 * 0.1)
