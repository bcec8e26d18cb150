"""Sources that have no clock of their own deliver at a steady rate through this."""

from __future__ import annotations

import threading
import time

_LATE_S = 0.5


class Pacer:
    """Waits until the next picture is due.

    Args:
        fps: pictures a second, above 0.
    """

    def __init__(self, fps: float) -> None:
        self._period_s = 1.0 / fps
        self._due: float | None = None
        self._closed = threading.Event()

    def wait(self) -> bool:
        """Return when the next picture is due, True; at once and False when the pacer is closed.

        A reader that falls far behind is not made to hurry after: the count of time starts again.
        """
        now = time.monotonic()
        if self._due is None or now - self._due > _LATE_S:
            self._due = now
        closed = self._closed.wait(max(0.0, self._due - now))
        self._due += self._period_s
        return not closed

    def close(self) -> None:
        """Wake a waiting reader. Safe to call twice, from any thread."""
        self._closed.set()
