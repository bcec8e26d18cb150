"""Clocks, temperatures, power and throttling from the kernel's files, on a PC and on a Jetson.

Where things stand: cpufreq and thermal as the kernel's documentation has them; a Jetson's INA3221 power monitors
(``hwmon/ina3221``), over-current counters (``hwmon/soctherm_oc``), ``*-throttle-alert`` cooling devices and the GPU's
``devfreq`` as NVIDIA's Jetson Linux Developer Guide, "Platform Power and Performance", has them.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from device_app.bench.latency.readings import Readings, read_number, read_text, why_unreadable

_COUNTED = {
    "oc1": "supply voltage too low (oc1)",
    "oc2": "average current too high (oc2)",
    "oc3": "current too high for a moment (oc3)",
}
"""Orin's names of the events that its `soctherm_oc` counts."""

_GPU = re.compile(r"gpu-gpc-\d+|.*\.(gpu|ga10b|gv11b|gp10b)|gpu")
_ALERT = re.compile(r".*-alert|Processor|(thermal-)?cpufreq-.*|intel_powerclamp")
"""Cooling devices that are only at work when something is too hot; fans, and caps that a power mode sets, are not."""

_EMC = "sys/kernel/debug/bpmp/debug/clk/emc/rate"


class SysfsSensors:
    """The sensors that the kernel shows.

    Args:
        cores: the processor cores whose clocks count.
        root: where ``sys`` and ``proc`` are, for tests.
    """

    def __init__(self, cores: Iterable[int], root: Path = Path("/")) -> None:
        self._cores = tuple(cores)
        system = root / "sys"
        self.absent: dict[str, str] = {}
        self._cpu = tuple(
            path
            for core in self._cores
            if (path := system / f"devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq").is_file()
        )
        if not self._cpu:
            self.absent["cpu_mhz"] = "the kernel shows no processor clock (no cpufreq)" + (
                "; a virtual machine's host decides it" if is_virtual(root) else ""
            )
        self._gpu = _gpu_clock(system)
        self._emc = root / _EMC
        if read_number(self._emc) is None:
            shown = _exists(self._emc) or (root / "etc/nv_tegra_release").is_file()
            self.absent["memory_mhz"] = (
                "only root sees the memory's clock on a Jetson" if shown else "the kernel shows no memory clock"
            )
        self._zones = _zones(system)
        self._chips = _temperature_inputs(system)
        if not self._zones and not self._chips:
            self.absent["temperatures_c"] = "the kernel shows no temperature sensor"
        self._rails = _rails(system)
        self._meters = _meters(system)
        self._counters, unreadable = _energy_counters(system)
        self._energy: dict[str, tuple[float, float]] = {}
        if not (self._rails or self._meters or self._counters):
            self.absent["power_w"] = unreadable or "the kernel shows no power sensor"
        self._alerts = _alerts(system)
        self._events = {**_throttle_counters(system, self._cores), **_quota(root)}
        self._counted = {name: _total(paths) for name, paths in self._events.items()}
        if not self._alerts and not self._events:
            self.absent["throttled"] = "the kernel does not say whether the processor is throttled"

    def read(self) -> Readings:
        """What they say now; power from an energy counter is the mean since the reading before."""
        clocks = [khz / 1000 for path in self._cpu if (khz := read_number(path)) is not None]
        gpu_hz = None if self._gpu is None else read_number(self._gpu)
        emc_hz = None if "memory_mhz" in self.absent else read_number(self._emc)
        return Readings(
            cpu_mhz=sum(clocks) / len(clocks) if clocks else None,
            gpu_mhz=None if gpu_hz is None else gpu_hz / 1e6,
            memory_mhz=None if emc_hz is None else emc_hz / 1e6,
            temperatures_c=self._temperatures(),
            power_w=self._power(),
            throttled=self._throttled(),
        )

    def close(self) -> None:
        """There is nothing to give back."""

    def _temperatures(self) -> dict[str, float]:
        found = {}
        for name, path in (*self._zones, *self._chips):
            value = read_number(path)
            if value is not None and -100_000 < value < 200_000:  # a sensor that is off says -256000
                found[name] = value / 1000
        return found

    def _power(self) -> dict[str, float]:
        found = {}
        for name, millivolt, milliampere in self._rails:
            volts, amperes = read_number(millivolt), read_number(milliampere)
            if volts is not None and amperes is not None:
                found[name] = volts * amperes / 1e6
        for name, path in self._meters:
            if (microwatt := read_number(path)) is not None:
                found[name] = microwatt / 1e6
        for name, path in self._counters:
            microjoule, now = read_number(path), time.monotonic()
            if microjoule is None:
                continue
            before = self._energy.get(name)
            self._energy[name] = (now, microjoule)
            # The counter begins again at 0 after an hour or so; that one reading is left out.
            if before is not None and now > before[0] and microjoule >= before[1]:
                found[name] = (microjoule - before[1]) / 1e6 / (now - before[0])
        return found

    def _throttled(self) -> tuple[str, ...]:
        reasons = [f"too hot ({name})" for name, path in self._alerts if (read_number(path) or 0) > 0]
        for name, paths in self._events.items():
            total = _total(paths)
            if total > self._counted[name]:
                reasons.append(name)
            self._counted[name] = total
        return tuple(reasons)


