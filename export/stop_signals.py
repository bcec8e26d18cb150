"""Ctrl-C and SIGTERM for work inside a library that gives Python no turn: asked to stop first, ended after a while."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from types import FrameType, TracebackType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """While it is entered, on the main thread, SIGINT and SIGTERM set a flag.

    A handler written in Python waits until the main thread runs Python again, which inside a library may be minutes. So
    a thread reads the signal from Python's wake-up pipe at once.

    Args:
        patience_s: after which the process ends although the work goes on; a second signal ends it at once. What is
            written, is written whole or not at all, so nothing is left half done.

    Attributes:
        number: of the signal that came; None until then.
    """

    def __init__(self, patience_s: float = 10.0) -> None:
        self.number: int | None = None
        self._patience_s = patience_s
        self._left = threading.Event()

    def __enter__(self) -> StopSignals:
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)
        self._before = {number: signal.signal(number, self._nothing) for number in _SIGNALS}
        self._pipe_before = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._watch, name="stop-signals", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        signal.set_wakeup_fd(self._pipe_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        with suppress(OSError):
            os.write(self._writing, b"\0")
        self._thread.join()
        os.close(self._reading)
        os.close(self._writing)

    def is_set(self) -> bool:
        """Whether the work is asked to stop."""
        return self.number is not None

    def _nothing(self, number: int, frame: FrameType | None) -> None:
        """The thread has seen it already."""

    def _watch(self) -> None:
        while not self._left.is_set():
            for number in os.read(self._reading, 64):
                if number not in _SIGNALS:
                    continue
                if self.number is not None:
                    os._exit(128 + number)
                self.number = number
                threading.Thread(target=self._end_later, name="stop-patience", daemon=True).start()

    def _end_later(self) -> None:
        if not self._left.wait(self._patience_s):
            os._exit(128 + (self.number or 0))
