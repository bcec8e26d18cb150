"""Closing in order when the process is told to end: by Ctrl-C, by a service manager, at shutdown."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from device_app.screens.main_window import ScalpScopeApp

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_LOOK_S = 0.1


class ToldToEnd:
    """Within it, SIGINT and SIGTERM close the app as its own way out does, instead of ending the process at once;
    a second one interrupts it where it stands.

    Left to itself, SDL takes both signals for a closed window, and loses those that come before the window is there.
    Enter before anything of Kivy is imported. Outside the main thread, where Python hears no signals, it does nothing.
    """

    def __init__(self) -> None:
        self._told = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> ToldToEnd:
        os.environ["SDL_NO_SIGNAL_HANDLERS"] = "1"
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._hear) for number in _SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def watch(self, app: ScalpScopeApp) -> None:
        """Stop the app, from its own clock, once the process was told to end. Call before the app runs."""
        from kivy.clock import Clock

        Clock.schedule_interval(lambda _: app.stop() if self._told else None, _LOOK_S)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self._told:  # told twice: the clock that should have stopped the app stands still
            raise KeyboardInterrupt
        self._told = True