def is_virtual(root: Path = Path("/")) -> bool:
    """Whether this is a virtual machine, as the processor's flags say."""
    text = read_text(root / "proc/cpuinfo") or ""
    flags = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    return flags is not None and "hypervisor" in flags[1].split()


def _children(folder: Path, pattern: str) -> list[Path]:
    """What is in a folder, in the order of the numbers in its names."""
    return sorted(folder.glob(pattern), key=lambda path: [int(number) for number in re.findall(r"\d+", path.name)])


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a folder above it may not be entered: it is there, and not ours
        return True


def _gpu_clock(system: Path) -> Path | None:
    """The clock of a Jetson's GPU in hertz: of its first cluster, which the others follow."""
    for device in _children(system / "class/devfreq", "*"):
        if _GPU.fullmatch(device.name) and (device / "cur_freq").is_file():
            return device / "cur_freq"
    return None


def _zones(system: Path) -> tuple[tuple[str, Path], ...]:
    found: dict[str, Path] = {}
    for zone in _children(system / "class/thermal", "thermal_zone*"):
        kind = (read_text(zone / "type") or zone.name).removesuffix("-thermal")
        if (zone / "temp").is_file():
            found[kind if kind not in found else f"{kind} {len(found)}"] = zone / "temp"
    return tuple(found.items())


def _temperature_inputs(system: Path) -> tuple[tuple[str, Path], ...]:
    """Processors' own sensors, which on a PC are no thermal zones."""
    found = []
    for chip in _children(system / "class/hwmon", "hwmon*"):
        name = read_text(chip / "name") or chip.name
        if name in ("coretemp", "k10temp", "zenpower"):
            for path in _children(chip, "temp*_input"):
                label = read_text(chip / path.name.replace("_input", "_label")) or path.name.removesuffix("_input")
                found.append((f"{name} {label}", path))
    return tuple(found)


def _rails(system: Path) -> tuple[tuple[str, Path, Path], ...]:
    """Name, millivolts, milliamperes of each rail that an INA3221 watches: its channels 1 to 3."""
    found = []
    for chip in _children(system / "class/hwmon", "hwmon*"):
        if (read_text(chip / "name") or "").startswith("ina3221"):
            for channel in (1, 2, 3):
                label = read_text(chip / f"in{channel}_label")
                volts, amperes = chip / f"in{channel}_input", chip / f"curr{channel}_input"
                if label and label != "NC" and volts.is_file() and amperes.is_file():
                    found.append((label, volts, amperes))
    return tuple(found)


