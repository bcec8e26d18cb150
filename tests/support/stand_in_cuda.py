"""CUDA without a GPU: the real ``cuda.bindings.runtime`` with the functions behind it replaced.

Every call is bound to the signature of the real function, so that one which a version of the bindings lacks, or takes
other arguments, fails. Memory is memory of this process; what goes to a stream is done when somebody waits for it, so
that a result which is read too early is garbage. What is alive, and what was done against CUDA's rules, can be asked.
Runs in a child process of a test: see `stand_in_tensorrt.environment_for`.
"""

from __future__ import annotations

import ctypes
import inspect
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

DEVICE_VIEW = 1 << 56
"""What a device pointer to mapped host memory lies above the host's pointer to it."""

STICKY = {
    "cudaErrorIllegalAddress",
    "cudaErrorLaunchFailure",
    "cudaErrorLaunchTimeout",
    "cudaErrorECCUncorrectable",
    "cudaErrorMisalignedAddress",
    "cudaErrorUnknown",
}
"""Errors after which every call of the process answers with the same error."""

_OF_NO_DEVICE = {
    "cudaSetDevice",
    "cudaGetDeviceCount",
    "cudaDriverGetVersion",
    "cudaRuntimeGetVersion",
    "cudaGetErrorName",
    "cudaGetErrorString",
    "cudaGetLastError",
    "cudaGetDeviceProperties",
    "cudaDeviceGetAttribute",
}
"""Calls that need no device chosen for the thread."""

_VALUES = {
    "cudaGetDeviceCount": 1,
    "cudaDriverGetVersion": 1,
    "cudaRuntimeGetVersion": 1,
    "cudaGetDeviceProperties": 1,
    "cudaMemGetInfo": 2,
    "cudaGetErrorName": 1,
    "cudaGetErrorString": 1,
    "cudaMalloc": 1,
    "cudaHostAlloc": 1,
    "cudaHostGetDevicePointer": 1,
    "cudaStreamCreateWithFlags": 1,
    "cudaEventCreateWithFlags": 1,
    "cudaEventElapsedTime": 1,
    "cudaStreamEndCapture": 1,
    "cudaGraphGetNodes": 2,
    "cudaGraphInstantiate": 1,
}
"""How many values a call answers beside its error."""

_THAT_ALWAYS_ANSWER = {"cudaGetErrorName", "cudaGetErrorString", "cudaDriverGetVersion", "cudaRuntimeGetVersion"}


@dataclass(frozen=True)
class Failure:
    """Let the `nth` call (from 1) of a function answer with an error, by its name in ``cudaError_t``."""

    call: str
    nth: int
    error: str


class KernelFault(Exception):
    """Raised by work on a stream: the error that it leaves behind."""


@dataclass
class _Memory:
    size: int
    kind: str  # "device", "pinned" or "mapped"
    buffer: Any


@dataclass
class _Stream:
    pending: list[Callable[[], None]] = field(default_factory=list)
    captured: list[Callable[[], None]] | None = None
    invalid: bool = False


