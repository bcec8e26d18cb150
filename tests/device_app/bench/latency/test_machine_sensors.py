"""What tegrastats and the kernel's files say, read from lines and trees of several boards."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_app.bench.latency.readings import Readings, merged, read_text
from device_app.bench.latency.sysfs import SysfsSensors, governor, is_virtual, mains
from device_app.bench.latency.tegrastats import TegrastatsSensors, parse_line
from tests.support.file_trees import ORIN, write_tree
from tests.support.waiting import wait_until

# Lines as boards print them; their users show such lines in public issues and logs, and NVIDIA's guide has the form.
ORIN_NANO_6 = (
    "12-23-2024 22:54:11 RAM 3162/7620MB (lfb 4x2MB) SWAP 0/3810MB (cached 0MB) CPU [1%@729,0%@729,0%@1510,0%@1510,off,"
    "off] GR3D_FREQ 1% cpu@62.843C soc2@61.968C soc0@60.625C gpu@61.687C tj@62.843C soc1@61.687C VDD_IN 3913mW/3922mW "
    "VDD_CPU_GPU_CV 598mW/598mW VDD_SOC 1238mW/1237mW"
)
AGX_ORIN_6_ROOT = (
    "RAM 5059/30623MB (lfb 5843x4MB) SWAP 0/15311MB (cached 0MB) CPU [15%@2201,8%@2201] EMC_FREQ 12%@3199 "
    "GR3D_FREQ 99%@1300 cv0@-256C CPU@48.5C VDD_GPU_SOC 12750mW/8410mW VDD_CPU_CV 1594mW/1200mW NC 0mW/0mW"
)
AGX_ORIN_7 = (
    "07-25-2026 09:08:28 RAM 20642/62817MB (lfb 1x2MB) CPU [23%@2201,10%@2201] EMC_FREQ 3%@3199 GR3D_FREQ "
    "0%@[1300,1300] NVENC0 off NVDEC0 off APE 174 cpu@52.968C/53.5C VDD_GPU_SOC 4012mW/3998mW/5100mW"
)
THOR_7 = (
    "08-08-2026 20:58:23 RAM 3429/125749MB (lfb 120x4MB) CPU [0%,5%,off]@2601 EMC_FREQ @4266 GR3D_FREQ "
    "@[1574,0,1574] cpu@49.75C/49.75C tj@51.218C/51.218C VDD_GPU 6330mW/6330mW/6330mW "
    "VIN_SYS_5V0 15486mW/7424mW/15486mW VIN 28906mW/14453mW/28906mW FUTURE_TOKEN value"
)


@pytest.mark.parametrize(
    ("line", "cpu", "gpu", "memory", "celsius", "watts"),
    [
        (ORIN_NANO_6, 1119.5, None, None, {"tj": 62.843}, {"VDD_IN": 3.913, "VDD_SOC": 1.238}),
        (AGX_ORIN_6_ROOT, 2201.0, 1300.0, 3199.0, {"CPU": 48.5}, {"VDD_GPU_SOC": 12.75}),
        (AGX_ORIN_7, 2201.0, 1300.0, 3199.0, {"cpu": 52.968}, {"VDD_GPU_SOC": 4.012}),
        (THOR_7, 2601.0, 1574.0, 4266.0, {"tj": 51.218}, {"VDD_GPU": 6.33, "VIN_SYS_5V0": 15.486, "VIN": 28.906}),
    ],
    ids=["Orin Nano, JetPack 6", "AGX Orin, JetPack 6, root", "AGX Orin, JetPack 7", "Thor, JetPack 7"],
)
def test_the_lines_of_several_boards_are_understood(
    line: str, cpu: float, gpu: float | None, memory: float | None, celsius: dict[str, float], watts: dict[str, float]
) -> None:
    readings = parse_line(line)
    assert (readings.cpu_mhz, readings.gpu_mhz, readings.memory_mhz) == (cpu, gpu, memory)
    assert celsius.items() <= readings.temperatures_c.items()
    assert watts.items() <= readings.power_w.items()
    assert "NC" not in readings.power_w and "cv0" not in readings.temperatures_c  # nothing connected, switched off


@given(st.text() | st.text(alphabet="CPU []@%,0123456789mW/GR3D_FREQEMC tj.C-"))
def test_any_other_line_says_nothing_and_breaks_nothing(line: str) -> None:
    assert isinstance(parse_line(line), Readings)


def test_every_cut_of_a_line_still_reads() -> None:
    for end in range(len(THOR_7)):
        readings = parse_line(THOR_7[:end])
        assert readings.gpu_mhz in (None, 1574.0) and readings.cpu_mhz in (None, 2601.0, 260.0, 26.0, 2.0)


def printing(tmp_path: Path, body: str) -> tuple[str, ...]:
    """A program in the place of `tegrastats`, a real process."""
    program = tmp_path / "tegrastats.py"
    program.write_text(f"import sys, time\nline = {THOR_7!r}\n{body}\n", encoding="utf-8")
    return (sys.executable, "-u", str(program))


def test_the_newest_line_counts_and_the_program_ends_with_the_watch(tmp_path: Path) -> None:
    command = printing(tmp_path, "print('starting')\nwhile True:\n    print(line, flush=True)\n    time.sleep(0.02)")
    sensors = TegrastatsSensors(command)
    assert sensors._process is not None
    process = sensors._process
    wait_until(lambda: sensors.read().gpu_mhz is not None, "a line of tegrastats")
    assert sensors.read().power_w["VIN"] == 28.906
    sensors.close()
    sensors.close()
    assert process.returncode == -signal.SIGTERM


def test_an_old_line_is_not_taken_for_what_is_now(tmp_path: Path) -> None:
    now = [0.0]
    sensors = TegrastatsSensors(printing(tmp_path, "print(line, flush=True); time.sleep(60)"), clock=lambda: now[0])
    wait_until(lambda: sensors.read().gpu_mhz is not None, "the one line")
    now[0] = 60.0
    assert sensors.read() == Readings()
    sensors.close()


def test_a_tegrastats_that_does_not_start_is_told(tmp_path: Path) -> None:
    sensors = TegrastatsSensors((str(tmp_path / "none"),))
    assert "does not start" in sensors.absent["power_w"]
    assert sensors.read() == Readings()
    sensors.close()


def test_an_orin_is_read_from_its_files(tmp_path: Path) -> None:
    root = write_tree(tmp_path, ORIN)
    sensors = SysfsSensors((0, 1), root)
    readings = sensors.read()
    assert readings.cpu_mhz == pytest.approx(1120.0)
    assert readings.gpu_mhz == pytest.approx(624.75)  # and not the clock of the video unit
    assert readings.temperatures_c == {"cpu": pytest.approx(52.968), "gpu": 51.5}  # one sensor is switched off
    assert readings.power_w == {"VDD_IN": pytest.approx(9.250, abs=0.001)}
    assert readings.throttled == ()  # neither its fan nor the cap of a power mode is throttling
    assert "root" in sensors.absent["memory_mhz"]
    assert governor((0, 1), root) == "schedutil"
    assert SysfsSensors((1,), root).read().cpu_mhz == pytest.approx(729.6)  # the used cores alone


def test_throttling_is_seen_while_it_lasts_and_when_a_counter_rose(tmp_path: Path) -> None:
    sensors = SysfsSensors((0,), write_tree(tmp_path, ORIN))
    write_tree(tmp_path, {"sys/class/thermal/cooling_device1/cur_state": "1"})
    assert sensors.read().throttled == ("too hot (gpu-throttle-alert)",)
    write_tree(
        tmp_path,
        {
            "sys/class/thermal/cooling_device1/cur_state": "0",
            "sys/class/hwmon/hwmon3/oc3_event_cnt": "28",
        },
    )
    assert sensors.read().throttled == ("current too high for a moment (oc3)",)
    assert sensors.read().throttled == ()  # it did not rise again


def test_thor_names_its_gpu_and_its_meters_differently(tmp_path: Path) -> None:
    root = write_tree(
        tmp_path,
        {
            "sys/class/devfreq/gpu-nvd-0/cur_freq": "1692000000",
            "sys/class/devfreq/gpu-gpc-0/cur_freq": "1575000000",
            "sys/class/hwmon/hwmon4/name": "ina238",
            "sys/class/hwmon/hwmon4/power1_input": "28906000",
            "sys/class/hwmon/hwmon4/in1_label": "VIN",
        },
    )
    readings = SysfsSensors((0,), root).read()
    assert readings.gpu_mhz == 1575.0
    assert readings.power_w == {"VIN": 28.906}


def test_a_pc_is_read_from_its_files(tmp_path: Path) -> None:
    core = "sys/devices/system/cpu/cpu0"
    tree = {
        f"{core}/cpufreq/scaling_cur_freq": "4200000",
        f"{core}/thermal_throttle/core_throttle_count": "4",
        f"{core}/thermal_throttle/package_throttle_count": "9",
        "sys/class/hwmon/hwmon2/name": "k10temp",
        "sys/class/hwmon/hwmon2/temp1_input": "71250",
        "sys/class/hwmon/hwmon2/temp1_label": "Tctl",
        "sys/class/powercap/intel-rapl:0/name": "package-0",
        "sys/class/powercap/intel-rapl:0/energy_uj": "1000000",
        "sys/class/powercap/intel-rapl:0:0/energy_uj": "7",
        "sys/class/power_supply/AC/type": "Mains",
        "sys/class/power_supply/AC/online": "0",
        "sys/class/power_supply/BAT0/type": "Battery",
        "sys/class/power_supply/BAT0/status": "Discharging",
        "sys/fs/cgroup/app/cpu.max": "150000 100000",
        "sys/fs/cgroup/app/cpu.stat": "usage_usec 1\nnr_periods 10\nnr_throttled 2\nthrottled_usec 5",
        "proc/self/cgroup": "0::/app",
    }
    root = write_tree(tmp_path, tree)
    sensors = SysfsSensors((0,), root)
    assert sensors.read().power_w == {}  # an energy counter needs two looks
    write_tree(
        root,
        {
            "sys/class/powercap/intel-rapl:0/energy_uj": "3000000",
            f"{core}/thermal_throttle/core_throttle_count": "5",
            "sys/fs/cgroup/app/cpu.stat": "nr_periods 20\nnr_throttled 3",
        },
    )
    readings = sensors.read()
    assert readings.cpu_mhz == 4200.0
    assert readings.temperatures_c == {"k10temp Tctl": 71.25}
    assert list(readings.power_w) == ["package-0"] and readings.power_w["package-0"] > 0
    assert readings.throttled == ("processor too hot", "processor quota of this container used up")
    assert mains(root) == {"power_supply": "battery"}
    write_tree(root, {"sys/class/powercap/intel-rapl:0/energy_uj": "5"})
    assert sensors.read().power_w == {}  # it began again at 0: no negative power


def test_a_machine_that_tells_nothing_says_so_for_each(tmp_path: Path) -> None:
    root = write_tree(tmp_path, {"proc/cpuinfo": "model name : X\nflags\t\t: fpu hypervisor sse2"})
    sensors = SysfsSensors((0, 1), root)
    assert sensors.read() == Readings()
    assert set(sensors.absent) == {"cpu_mhz", "memory_mhz", "temperatures_c", "power_w", "throttled"}
    assert is_virtual(root) and "virtual machine" in sensors.absent["cpu_mhz"]
    assert mains(root) == {}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_power_counter_for_root_alone_is_told(tmp_path: Path) -> None:
    counter = "sys/class/powercap/intel-rapl:0/energy_uj"
    root = write_tree(tmp_path, {counter: "1"})
    (root / counter).chmod(0)
    assert "only root" in SysfsSensors((0,), root).absent["power_w"]


def test_of_two_that_say_the_same_the_earlier_one_counts() -> None:
    first = Readings(cpu_mhz=1000.0, temperatures_c={"cpu": 50.0}, throttled=("hot",))
    second = Readings(cpu_mhz=2000.0, gpu_mhz=600.0, temperatures_c={"cpu": 51.0, "tj": 60.0}, throttled=("hot",))
    both = merged((first, second))
    assert (both.cpu_mhz, both.gpu_mhz) == (1000.0, 600.0)
    assert both.temperatures_c == {"cpu": 50.0, "tj": 60.0}
    assert both.throttled == ("hot",)


def test_small_files_are_read_whole_and_missing_ones_are_none(tmp_path: Path) -> None:
    (tmp_path / "long").write_text("x" * 200_000 + "\n")
    assert len(read_text(tmp_path / "long") or "") == 200_000
    assert read_text(tmp_path / "none") is None and read_text(tmp_path) is None
