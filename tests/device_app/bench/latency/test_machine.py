"""The watch over the machine: who keeps it busy, what moved, and what it is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_app.bench.latency.busy import cpu_time, free_memory_mib, swapped_mib
from device_app.bench.latency.identity import identify
from device_app.bench.latency.jetson import find_jetson, parse_power_mode
from device_app.bench.latency.machine import MachineWatch
from device_app.bench.latency.quiet import Disturbances, moved_by, problems_of, small_piece_of_work_ms
from device_app.bench.latency.readings import Readings
from device_app.bench.latency.report import Machine, MachineSample
from tests.support.file_trees import ORIN, write_tree
from tests.support.waiting import wait_until

CORES = tuple(os.sched_getaffinity(0))
SPIN = "import time\nend = time.monotonic() + 60\nwhile time.monotonic() < end: pass"


@dataclass
class Scripted:
    """Sensors that say one thing after the other, and the last one for ever."""

    script: Sequence[Readings]
    absent: dict[str, str] = field(default_factory=dict)
    reads: int = 0
    closed: int = 0

    def read(self) -> Readings:
        self.reads += 1
        return self.script[min(self.reads, len(self.script)) - 1]

    def close(self) -> None:
        self.closed += 1


def watched(sensors: Scripted, samples: int) -> Machine:
    watch = MachineWatch(rest_s=0.01, period_s=0.01, sensors=[sensors])
    watch.start()
    watch.begin()
    before = sensors.reads
    wait_until(lambda: sensors.reads >= before + samples, "samples")
    watch.end()
    return watch.finish()


def test_a_run_is_sampled_before_during_and_after() -> None:
    reading = Readings(cpu_mhz=2000.0, temperatures_c={"cpu": 50.0}, power_w={"VIN": 9.0})
    sensors = Scripted([reading], absent={"gpu_mhz": "no NVIDIA GPU", "throttled": "it does not say"})
    machine = watched(sensors, 5)
    assert machine.before.at_s < 0 <= machine.during[0].at_s
    times = [sample.at_s for sample in (machine.before, *machine.during, machine.after)]
    assert times == sorted(times) and len(machine.during) >= 5
    assert machine.before.cpu_mhz == machine.after.cpu_mhz == machine.during[-1].cpu_mhz == 2000.0
    assert machine.absent["gpu_mhz"] == "no NVIDIA GPU" and machine.absent["throttled"] == "it does not say"
    assert machine.absent["memory_mhz"]
    assert not {"cpu_mhz", "temperatures_c", "power_w", "other_cores", "free_memory_mib"} & set(machine.absent)
    assert machine.identity["cores"].startswith(f"{len(CORES)} of ")
    assert sensors.closed == 1
    assert not [thread for thread in threading.enumerate() if thread.name == "machine"]
    assert Machine.model_validate_json(machine.model_dump_json()) == machine


def test_throttling_in_the_timed_part_is_a_problem_and_at_rest_it_is_none() -> None:
    cool, hot = Readings(cpu_mhz=2000.0), Readings(cpu_mhz=2000.0, throttled=("too hot (cpu-throttle-alert)",))
    # Two looks at the start, one at the beginning, then the timed part.
    assert any("throttled" in problem for problem in watched(Scripted([cool, cool, cool, hot]), 4).problems)
    assert not any("throttled" in problem for problem in watched(Scripted([hot, hot, cool]), 4).problems)


def test_a_run_that_never_began_ends_at_once_and_in_order() -> None:
    sensors = Scripted([Readings(cpu_mhz=1.0)])
    watch = MachineWatch(rest_s=0.0, sensors=[sensors])
    watch.start()
    watch.end()
    machine = watch.finish()
    assert machine.during == () and sensors.closed == 1
    watch.close()
    assert sensors.closed == 1


def test_everything_is_given_back_when_the_run_fails() -> None:
    sensors = Scripted([Readings()])
    with pytest.raises(RuntimeError), MachineWatch(rest_s=0.0, period_s=0.01, sensors=[sensors]) as watch:
        watch.begin()
        raise RuntimeError("the run failed")
    assert sensors.closed == 1
    assert not [thread for thread in threading.enumerate() if thread.name == "machine"]


def test_this_very_machine_is_watched() -> None:
    watch = MachineWatch(len(CORES), rest_s=0.05, period_s=0.05)
    watch.start()
    watch.begin()
    watch.end()
    machine = watch.finish()
    assert {"processor", "cores", "memory", "os", "kernel", "python", "numpy", "onnxruntime"} <= set(machine.identity)
    assert all(machine.identity.values()) and all(machine.absent.values())
    assert len(machine.during) == 1  # a short run is sampled at its end
    assert machine.during[0].free_memory_mib and machine.during[0].free_memory_mib > 0
    told = {name for name, value in machine.during[0].model_dump().items() if value not in (None, {}, (), [])}
    assert told.isdisjoint(machine.absent)


# --- who keeps it busy ---


def test_what_a_child_and_its_child_use_is_our_own_and_what_others_use_is_not() -> None:
    command = [sys.executable, "-c", f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {SPIN!r}])"]
    with (
        subprocess.Popen(command, start_new_session=True) as child,
        subprocess.Popen([sys.executable, "-c", SPIN]) as other,
    ):
        try:

            def own_s(process: int) -> float:
                used = cpu_time(CORES, process=process)
                return 0.0 if used is None else used.own_s

            wait_until(lambda: own_s(child.pid) > 0.5 and own_s(other.pid) > 0.5, "both to work")
            here, used = cpu_time(CORES, process=os.getpid()), cpu_time(CORES, process=other.pid)
            assert here is not None and used is not None
            assert here.own_s >= own_s(child.pid) - 0.1 and here.all_s >= used.own_s
        finally:
            os.killpg(child.pid, signal.SIGKILL)
            other.kill()


def process(pid: int, parent: int, ticks: tuple[int, int, int, int], name: str = "x") -> dict[str, str]:
    rest = " ".join(str(tick) for tick in ticks)
    return {f"{pid}/stat": f"{pid} ({name}) S {parent} 1 1 0 -1 4194560 1 0 0 0 {rest} 20 0 1 0 1 1 1"}


@pytest.mark.parametrize("listed", [True, False], ids=["the kernel lists children", "it does not"])
def test_a_family_is_found_either_way(tmp_path: Path, listed: bool) -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    tree = {
        "stat": "cpu  9 9 9 9\ncpu0 300 0 100 5000 7 0 0 50 0 0\ncpu1 1000 0 0 0 0 0 0 0 0 0\nintr 1",
        **process(10, 1, (100, 20, 30, 0), name="a) b (c"),
        **process(11, 10, (10, 0, 0, 0)),
        **process(12, 11, (1, 0, 0, 0)),
        **process(13, 1, (9999, 0, 0, 0)),
    }
    if listed:
        tree |= {"10/task/10/children": "", "10/task/14/children": "11 ", "11/task/11/children": "12"}
    used = cpu_time((0,), write_tree(tmp_path, tree), process=10)
    assert used is not None
    assert (used.all_s, used.stolen_s, used.own_s) == (450 / ticks, 50 / ticks, 161 / ticks)


def test_a_kernel_that_counts_nothing_is_no_quiet_machine(tmp_path: Path) -> None:
    assert cpu_time((0,), write_tree(tmp_path, {"stat": "cpu  0 0 0 0\ncpu0 0 0 0 0"})) is None
    assert free_memory_mib(tmp_path) is None and swapped_mib(tmp_path) == 0.0


def test_memory_and_swap_are_read(tmp_path: Path) -> None:
    root = write_tree(tmp_path, {"meminfo": "MemTotal: 1 kB\nMemAvailable: 2048 kB", "vmstat": "pswpin 3\npswpout 4"})
    assert free_memory_mib(root) == 2.0
    assert swapped_mib(root) == 7 * os.sysconf("SC_PAGE_SIZE") / 2**20


# --- whether it was quiet ---


def samples(count: int, **values: Sequence[float]) -> list[MachineSample]:
    return [
        MachineSample.model_validate(
            {"at_s": float(place), **{name: own[place % len(own)] for name, own in values.items()}}
        )
        for place in range(count)
    ]


def test_a_quiet_machine_has_no_problems() -> None:
    quiet = samples(60, cpu_mhz=[2000.0, 2010.0], gpu_mhz=[1300.0], other_cores=[0.02, 0.1])
    found = Disturbances(work_before_ms=1.0, work_after_ms=1.01, swapped_mib=0.5)
    assert problems_of(quiet, found) == ()
    assert problems_of([], Disturbances()) == ()


@pytest.mark.parametrize(
    ("during", "found", "words"),
    [
        (samples(60, other_cores=[0.0, 0.4]), Disturbances(), "Other programs kept 0.20 cores busy"),
        (
            samples(9, other_cores=[0.4]),
            Disturbances(stolen_cores=0.3),
            "0.30 of them the host of this virtual machine",
        ),
        (samples(30, gpu_mhz=[1300.0] * 20 + [1200.0] * 10), Disturbances(), "The GPU's clock moved by 8%"),
        (samples(30, memory_mhz=[3199.0] * 15 + [2133.0] * 15), Disturbances(), "The memory's clock moved"),
        ([], Disturbances(swapped_mib=40.0), "40 MiB were moved between memory and swap"),
        ([], Disturbances(work_before_ms=1.0, work_after_ms=1.2), "20% slower after"),
        ([], Disturbances(work_before_ms=1.2, work_after_ms=1.0), "17% faster after"),
        ([], Disturbances(gpu_was_busy=True), "Another program used the GPU"),
        (
            [MachineSample(at_s=0, throttled=("GPU too hot",)), MachineSample(at_s=1)],
            Disturbances(),
            "throttled in 1 of 2 samples: GPU too hot",
        ),
    ],
)
def test_each_disturbance_is_told(during: list[MachineSample], found: Disturbances, words: str) -> None:
    (problem,) = problems_of(during, found)
    assert words in problem and problem.endswith(".")


def test_single_samples_are_no_moving_clock() -> None:
    assert not problems_of(samples(60, cpu_mhz=[2000.0] * 25 + [800.0] + [2000.0] * 34), Disturbances())
    assert moved_by([2000.0, 800.0]) is None  # too short to tell


@given(st.lists(st.floats(100, 5000), min_size=6, max_size=200), st.floats(0.1, 10))
def test_how_far_a_clock_moved_has_no_unit(clocks: list[float], factor: float) -> None:
    moved, scaled = moved_by(clocks), moved_by([clock * factor for clock in clocks])
    assert moved is not None and scaled is not None
    assert scaled[0] == pytest.approx(moved[0], rel=1e-6, abs=1e-9)
    assert min(clocks) <= moved[1] <= moved[2] <= max(clocks)
    assert moved_by([clocks[0]] * len(clocks)) == (0.0, clocks[0], clocks[0])


def test_a_piece_of_work_takes_time() -> None:
    assert small_piece_of_work_ms() > 0


# --- what it is ---


def test_an_orin_says_what_it_is(tmp_path: Path) -> None:
    root = write_tree(tmp_path, ORIN)
    identity = identify((0, 1), {}, root)
    assert identity["board"] == "NVIDIA Jetson Orin Nano Developer Kit"
    assert (identity["l4t"], identity["jetpack"]) == ("36.4.3", "6.x")
    assert (identity["processor"], identity["memory"]) == ("Cortex-A78AE", "7.4 GiB")
    assert (identity["os"], identity["governor"]) == ("Ubuntu 22.04.5 LTS", "schedutil")
    assert "virtual_machine" not in identity


@pytest.mark.parametrize(
    ("release", "l4t", "jetpack", "generation"),
    [
        ("# R36 (release), REVISION: 3.0, GCID: 1, BOARD: generic", "36.3.0", "6.0", "6"),
        ("# R38 (release), REVISION: 4.0, GCID: 1", "38.4.0", "7.1", "7"),
        ("# R39 (release), REVISION: 2.0, GCID: 1", "39.2.0", "7.2", "7"),
        ("# R39 (release), REVISION: 9.1, GCID: 1", "39.9.1", "7.x", "7"),
        ("# R45 (release), REVISION: 1.0", "45.1.0", None, None),
        ("something else", "unknown", None, None),
    ],
)
def test_jetpack_by_its_release(
    tmp_path: Path, release: str, l4t: str, jetpack: str | None, generation: str | None
) -> None:
    jetson = find_jetson(write_tree(tmp_path, {"etc/nv_tegra_release": release}))
    assert jetson is not None
    assert (jetson.l4t, jetson.jetpack, jetson.generation, jetson.board) == (l4t, jetpack, generation, "Jetson")


def test_other_machines_are_no_jetson(tmp_path: Path) -> None:
    assert find_jetson(tmp_path) is None
    assert "board" not in identify((0,), {"gpu": "Test GPU"}, tmp_path)
    assert identify((0,), {"gpu": "Test GPU"}, tmp_path)["gpu"] == "Test GPU"


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("NV Power Mode: MAXN\n0\n", "MAXN (0)"),
        ("NVPM VERB: Config file\nNV Fan Mode:quiet\nNV Power Mode: MODE_15W_6CORE\n2\n", "MODE_15W_6CORE (2)"),
        ("NV Power Mode: 120W", "120W"),
        ("", None),
    ],
)
def test_the_power_mode_is_read(text: str, mode: str | None) -> None:
    assert parse_power_mode(text) == mode
