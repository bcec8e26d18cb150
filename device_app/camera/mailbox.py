"""The one slot between camera and worker, and the book of what became of every frame.

One lock guards both, so every count it hands out adds up: captured = analysed + dropped (by cause) + pending.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from device_app.camera.source import Frame


class DropCause(str, Enum):
    """Why a captured frame was never analysed."""

    REPLACED = "replaced"  # a newer frame came while the worker was busy: the ordinary case
    WORKER_DOWN = "worker_down"  # a newer frame came while there was no worker to take this one
    WORKER_LOST = "worker_lost"  # the worker died with this frame in its hands
    WORKER_HUNG = "worker_hung"  # the watchdog ended a worker that never answered for this frame
    FAILED = "failed"  # the worker answered that it could not analyse this frame
    GARBAGE = "garbage"  # the source delivered something that is no picture
    STOPPED = "stopped"  # the session stopped before its turn


@dataclass(frozen=True)
class FrameCounts:
    """What became of the frames so far, taken in one instant.

    Attributes:
        captured: frames that left the source, garbage included.
        analysed: frames whose analysis came back.
        dropped: frames given up, by cause; every cause is there, 0 where none.
        pending: frames still in the slot or with the worker, 0 to 2.
    """

    captured: int
    analysed: int
    dropped: Mapping[DropCause, int]
    pending: int

    @property
    def reconciles(self) -> bool:
        """Whether every captured frame is accounted for."""
        return self.captured == self.analysed + sum(self.dropped.values()) + self.pending


class Mailbox:
    """One slot, newest wins. A taken frame stays pending until it is settled as analysed or dropped.

    One thread puts, one takes and settles, any thread reads the counts.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._slot: Frame | None = None
        self._taken: Frame | None = None
        self._captured = 0
        self._analysed = 0
        self._dropped: Counter[DropCause] = Counter()
        self._worker_ready = False
        self._closed = False

    def set_worker_ready(self, ready: bool) -> None:
        """Say whether somebody takes frames: decides under which cause replaced frames are booked."""
        with self._changed:
            self._worker_ready = ready

    def put(self, frame: Frame) -> None:
        """Book a captured frame and lay it in the slot; the frame that lay there is dropped."""
        with self._changed:
            self._captured += 1
            if self._closed:
                self._dropped[DropCause.STOPPED] += 1
                return
            if self._slot is not None:
                self._dropped[DropCause.REPLACED if self._worker_ready else DropCause.WORKER_DOWN] += 1
            self._slot = frame
            self._changed.notify_all()

    def put_garbage(self) -> None:
        """Book a delivery that was no picture: captured and dropped at once."""
        with self._changed:
            self._captured += 1
            self._dropped[DropCause.GARBAGE] += 1

    def take(self, timeout_s: float) -> Frame | None:
        """Take the newest frame, waiting for one; None after `timeout_s` or when the mailbox closes.

        Raises:
            RuntimeError: the frame taken before was never settled.
        """
        with self._changed:
            if self._taken is not None:
                raise RuntimeError(f"frame {self._taken.id} was taken and never settled")
            self._changed.wait_for(lambda: self._slot is not None or self._closed, timeout_s)
            self._taken, self._slot = self._slot, None
            return self._taken

    def analysed(self) -> None:
        """Settle the taken frame: its analysis came back."""
        with self._changed:
            self._settle()
            self._analysed += 1

    def drop(self, cause: DropCause) -> None:
        """Settle the taken frame: it will not be analysed."""
        with self._changed:
            self._settle()
            self._dropped[cause] += 1

    def close(self) -> None:
        """Drop what lies in the slot and wake the taker; frames put from now on are booked as stopped."""
        with self._changed:
            self._closed = True
            if self._slot is not None:
                self._slot = None
                self._dropped[DropCause.STOPPED] += 1
            self._changed.notify_all()

    def counts(self) -> FrameCounts:
        """The book, in one instant."""
        with self._changed:
            return FrameCounts(
                captured=self._captured,
                analysed=self._analysed,
                dropped={cause: self._dropped[cause] for cause in DropCause},
                pending=(self._slot is not None) + (self._taken is not None),
            )

    def _settle(self) -> None:
        if self._taken is None:
            raise RuntimeError("no frame was taken")
        self._taken = None
