"""ONNX -> TensorRT: one plan, for the very device it is built on.

Strongly typed networks only: the precision is what the ONNX file says, int8 by its Q/DQ pairs, FP16 by its casts, and
no builder flag changes it. The same calls work from TensorRT 10.3 to 11.4. Neither torch nor onnx is needed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calibration.errors import ScalpScopeError
from device_app.engines.engine_cache import EngineCache, EngineKey
from device_app.engines.tensorrt_library import load_tensorrt, logger_of

_log = logging.getLogger(__name__)

Progress = Callable[[float, str], None]
"""Called with the fraction of one plan, 0 to 1, which does not fall, and what is being done."""

_MEMORY = Path("/proc/meminfo")
_LEAST_MIB = 256
_WORDS = 48  # characters of a phase's name: TensorRT names some by every layer they hold
_NO_MEMORY = ("outofmemory", "memoryallocation", "memalloc", "insufficientmemory", "notenoughmemory")


class BuildStopped(Exception):
    """The building was asked to stop, and did."""


@dataclass(frozen=True)
class BuildRequest:
    """One plan to be built.

    Attributes:
        network: the ONNX file.
        key: what the plan will hold for; its options are what the builder is told.
        workspace_mib: memory that the layers may use for themselves, of `workspace_mib`.
        cache: keeps the measured times of kernels between buildings; None: they are measured anew.
    """

    network: Path
    key: EngineKey
    workspace_mib: int
    cache: EngineCache | None = None


def workspace_mib(memory_mib: int, integrated: bool, meminfo: Path = _MEMORY) -> int:
    """How much memory the builder may take for layers, in MiB.

    Args:
        memory_mib: the GPU's.
        integrated: the GPU shares the processor's memory, as on a Jetson: half of what is free now goes to the builder,
            the app keeps the rest. Else a quarter is left to others.
        meminfo: where the kernel tells what is free.
    """
    if integrated:
        return max(_LEAST_MIB, min(_available_mib(meminfo) or memory_mib, memory_mib) // 2)
    return max(_LEAST_MIB, memory_mib * 3 // 4)


def build_plan(
    request: BuildRequest,
    progress: Progress = lambda fraction, what: None,
    is_stopped: Callable[[], bool] = lambda: False,
) -> bytes:
    """Build one plan. Minutes on a small board.

    Args:
        request: what to build.
        progress: told where it is, on whatever thread TensorRT works on, one call at a time.
        is_stopped: asked at every step; True ends the building at the next one.

    Raises:
        BuildStopped: `is_stopped` said so.
        ScalpScopeError: no TensorRT, or it refuses the network; the message holds what it said last.
    """
    trt = load_tensorrt()
    log = logger_of(trt)
    try:
        builder = trt.Builder(log)
    except Exception as error:  # pybind11 raises TypeError where the library answers with nothing
        raise _failed(request, "TensorRT's builder could not be made", log.take_errors()) from error
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = _parse(trt, request, network, log)
    config = builder.create_builder_config()
    _configure(trt, request, builder, network, config)
    monitor = _monitor(trt, progress, is_stopped)
    config.progress_monitor = monitor
    timings = _attach_timings(request, config)
    try:
        plan = builder.build_serialized_network(network, config)
    except MemoryError as error:
        raise _failed(request, "the machine ran out of memory", "out of memory") from error
    if monitor.problem is not None:
        raise monitor.problem
    if is_stopped():
        raise BuildStopped(str(request.key))
    if plan is None:
        raise _failed(request, "TensorRT could not build it", log.take_errors())
    _keep_timings(request, config)
    del timings, parser  # the weights of the network are the parser's
    return bytes(plan)


def _parse(trt: Any, request: BuildRequest, network: Any, log: Any) -> Any:
    """Returns the parser, which must live as long as the network is used."""
    parser = trt.OnnxParser(network, log)
    if parser.parse_from_file(str(request.network)):
        return parser
    faults = []
    for number in range(parser.num_errors):
        error = parser.get_error(number)
        where = f"{error.node_operator()} '{error.node_name()}': " if error.node_operator() else ""
        faults.append(f"{where}{error.desc()}")
    raise _failed(request, "TensorRT's parser refuses it", "; ".join(faults) or log.take_errors())


def _configure(trt: Any, request: BuildRequest, builder: Any, network: Any, config: Any) -> None:
    options = request.key.options
    config.builder_optimization_level = options.optimization_level
    size = request.workspace_mib << 20
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, size)
    config.set_memory_pool_limit(trt.MemoryPoolType.TACTIC_DRAM, size)
    _add_profile(trt, request, builder, network, config)
    if options.dla_core is not None:
        cores = builder.num_DLA_cores
        if options.dla_core >= cores:
            # NVIDIA's pages "Working with DLA": none from 10.8 to 11.4.0, again in 11.4.1 for JetPack 7.2.2.
            raise ScalpScopeError(
                f"DLA core {options.dla_core} was asked for; TensorRT {trt.__version__} finds {cores or 'none'} here.",
                "Leave --dla out: the engine is then built for the GPU. TensorRT drives an Orin's DLA up to 10.7, and "
                "again from 11.4.1.",
            )
        config.default_device_type = trt.DeviceType.DLA
        config.DLA_core = options.dla_core
        # What the DLA cannot run goes to the GPU; without this flag one such layer fails the whole network.
        config.set_flag(trt.BuilderFlag.GPU_FALLBACK)
        _log.info("%s: for DLA core %d; layers that it cannot run go to the GPU", request.key, options.dla_core)


def _add_profile(trt: Any, request: BuildRequest, builder: Any, network: Any, config: Any) -> None:
    """Say how long the free axis (the decoder's points) may be. A network without one needs no profile."""
    inputs = [network.get_input(number) for number in range(network.num_inputs)]
    free = [(tensor.name, tuple(tensor.shape)) for tensor in inputs if -1 in tuple(tensor.shape)]
    if not free:
        return
    points = request.key.options.points
    if points is None:
        raise ScalpScopeError(
            f"{request.key}: the axes of its input {free[0][0]} {free[0][1]} are free, and nothing says how long "
            "they may be.",
            "Export the bundle again.",
        )
    profile = builder.create_optimization_profile()
    for name, shape in free:
        profile.set_shape(name, *(trt.Dims([length if side == -1 else side for side in shape]) for length in points))
    if config.add_optimization_profile(profile) < 0:
        raise ScalpScopeError(
            f"{request.key}: TensorRT does not accept {points[0]} to {points[2]} points.", "Export the bundle again."
        )


# --- times of kernels: of this device and this TensorRT, so that the next network, or the next start, takes less ---


def _attach_timings(request: BuildRequest, config: Any) -> Any:
    """Give the builder the times of earlier buildings. Those that do not fit are measured anew.

    Returns:
        What must live until the plan is built.
    """
    if request.cache is None:
        return None
    for data in dict.fromkeys((request.cache.read_timing_cache(request.key), b"")):
        known = config.create_timing_cache(data)
        if known is not None and config.set_timing_cache(known, False):
            return known
        _log.warning("%s: the kept times of kernels are not used, TensorRT does not take them", request.key)
    return None


def _keep_timings(request: BuildRequest, config: Any) -> None:
    """Write the times back, with what another builder may have written meanwhile. A failure costs time, no more."""
    timings = config.get_timing_cache() if request.cache is not None else None
    if request.cache is None or timings is None:
        return
    try:
        if data := request.cache.read_timing_cache(request.key):
            others = config.create_timing_cache(data)
            if others is not None and not timings.combine(others, False):
                _log.info("%s: the kept times of kernels do not fit these, and are replaced", request.key)
        serialised = timings.serialize()
        if serialised is not None:
            request.cache.write_timing_cache(request.key, bytes(serialised))
    except ScalpScopeError as error:
        _log.warning("%s: the times of kernels are not kept: %s", request.key, error)


# --- what TensorRT says ---


def _monitor(trt: Any, progress: Progress, is_stopped: Callable[[], bool]) -> Any:
    """An `IProgressMonitor` that counts nested phases into one fraction."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.phases = Phases(progress)
            self.problem: BaseException | None = None
            self.lock = threading.Lock()  # TensorRT calls from several threads

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._safely(lambda: self.phases.start(phase_name, parent_phase, num_steps))

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._safely(lambda: self.phases.step(phase_name, step))
            return self.problem is None and not is_stopped()

        def phase_finish(self, phase_name: str) -> None:
            self._safely(lambda: self.phases.finish(phase_name))

        def _safely(self, call: Callable[[], None]) -> None:
            # An exception must not go through TensorRT's frames: it is kept, the building stops, and it is raised then.
            with self.lock:
                try:
                    call()
                except BaseException as error:  # Ctrl-C among them
                    self.problem = self.problem or error

    return Monitor()


class Phases:
    """TensorRT's phases, each inside another one's step, as one fraction that does not fall.

    Args:
        progress: told of every change.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._open: dict[str, tuple[str | None, int, float]] = {}  # parent, steps, steps done
        self._fraction = 0.0

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """A phase of so many steps begins."""
        above = parent
        while above is not None and above != name:
            above = self._open[above][0] if above in self._open else None
        inside = parent in self._open and above is None  # a phase inside itself would have no fraction
        self._open[name] = (parent if inside else None, max(1, steps), 0.0)
        self._tell(name)

    def step(self, name: str, step: int) -> None:
        """Step number `step`, from 0, is done."""
        if name in self._open:
            parent, steps, done = self._open[name]
            self._open[name] = (parent, steps, min(steps, max(done, step + 1.0)))
            self._tell(name)

    def finish(self, name: str) -> None:
        """A phase ends, whether all of its steps were told or not."""
        if name in self._open:
            parent, steps, _ = self._open[name]
            self._open[name] = (parent, steps, steps)
            self._tell(name)
            del self._open[name]

    def _tell(self, name: str) -> None:
        parent, steps, done = self._open[name]
        fraction = done / steps
        while parent is not None and parent in self._open:
            parent, steps, done = self._open[parent]
            fraction = min(1.0, (done + fraction) / steps)
        self._fraction = max(self._fraction, fraction)
        words = name if len(name) <= _WORDS else f"{name[: _WORDS - 1]}…"
        self._progress(self._fraction, words)


def _failed(request: BuildRequest, what: str, said: str) -> ScalpScopeError:
    """The error for a plan that is not to be had, with what TensorRT said."""
    said = said.rstrip(". ") or "it gave no reason"
    plain = said.lower().replace(" ", "").replace("_", "")
    if any(sign in plain for sign in _NO_MEMORY):
        remedy = "Close other programs, or give the builder less with --workspace, and try again."
    else:
        remedy = "Update TensorRT, or use another precision of this bundle; the app goes on with ONNX Runtime."
    return ScalpScopeError(f"{request.key}: {what}: {said}.", remedy)


def _available_mib(meminfo: Path) -> int:
    """Memory that is free or can be had at once, of the whole machine; 0 where the kernel does not tell."""
    try:
        for line in meminfo.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) // 1024
    except (OSError, ValueError, IndexError):
        pass
    return 0
