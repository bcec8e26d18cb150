"""TensorRT without its libraries: the real Python bindings of five versions, over three libraries that do nothing.

`environment_for` gives the environment of a child process in which ``import tensorrt`` is the real package of one
version; a process can have one. In the child, `stand_in` makes objects of its classes: autospecs whose methods check
every argument against the signatures the version documents, and which answer only what they are told. `StandInRuntime`
puts such objects behind ``tensorrt.Runtime``: it "deserialises" what `make_plan` wrote and computes by ONNX Runtime,
when the stand-in stream of `stand_in_cuda` is waited for.
"""

from __future__ import annotations

import ctypes
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import numpy as np

from tests.support.stand_in_cuda import KernelFault, StandInCuda

VERSIONS = {"10.3": "cuda12", "10.7": "cuda12", "10.13": "cuda13", "10.16": "cuda13", "11.4": "cuda13"}
"""TensorRT's versions, each with the CUDA bindings of the JetPack it comes with."""

ROOT = Path(__file__).resolve().parents[2]
BINDINGS = Path(sys.prefix) / "tensorrt"

_FUNCTIONS = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "getBuilderPluginRegistry",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
)
_LIBRARIES = ("libnvinfer", "libnvinfer_plugin", "libnvonnxparser")


# --- in the test ---


def environment_for(version: str, folder: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a child process that has TensorRT of a version, and CUDA's bindings.

    Args:
        version: of `VERSIONS`.
        folder: for the libraries, compiled there once; the same for all tests of a session is fine.
        extra: further variables.
    """
    libraries = folder / f"libraries-{version.split('.')[0]}"
    if not libraries.is_dir():
        _compile(libraries, version.split(".")[0])
    package = folder / "package" / "tensorrt"
    if not package.is_dir():
        package.mkdir(parents=True, exist_ok=True)
        # NVIDIA's package does the same: the bindings under the name that everybody imports.
        (package / "__init__.py").write_text(
            "import sys\nimport tensorrt_bindings\nsys.modules[__name__] = tensorrt_bindings\n"
        )
    path = [package.parent, BINDINGS / version, BINDINGS / VERSIONS[version], ROOT]
    return {
        **os.environ,
        "LD_LIBRARY_PATH": str(libraries),
        "PYTHONPATH": os.pathsep.join(map(str, path)),
        "OMP_NUM_THREADS": "1",
        **(extra or {}),
    }


def run_child(version: str, folder: Path, module: str, *arguments: str, timeout_s: float = 120) -> Any:
    """Run a module with `environment_for`, and return what it printed on its last line, as JSON."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env=environment_for(version, folder),
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def _compile(libraries: Path, major: str) -> None:
    libraries.mkdir(parents=True)
    source = libraries / "nothing.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in _FUNCTIONS))
    for name in _LIBRARIES:
        named = f"{name}.so.{major}"
        command = ["gcc", "-shared", "-fPIC", "-o", str(libraries / named), str(source), f"-Wl,-soname,{named}"]
        subprocess.run(command, check=True)


# --- in the child ---


def stand_in(cls: type, **told: Any) -> Any:
    """An autospec of an object of a TensorRT class.

    Args:
        cls: the real class.
        told: for a method, a function that answers it; for a property, its value. What the class lacks is refused.
    """
    made = create_autospec(cls, instance=True, spec_set=True)
    for name, answer in told.items():
        real = getattr(cls, name)
        if callable(real):
            getattr(made, name).side_effect = checked(cls, name, answer)
        else:
            setattr(made, name, answer)
    return made


def never_told(made: Any, *names: str) -> list[str]:
    """Methods of a `stand_in` that were called beside those in `names`: it had no answer for them."""
    called = {str(call[0]).split(".")[0] for call in made.method_calls}
    return sorted(called - set(names))


def checked(cls: type, name: str, answer: Callable[..., Any]) -> Callable[..., Any]:
    """`answer`, with its arguments checked against the signatures in the docstring of ``cls.name``."""
    signatures = documented_signatures(cls, name)

    def call(*arguments: Any, **named: Any) -> Any:
        problems = [problem for problem in (_misfit(each, arguments, named) for each in signatures) if problem]
        if len(problems) == len(signatures):
            raise TypeError(f"{cls.__name__}.{name}: " + "; ".join(problems))
        return answer(*arguments, **named)

    return call


def documented_signatures(cls: type, name: str) -> list[inspect.Signature]:
    """The signatures of a method, without self, as pybind11 wrote them into its docstring."""
    text = getattr(cls, name).__doc__ or ""
    lines = re.findall(rf"^(?:\d+\. )?{re.escape(name)}\((self: .*)\) -> .*$", text, re.MULTILINE)
    assert lines, f"{cls.__name__}.{name} documents no signature"
    return [_parse(line) for line in lines]


def _parse(line: str) -> inspect.Signature:
    parameters = []
    for part in _split(line)[1:]:
        name, _, kind = part.partition(":")
        kind, equals, _ = kind.partition(" = ")
        default = None if equals else inspect.Parameter.empty
        parameters.append(
            inspect.Parameter(
                name.strip(), inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=kind.strip()
            )
        )
    return inspect.Signature(parameters)


def _split(line: str) -> list[str]:
    """At the commas outside brackets."""
    parts, depth = [""], 0
    for sign in line:
        depth += (sign in "[<(") - (sign in "]>)")
        if sign == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += sign
    return [part.strip() for part in parts]


_PLAIN: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "typing.SupportsInt": (int,),
    "float": (int, float),
    "typing.SupportsFloat": (int, float),
    "str": (str,),
    "bool": (bool,),
    "tuple": (tuple,),
    "list": (list,),
    "buffer": (bytes, bytearray, memoryview),
    "typing_extensions.Buffer": (bytes, bytearray, memoryview),
    "capsule": (object,),
}


