"""The TensorRT engine: one network on an NVIDIA GPU, from a plan that this very device built.

Strongly typed networks of TensorRT 10.3 to 11.x: tensors by name, `execute_async_v3` on a stream of the engine's own.
Everything a frame needs is made beforehand. Where shapes stay the same the GPU replays a captured graph of all kernels.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np

from calibration.errors import ScalpScopeError
from device_app.engines.cuda import Cuda
from device_app.engines.engine import EngineLost, EngineNotBuilt, Precision
from device_app.engines.engine_cache import BUILD
from device_app.engines.tensorrt_library import load_tensorrt, logger_of
from device_app.engines.tensorrt_memory import Answers, Block, Shape
from device_app.engines.tensorrt_tensors import AGAIN, check_inputs, check_tensors, point_range, sides_of
from device_app.manifest_parts import ModelEntry

_log = logging.getLogger(__name__)

MOST_GRAPHS = 4
"""Numbers of points that a captured graph is kept for. Each has an execution context of its own."""


@dataclass
class _Lane:
    """An execution context whose shapes are set, and how it is started.

    TensorRT changes a context's inner state with its shapes, so a captured graph needs a context to itself.

    Attributes:
        points: the length of the free axis; None where there is none, -1 before it was set.
        inputs: per input, its tensor and the memory it is written to.
        outputs: per output, its name, the memory it is read from, and room for a look at every value.
        enqueued: it ran at these shapes.
        graph: what was captured, to be freed.
        launch: starts that.
    """

    context: Any
    points: int | None = -1
    inputs: tuple[tuple[str, np.ndarray], ...] = ()
    outputs: tuple[tuple[str, np.ndarray, np.ndarray], ...] = ()
    enqueued: bool = False
    graph: Any = None
    launch: Callable[[], None] | None = None


@dataclass(frozen=True)
class _Mark:
    """A point in the stream whose time is taken."""

    event: Any
    record: Callable[[], None]


class TensorRtEngine:
    """One network. To be used by one thread at a time, any thread.

    Args:
        plan: as the builder serialised it. Code in it runs here: only what this device built.
        model: the network's entry in the manifest.
        precision: what the plan was built from.
        backend: the back end's name.
        dla_core: the deep-learning accelerator it was built for.

    Attributes:
        remarks: how it runs, as far as it is not as usual, one sentence each.
        plan_sha256: of the plan.

    Raises:
        EngineNotBuilt: TensorRT does not take the plan: it is of another version or device.
        EngineLost: the GPU failed in a way that this process cannot use it any more.
        ScalpScopeError: no TensorRT or no GPU here, no memory left, or its tensors are not the manifest's.
    """

    def __init__(
        self,
        plan: bytes,
        model: ModelEntry,
        precision: Precision,
        backend: str = "tensorrt",
        dla_core: int | None = None,
    ) -> None:
        self.backend, self.precision = backend, precision
        self.plan_sha256 = hashlib.sha256(plan).hexdigest()
        self.remarks: tuple[str, ...] = ()
        self._name = f"{precision.value} network for '{model.task.value}'"
        self._specs = (model.inputs, model.outputs)
        self._answers = Answers()
        self._graphs: OrderedDict[int | None, _Lane] = OrderedDict()
        self._loose: _Lane | None = None
        self._blocks: tuple[Block, ...] = ()
        self._captures = True
        self._shared = False
        self._points: tuple[int, int] | None = None
        self._scratch: tuple[int, int] | None = None
        self._runtime: Any = None
        self._engine: Any = None
        self._stream: Any = None
        self._trt = load_tensorrt()
        self._logger = logger_of(self._trt)
        self._cuda: Cuda | None = Cuda()
        try:
            self._open(plan, dla_core)
        except BaseException:
            self.close()
            raise

    # --- the protocol ---

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """See `Engine.run`.

        Raises:
            EngineLost: see `TensorRtEngine`.
            ScalpScopeError: an input does not fit, TensorRT or the GPU failed, or an output is not finite.
        """
        lane, _ = self._prepare(inputs)
        self._do(lane)
        return self._read(lane)

    def run_timed(self, inputs: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, float]]:
        """See `TimedEngine`. The same calls as `run`, with the GPU's own clock between them.

        The copies include the processor's share, to and from the memory that the GPU copies by itself. On shared memory
        that share is all there is.
        """
        lane, staged_ms = self._prepare(inputs)
        self._do(lane, self._marks)
        began = time.perf_counter()
        outputs = self._read(lane)
        read_ms = (time.perf_counter() - began) * 1000
        copied_in, computed, copied_out = (
            float(self._cuda_or_closed().call("cudaEventElapsedTime", before.event, after.event))
            for before, after in zip(self._marks, self._marks[1:])
        )
        if self._shared:
            copied_in = copied_out = 0.0
        return outputs, {
            "host_to_device": staged_ms + copied_in,
            "compute": computed,
            "device_to_host": copied_out + read_ms,
        }

    def close(self) -> None:
        """Free everything, the last made first, also after an error. Safe to call twice."""
        cuda, self._cuda = self._cuda, None
        if cuda is None:
            return
        with suppress(ScalpScopeError):  # whatever is said now was said before
            cuda.choose()
            if self._stream is not None:
                cuda.call("cudaStreamSynchronize", self._stream)
        for lane in (*self._graphs.values(), self._loose):
            if lane is not None:
                self._drop(lane, cuda)
        self._graphs.clear()
        self._blocks = ()
        self._loose = self._engine = self._runtime = None
        cuda.close()

    # --- once ---

    def _open(self, plan: bytes, dla_core: int | None) -> None:
        trt, cuda = self._trt, self._cuda_or_closed()
        self._stream = cuda.stream()
        try:
            self._runtime = trt.Runtime(self._logger)
        except TypeError as error:  # how the bindings say that there is none
            raise self._refused("gives no runtime") from error
        if dla_core is not None:
            self._runtime.DLA_core = dla_core
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise EngineNotBuilt(f"TensorRT {trt.__version__} does not take the kept engine: {self._why()}", BUILD)
        check_tensors(trt, self._engine, self._specs, self._name)
        self._points = point_range(self._engine, self._specs[0])
        self._shared = cuda.is_mappable()
        scratch = int(self._engine.device_memory_size_v2)
        self._scratch = (cuda.device_memory(scratch), scratch) if scratch else None
        self._loose = self._new_lane()
        most = None if self._points is None else self._points[1]
        answers = self._set_shapes(self._loose, most)
        self._blocks = (
            Block(cuda, {spec.name: sides_of(spec, most) for spec in self._specs[0]}, self._shared),
            Block(cuda, answers, self._shared),
        )
        self._bind(self._loose)
        self._prepare_calls(cuda)
        if self._points is None:
            # The goldens, which come next, are then answered by the very graph that the frames run on.
            self._do(self._select(None))
            self._capture()

    def _prepare_calls(self, cuda: Cuda) -> None:
        """The calls of every frame, ready to be made."""
        kinds, stream = cuda.runtime.cudaMemcpyKind, self._stream
        self._handle = int(stream)
        self._wait = cuda.prepared("cudaStreamSynchronize", stream)
        self._to_device = self._to_host = _nothing
        if not self._shared:
            into, out = self._blocks
            self._to_device = cuda.prepared(
                "cudaMemcpyAsync",
                into.device_address,
                into.host_address,
                into.size,
                kinds.cudaMemcpyHostToDevice,
                stream,
            )
            self._to_host = cuda.prepared(
                "cudaMemcpyAsync", out.host_address, out.device_address, out.size, kinds.cudaMemcpyDeviceToHost, stream
            )
        events = [cuda.event() for _ in range(4)]
        self._marks = [_Mark(event, cuda.prepared("cudaEventRecord", event, stream)) for event in events]

    # --- contexts ---

    def _new_lane(self) -> _Lane:
        strategy = self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
        context = self._engine.create_execution_context(strategy)
        if context is None:
            raise self._refused("cannot make a context for the engine (is the GPU's memory full?)")
        if self._scratch is not None:
            # All contexts of an engine share it: they run one after another, on one stream.
            context.set_device_memory(*self._scratch)
        return _Lane(context)

    def _another_lane(self) -> _Lane:
        """One more context; where there is no memory for it, the one whose graph was used longest ago."""
        try:
            lane = self._new_lane()
            self._bind(lane)
        except EngineLost:
            raise
        except ScalpScopeError as error:
            if not self._graphs:
                raise
            _log.warning("%s A captured graph is given up instead.", error.what)
            _, lane = self._graphs.popitem(last=False)
            self._cuda_or_closed().free(lane.graph)
            lane.graph = lane.launch = None
            lane.outputs = ()
        return lane

    def _bind(self, lane: _Lane) -> None:
        for specs, block in zip(self._specs, self._blocks, strict=True):
            for spec in specs:
                if not lane.context.set_tensor_address(spec.name, block.address(spec.name)):
                    raise self._refused(f"does not take memory for '{spec.name}'")

    def _set_shapes(self, lane: _Lane, points: int | None) -> dict[str, Shape]:
        """Set the shapes of a context's inputs, and ask it for those of its outputs."""
        lane.points = -1
        for spec in self._specs[0]:
            if not lane.context.set_input_shape(spec.name, sides_of(spec, points)):
                raise self._refused(f"does not take '{spec.name}' of the shape {sides_of(spec, points)}")
        try:
            missing = lane.context.infer_shapes()
        except RuntimeError as error:
            raise self._refused(f"finds no shapes for what is computed ({error})") from error
        if missing:
            raise self._refused(f"does not know the shapes of {', '.join(missing)}")
        shapes = {
            spec.name: tuple(int(side) for side in lane.context.get_tensor_shape(spec.name)) for spec in self._specs[1]
        }
        if odd := [f"{spec.name} {shapes[spec.name]}" for spec in self._specs[1] if not spec.fits(shapes[spec.name])]:
            raise ScalpScopeError(
                f"The engine of the {self._name} answers with {', '.join(odd)}, which is not what the manifest says.",
                AGAIN,
            )
        if unknown := [name for name, shape in shapes.items() if min(shape, default=1) < 0]:
            raise ScalpScopeError(f"The size of {', '.join(unknown)} depends on the values, not on the shapes.", AGAIN)
        lane.points = points
        return shapes

    def _select(self, points: int | None) -> _Lane:
        """The context to run, its shapes set: the one with a graph for this many points, or the loose one."""
        if (lane := self._graphs.get(points)) is not None:
            self._graphs.move_to_end(points)
            return lane
        lane = self._loose = self._loose or self._another_lane()
        if lane.points != points or not lane.outputs:
            shapes = self._set_shapes(lane, points)
            lane.inputs = tuple(
                (spec.name, self._blocks[0].view(spec.name, sides_of(spec, points))) for spec in self._specs[0]
            )
            lane.outputs = tuple(
                (name, self._blocks[1].view(name, shape), np.empty(shape, bool)) for name, shape in shapes.items()
            )
            lane.enqueued = False
        return lane

    def _capture(self) -> None:
        """Make a graph of the loose context, which was enqueued at its present shapes; if it can be, now or never."""
        lane, cuda = self._loose, self._cuda_or_closed()
        if lane is None or not self._captures:
            return
        try:
            with cuda.capturing(self._stream) as found:
                self._enqueue(lane)
        except EngineLost:
            raise
        except ScalpScopeError as error:
            self._captures = False
            self.remarks = (
                f"{self.backend} starts every kernel by itself, because no graph can be captured: {error.what}",
            )
            _log.warning("%s: %s", self._name, self.remarks[0])
            return
        lane.graph = found[0]
        lane.launch = cuda.prepared("cudaGraphLaunch", lane.graph, self._stream)
        self._graphs[lane.points] = lane
        self._loose = None
        while len(self._graphs) > MOST_GRAPHS:
            self._drop(self._graphs.popitem(last=False)[1], cuda)

    @staticmethod
    def _drop(lane: _Lane, cuda: Cuda) -> None:
        if lane.graph is not None:
            cuda.free(lane.graph)
        lane.inputs = lane.outputs = ()
        lane.context = lane.graph = lane.launch = None

    # --- every frame ---

    def _prepare(self, inputs: Mapping[str, np.ndarray]) -> tuple[_Lane, float]:
        """Check the inputs, choose the context, write them where the GPU takes them from; and how many ms it took."""
        self._cuda_or_closed().choose()
        points = check_inputs(inputs, self._specs[0], self._points, self._name)
        lane = self._select(points)
        if lane is self._loose and lane.enqueued:
            self._capture()  # the same shape a second time: there will be a third
        began = time.perf_counter()
        for name, view in lane.inputs:
            np.copyto(view, inputs[name])
        return lane, (time.perf_counter() - began) * 1000

    def _do(self, lane: _Lane, marks: Sequence[_Mark] = ()) -> None:
        """Copy, compute, copy, wait; with three pairs of marks in between if they are given."""
        steps = (self._to_device, lane.launch or (lambda: self._enqueue(lane)), self._to_host)
        try:
            for mark, step in zip_longest(marks, steps):
                if mark is not None:
                    mark.record()
                if step is not None:
                    step()
        except EngineLost:
            raise
        except ScalpScopeError:
            # What was enqueued before still uses the memory; and if the GPU is lost, this is where it says so.
            self._wait()
            raise
        self._wait()
        lane.enqueued = True

    def _enqueue(self, lane: _Lane) -> None:
        if not lane.context.execute_async_v3(self._handle):
            raise self._refused("refused to run")

    def _read(self, lane: _Lane) -> dict[str, np.ndarray]:
        outputs = {}
        for name, view, finite in lane.outputs:
            if not np.isfinite(view, out=finite).all():
                raise ScalpScopeError(
                    f"The {self._name} answered with values that are not numbers.",
                    "Use another precision, or export the bundle again.",
                )
            answer = self._answers.take(view.shape)
            np.copyto(answer, view)
            outputs[name] = answer
        return outputs

    def _cuda_or_closed(self) -> Cuda:
        if self._cuda is None:
            raise ScalpScopeError("The engine was closed.", "Open it again.")
        return self._cuda

    def _why(self) -> str:
        return self._logger.take_errors() or "it gave no reason"

    def _refused(self, what: str) -> ScalpScopeError:
        return ScalpScopeError(
            f"TensorRT {what}, for the {self._name}: {self._why()}.",
            "Close other programs that use the GPU; if that does not help: " + AGAIN,
        )


def _nothing() -> None:
    """On shared memory nothing is copied."""
