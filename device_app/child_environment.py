"""What a process of ours that another one starts has to know: where this very code is, however it was installed."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""The folder that holds the four floors."""


def child_environment(**more: str) -> dict[str, str]:
    """This process's environment for a child that imports our modules, with `more` set."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path, **more}
