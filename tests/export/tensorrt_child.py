"""What `test_tensorrt.py` runs once for each version of TensorRT: every scenario of the builder, told as JSON."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from calibration.errors import ScalpScopeError
from device_app.bundle import Bundle, Task, load_bundle
from device_app.engines.engine import Precision
from device_app.engines.engine_cache import EngineCache, EngineKey, options_for
from export.tensorrt import BuildRequest, BuildStopped, build_plan
from tests.support.stand_in_builder import StandInBuilder

Told = dict[str, Any]


class Bench:
    """One scenario: a stand-in builder, a cache of its own, and what came of it."""

    def __init__(
        self, bundle: Bundle, task: Task, precision: Precision, builder: StandInBuilder, **options: Any
    ) -> None:
        import tensorrt

        model = bundle.model(task)
        self.builder = builder
        self.folder = tempfile.TemporaryDirectory()
        self.cache = EngineCache(Path(self.folder.name) / "engines")
        self.progress: list[tuple[float, str]] = []
        self.key = EngineKey(
            task=task.value,
            model_sha256=model.files[precision].sha256,
            precision=precision,
            tensorrt=tensorrt.__version__,
            gpu="Orin",
            compute_capability="8.7",
            driver="12.6",
            options=options_for(model, **options),
        )
        self.request = BuildRequest(bundle.file(model.files[precision]), self.key, 512, self.cache)

    def build(self, **named: Any) -> Told:
        with self.builder:
            try:
                plan = build_plan(self.request, lambda *step: self.progress.append(step), **named)
                told: Told = {"plan": plan.decode()}
            except ScalpScopeError as error:
                told = {"what": error.what, "remedy": error.remedy}
            except BuildStopped as error:
                told = {"stopped": str(error)}
        return {
            **told,
            "misuse": self.builder.misuse,
            "progress": self.progress,
            "times": self.cache.read_timing_cache(self.key).decode(),
            "files": sorted(path.name for path in self.cache.folder.glob("*")),
        }


def main(bundle_path: str) -> None:
    bundle = load_bundle(Path(bundle_path))

    def hair(builder: StandInBuilder, **options: Any) -> Bench:
        return Bench(bundle, Task.HAIR, Precision.FP32, builder, **options)

    def decoder(builder: StandInBuilder) -> Bench:
        return Bench(bundle, Task.SAM_DECODER, Precision.FP16, builder)

    def plain() -> Told:
        builder = StandInBuilder()
        told = hair(builder).build()
        (config,) = builder.configs
        return {
            **told,
            "strongly_typed": 1 << int(builder.trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED),
            "flags": builder.network_flags,
            "builder_flags": config.flags,
            "level": config.builder_optimization_level,
            "pools": config.pools,
            "profiles": builder.profiles,
        }

    def free_axis() -> Told:
        builder = StandInBuilder()
        return {**decoder(builder).build(), "profiles": builder.profiles}

    def nobody_says_how_long() -> Told:
        bench = decoder(StandInBuilder())
        object.__setattr__(bench.key, "options", options_for(bundle.model(Task.HAIR)))
        return bench.build()

    def kept_times() -> Told:
        builder = StandInBuilder()
        bench = hair(builder)
        bench.cache.write_timing_cache(bench.key, b"earlier")
        told = bench.build()
        return {**told, "given": builder.timings_given}

    def times_of_another_builder() -> Told:
        builder = StandInBuilder()
        bench = hair(builder)
        builder.during = lambda: bench.cache.write_timing_cache(bench.key, b"meanwhile")
        return bench.build()

    def unfit_times(refused: str) -> Told:
        builder = StandInBuilder({refused})
        bench = hair(builder)
        bench.cache.write_timing_cache(bench.key, b"earlier")
        told = bench.build()
        return {**told, "given": builder.timings_given}

    def no_cache() -> Told:
        builder = StandInBuilder()
        bench = hair(builder)
        bench.request = BuildRequest(bench.request.network, bench.key, 512)
        told = bench.build()
        return {**told, "given": builder.timings_given}

    def stopped_at_a_step() -> Told:
        builder = StandInBuilder()
        bench = hair(builder)
        told = bench.build(is_stopped=lambda: len(bench.progress) >= 3)
        return {**told, "builder_stopped": builder.stopped}

    def progress_that_fails() -> Told:
        builder = StandInBuilder()
        bench = hair(builder)

        def fail(fraction: float, what: str) -> None:
            raise BrokenPipeError(what)

        with builder:
            try:
                build_plan(bench.request, fail)
            except BrokenPipeError as error:
                return {"error": str(error), "builder_stopped": builder.stopped}
        return {}

    def dla(cores: int) -> Told:
        builder = StandInBuilder(dla_cores=cores)
        told = hair(builder, dla_core=1).build()
        (config,) = builder.configs
        kind = config.default_device_type
        return {
            **told,
            "flags": config.flags,
            "device": kind.name if kind in builder.trt.DeviceType.__members__.values() else "never set",
            "core": config.DLA_core if config.DLA_core == 1 else "never set",
        }

    errors = (("Det", "/head/Det", "no importer"), ("", "", "the file is odd"))
    scenarios: dict[str, Callable[[], Told]] = {
        "plain": plain,
        "free_axis": free_axis,
        "nobody_says_how_long": nobody_says_how_long,
        "profile_refused": lambda: decoder(StandInBuilder({"profile"})).build(),
        "parser": lambda: hair(StandInBuilder({"parse"}, parser_errors=errors)).build(),
        "parser_without_errors": lambda: hair(StandInBuilder({"parse"}, complaint="no such file")).build(),
        "no_plan": lambda: hair(StandInBuilder({"build"}, complaint="no kernel for layer 3")).build(),
        "no_memory": lambda: hair(StandInBuilder({"build"}, complaint="[defaultAllocator] out of memory")).build(),
        "no_builder": lambda: hair(StandInBuilder({"builder"}, complaint="CUDA initialization failure 35")).build(),
        "kept_times": kept_times,
        "times_of_another_builder": times_of_another_builder,
        "times_of_another_version": lambda: unfit_times("timings"),
        "times_of_another_device": lambda: unfit_times("attach"),
        "times_that_do_not_combine": lambda: unfit_times("combine"),
        "times_that_are_not_to_be_had": lambda: unfit_times("serialise"),
        "no_cache": no_cache,
        "stopped": stopped_at_a_step,
        "progress_that_fails": progress_that_fails,
        "dla": lambda: dla(2),
        "no_dla": lambda: dla(0),
    }
    print(json.dumps({name: scenario() for name, scenario in scenarios.items()}))


if __name__ == "__main__":
    main(sys.argv[1])
