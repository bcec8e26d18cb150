"""What sensors say at one moment, from whichever of them says it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

_MOST_BYTES = 65536


@dataclass(frozen=True)
class Readings:
    """Clocks, temperatures and power at one moment. None, or no key, where a sensor does not say.

    Attributes:
        cpu_mhz: mean over the cores that are used; gpu_mhz, memory_mhz: clocks.
        temperatures_c, power_w: by the sensor's name.
        throttled: what holds the clocks down, in words.
    """

    cpu_mhz: float | None = None
    gpu_mhz: float | None = None
    memory_mhz: float | None = None
    temperatures_c: Mapping[str, float] = field(default_factory=dict)
    power_w: Mapping[str, float] = field(default_factory=dict)
    throttled: tuple[str, ...] = ()


class Sensors(Protocol):
    """One place that tells readings."""

    @property
    def absent(self) -> Mapping[str, str]:
        """What it cannot tell, with the reason; by ``cpu_mhz``, ``gpu_mhz``, ``memory_mhz``, ``temperatures_c``,
        ``power_w`` and ``throttled``."""

    def read(self) -> Readings:
        """What it says now. Never raises."""

    def close(self) -> None:
        """Give back what it holds. Safe to call twice."""


def merged(readings: Iterable[Readings]) -> Readings:
    """All of them in one; where two say the same thing, the earlier one counts."""
    everything = tuple(readings)
    temperatures: dict[str, float] = {}
    power: dict[str, float] = {}
    for each in everything:
        temperatures = {**each.temperatures_c, **temperatures}
        power = {**each.power_w, **power}
    return Readings(
        cpu_mhz=_first(each.cpu_mhz for each in everything),
        gpu_mhz=_first(each.gpu_mhz for each in everything),
        memory_mhz=_first(each.memory_mhz for each in everything),
        temperatures_c=temperatures,
        power_w=power,
        throttled=tuple(dict.fromkeys(what for each in everything for what in each.throttled)),
    )


def _first(values: Iterable[float | None]) -> float | None:
    return next((value for value in values if value is not None), None)


def read_text(path: Path | str) -> str | None:
    """A small file of the kernel's, without the white space around it; None where it cannot be read.

    Few system calls and no buffers: some dozen of these are read every second while frames are being timed.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        parts = []
        while part := os.read(descriptor, _MOST_BYTES):  # longer ones come in pieces of a page
            parts.append(part)
        return b"".join(parts).decode("utf-8", "replace").strip("\0 \n\t")
    except OSError:  # a sensor that is switched off answers so
        return None
    finally:
        os.close(descriptor)


def read_number(path: Path | str) -> float | None:
    """The one whole number in such a file; None where there is none."""
    text = read_text(path)
    try:
        return None if text is None else float(int(text))
    except ValueError:
        return None


def why_unreadable(path: Path) -> str:
    """Why a file that is there cannot be read, in half a sentence."""
    try:
        with path.open("rb") as file:
            file.read(1)
    except PermissionError:
        return f"only root may read {path}"
    except OSError as error:
        return f"{path} cannot be read: {(error.strerror or str(error)).lower()}"
    return f"{path} says nothing"
