"""Who keeps the processor busy: this process with its children, and everybody else. And what memory is left."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from device_app.bench.latency.readings import read_text

_BUSY_FIELDS = (1, 2, 3, 6, 7, 8)
"""user, nice, system, irq, softirq and steal of a line of /proc/stat; guest time is in user already."""

_STEAL = 8


@dataclass(frozen=True)
class CpuTime:
    """Seconds of processor time since the start, over the cores in question.

    Attributes:
        all_s: of everybody; stolen_s: of them taken by the host of a virtual machine.
        own_s: of this process and its children, those that ended included.
    """

    all_s: float
    stolen_s: float
    own_s: float


def cpu_time(cores: Collection[int], root: Path = Path("/proc"), process: int | None = None) -> CpuTime | None:
    """What was used until now, or None where the kernel does not say.

    Args:
        cores: the cores that count. The process is taken to run on these alone.
        root: where ``/proc`` is, for tests.
        process: the one that is "own", with its children; None: this one.
    """
    ticks = os.sysconf("SC_CLK_TCK")
    total = stolen = 0
    lines = re.findall(r"^cpu(\d+) (.*)$", read_text(root / "stat") or "", re.MULTILINE)
    for number, rest in lines:
        if int(number) in cores:
            fields = [0, *(int(field) for field in rest.split())]
            total += sum(fields[place] for place in _BUSY_FIELDS if place < len(fields))
            stolen += fields[_STEAL] if len(fields) > _STEAL else 0
    if total == 0:
        return None
    own = sum(_ticks_of(root / str(pid)) for pid in _family(root, os.getpid() if process is None else process))
    return CpuTime(total / ticks, stolen / ticks, own / ticks)


def _family(root: Path, process: int) -> set[int]:
    """A process and everybody who descends from it."""
    listed = (root / str(process) / "task" / str(process) / "children").is_file()
    children = None if listed else _children_by_parent(root)
    found, waiting = {process}, [process]
    while waiting:
        parent = waiting.pop()
        new = set(_children_of(root, parent) if children is None else children.get(parent, ())) - found
        found |= new
        waiting += new
    return found


def _children_of(root: Path, process: int) -> Iterator[int]:
    """The children that each thread of a process says it has."""
    tasks = root / str(process) / "task"
    try:
        threads = os.listdir(tasks)
    except OSError:  # it ended meanwhile; its parent has its time
        return
    for thread in threads:
        yield from map(int, (read_text(tasks / thread / "children") or "").split())


def _children_by_parent(root: Path) -> dict[int, list[int]]:
    """The same by a look at every process, for kernels that keep no such lists."""
    found: dict[int, list[int]] = {}
    for name in os.listdir(root):
        if name.isdigit() and len(fields := _fields(root / name)) > 1:
            found.setdefault(int(fields[1]), []).append(int(name))
    return found


def _fields(folder: Path) -> list[str]:
    """A process's ``stat`` from its third field on: the name before may hold anything."""
    return (read_text(folder / "stat") or "").rpartition(")")[2].split()


def _ticks_of(folder: Path) -> int:
    """Its own time, and that of its children which ended: fields 14 to 17."""
    fields = _fields(folder)
    return sum(map(int, fields[11:15])) if len(fields) > 14 else 0


def free_memory_mib(root: Path = Path("/proc")) -> float | None:
    """What programs may still take, in MiB."""
    found = re.search(r"^MemAvailable:\s*(\d+) kB", read_text(root / "meminfo") or "", re.MULTILINE)
    return None if found is None else int(found[1]) / 1024


def swapped_mib(root: Path = Path("/proc")) -> float:
    """What was moved between memory and swap since the start, in MiB, both ways; 0 where there is no swap."""
    text = read_text(root / "vmstat") or ""
    pages = sum(int(count) for count in re.findall(r"^pswp(?:in|out) (\d+)$", text, re.MULTILINE))
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
