"""A Jetson's own `tegrastats`: what one of its lines says, and the program itself, read while it runs.

The form of the lines is NVIDIA's: Jetson Linux Developer Guide, "tegrastats Utility". They differ between boards and
releases: clocks come as ``10%@1300``, ``@[1574,1574,1574]`` or ``0%@[1300,1300]``, power as ``4012mW/3998mW`` (now /
mean) or with the largest as a third, temperatures with or without the largest behind a slash, and some only for root.
"""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from device_app.bench.latency.readings import Readings

_log = logging.getLogger(__name__)

_CPU = re.compile(r"\bCPU \[([^\]]*)\](?:@(\d+))?")
_CLOCK = r"\b{name} (?:\d+(?:\.\d+)?%)?@(?:\[([^\]]*)\]|(\d+))"
_GPU = re.compile(_CLOCK.format(name="GR3D_FREQ"))
_MEMORY = re.compile(_CLOCK.format(name="EMC_FREQ"))
_TEMPERATURE = re.compile(r"\b([A-Za-z][\w.-]*)@(-?\d+(?:\.\d+)?)C\b")
_POWER = re.compile(r"\b((?:VDD|VIN|POM|CPU|GPU|SOC|CV|SYS|NC|DDR)\w*) (\d+)mW/\d+(?:mW)?")
_STALE_S = 5.0


def parse_line(line: str) -> Readings:
    """What one line says. Anything unknown in it is passed over; a line that is none gives empty readings."""
    return Readings(
        cpu_mhz=_cpu_mhz(line),
        gpu_mhz=_clock(_GPU, line),
        memory_mhz=_clock(_MEMORY, line),
        temperatures_c={
            name: celsius for name, text in _TEMPERATURE.findall(line) if -100 < (celsius := float(text)) < 200
        },
        power_w={name: int(milliwatt) / 1000 for name, milliwatt in _POWER.findall(line) if name != "NC"},
    )


def _cpu_mhz(line: str) -> float | None:
    """The mean over the cores that are on: which of them are used is not known here."""
    found = _CPU.search(line)
    if found is None:
        return None
    if found[2] is not None:
        return float(found[2])
    clocks = [int(clock) for clock in re.findall(r"%@(\d+)", found[1])]
    return sum(clocks) / len(clocks) if clocks else None


def _clock(pattern: re.Pattern[str], line: str) -> float | None:
    """A clock in MHz; of the clusters of a GPU the fastest, because one without work is switched off."""
    found = pattern.search(line)
    if found is None:
        return None
    clocks = [int(clock) for clock in re.findall(r"\d+", found[1] if found[1] is not None else found[2])]
    return float(max(clocks)) if clocks else None


@dataclass
class TegrastatsSensors:
    """Reads `tegrastats` as it runs, once a second.

    Attributes:
        command: its command line, for tests; None: the one of this machine, if any.
        absent: why it tells nothing.
    """

    command: Sequence[str] | None = None
    absent: dict[str, str] = field(default_factory=dict)
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._newest: tuple[float, str] | None = None
        program = shutil.which("tegrastats")
        command = self.command or (None if program is None else (program, "--interval", "1000"))
        if command is None:
            return  # no Jetson; nothing is missed
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
        except OSError as error:
            self.absent["power_w"] = f"tegrastats does not start: {(error.strerror or str(error)).lower()}"
            return
        self._thread = threading.Thread(target=self._follow, name="tegrastats", daemon=True)
        self._thread.start()

    def read(self) -> Readings:
        """What the newest line says; nothing when it is older than some seconds."""
        newest = self._newest
        if newest is None or self.clock() - newest[0] > _STALE_S:
            return Readings()
        return parse_line(newest[1])

    def close(self) -> None:
        """End it."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._thread.join(timeout=5)
        if process.stdout is not None:
            process.stdout.close()

    def _follow(self) -> None:
        process = self._process
        if process is None or process.stdout is None:
            return
        try:
            for line in process.stdout:
                self._newest = (self.clock(), line)
        except ValueError:  # closed while it was being read
            _log.debug("tegrastats was closed")
