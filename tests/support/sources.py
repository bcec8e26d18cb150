"""A source whose cable is in the test's hands: what stands in the place of a microscope at the edge of the program."""

from __future__ import annotations

import threading
import time

import cv2
import numpy as np

from device_app.camera.source import SourceEnded, SourceLost

NOTHING = object()  # delivered as None
SKIN, HAIR = (205, 160, 140), (40, 30, 30)


def numbered_picture(number: int, width: int = 160, height: int = 120) -> np.ndarray:
    """Skin with one dark vertical stroke whose place tells the number: (height, width, 3) uint8 RGB."""
    image = np.full((height, width, 3), SKIN, np.uint8)
    x = 10 + (number * 7) % max(1, width - 20)
    cv2.line(image, (x, 0), (x, height - 1), HAIR, 4)
    return image


class BenchSource:
    """Delivers `numbered_picture` after `numbered_picture`, as long as nobody pulls the cable.

    Args:
        fps: pictures a second.
        size: (width, height) of the pictures; may be changed at any time.
        ends_after: a file's end after so many pictures; None: never.
    """

    name = "bench"

    def __init__(self, fps: float = 60.0, size: tuple[int, int] = (160, 120), ends_after: int | None = None) -> None:
        self.size = size
        self.next_delivery: object = None  # delivered once in the place of a picture, if not None
        self.always_deliver: object = None  # the same, for every picture
        self.opened = 0
        self._ends_after = ends_after
        self._period_s = 1.0 / fps
        self._plugged = threading.Event()
        self._plugged.set()
        self._flowing = threading.Event()
        self._flowing.set()
        self._count = 0

    def unplug(self) -> None:
        """Reads fail at once, and so does opening."""
        self._plugged.clear()

    def plug(self) -> None:
        """There again."""
        self._plugged.set()

    def stall(self) -> None:
        """Reads do not return any more, closed or not: a wedged driver."""
        self._flowing.clear()

    def flow(self) -> None:
        """Reads return again, those that hung too."""
        self._flowing.set()

    def open(self) -> None:
        self.opened += 1
        if not self._plugged.is_set():
            raise SourceLost("The bench source is unplugged.", "Plug it in.")

    def read(self) -> np.ndarray:
        self._flowing.wait()
        time.sleep(self._period_s)
        if not self._plugged.is_set():
            raise SourceLost("The bench source is unplugged.", "Plug it in.")
        if self._count == self._ends_after:
            raise SourceEnded("over")
        self._count += 1
        for odd in (self.next_delivery, self.always_deliver):
            if odd is not None:
                self.next_delivery = None
                return None if odd is NOTHING else odd  # type: ignore[return-value]
        return numbered_picture(self._count, *self.size)

    def close(self) -> None:
        pass
