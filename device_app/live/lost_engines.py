"""Which accelerator loses its engines again and again, and is left out for the rest of the session.

Once is chance, and a new process has a new context. A driver or a board that fails every few seconds would keep the
picture from being measured at all: the processor is slower, and works.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from device_app.engines.backend import is_accelerator
from device_app.live.settings import PipelineSettings

log = logging.getLogger(__name__)
PROCESSOR = "onnxruntime-cpu"
MOST_LOSSES = 3
WITHIN_S = 60.0


def accelerators(*engines: str) -> tuple[str, ...]:
    """The back ends of engines that do not run on the processor, each once.

    Args:
        engines: as the results name them, such as ``tensorrt int8_symmetric`` or ``encoder tensorrt fp16, decoder
            tensorrt fp16``; nothing where there is none.
    """
    named = [one.split()[-2] for engine in engines for one in engine.split(", ") if len(one.split()) > 1]
    return tuple(dict.fromkeys(name for name in named if is_accelerator(name)))


class LostEngines:
    """Counts losses by back end. Shared by both lanes; thread-safe.

    Args:
        now: seconds on a clock that does not go back.

    Attributes:
        count: losses since the session started.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.count = 0
        self._now = now
        self._lock = threading.Lock()
        self._losses: dict[str, deque[float]] = {}
        self._given_up: dict[str, str] = {}

    def book(self, backends: Sequence[str], problem: str) -> bool:
        """A process has lost its engines.

        Args:
            backends: the accelerators that it had engines on; none: it was still opening them.
            problem: what went wrong.

        Returns:
            Whether a back end is given up for it that was not before.
        """
        with self._lock:
            now = self._now()
            self.count += 1
            news = False
            for backend in backends or ("",):
                times = self._losses.setdefault(backend, deque(maxlen=MOST_LOSSES))
                times.append(now)
                if len(times) < MOST_LOSSES or now - times[0] > WITHIN_S or backend in self._given_up:
                    continue
                what = f"The back end {backend}" if backend else "Opening the engines"
                often = f"failed {MOST_LOSSES} times within {WITHIN_S:g} s"
                self._given_up[backend] = f"{what} {often}: the processor does the work until the next start. {problem}"
                log.warning("%s", self._given_up[backend])
                news = True
            return news

    @property
    def given_up(self) -> tuple[str, ...]:
        """One sentence for each back end that is left out."""
        with self._lock:
            return tuple(self._given_up.values())

    def allowed(self, settings: PipelineSettings) -> PipelineSettings:
        """These settings, on the processor where they would use a back end that is left out."""
        with self._lock:
            uses_it = settings.backend is None or settings.backend in self._given_up or "" in self._given_up
            if self._given_up and uses_it and settings.backend != PROCESSOR:
                return replace(settings, backend=PROCESSOR)
            return settings