def _meters(system: Path) -> tuple[tuple[str, Path], ...]:
    """Name and microwatts of what says its power itself."""
    found: dict[str, Path] = {}
    for chip in _children(system / "class/hwmon", "hwmon*"):
        for path in _children(chip, "power*_input") or _children(chip, "power*_average"):
            number = re.sub(r"\D", "", path.name)
            label = read_text(chip / f"power{number}_label") or read_text(chip / f"in{number}_label")
            found[label or read_text(chip / "name") or chip.name] = path
    return tuple(found.items())


def _energy_counters(system: Path) -> tuple[tuple[tuple[str, Path], ...], str]:
    """Name and microjoules of the processor packages (RAPL), and why there are none that may be read."""
    found, unreadable = [], ""
    for zone in _children(system / "class/powercap", "*-rapl:*"):
        path = zone / "energy_uj"
        if zone.name.count(":") != 1 or not path.is_file():
            continue  # a part of a package
        if read_number(path) is None:
            unreadable = why_unreadable(path)
        else:
            found.append((read_text(zone / "name") or zone.name, path))
    return tuple(found), unreadable


def _alerts(system: Path) -> tuple[tuple[str, Path], ...]:
    found: dict[str, Path] = {}
    for device in _children(system / "class/thermal", "cooling_device*"):
        kind = read_text(device / "type") or ""
        if _ALERT.fullmatch(kind) and (device / "cur_state").is_file():
            found[kind if kind not in found else f"{kind} {len(found)}"] = device / "cur_state"
    return tuple(found.items())


def _throttle_counters(system: Path, cores: Iterable[int]) -> dict[str, tuple[Path, ...]]:
    """Counters that rise when clocks were held down, by what that means."""
    found: dict[str, tuple[Path, ...]] = {}
    for chip in _children(system / "class/hwmon", "hwmon*"):
        for path in _children(chip, "oc*_event_cnt"):
            event = path.name.removesuffix("_event_cnt")
            name = _COUNTED.get(event, f"over-current ({event})")
            found[name] = (*found.get(name, ()), path)
    folders = [system / f"devices/system/cpu/cpu{core}/thermal_throttle" for core in cores]
    hot = tuple(path for folder in folders for path in sorted(folder.glob("*_throttle_count")))
    return {**found, **({"processor too hot": hot} if hot else {})}


def _quota(root: Path) -> dict[str, tuple[Path, ...]]:
    """The counter of a container that may use only a share of the processor, where one is set."""
    mine = re.search(r"^0::(/.*)$", read_text(root / "proc/self/cgroup") or "", re.MULTILINE)
    folder = root / "sys/fs/cgroup" / (mine[1].lstrip("/") if mine else "")
    limited = (read_text(folder / "cpu.max") or "max").split()[0] != "max"
    return {"processor quota of this container used up": (folder / "cpu.stat",)} if limited else {}


def _total(paths: Iterable[Path]) -> int:
    total = 0
    for path in paths:
        text = read_text(path) or "0"
        named = re.search(r"^nr_throttled (\d+)$", text, re.MULTILINE)
        total += int(named[1]) if named else int(text) if text.isdigit() else 0
    return total


def governor(cores: Iterable[int], root: Path = Path("/")) -> str | None:
    """How the processor's clock is chosen, such as ``performance``; several where the cores differ."""
    folder = root / "sys/devices/system/cpu"
    names = {read_text(folder / f"cpu{core}/cpufreq/scaling_governor") for core in cores} - {None, ""}
    return ", ".join(sorted(str(name) for name in names)) or None


def mains(root: Path = Path("/")) -> Mapping[str, str]:
    """Where a laptop has its current from; nothing where there is no choice."""
    supplies = [
        (read_text(supply / "type"), read_text(supply / "online"), read_text(supply / "status"))
        for supply in _children(root / "sys/class/power_supply", "*")
    ]
    online = [state for kind, state, _ in supplies if kind in ("Mains", "USB") and state is not None]
    discharging = any(kind == "Battery" and status == "Discharging" for kind, _, status in supplies)
    if not online and not discharging:
        return {}
    return {"power_supply": "mains" if "1" in online and not discharging else "battery"}
