"""Pictures between two processes without copying them through a pipe.

The memory is anonymous (a memfd, or an unlinked temporary file where there is none): it has no name in /dev/shm, so
however the processes end, killed ones included, the kernel frees it and nothing is left behind.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import tempfile
from dataclasses import dataclass

import numpy as np

SLOTS = 2


def _anonymous_file(size: int) -> int:
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("scalpscope-frames", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    return descriptor


@dataclass(frozen=True)
class SlotUse:
    """Where in the ring one frame lies.

    Attributes:
        slot: index of the slot.
        height, width: size of the picture in it.
    """

    slot: int
    height: int
    width: int


class FrameRing:
    """A few slots of shared memory, each with room for one picture and the mask, or masks, that come back.

    The session makes the ring and owns it; the worker opens it by file descriptor.

    Args:
        pixels: largest picture, height x width.
        descriptor: an existing ring's file descriptor, which this ring takes over; None: make a new one.
        masks: for how many masks a slot has room.
    """

    def __init__(self, pixels: int, descriptor: int | None = None, masks: int = 1) -> None:
        self.pixels = pixels
        self.masks = masks
        self._slot_bytes = pixels * (3 + masks)  # three channels and the masks
        size = self._slot_bytes * SLOTS
        self.descriptor = _anonymous_file(size) if descriptor is None else descriptor
        self._map: mmap.mmap | None = mmap.mmap(self.descriptor, size)
        self._next = 0

    def holds(self, image: np.ndarray) -> bool:
        """Whether a slot is large enough for this picture."""
        return image.shape[0] * image.shape[1] <= self.pixels

    def put(self, image: np.ndarray) -> SlotUse:
        """Copy a picture, (H, W, 3) uint8, into the next slot.

        Raises:
            ValueError: it is larger than a slot.
        """
        if not self.holds(image):
            raise ValueError(f"a picture of {image.shape} does not fit a slot of {self.pixels} pixels")
        use = SlotUse(self._next, image.shape[0], image.shape[1])
        self._next = (self._next + 1) % SLOTS
        self.image(use)[...] = image
        return use

    def image(self, use: SlotUse) -> np.ndarray:
        """The picture in a slot: (H, W, 3) uint8, a view into the shared memory."""
        return self._view(use, 0, 3).reshape(use.height, use.width, 3)

    def mask(self, use: SlotUse, number: int = 0) -> np.ndarray:
        """A mask in a slot: (H, W) uint8, a view into the shared memory.

        Raises:
            ValueError: the ring has not so many masks.
        """
        if not 0 <= number < self.masks:
            raise ValueError(f"mask {number} of a ring with {self.masks}")
        return self._view(use, self.pixels * (3 + number), 1).reshape(use.height, use.width)

    def close(self) -> None:
        """Let go of the memory. Views still in use keep the mapping, not the descriptor. Safe to call twice."""
        if self._map is None:
            return
        with contextlib.suppress(BufferError):  # a view is still alive; the mapping goes with the last of them
            self._map.close()
        self._map = None
        os.close(self.descriptor)

    def _view(self, use: SlotUse, start: int, channels: int) -> np.ndarray:
        if self._map is None:
            raise ValueError("the ring is closed")
        count = use.height * use.width * channels
        return np.frombuffer(self._map, np.uint8, count, use.slot * self._slot_bytes + start)


def ring_that_holds(image: np.ndarray, ring: FrameRing | None, masks: int = 1) -> FrameRing:
    """This ring where the picture fits a slot of it, else a new one, this one closed."""
    if ring is not None and ring.holds(image):
        return ring
    if ring is not None:
        ring.close()
    return FrameRing(image.shape[0] * image.shape[1], masks=masks)
