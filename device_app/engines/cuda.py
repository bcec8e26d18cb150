"""CUDA's runtime by NVIDIA's own bindings (12.9 and 13.x): every call checked, everything made freed in reverse order.

Nothing here is imported before there is a GPU: the bindings come with an extra (docs/jetson.md).
"""

from __future__ import annotations

import ctypes
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from calibration.errors import ScalpScopeError
from device_app.engines.engine import EngineLost

_log = logging.getLogger(__name__)

_POISONING = frozenset(
    f"cudaError{name}"
    for name in (
        "Assert",
        "Contained",
        "ContextIsDestroyed",
        "DevicesUnavailable",
        "ECCUncorrectable",
        "ExternalDevice",
        "HardwareStackError",
        "IllegalAddress",
        "IllegalInstruction",
        "InvalidAddressSpace",
        "InvalidPc",
        "LaunchFailure",
        "LaunchTimeout",
        "MisalignedAddress",
        "MpsClientTerminated",
        "NvlinkUncorrectable",
        "TensorMemoryLeak",
        "Unknown",
    )
)
"""Errors after which CUDA's documentation wants the process ended and started again. A version may lack some."""


def load_runtime() -> Any:
    """The module ``cuda.bindings.runtime``.

    Raises:
        ScalpScopeError: it is not installed.
    """
    try:
        from cuda.bindings import runtime
    except (ImportError, OSError, RuntimeError) as error:
        raise ScalpScopeError(
            f"NVIDIA's CUDA bindings cannot be imported: {error}.",
            "Install the extra for this machine, as docs/jetson.md says: jetpack6, jetpack7, tensorrt-cu12 or "
            "tensorrt-cu13.",
        ) from error
    return runtime


def check(runtime: Any, name: str, answer: tuple[Any, ...]) -> Any:
    """What a call answered beside its error: nothing, a value or a tuple of them.

    Raises:
        EngineLost: the error leaves nothing in this process that can use the GPU.
        ScalpScopeError: any other error; the call is named.
    """
    error = answer[0]
    if error != runtime.cudaError_t.cudaSuccess:
        raise _explain(runtime, name, error)
    return None if len(answer) == 1 else answer[1] if len(answer) == 2 else answer[1:]


def _explain(runtime: Any, name: str, error: Any) -> ScalpScopeError:
    _, told = runtime.cudaGetErrorString(error)
    what = f"{told.decode() if isinstance(told, bytes) else told} ({name}: {error.name})"
    if error.name in _POISONING:
        return EngineLost(
            f"The GPU failed: {what}. Nothing in this process can use it any more.",
            "The analysis starts again by itself; if it happens again, restart the device.",
        )
    # CUDA keeps the error for whoever asks next, and TensorRT would take it for one of its own.
    runtime.cudaGetLastError()
    if error.name == "cudaErrorMemoryAllocation":
        return ScalpScopeError(f"The GPU has no memory left: {what}.", "Close other programs that use the GPU.")
    if error.name == "cudaErrorInsufficientDriver":
        driver, own = (_version(runtime, each) for each in ("cudaDriverGetVersion", "cudaRuntimeGetVersion"))
        if driver == "0.0":
            return ScalpScopeError("No NVIDIA driver is loaded.", "Install the driver, and restart the machine.")
        return ScalpScopeError(
            f"The NVIDIA driver is too old: it knows CUDA {driver}, and this installation is made for CUDA {own}.",
            "Update the driver (on a Jetson: JetPack), or install the extra for an older CUDA (docs/jetson.md).",
        )
    if error.name == "cudaErrorNoDevice":
        return ScalpScopeError("CUDA finds no GPU.", "See what nvidia-smi says, and CUDA_VISIBLE_DEVICES.")
    return ScalpScopeError(f"The GPU refused: {what}.", "See that the driver fits the CUDA of this installation.")


def _version(runtime: Any, name: str) -> str:
    error, version = getattr(runtime, name)()
    return version_words(version) if error == runtime.cudaError_t.cudaSuccess else "unknown"


def version_words(version: int) -> str:
    """``12.6`` for 12060, as CUDA counts its versions."""
    return f"{version // 1000}.{version % 1000 // 10}"


@dataclass(frozen=True)
class HostMemory:
    """Memory of the host that the GPU can copy from and to by itself.

    Attributes:
        address: for the host's side of a copy.
        device_address: what the GPU calls it; None unless it is mapped into the GPU's addresses.
        data: (size,) uint8, that memory. Not to be used once it is freed.
    """

    address: int
    device_address: int | None
    data: np.ndarray


