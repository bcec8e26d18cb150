"""Which Jetson this is: its board, its release, and the power mode that it is set to."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from device_app.bench.latency.readings import read_text

_JETPACK = {"36.2": "6.0", "36.3": "6.0", "38.2": "7.0", "38.4": "7.1", "39.2": "7.2"}
"""JetPack by the release of Jetson Linux (L4T), where one belongs to the other alone; NVIDIA's JetPack archive."""

_FAMILY = {"36": "6", "38": "7", "39": "7"}
_WAIT_S = 10


@dataclass(frozen=True)
class Jetson:
    """A Jetson.

    Attributes:
        board: as it calls itself.
        l4t: the release of Jetson Linux, such as ``36.4.3``.
        jetpack: such as ``7.1``, or ``6.x`` where the release alone does not say; None: a release that is not known.
    """

    board: str
    l4t: str
    jetpack: str | None

    @property
    def generation(self) -> str | None:
        """``6`` or ``7``: what decides which CUDA and which TensorRT it has."""
        return None if self.jetpack is None else self.jetpack.split(".")[0]


def find_jetson(root: Path = Path("/")) -> Jetson | None:
    """This machine as a Jetson, or None when it is none."""
    release = read_text(root / "etc/nv_tegra_release")
    if release is None:
        return None
    found = re.search(r"R(\d+).*?REVISION:\s*([\d.]+)", release)
    l4t = f"{found[1]}.{found[2].rstrip('.')}" if found else "unknown"
    family = _FAMILY.get(found[1]) if found else None
    exact = _JETPACK.get(".".join(l4t.split(".")[:2]))
    return Jetson(
        board=read_text(root / "proc/device-tree/model") or "Jetson",
        l4t=l4t,
        jetpack=exact or (None if family is None else f"{family}.x"),
    )


def installed_jetpack() -> str | None:
    """The version of JetPack's own package, such as ``6.2.1+b38``; None where it is not installed as a whole."""
    return _said("dpkg-query", "-W", "-f", "${Version}", "nvidia-jetpack")


def power_mode() -> str | None:
    """The mode that the board is set to, such as ``MAXN (0)``, or None where it does not say."""
    return parse_power_mode(_said("nvpmodel", "-q") or "")


def parse_power_mode(text: str) -> str | None:
    """What ``nvpmodel -q`` says: ``NV Power Mode: MAXN`` and the mode's number on a line of its own."""
    name = re.search(r"NV Power Mode:\s*(\S.*)", text)
    number = re.search(r"^\s*(\d+)\s*$", text, re.MULTILINE)
    if name is None:
        return None
    return f"{name[1].strip()} ({number[1]})" if number else name[1].strip()


def _said(program: str, *arguments: str) -> str | None:
    """What a program prints; None where there is no such program, or it fails."""
    path = shutil.which(program)
    if path is None:
        return None
    try:
        done = subprocess.run(
            [path, *arguments], capture_output=True, text=True, timeout=_WAIT_S, stdin=subprocess.DEVNULL, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