def _misfit(signature: inspect.Signature, arguments: tuple[Any, ...], named: Mapping[str, Any]) -> str:
    try:
        bound = signature.bind(*arguments, **named)
    except TypeError as error:
        return str(error)
    for name, value in bound.arguments.items():
        kind = signature.parameters[name].annotation
        if value is not None and not _is_a(value, kind):
            return f"{name} is no {kind} but {type(value).__name__}"
    return ""


def _is_a(value: Any, kind: str) -> bool:
    if kind in _PLAIN:
        return isinstance(value, _PLAIN[kind])
    if kind.startswith(("tensorrt.", "tensorrt_bindings.")):
        import tensorrt

        found: Any = tensorrt
        for part in re.sub(r"^(tensorrt|tensorrt_bindings)(\.tensorrt)?\.", "", kind).split("."):
            found = getattr(found, part)
        return isinstance(value, found)
    return True  # containers: what they hold is not looked at


# --- plans and the runtime ---

_MARK = b"a stand-in for an engine: "


def make_plan(network: Path, points: tuple[int, int, int] | None = None, scratch_bytes: int = 4096) -> bytes:
    """What the stand-in runtime takes for an engine of an ONNX file.

    Args:
        network: the file, which ONNX Runtime must be able to run.
        points: least, best and most length of its free axis; None where it has none.
        scratch_bytes: device memory that the engine asks for.
    """
    told = {"network": str(network), "points": points, "scratch": scratch_bytes}
    return _MARK + json.dumps(told).encode()