class Cuda:
    """One device, and what was made on it. Freed by `close`, in reverse order, whatever happened before.

    Args:
        ordinal: which device.

    Raises:
        ScalpScopeError: no bindings, no driver, no such device; says which.
    """

    def __init__(self, ordinal: int = 0) -> None:
        self.runtime = load_runtime()
        self._ordinal = ordinal
        self._chosen = threading.local()
        self._made: list[tuple[str, Any]] = []
        self.choose()

    def choose(self) -> None:
        """Make it this thread's device. Needed once on each thread that makes further calls; later ones are free."""
        if not getattr(self._chosen, "done", False):
            self.call("cudaSetDevice", self._ordinal)
            self._chosen.done = True

    def call(self, name: str, *arguments: Any) -> Any:
        """Call one of the runtime's functions, and `check` it."""
        return check(self.runtime, name, getattr(self.runtime, name)(*arguments))

    def prepared(self, name: str, *arguments: Any) -> Callable[[], None]:
        """The same call for every frame: nothing is looked up or built when it is made."""
        function, success, runtime = getattr(self.runtime, name), self.runtime.cudaError_t.cudaSuccess, self.runtime

        def call() -> None:
            (error,) = function(*arguments)
            if error != success:
                raise _explain(runtime, name, error)

        return call

    def is_mappable(self) -> bool:
        """Whether the GPU and the processor share their memory, so that copying between them is waste."""
        properties = self.call("cudaGetDeviceProperties", self._ordinal)
        return bool(properties.integrated and properties.canMapHostMemory)

    # --- what is made and freed ---

    def _keep(self, free: str, handle: Any) -> Any:
        self._made.append((free, handle))
        return handle

    def device_memory(self, size: int) -> int:
        """`size` bytes on the device; its address, a multiple of 256."""
        return int(self._keep("cudaFree", self.call("cudaMalloc", size)))

    def host_memory(self, size: int, mapped: bool) -> HostMemory:
        """`size` bytes of pinned memory, all 0; mapped into the device's addresses or not."""
        flags = self.runtime.cudaHostAllocMapped if mapped else self.runtime.cudaHostAllocDefault
        address = int(self._keep("cudaFreeHost", self.call("cudaHostAlloc", size, flags)))
        device = int(self.call("cudaHostGetDevicePointer", address, 0)) if mapped else None
        data = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))
        data[:] = 0
        return HostMemory(address, device, data)

    def stream(self) -> Any:
        """A stream of its own, which waits for no other."""
        return self._keep(
            "cudaStreamDestroy", self.call("cudaStreamCreateWithFlags", self.runtime.cudaStreamNonBlocking)
        )

    def event(self) -> Any:
        """An event that can be timed."""
        return self._keep("cudaEventDestroy", self.call("cudaEventCreateWithFlags", self.runtime.cudaEventDefault))

    @contextmanager
    def capturing(self, stream: Any) -> Iterator[list[Any]]:
        """Capture what the body enqueues, instead of doing it.

        Yields:
            A list that holds the launchable graph after the body.

        Raises:
            ScalpScopeError: something in it cannot be captured, or nothing was enqueued. The capture is ended.
        """
        runtime, found = self.runtime, []  # type: Any, list[Any]
        # Other threads go on allocating for their own engines meanwhile.
        self.call("cudaStreamBeginCapture", stream, runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal)
        try:
            yield found
        except BaseException:
            error, graph = runtime.cudaStreamEndCapture(stream)
            if error == runtime.cudaError_t.cudaSuccess:
                runtime.cudaGraphDestroy(graph)
            runtime.cudaGetLastError()
            raise
        graph = self.call("cudaStreamEndCapture", stream)
        try:
            # A stream of another device captures nothing, says nothing, and replays nothing.
            _, nodes = self.call("cudaGraphGetNodes", graph, 0)
            if nodes == 0:
                raise ScalpScopeError("The captured graph is empty.", "Run without it.")
            found.append(self._keep("cudaGraphExecDestroy", self.call("cudaGraphInstantiate", graph, 0)))
        finally:
            self.call("cudaGraphDestroy", graph)

    def free(self, handle: Any) -> None:
        """Free one thing before the others; what cannot be freed is named in the log."""
        for place in reversed(range(len(self._made))):
            name, made = self._made[place]
            if made is handle:
                del self._made[place]
                self._undo(name, made)
                return

    def close(self) -> None:
        """Free all that was made, the last first. Raises nothing. Safe to call twice."""
        try:
            self.choose()
        except ScalpScopeError as error:
            _log.warning("%s", error.what)
        while self._made:
            self._undo(*self._made.pop())

    def _undo(self, name: str, handle: Any) -> None:
        (error,) = getattr(self.runtime, name)(handle)
        if error != self.runtime.cudaError_t.cudaSuccess:
            # After a fault on the GPU every call answers with that fault; it was told, and the process is about to end.
            _log.log(logging.DEBUG if error.name in _POISONING else logging.WARNING, "%s: %s", name, error.name)
