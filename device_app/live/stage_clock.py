"""How long the stages of one picture took."""

from __future__ import annotations

import time


class StageClock:
    """Wall time of consecutive stages, in milliseconds."""

    def __init__(self) -> None:
        self._start = self._last = time.perf_counter()
        self.timings_ms: dict[str, float] = {}

    def done(self, stage: str) -> None:
        """The stage that ran since the last call has this name."""
        now = time.perf_counter()
        self.timings_ms[stage] = (now - self._last) * 1000
        self._last = now

    def total(self) -> dict[str, float]:
        """The timings, with ``total``."""
        return {**self.timings_ms, "total": (self._last - self._start) * 1000}
