"""Running the real `scalpscope` command as a process of its own, the way a user does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def environment(**changes: str | None) -> dict[str, str]:
    """This process's environment with one thread per library, and `changes` (None: unset)."""
    values = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120", "PYTHONPATH": str(ROOT)}
    for name, value in changes.items():
        if value is None:
            values.pop(name, None)
        else:
            values[name] = value
    return values


def start(
    *words: str | Path, env: dict[str, str] | None = None, preexec: Callable[[], None] | None = None
) -> subprocess.Popen[str]:
    """Start ``scalpscope WORDS``; its output goes to pipes."""
    return subprocess.Popen(
        [sys.executable, "-m", "device_app.cli", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=env or environment(),
        preexec_fn=preexec,
    )


def scalpscope(
    *words: str | Path, env: dict[str, str] | None = None, preexec: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ``scalpscope WORDS`` to its end."""
    with start(*words, env=env, preexec=preexec) as process:
        out, err = process.communicate(timeout=240)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def problems(err: str) -> Sequence[str]:
    """The lines of stderr that tell of problems, without the log's note on the engine of the tests' tiny bundle."""
    return [line for line in err.splitlines() if line.strip() and "not used" not in line]
