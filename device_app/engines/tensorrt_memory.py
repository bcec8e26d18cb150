"""Memory of a TensorRT engine: one block for all inputs, one for all outputs, and arrays for the answers."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import numpy as np

from device_app.engines.cuda import Cuda

_ALIGNED = 256
_KEPT_ARRAYS = 4
_KEPT_SHAPES = 8

Shape = tuple[int, ...]


class Block:
    """The float32 tensors of one direction side by side, so that one copy takes them all.

    Args:
        cuda: frees it.
        shapes: the largest shape of each tensor.
        mapped: processor and GPU use the same memory, and nothing is copied.
    """

    def __init__(self, cuda: Cuda, shapes: Mapping[str, Shape], mapped: bool) -> None:
        self._offsets: dict[str, int] = {}
        self.size = 0
        for name, shape in shapes.items():
            self._offsets[name] = self.size
            self.size += -(-4 * _count(shape) // _ALIGNED) * _ALIGNED
        self._host = cuda.host_memory(self.size, mapped)
        self.host_address = self._host.address
        shared = self._host.device_address
        self.device_address = cuda.device_memory(self.size) if shared is None else shared

    def address(self, name: str) -> int:
        """Where the GPU finds a tensor."""
        return self.device_address + self._offsets[name]

    def view(self, name: str, shape: Shape) -> np.ndarray:
        """Where the processor finds it. Not to be used once the memory is freed."""
        start = self._offsets[name]
        return self._host.data[start : start + 4 * _count(shape)].view(np.float32).reshape(shape)


class Answers:
    """Arrays to hand out, each taken up again once nobody holds it, so that no frame allocates one.

    A caller may keep an array (or a view of it) as long as it likes: it is not written again before it was let go.
    """

    def __init__(self) -> None:
        self._kept: dict[Shape, list[np.ndarray]] = {}

    def take(self, shape: Shape) -> np.ndarray:
        """An uninitialised float32 array."""
        if shape not in self._kept and len(self._kept) >= _KEPT_SHAPES:
            self._kept.clear()
        kept = self._kept.setdefault(shape, [])
        for array in kept:
            if sys.getrefcount(array) == 3:  # the list, `array`, and the argument of this very call
                return array
        array = np.empty(shape, np.float32)
        if len(kept) < _KEPT_ARRAYS:
            kept.append(array)
        return array


def _count(shape: Shape) -> int:
    return int(np.prod(shape, dtype=np.int64))
