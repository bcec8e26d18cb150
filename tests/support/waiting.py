"""Waiting for something that another thread or process does."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(happened: Callable[[], bool], what: str, limit_s: float = 60.0) -> None:
    """Return as soon as it happened; the limit only keeps a broken program from hanging the tests."""
    until = time.monotonic() + limit_s
    while not happened():
        assert time.monotonic() < until, f"waited {limit_s:g} s in vain for: {what}"
        time.sleep(0.01)
