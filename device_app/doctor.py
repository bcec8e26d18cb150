"""What this machine has and lacks for ScalpScope, check by check, each with the way to mend it.

Nothing here changes the machine. A check never raises: what goes wrong in it is its finding.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path

from device_app.settings import DeviceSettings

_log = logging.getLogger(__name__)


class State(str, Enum):
    """How a check came out. With a `FAIL` the app cannot run here; a `WARN` takes something away from it."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """One check: what was looked at, how it stands, what was found, and what to do about it (empty if nothing)."""

    name: str
    state: State
    found: str
    remedy: str = ""

    def as_dict(self) -> dict[str, str]:
        """The finding as plain values."""
        return {**asdict(self), "state": self.state.value}


Check = Callable[[DeviceSettings], Sequence[Finding]]


def examine(settings: DeviceSettings) -> list[Finding]:
    """Run every check; takes some seconds, because the engine is opened and proved by its goldens."""
    from device_app.doctor_checks import CHECKS

    findings: list[Finding] = []
    for name, check in CHECKS.items():
        try:
            findings.extend(check(settings))
        except Exception as error:  # a check that fails in a way nobody thought of is a finding too
            _log.debug("check %s failed", name, exc_info=True)
            findings.append(
                Finding(name, State.WARN, f"could not be checked: {error}", "Run scalpscope --debug -v doctor.")
            )
    return findings


def can_run(findings: Sequence[Finding]) -> bool:
    """Whether the app can run on this machine."""
    return all(finding.state is not State.FAIL for finding in findings)


def nearest_folder(path: Path) -> Path:
    """The folder itself, or the nearest one above it that exists."""
    return next((folder for folder in (path, *path.parents) if folder.is_dir()), Path("/"))