@dataclass
class StandInRuntime:
    """Puts stand-ins behind ``tensorrt.Runtime`` while it is entered.

    Attributes:
        cuda: the CUDA it computes on, entered by the caller.
        refuses: what is answered with None or False: "runtime", "deserialise", "context", "address", "shape",
            "inference", and "enqueue" from its `enqueue_refused_from`-th call on.
        refusal_poisons: the error that the GPU is left with when an enqueue is refused.
        complaint: what it logs as an error when it refuses.
        kernel_fault: the error that the work on the stream leaves, and in which enqueue (from 1).
        breaks_capture: an enqueue makes a capture invalid.
        captures_nothing: an enqueue leaves no node in a capture, as on another device's stream.
        unspecified: tensors that `infer_shapes` says are not specified.
        changed: tensors of the engine that are not the network's, name -> (shape, type or None).
        made: every stand-in object, in order.
        enqueued: input shapes of every enqueue, captured ones too.
    """

    cuda: StandInCuda
    refuses: set[str] = field(default_factory=set)
    enqueue_refused_from: int = 1
    refusal_poisons: str = ""
    complaint: str = "the stand-in was told to fail"
    kernel_fault: tuple[str, int] | None = None
    breaks_capture: bool = False
    captures_nothing: bool = False
    unspecified: list[str] = field(default_factory=list)
    changed: dict[str, tuple[tuple[int, ...], Any]] = field(default_factory=dict)
    made: list[Any] = field(default_factory=list)
    enqueued: list[dict[str, tuple[int, ...]]] = field(default_factory=list)

    def __enter__(self) -> StandInRuntime:
        import tensorrt

        self.trt = tensorrt
        self._real = tensorrt.Runtime
        tensorrt.Runtime = self._make_runtime
        return self

    def __exit__(self, *_: object) -> None:
        self.trt.Runtime = self._real

    @property
    def misuse(self) -> list[str]:
        """Methods that were called and had no answer."""
        return [f"{type(made).__name__}.{name}" for made, told in self.made for name in never_told(made, *told)]

    def complain(self, text: str) -> None:
        """Log an error, as TensorRT does."""
        self.logger.log(self.trt.ILogger.Severity.ERROR, text)

    def _make(self, cls: type, **told: Any) -> Any:
        made = stand_in(cls, **told)
        self.made.append((made, tuple(told)))
        return made

    def _refuse(self, what: str, answer: Any) -> Any:
        if what not in self.refuses:
            return answer
        self.complain(self.complaint)
        return False if isinstance(answer, bool) else None

    def _make_runtime(self, logger: Any) -> Any:
        assert isinstance(logger, self.trt.ILogger)
        self.logger = logger
        if "runtime" in self.refuses:
            self.complain(self.complaint)
            raise TypeError("pybind11::init(): factory function returned nullptr")
        return self._make(self._real, deserialize_cuda_engine=self._deserialise, DLA_core=-1)

    def _deserialise(self, serialized_engine: Any) -> Any:
        data = bytes(serialized_engine)
        if not data.startswith(_MARK):
            self.complain("Magic tag does not match")
            return None
        if "deserialise" in self.refuses:
            return self._refuse("deserialise", object())
        return _Engine(self, json.loads(data[len(_MARK) :])).made


class _Engine:
    """One deserialised engine."""

    def __init__(self, runtime: StandInRuntime, told: Mapping[str, Any]) -> None:
        import onnxruntime

        self.runtime, self.told = runtime, told
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(told["network"], options, providers=["CPUExecutionProvider"])
        trt = runtime.trt
        self.inputs = {tensor.name: self._shape(tensor.shape) for tensor in self.session.get_inputs()}
        self.outputs = {tensor.name: self._shape(tensor.shape) for tensor in self.session.get_outputs()}
        self.tensors = {**self.inputs, **self.outputs}
        names = list(self.tensors)
        modes = {name: trt.TensorIOMode.INPUT if name in self.inputs else trt.TensorIOMode.OUTPUT for name in names}
        changed = runtime.changed
        self.made = runtime._make(
            trt.ICudaEngine,
            num_io_tensors=len(names),
            device_memory_size_v2=told["scratch"],
            get_tensor_name=lambda index: names[index],
            get_tensor_mode=lambda name: modes[name],
            get_tensor_shape=lambda name: trt.Dims(changed[name][0] if name in changed else self.tensors[name]),
            get_tensor_dtype=lambda name: (name in changed and changed[name][1]) or trt.DataType.FLOAT,
            get_tensor_location=lambda name: trt.TensorLocation.DEVICE,
            get_tensor_format=lambda name: trt.TensorFormat.LINEAR,
            get_tensor_profile_shape=self._profile,
            create_execution_context=self._context,
        )

    @staticmethod
    def _shape(shape: Iterable[Any]) -> tuple[int, ...]:
        return tuple(side if isinstance(side, int) else -1 for side in shape)

    def _profile(self, name: str, profile_index: int) -> list[Any]:
        points = self.told["points"]
        sides = points or (None, None, None)
        return [self.runtime.trt.Dims([side if own == -1 else own for own in self.tensors[name]]) for side in sides]

    def _context(self, strategy: Any = None) -> Any:
        if "context" in self.runtime.refuses:
            return self.runtime._refuse("context", object())
        static = strategy is None or strategy == self.runtime.trt.ExecutionContextAllocationStrategy.STATIC
        return _Context(self, needs_memory=not static and self.told["scratch"] > 0).made


