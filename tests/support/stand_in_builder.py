"""TensorRT's builder without TensorRT: autospecs of the real classes of one version that "build" what
`stand_in_tensorrt.StandInRuntime` takes for an engine. Runs in a child process of a test.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.stand_in_tensorrt import make_plan, never_told, stand_in

Phase = tuple[str, str | None, int]
"""Name, parent and number of steps of a phase that the builder goes through."""

PHASES: tuple[Phase, ...] = (
    ("Building engine", None, 2),
    ("Trying kernels", "Building engine", 3),
    ("Serialising", "Building engine", 1),
)


@dataclass
class StandInBuilder:
    """Puts stand-ins behind ``tensorrt.Builder`` and ``tensorrt.OnnxParser`` while it is entered.

    Attributes:
        refuses: what is answered with nothing or False: "builder", "parse", "build", "profile", and of the kept times
            of kernels "timings" (not of this version), "attach" (of another device), "combine", "serialise".
        parser_errors: operator, name of the node and description of each.
        complaint: what it logs as an error when it refuses.
        dla_cores: of the made-up board.
        answers_like: the plan computes what this ONNX file says, instead of the one that was parsed.
        during: called in the middle of the building, on its thread, at every step.
        phases: what it tells the monitor.
        configs: every configuration that was made.
        profiles: by input, what each optimisation profile was told.
        network_flags: of every network.
        timings_given: the bytes of every timing cache that was made, in order.
        stopped: the monitor asked the building to stop.
    """

    refuses: set[str] = field(default_factory=set)
    parser_errors: Sequence[tuple[str, str, str]] = ()
    complaint: str = "the stand-in was told to fail"
    dla_cores: int = 0
    answers_like: Path | None = None
    during: Callable[[], None] = lambda: None
    phases: tuple[Phase, ...] = PHASES
    configs: list[Any] = field(default_factory=list)
    profiles: list[dict[str, list[tuple[int, ...]]]] = field(default_factory=list)
    network_flags: list[int] = field(default_factory=list)
    timings_given: list[str] = field(default_factory=list)
    stopped: bool = False
    builds: int = 0
    made: list[tuple[Any, tuple[str, ...]]] = field(default_factory=list)

    def __enter__(self) -> StandInBuilder:
        import tensorrt

        self.trt = tensorrt
        self._real = tensorrt.Builder, tensorrt.OnnxParser
        tensorrt.Builder, tensorrt.OnnxParser = self._make_builder, self._make_parser
        return self

    def __exit__(self, *_: object) -> None:
        self.trt.Builder, self.trt.OnnxParser = self._real

    @property
    def misuse(self) -> list[str]:
        """Methods that were called and had no answer."""
        return [name for made, told in self.made for name in never_told(made, *told)]

    def _make(self, cls: type, **told: Any) -> Any:
        made = stand_in(cls, **told)
        self.made.append((made, tuple(told)))
        return made

    def _complain(self) -> None:
        self.logger.log(self.trt.ILogger.Severity.ERROR, self.complaint)

    def _make_builder(self, logger: Any) -> Any:
        assert isinstance(logger, self.trt.ILogger)
        self.logger = logger
        if "builder" in self.refuses:
            self._complain()
            raise TypeError("pybind11::init(): factory function returned nullptr")
        return self._make(
            self._real[0],
            create_network=self._make_network,
            create_builder_config=self._make_config,
            create_optimization_profile=self._make_profile,
            build_serialized_network=self._build,
            num_DLA_cores=self.dla_cores,
        )

    def _make_network(self, flags: int = 0) -> Any:
        self.network_flags.append(flags)
        self.parsed: Path | None = None
        self.inputs: list[Any] = []
        network = self._make(
            self.trt.INetworkDefinition, num_inputs=0, get_input=lambda index: self.inputs[index], num_layers=0
        )
        self.network = network
        return network

    def _make_parser(self, network: Any, logger: Any) -> Any:
        assert network is self.network and isinstance(logger, self.trt.ILogger)
        errors = [
            self._make(
                self.trt.ParserError,
                desc=lambda told=told: told,
                node_name=lambda name=name: name,
                node_operator=lambda operator=operator: operator,
            )
            for operator, name, told in self.parser_errors
        ]
        return self._make(
            self._real[1], parse_from_file=self._parse, num_errors=len(errors), get_error=lambda index: errors[index]
        )

    def _parse(self, model: str) -> bool:
        import onnxruntime

        if "parse" in self.refuses:
            self._complain()
            return False
        self.parsed = Path(model)
        for tensor in onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).get_inputs():
            shape = self.trt.Dims([side if isinstance(side, int) else -1 for side in tensor.shape])
            self.inputs.append(self._make(self.trt.ITensor, name=tensor.name, shape=shape))
        self.network.num_inputs = len(self.inputs)
        return True

    def _make_profile(self) -> Any:
        told: dict[str, list[tuple[int, ...]]] = {}
        self.profiles.append(told)

        def set_shape(input: str, min: Any, opt: Any, max: Any) -> None:  # noqa: A002 - TensorRT's names
            told[input] = [tuple(min), tuple(opt), tuple(max)]

        return self._make(self.trt.IOptimizationProfile, set_shape=set_shape)

    def _make_config(self) -> Any:
        config = self._make(
            self.trt.IBuilderConfig,
            set_memory_pool_limit=lambda pool, pool_size: config.pools.update({pool.name: pool_size}),
            add_optimization_profile=lambda profile: -1 if "profile" in self.refuses else 0,
            set_flag=lambda flag: config.flags.append(flag.name),
            create_timing_cache=self._make_timings,
            set_timing_cache=self._attach,
            get_timing_cache=lambda: self.attached,
        )
        # Beside the autospec, which refuses what the class lacks.
        object.__setattr__(config, "pools", {})
        object.__setattr__(config, "flags", [])
        self.attached: Any = None
        self.configs.append(config)
        return config

    def _make_timings(self, serialized_timing_cache: Any) -> Any:
        data = bytes(serialized_timing_cache)
        self.timings_given.append(data.decode())
        if data and "timings" in self.refuses:
            return None
        held = [data]

        def combine(input_cache: Any, ignore_mismatch: bool) -> bool:
            assert ignore_mismatch is False
            if "combine" not in self.refuses:
                held.extend(each for each in input_cache.held if each not in held)
            return "combine" not in self.refuses

        def serialize() -> Any:
            return None if "serialise" in self.refuses else bytearray(b"+".join(filter(None, held)))

        made = self._make(self.trt.ITimingCache, combine=combine, serialize=serialize)
        object.__setattr__(made, "held", held)
        return made

    def _attach(self, cache: Any, ignore_mismatch: bool) -> bool:
        assert ignore_mismatch is False
        if cache.held[0] and "attach" in self.refuses:
            return False
        self.attached = cache
        return True

    def _build(self, network: Any, config: Any) -> Any:
        """On a thread of its own, as TensorRT does, telling the monitor of every phase."""
        self.builds += 1
        answer: list[Any] = [None]

        def work() -> None:
            answer[0] = self._work(config)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        if self.attached is not None:
            self.attached.held.append(f"times of {self.parsed.name if self.parsed else ''}".encode())
        return answer[0]

    def _work(self, config: Any) -> Any:
        monitor = config.progress_monitor
        assert isinstance(monitor, self.trt.IProgressMonitor)
        for name, parent, steps in self.phases:
            monitor.phase_start(name, parent, steps)
            if parent is None:
                continue
            for step in range(steps):
                if not monitor.step_complete(name, step):
                    self.stopped = True
                    return None
                self.during()
            monitor.phase_finish(name)
            if not monitor.step_complete(parent, [phase[0] for phase in self.phases].index(name) - 1):
                self.stopped = True
                return None
        monitor.phase_finish(self.phases[0][0])
        if "build" in self.refuses:
            self._complain()
            return None
        profile = next(iter(self.profiles[-1].values()), None) if self.profiles else None
        points = None
        if profile is not None and -1 in {side for tensor in self.inputs for side in tuple(tensor.shape)}:
            points = tuple(shape[1] for shape in profile)
        network = self.answers_like or self.parsed
        assert network is not None
        return bytearray(make_plan(network, points))  # a buffer, as IHostMemory is
