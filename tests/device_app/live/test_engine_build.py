"""Builders as child processes: real ones, really killed, and what is told of them."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_app.engines.building import BuildStep
from device_app.live.build_status import BUILD_TRANSITIONS, BuildState, BuildStatus
from device_app.live.engine_build import EngineBuild
from tests.support.building_backend import BenchBackend, install_bench_backend, is_gone
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def bench(tmp_path: Path) -> BenchBackend:
    return install_bench_backend(tmp_path / "bench")


@pytest.fixture
def build() -> Iterator[EngineBuild]:
    build = EngineBuild()
    yield build
    build.stop()


def waits(build: EngineBuild, bench: BenchBackend, mode: str = "works", bundle: str = "one") -> tuple[str, ...]:
    """Have it build, and wait until the builder waits for ``go``; its command."""
    bench.says("mode", mode)
    command = (*bench.command, bundle)
    build.want("live", [command])
    wait_until(lambda: bundle in bench.lines("runs") and build.status.fraction > 0, "the builder's first step")
    return command


def ends(build: EngineBuild, bench: BenchBackend) -> BuildStatus:
    bench.says("go")
    wait_until(lambda: build.status.state not in (BuildState.BUILDING, BuildState.NONE), "the end of the build")
    return build.status


def pids(bench: BenchBackend) -> list[int]:
    return [int(pid) for pid in bench.lines("pids")]


@pytest.mark.parametrize("before", BuildState)
def test_only_legal_moves_are_made(before: BuildState) -> None:
    for after in BuildState:
        if after in BUILD_TRANSITIONS[before]:
            assert BuildStatus(before).moved(after).state is after
        else:
            with pytest.raises(ValueError, match="cannot become"):
                BuildStatus(before).moved(after)


@given(st.lists(st.floats(0, 1)))
def test_the_fraction_does_not_fall(fractions: list[float]) -> None:
    told = [BuildStatus(BuildState.BUILDING)]
    for fraction in fractions:
        told.append(told[-1].at(BuildStep("on it", fraction)))
    assert all(after.fraction >= before.fraction for before, after in itertools.pairwise(told))
    assert told[-1].fraction == max(fractions, default=0.0)


def test_what_is_built_is_told_step_by_step(build: EngineBuild, bench: BenchBackend) -> None:
    assert build.status.state is BuildState.NONE and build.pid is None
    command = waits(build, bench)
    assert build.status == BuildStatus(BuildState.BUILDING, 0.1, "hair: looking at the graph")
    (pid,) = pids(bench)
    builder = psutil.Process(pid)
    assert builder.nice() == 19 and builder.ppid() == build.pid
    assert os.getpgid(pid) == pid  # Ctrl-C at a terminal does not reach it
    assert int(Path(f"/proc/{pid}/oom_score_adj").read_text()) > 0
    assert ends(build, bench) == BuildStatus(BuildState.BUILT, 1.0, built=("hair fp32",))
    assert build.finished == 1
    build.want("live", [command])  # such as by the next worker, whose engine was refused
    build.want("refine", [command])
    build.stop()
    assert len(bench.lines("runs")) == 1 and not psutil.pid_exists(pid)


@pytest.mark.parametrize(
    ("mode", "told"),
    [
        ("fails", "ran out of memory. Close other programs."),
        ("refuses", "There is no such library. Install it."),
        ("killed", "SIGKILL, most likely because the memory ran out"),
        ("says nothing", "said no reason"),
    ],
)
def test_a_failure_is_told_with_its_reason_and_not_tried_again(
    build: EngineBuild, bench: BenchBackend, mode: str, told: str
) -> None:
    command = waits(build, bench, mode)
    status = ends(build, bench)
    assert status.state is BuildState.FAILED and told in status.problem and status.what == ""
    assert build.finished == 0
    build.want("live", [command])
    assert build.status is status
    build.want("live", [])  # the bundle or the back end is another one: nothing is missed any more
    assert build.status.state is BuildState.NONE
    build.stop()
    assert len(bench.lines("runs")) == 1


def test_a_part_that_failed_is_told_beside_what_was_built(build: EngineBuild, bench: BenchBackend) -> None:
    waits(build, bench, "half")
    status = ends(build, bench)
    assert (status.state, status.built) == (BuildState.BUILT, ("hair fp32",))
    assert status.problem.startswith("sam_encoder: no room.")
    assert build.finished == 1


def test_a_command_that_cannot_be_run_is_told(build: EngineBuild) -> None:
    build.want("live", [("/no/such/builder",)])
    wait_until(lambda: build.status.state is BuildState.FAILED, "the failure")
    assert "/no/such/builder cannot be started" in build.status.problem


def test_there_are_never_two_and_one_that_is_not_wanted_any_more_is_ended(
    build: EngineBuild, bench: BenchBackend
) -> None:
    waits(build, bench, bundle="one")
    both = [(*bench.command, "one"), (*bench.command, "two")]
    build.want("live", both)
    (first,) = pids(bench)
    build.want("live", both[1:])
    wait_until(lambda: "two" in bench.lines("runs"), "the other builder")
    assert not psutil.pid_exists(first)  # ended before the next began
    assert ends(build, bench).built == ("hair fp32",)
    build.want("live", both)  # the first never came to its end: it may begin again
    wait_until(lambda: bench.lines("runs") == ["one", "two", "one"], "the first again")
    wait_until(lambda: build.finished == 2, "its end")


def test_one_lane_does_not_take_away_what_another_wants(build: EngineBuild, bench: BenchBackend) -> None:
    command = waits(build, bench)
    build.want("refine", [command])
    build.want("live", [])
    assert ends(build, bench).state is BuildState.BUILT


def test_stopping_ends_it_and_all_that_it_has_started(build: EngineBuild, bench: BenchBackend) -> None:
    waits(build, bench, "stubborn")
    began = [*pids(bench), build.pid]
    assert len(began) == 3
    build.stop()
    wait_until(lambda: all(map(is_gone, began)), "the end of all of them")
    assert build.status.state is BuildState.NONE and build.pid is None
    build.want("live", [(*bench.command, "later")])
    build.stop()
    assert bench.lines("runs") == ["one"]


PARENT = """
import json, sys
from device_app.live.engine_build import EngineBuild
build = EngineBuild()
build.want("live", [tuple(json.loads(sys.argv[1]))])
while not build.status.fraction:
    pass
print(build.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("killed", ["app", "app and leash"])
def test_a_builder_does_not_outlive_a_killed_app(bench: BenchBackend, killed: str) -> None:
    bench.says("mode", "stubborn" if killed == "app" else "works")
    app = subprocess.Popen(
        [sys.executable, "-c", PARENT, json.dumps([*bench.command, "one"])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
    )
    try:
        assert app.stdout is not None
        leash = int(app.stdout.readline())
        if killed == "app and leash":
            os.kill(leash, signal.SIGSTOP)  # it cannot do its work any more
        app.kill()
        app.wait()
        if killed == "app and leash":
            os.kill(leash, signal.SIGKILL)
        left = [*pids(bench), leash]
        wait_until(lambda: all(map(is_gone, left)), "the builder to end")
    finally:
        app.kill()
        app.communicate()