class _Context:
    """One execution context: addresses, shapes, and an enqueue that computes when the stream is waited for."""

    def __init__(self, engine: _Engine, needs_memory: bool) -> None:
        self.engine, self.runtime = engine, engine.runtime
        self.needs_memory = needs_memory
        self.shapes = {name: shape for name, shape in engine.inputs.items() if -1 not in shape}
        self.addresses: dict[str, int] = {}
        self.enqueued_at: dict[str, tuple[int, ...]] | None = None
        self.made = self.runtime._make(
            self.runtime.trt.IExecutionContext,
            set_input_shape=self._set_shape,
            get_tensor_shape=self._get_shape,
            infer_shapes=self._infer,
            set_tensor_address=self._set_address,
            set_device_memory=self._set_memory,
            execute_async_v3=self._enqueue,
        )

    def _set_shape(self, name: str, shape: Any) -> bool:
        sides, own = tuple(shape), self.engine.inputs[name]
        points = self.engine.told["points"]
        fits = len(sides) == len(own) and all(
            mine == side or (mine == -1 and points and points[0] <= side <= points[2])
            for mine, side in zip(own, sides, strict=True)
        )
        if not fits:
            self.runtime.complain(f"the shape {sides} of {name} is out of the profile")
            return False
        self.shapes[name] = sides
        return self.runtime._refuse("shape", True)

    def _get_shape(self, name: str) -> Any:
        if name in self.runtime.changed:
            return self.runtime.trt.Dims(self.runtime.changed[name][0])
        known = self.shapes.get(name, self.engine.tensors[name])
        if name in self.engine.outputs and len(self.shapes) == len(self.engine.inputs) and -1 in known:
            given = {each: np.zeros(shape, np.float32) for each, shape in self.shapes.items()}
            known = self.engine.session.run([name], given)[0].shape
        return self.runtime.trt.Dims(known)

    def _infer(self) -> list[str]:
        if "inference" in self.runtime.refuses:
            self.runtime.complain(self.runtime.complaint)
            raise RuntimeError("Shape inference failed")
        missing = [name for name in self.engine.inputs if name not in self.shapes]
        return [*missing, *self.runtime.unspecified]

    def _set_address(self, name: str, memory: int) -> bool:
        self.addresses[name] = memory
        return self.runtime._refuse("address", name in self.engine.tensors)

    def _set_memory(self, memory: int, size: int) -> None:
        if memory % 256 or size < self.engine.told["scratch"]:
            self.runtime.cuda.violations.append(f"scratch memory at {memory:#x} of {size} bytes")
        self.runtime.cuda.host_address(memory, size, device=True)
        self.needs_memory = False

    def _enqueue(self, stream_handle: int) -> bool:
        runtime, cuda = self.runtime, self.runtime.cuda
        number = len(runtime.enqueued) + 1
        runtime.enqueued.append(dict(self.shapes))
        if "enqueue" in runtime.refuses and number >= runtime.enqueue_refused_from:
            if runtime.refusal_poisons:
                cuda.poison(runtime.refusal_poisons)
            return bool(runtime._refuse("enqueue", True))
        unset = set(self.engine.tensors) - set(self.addresses)
        if unset or self.needs_memory or self._infer():
            cuda.violations.append(f"enqueue without an address of {sorted(unset)}, a shape or scratch memory")
            return False
        if cuda.is_capturing(stream_handle):
            if self.enqueued_at != self.shapes:
                cuda.violations.append("a capture of shapes that were not enqueued before")
            if runtime.breaks_capture:
                cuda.invalidate_capture(stream_handle)
            if runtime.captures_nothing:
                return True
        self.enqueued_at = dict(self.shapes)
        fault = runtime.kernel_fault
        if fault is not None and fault[1] == number:
            problem = cuda.enqueue(stream_handle, lambda: _raise(fault[0]))
        else:
            shapes, addresses = dict(self.shapes), dict(self.addresses)
            problem = cuda.enqueue(stream_handle, lambda: self._compute(shapes, addresses))
        if problem is not None:
            runtime.complain(f"Cuda Runtime ({problem})")
        return problem is None

    def _compute(self, shapes: Mapping[str, tuple[int, ...]], addresses: Mapping[str, int]) -> None:
        given = {name: _read(self._place(addresses[name], shape), shape) for name, shape in shapes.items()}
        for name, answer in zip(self.engine.outputs, self.engine.session.run(None, given), strict=True):
            answer = np.ascontiguousarray(answer, np.float32)
            ctypes.memmove(self._place(addresses[name], answer.shape), answer.ctypes.data, answer.nbytes)

    def _place(self, address: int, shape: tuple[int, ...]) -> int:
        return self.runtime.cuda.host_address(address, 4 * int(np.prod(shape)), device=True)


def _read(address: int, shape: tuple[int, ...]) -> np.ndarray:
    count = int(np.prod(shape))
    return np.frombuffer((ctypes.c_float * count).from_address(address), np.float32).reshape(shape).copy()


def _raise(error: str) -> None:
    raise KernelFault(error)