class StandInCuda:
    """Replaces the functions of ``cuda.bindings.runtime`` while it is entered.

    Args:
        failures: calls that are to fail.
        name, compute, integrated, memory_bytes, driver, devices: of the made-up GPU; `driver` as CUDA counts, 12060.

    Attributes:
        calls: names of the functions called, in order.
        made, freed: handles and addresses in the order in which they were (graphs that were only captured aside).
        violations: what was done against CUDA's rules, one sentence each.
        poisoned: the error that every call answers with from now on.
    """

    def __init__(
        self,
        *failures: Failure,
        name: str = "Orin",
        compute: tuple[int, int] = (8, 7),
        integrated: bool = False,
        memory_bytes: int = 8 << 30,
        driver: int = 13020,
        devices: int = 1,
    ) -> None:
        from cuda.bindings import runtime

        self.runtime = runtime
        self.failures = list(failures)
        self.gpu = (name, compute, integrated, memory_bytes)
        self.driver, self.devices = driver, devices
        self.calls: list[str] = []
        self.violations: list[str] = []
        self.made: list[int] = []
        self.freed: list[int] = []
        self.poisoned: Any = None
        self.last_error: Any = None
        self.memory: dict[int, _Memory] = {}
        self.streams: dict[int, _Stream] = {}
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.launchable: dict[int, list[Callable[[], None]]] = {}
        self.events: dict[int, float | None] = {}
        self._handles = itertools.count(0x1000, 0x10)
        self._threads: set[int] = set()
        self._real: dict[str, Any] = {}
        self._count: Counter[str] = Counter()

    # --- for the tests ---

    def __enter__(self) -> StandInCuda:
        for name in [each for each in dir(type(self)) if each.startswith("cuda")]:
            self._real[name] = getattr(self.runtime, name)
            setattr(self.runtime, name, self._checked(name, self._real[name], getattr(self, name)))
        return self

    def __exit__(self, *_: object) -> None:
        for name, function in self._real.items():
            setattr(self.runtime, name, function)

    @property
    def alive(self) -> list[str]:
        """What was made and not freed, in words."""
        kinds = {"stream": self.streams, "graph": self.graphs, "launchable graph": self.launchable}
        return [
            *(f"{memory.kind} memory of {memory.size} bytes" for memory in self.memory.values()),
            *(kind for kind, handles in kinds.items() for _ in handles),
            *("event" for _ in self.events),
        ]

    def enqueue(self, stream: int, work: Callable[[], None]) -> str | None:
        """What a library does that launches a kernel: do `work` on a stream, when somebody waits for it.

        Returns:
            The error's name where it cannot.
        """
        if self.poisoned is not None:
            return str(self.poisoned.name)
        if stream not in self.streams:
            self.violations.append(f"work for the stream {stream}, which is none")
            return "cudaErrorInvalidResourceHandle"
        self._push(self.streams[stream], work)
        return None

    def poison(self, error: str) -> None:
        """What a kernel's fault does: from now on every call answers with it."""
        self._fail(error)

    def invalidate_capture(self, stream: int) -> None:
        """What a call does that may not be captured."""
        self.streams[stream].invalid = True

    def is_capturing(self, stream: int) -> bool:
        return self.streams[stream].captured is not None

    def host_address(self, address: int, size: int, device: bool) -> int:
        """Where memory lies that the device (or else a copy's host side) may use; notes it where there is none."""
        for start, memory in self.memory.items():
            view = start + DEVICE_VIEW if memory.kind == "mapped" and device else start
            fits = memory.kind in (("device", "mapped") if device else ("pinned", "mapped"))
            if fits and view <= address and address + size <= view + memory.size:
                return start + (address - view)
        side = "device" if device else "pinned host"
        self.violations.append(f"{size} bytes at {address:#x} are no {side} memory")
        raise KernelFault("cudaErrorIllegalAddress")

    # --- how a call is made ---

    def _checked(self, name: str, real: Any, answer: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
        signature = inspect.signature(real)

        def call(*arguments: Any, **named: Any) -> tuple[Any, ...]:
            bound = signature.bind(*arguments, **named)  # TypeError where the real function takes something else
            bound.apply_defaults()
            self.calls.append(name)
            self._count[name] += 1
            if name not in _OF_NO_DEVICE and threading.get_ident() not in self._threads:
                self.violations.append(f"{name} on a thread that has not chosen its device")
            error = self._error_of(name)
            if error is not None:
                return (error, *((None,) * _VALUES.get(name, 0)))
            return answer(*bound.arguments.values())

        return call

    def _error_of(self, name: str) -> Any:
        if self.poisoned is not None and name not in _THAT_ALWAYS_ANSWER:
            return self.poisoned
        for failure in self.failures:
            if failure.call == name and failure.nth == self._count[name]:
                return self._fail(failure.error)
        return None

    def _fail(self, error: str) -> Any:
        code = getattr(self.runtime.cudaError_t, error)
        self.last_error = code
        if error in STICKY:
            self.poisoned = code
        return code

    @property
    def _ok(self) -> Any:
        return self.runtime.cudaError_t.cudaSuccess

    def _push(self, stream: _Stream, work: Callable[[], None]) -> None:
        (stream.pending if stream.captured is None else stream.captured).append(work)

    def _refused_while_capturing(self, name: str) -> Any:
        for stream in self.streams.values():
            if stream.captured is not None:
                stream.invalid = True
                self.violations.append(f"{name} while a stream is captured")
                return self._fail("cudaErrorStreamCaptureUnsupported")
        return None

    def _new(self) -> int:
        return next(self._handles)

    # --- the device ---

    def cudaGetDeviceCount(self) -> tuple[Any, ...]:
        if self.devices == 0:
            return self._fail("cudaErrorNoDevice"), 0
        return self._ok, self.devices

    def cudaDriverGetVersion(self) -> tuple[Any, ...]:
        return self._ok, self.driver

    def cudaRuntimeGetVersion(self) -> tuple[Any, ...]:
        return self._real["cudaRuntimeGetVersion"]()

    def cudaSetDevice(self, device: int) -> tuple[Any, ...]:
        if device >= self.devices:
            return (self._fail("cudaErrorInvalidDevice"),)
        self._threads.add(threading.get_ident())
        return (self._ok,)

    def cudaGetDeviceProperties(self, device: int) -> tuple[Any, ...]:
        name, (major, minor), integrated, memory = self.gpu
        found = self.runtime.cudaDeviceProp()
        found.name = name.encode().ljust(256, b"\0")
        found.major, found.minor = major, minor
        found.integrated, found.canMapHostMemory, found.totalGlobalMem = int(integrated), 1, memory
        return self._ok, found

    def cudaMemGetInfo(self) -> tuple[Any, ...]:
        used = sum(memory.size for memory in self.memory.values())
        return self._ok, self.gpu[3] - used, self.gpu[3]

    def cudaGetErrorName(self, error: Any) -> tuple[Any, ...]:
        return self._real["cudaGetErrorName"](error)

    def cudaGetErrorString(self, error: Any) -> tuple[Any, ...]:
        return self._real["cudaGetErrorString"](error)

    def cudaGetLastError(self) -> tuple[Any, ...]:
        error, self.last_error = self.last_error or self._ok, None
        return (error,)

    # --- memory ---

    def _allocate(self, name: str, size: int, kind: str) -> tuple[Any, Any]:
        if (error := self._refused_while_capturing(name)) is not None:
            return error, None
        buffer = (ctypes.c_ubyte * (size + 255))()
        address = -(-ctypes.addressof(buffer) // 256) * 256  # as CUDA promises
        ctypes.memset(address, 0xFF, size)  # not a number, wherever nobody wrote
        self.memory[address] = _Memory(size, kind, buffer)
        self.made.append(address)
        return self._ok, address

    def _free(self, name: str, address: int, kinds: tuple[str, ...]) -> tuple[Any]:
        if any(stream.pending for stream in self.streams.values()):
            self.violations.append(f"{name} while work is pending")
        memory = self.memory.get(address)
        if memory is None or memory.kind not in kinds:
            self.violations.append(f"{name} of {address:#x}, which is no such memory (or is free already)")
            return (self._fail("cudaErrorInvalidValue"),)
        del self.memory[address]
        self.freed.append(address)
        return (self._ok,)

    def cudaMalloc(self, size: int) -> tuple[Any, ...]:
        return self._allocate("cudaMalloc", size, "device")

    def cudaFree(self, address: int) -> tuple[Any, ...]:
        return self._free("cudaFree", address, ("device",))

    def cudaHostAlloc(self, size: int, flags: int) -> tuple[Any, ...]:
        kind = "mapped" if flags & self.runtime.cudaHostAllocMapped else "pinned"
        return self._allocate("cudaHostAlloc", size, kind)

    def cudaFreeHost(self, address: int) -> tuple[Any, ...]:
        return self._free("cudaFreeHost", address, ("pinned", "mapped"))

    def cudaHostGetDevicePointer(self, address: int, flags: int) -> tuple[Any, ...]:
        if flags != 0 or address not in self.memory or self.memory[address].kind != "mapped":
            self.violations.append(f"cudaHostGetDevicePointer of {address:#x}, flags {flags}")
            return self._fail("cudaErrorInvalidValue"), None
        return self._ok, address + DEVICE_VIEW

    def cudaMemcpyAsync(self, to: int, source: int, count: int, kind: Any, stream: Any) -> tuple[Any, ...]:
        to_device = kind == self.runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        if not to_device and kind != self.runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost:
            self.violations.append(f"cudaMemcpyAsync of the kind {kind}")
        try:
            to, source = self.host_address(to, count, to_device), self.host_address(source, count, not to_device)
        except KernelFault:
            return (self._fail("cudaErrorInvalidValue"),)
        self._push(self.streams[int(stream)], lambda: ctypes.memmove(to, source, count))
        return (self._ok,)

    # --- streams, events, graphs ---

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Any, ...]:
        handle = self._new()
        self.streams[handle] = _Stream()
        self.made.append(handle)
        return self._ok, self.runtime.cudaStream_t(handle)

    def cudaStreamDestroy(self, stream: Any) -> tuple[Any, ...]:
        if self.streams[int(stream)].pending:
            self.violations.append("cudaStreamDestroy while work is pending")
        del self.streams[int(stream)]
        self.freed.append(int(stream))
        return (self._ok,)

    def cudaStreamSynchronize(self, stream: Any) -> tuple[Any, ...]:
        found = self.streams[int(stream)]
        if found.captured is not None:
            found.invalid = True
            self.violations.append("cudaStreamSynchronize of a stream that is captured")
            return (self._fail("cudaErrorStreamCaptureUnsupported"),)
        work, found.pending = found.pending, []
        try:
            for each in work:
                each()
        except KernelFault as fault:
            return (self._fail(str(fault)),)
        return (self._ok,)

    def cudaEventCreateWithFlags(self, flags: int) -> tuple[Any, ...]:
        handle = self._new()
        self.events[handle] = None
        self.made.append(handle)
        return self._ok, self.runtime.cudaEvent_t(handle)

    def cudaEventDestroy(self, event: Any) -> tuple[Any, ...]:
        del self.events[int(event)]
        self.freed.append(int(event))
        return (self._ok,)

    def cudaEventRecord(self, event: Any, stream: Any) -> tuple[Any, ...]:
        self.events[int(event)] = None

        def happen() -> None:
            self.events[int(event)] = time.perf_counter()

        self._push(self.streams[int(stream)], happen)
        return (self._ok,)

    def cudaEventElapsedTime(self, start: Any, end: Any) -> tuple[Any, ...]:
        began, ended = self.events[int(start)], self.events[int(end)]
        if began is None or ended is None:
            return self._fail("cudaErrorNotReady"), 0.0
        return self._ok, (ended - began) * 1000

    def cudaStreamBeginCapture(self, stream: Any, mode: Any) -> tuple[Any, ...]:
        found = self.streams[int(stream)]
        if mode != self.runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal:
            self.violations.append(f"a capture of the mode {mode} forbids other threads to allocate")
        found.captured, found.invalid = [], False
        return (self._ok,)

    def cudaStreamEndCapture(self, stream: Any) -> tuple[Any, ...]:
        found = self.streams[int(stream)]
        if found.captured is None:
            self.violations.append("cudaStreamEndCapture of a stream that is not captured")
            return self._fail("cudaErrorIllegalState"), None
        work, found.captured = found.captured, None
        if found.invalid:
            return self._fail("cudaErrorStreamCaptureInvalidated"), None
        handle = self._new()
        self.graphs[handle] = work
        return self._ok, self.runtime.cudaGraph_t(handle)

    def cudaGraphGetNodes(self, graph: Any, count: int) -> tuple[Any, ...]:
        return self._ok, [], len(self.graphs[int(graph)])

    def cudaGraphInstantiate(self, graph: Any, flags: int) -> tuple[Any, ...]:
        handle = self._new()
        self.launchable[handle] = list(self.graphs[int(graph)])
        self.made.append(handle)
        return self._ok, self.runtime.cudaGraphExec_t(handle)

    def cudaGraphLaunch(self, launchable: Any, stream: Any) -> tuple[Any, ...]:
        for work in self.launchable[int(launchable)]:
            self._push(self.streams[int(stream)], work)
        return (self._ok,)

    def cudaGraphDestroy(self, graph: Any) -> tuple[Any, ...]:
        del self.graphs[int(graph)]
        return (self._ok,)

    def cudaGraphExecDestroy(self, launchable: Any) -> tuple[Any, ...]:
        if any(stream.pending for stream in self.streams.values()):
            self.violations.append("cudaGraphExecDestroy while work is pending")
        del self.launchable[int(launchable)]
        self.freed.append(int(launchable))
        return (self._ok,)
