"""The camera's side of the live loop: a thread that reads, and one that watches that reading does not stall."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from calibration.errors import ScalpScopeError
from calibration.optics.focus import focus_score
from device_app.camera.mailbox import Mailbox
from device_app.camera.source import Frame, FrameSource, SourceEnded, TellsReads
from device_app.live.health import SOURCE_TRANSITIONS, RateMeter, SourceState, StateKeeper
from device_app.live.settings import Patience

log = logging.getLogger(__name__)
_RECENT_S = 0.7
_RECENT_BYTES = 96 * 2**20
_GARBAGE_IN_A_ROW = 30
_STUCK_THREADS = 3
_FOCUS_CROP = 256


def is_picture(image: object) -> bool:
    """Whether a source delivered what it must: (H, W, 3) uint8 with at least one pixel."""
    return (
        isinstance(image, np.ndarray)
        and image.dtype == np.uint8
        and image.ndim == 3
        and image.shape[2] == 3
        and image.size > 0
    )


@dataclass(frozen=True)
class SourceLoss:
    """One time the source was away.

    Attributes:
        at_s: when, in seconds since the session started.
        problem: what was wrong.
        back_after_s: seconds until the next good frame; None while it is away.
    """

    at_s: float
    problem: str
    back_after_s: float | None


class SourceReader:
    """Opens a source, reads it, brings it back when it is lost, and books every frame in the mailbox.

    Args:
        source: the source; its `read` is called by one thread at a time, its `close` by any.
        mailbox: where frames go.
        patience: when a call is a stall, and how long to wait between attempts.
    """

    def __init__(self, source: FrameSource, mailbox: Mailbox, patience: Patience) -> None:
        self._source = source
        self._mailbox = mailbox
        self._patience = patience
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._generation = 0  # a reader thread whose number is not this one was given up and must not deliver
        self._call: tuple[str, float] | None = None
        self._thread: threading.Thread | None = None
        self._watcher: threading.Thread | None = None
        self._stuck: list[threading.Thread] = []
        self._next_id = 0
        self._garbage_run = 0
        self._latest: Frame | None = None
        self._recent: deque[Frame] = deque()
        self._recent_bytes = 0
        self._started = time.monotonic()
        self._lost_at = 0.0
        self.losses: deque[SourceLoss] = deque(maxlen=1000)
        self.loss_count = 0
        self.rate = RateMeter()
        self.state: StateKeeper[SourceState] = StateKeeper(
            SourceState.OPENING, SOURCE_TRANSITIONS, well=frozenset({SourceState.LIVE})
        )

    def start(self) -> None:
        """Begin. Call once."""
        self._started = time.monotonic()
        self._launch()
        self._watcher = threading.Thread(target=self._watch, name="source-watch", daemon=True)
        self._watcher.start()

    def stop(self) -> None:
        """Stop reading and release the source. Safe to call twice."""
        self._stopping.set()
        with self._lock:
            self._generation += 1
            self.state.move(SourceState.STOPPED)
        self._source.close()
        for thread in (self._thread, self._watcher):
            if thread is not None and thread is not threading.current_thread():
                thread.join(self._patience.stall_s)

    def latest(self) -> Frame | None:
        """The newest frame."""
        return self._latest

    def sharpest_recent(self) -> Frame | None:
        """The sharpest frame of the last 0.7 s, judged by its middle at full resolution; None when there is none."""
        with self._lock:
            frames = list(self._recent)
        return max(frames, key=lambda frame: focus_score(_middle(frame.image)), default=self._latest)

    def _launch(self) -> None:
        with self._lock:
            self._call = None
            generation = self._generation
        self._thread = threading.Thread(target=self._read, args=(generation,), name="source-read", daemon=True)
        self._thread.start()

    def _current(self, generation: int) -> bool:
        return generation == self._generation and not self._stopping.is_set()

    @contextmanager
    def _calling(self, what: str, generation: int) -> Iterator[None]:
        with self._lock:
            if generation == self._generation:
                self._call = (what, time.monotonic())
        try:
            yield
        finally:
            with self._lock:
                if generation == self._generation:
                    self._call = None

    def _read(self, generation: int) -> None:
        wait_s = 0.1
        while self._current(generation):
            frames_before = self._next_id
            try:
                with self._calling("open", generation):
                    self._source.open()
                while self._current(generation):
                    with self._calling("read", generation):
                        image = self._source.read()
                    self._deliver(image, generation)
            except SourceEnded:
                with self._lock:
                    if self._current(generation):
                        self.state.move(SourceState.ENDED)
                return
            except ScalpScopeError as error:
                self._lose(str(error), generation)
            except Exception as error:  # a driver may raise anything; the session must outlive it
                log.exception("source %s failed", self._source.name)
                what = f"The source {self._source.name} failed: {type(error).__name__}: {error}."
                self._lose(f"{what} Unplug it and plug it in again.", generation)
            if self._current(generation):
                self._source.close()
                wait_s = 0.1 if self._next_id > frames_before else min(wait_s * 2, self._patience.retry_s)
                self._stopping.wait(wait_s)

    def _deliver(self, image: object, generation: int) -> None:
        captured_ns = time.monotonic_ns()
        with self._lock:
            if not self._current(generation):
                return
            self._next_id += 1
            self.rate.tick()
            if not is_picture(image):
                self._mailbox.put_garbage()
                self._garbage_run += 1
                if self._garbage_run < _GARBAGE_IN_A_ROW:
                    return
                self._garbage_run = 0
                raise ScalpScopeError(
                    f"The source {self._source.name} sends data that is no picture.",
                    "Unplug it and plug it in again, or choose another format.",
                )
            assert isinstance(image, np.ndarray)
            self._garbage_run = 0
            frame = Frame(self._next_id - 1, image, captured_ns, self._timings_ms(captured_ns))
            self._latest = frame
            self._remember(frame)
            self._mailbox.put(frame)
            was_lost = self.state.state is SourceState.LOST
            if self.state.move(SourceState.LIVE) and was_lost and self.losses:
                loss = self.losses[-1]
                self.losses[-1] = SourceLoss(loss.at_s, loss.problem, time.monotonic() - self._lost_at)

    def _timings_ms(self, captured_ns: int) -> dict[str, float]:
        """What getting the picture took that was just read, as far as the source tells."""
        times = self._source.read_times if isinstance(self._source, TellsReads) else None
        return {} if times is None else times.until(captured_ns)

    def _remember(self, frame: Frame) -> None:
        self._recent.append(frame)
        self._recent_bytes += frame.image.nbytes
        while len(self._recent) > 1 and (
            frame.captured_ns - self._recent[0].captured_ns > _RECENT_S * 1e9 or self._recent_bytes > _RECENT_BYTES
        ):
            self._recent_bytes -= self._recent.popleft().image.nbytes

    def _lose(self, problem: str, generation: int) -> None:
        with self._lock:
            if self._current(generation):
                self._book_loss(problem)

    def _book_loss(self, problem: str) -> None:
        """With the lock held."""
        was_live = self.state.state is SourceState.LIVE
        if self.state.move(SourceState.LOST, problem):
            log.warning("source lost: %s", problem)
            self._lost_at = time.monotonic()
            self.losses.append(SourceLoss(self._lost_at - self._started, problem, None))
            self.loss_count += was_live

    def _watch(self) -> None:
        """Give up a reader thread that is stuck in a call, and start another when the source was closed."""
        while not self._stopping.wait(0.1):
            with self._lock:
                call = self._call
                limit = self._patience.stall_s if call and call[0] == "read" else self._patience.open_s
                if call is None or time.monotonic() - call[1] <= limit or self._thread is None:
                    continue
                self._book_loss(
                    f"The source {self._source.name} has not answered for {limit:g} s. "
                    "Check its cable, or unplug it and plug it in again."
                )
                self._generation += 1
                self._call = None
                self._stuck = [thread for thread in self._stuck if thread.is_alive()] + [self._thread]
            self._source.close()
            self._thread.join(self._patience.retry_s)
            # A wedged driver may keep every thread that touches it: never more than a few of them.
            while sum(thread.is_alive() for thread in self._stuck) >= _STUCK_THREADS:
                if self._stopping.wait(0.1):
                    return
            if not self._stopping.is_set():
                self._launch()


def _middle(image: np.ndarray) -> np.ndarray:
    top = max(0, (image.shape[0] - _FOCUS_CROP) // 2)
    left = max(0, (image.shape[1] - _FOCUS_CROP) // 2)
    return image[top : top + _FOCUS_CROP, left : left + _FOCUS_CROP]
