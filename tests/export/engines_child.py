"""What `test_engines.py` runs once for each version of TensorRT: whole buildings of a bundle, told as JSON."""

from __future__ import annotations

import functools
import io
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import export.engines
from calibration.errors import ScalpScopeError
from device_app.bundle import Task, load_bundle
from device_app.engines.building import BuildStep
from device_app.engines.engine import Precision
from device_app.engines.engine_cache import EngineCache
from device_app.engines.tensorrt_engine import TensorRtBackend
from export.engines import EnginesBuilt, EngineSettings, build_engines
from export.tensorrt import BuildStopped
from tests.support.stand_in_builder import StandInBuilder
from tests.support.stand_in_cuda import Failure, StandInCuda
from tests.support.stand_in_tensorrt import StandInRuntime, make_plan
from tests.support.tiny_bundle import make_darkness_network

Told = dict[str, Any]


class Machine:
    """A made-up board with an empty cache. Its parts are entered for one building and left again."""

    def __init__(self, bundle: Path) -> None:
        self.bundle = bundle
        self.folder = tempfile.TemporaryDirectory()
        self.cache = Path(self.folder.name) / "engines"
        self.root = Path(self.folder.name) / "root"
        (self.root / "dev").mkdir(parents=True)
        (self.root / "dev" / "nvhost-gpu").touch()

    def backend(self, **options: Any) -> TensorRtBackend:
        return TensorRtBackend(root=self.root, **options)

    def build(
        self,
        builder: StandInBuilder | None = None,
        gpu: dict[str, Any] | None = None,
        failures: tuple[Failure, ...] = (),
        runtime: dict[str, Any] | None = None,
        is_stopped: Callable[[], bool] = lambda: False,
        **settings: Any,
    ) -> Told:
        """One run of `build_engines`."""
        steps: list[BuildStep] = []
        builder = builder or StandInBuilder()
        settings = {"bundle": self.bundle, "cache": self.cache, **settings}
        with self.entered(builder, gpu, failures, runtime) as (cuda, made):
            try:
                built = build_engines(EngineSettings(**settings), steps.append, is_stopped)
                told = _told(built)
            except ScalpScopeError as error:
                told = {"error": error.what, "remedy": error.remedy}
            except BuildStopped as error:
                told = {"stopped": str(error)}
        fractions = [step.fraction for step in steps]
        return {
            **told,
            "builds": builder.builds,
            "pools": [config.pools for config in builder.configs],
            "misuse": [*builder.misuse, *made.misuse],
            "cuda": [*cuda.violations, *(f"alive: {each}" for each in cuda.alive)],
            "steps": [step.what for step in steps],
            "fractions_rise": fractions == sorted(fractions),
            "last_fraction": fractions[-1] if fractions else None,
            "files": self.files(),
        }

    def files(self) -> list[str]:
        return sorted(path.name for path in self.cache.glob("*"))

    @contextmanager
    def entered(
        self,
        builder: StandInBuilder,
        gpu: dict[str, Any] | None = None,
        failures: tuple[Failure, ...] = (),
        runtime: dict[str, Any] | None = None,
    ) -> Iterator[tuple[StandInCuda, StandInRuntime]]:
        with StandInCuda(*failures, **(gpu or {})) as cuda, StandInRuntime(cuda, **(runtime or {})) as made, builder:
            # The machine's own edge: where the system says that there is a GPU.
            export.engines.TensorRtBackend = functools.partial(TensorRtBackend, root=self.root)  # type: ignore
            try:
                yield cuda, made
            finally:
                export.engines.TensorRtBackend = TensorRtBackend  # type: ignore

    def command(
        self, *arguments: str, builder: StandInBuilder | None = None, gpu: dict[str, Any] | None = None
    ) -> Told:
        """One run of ``scalpscope-export engines``."""
        out, errors = io.StringIO(), io.StringIO()
        with self.entered(builder or StandInBuilder(), gpu), redirect_stdout(out), redirect_stderr(errors):
            code = self.run(*arguments)
        return {"code": code, "out": out.getvalue(), "errors": errors.getvalue(), "files": self.files()}

    def run(self, *arguments: str) -> Any:
        """The command's exit code."""
        from export.cli import main

        before = sys.argv
        sys.argv = ["scalpscope-export", "engines", str(self.bundle), "--cache", str(self.cache), *arguments]
        try:
            main()
        except SystemExit as end:
            return end.code
        finally:
            sys.argv = before
        return 0


def _told(built: EnginesBuilt) -> Told:
    return {
        "engines": [
            {
                "title": engine.title,
                "state": engine.state.value,
                "problem": engine.problem,
                "goldens": str(engine.goldens),
                "size": engine.size_mib,
            }
            for engine in built.engines
        ],
        "left_out": built.left_out,
        "complete": built.is_complete,
    }


def main(bundle_path: str) -> None:
    path = Path(bundle_path)
    bundle = load_bundle(path)
    elsewhere = make_darkness_network(path.parent / "other.onnx", 160, 128, dark_below=0.9)

    def whole() -> Told:
        machine = Machine(path)
        told = {"first": machine.build(), "second": machine.build(), "rebuilt": machine.build(rebuild=True)}
        backend = machine.backend(cache=EngineCache(machine.cache))
        with machine.entered(StandInBuilder()):
            opened = {}
            for model in bundle.manifest.models:
                (precision,) = model.files
                engine = backend.open(bundle.file(model.files[precision]), model, precision, 1)
                opened[model.task.value] = engine.backend
                engine.close()
        return {
            **told,
            "opened": opened,
            "modes": [oct(each.stat().st_mode & 0o777) for each in machine.cache.glob("*")],
        }

    def damaged() -> Told:
        machine = Machine(path)
        machine.build()
        plan = next(machine.cache.glob("hair*.plan"))
        plan.write_bytes(plan.read_bytes()[:-1] + b"!")
        return machine.build()

    def kept_engine_that_computes_something_else() -> Told:
        machine = Machine(path)
        with machine.entered(StandInBuilder()):
            key = machine.backend().key_for(bundle.model(Task.HAIR), Precision.FP32)
        EngineCache(machine.cache).write(key, make_plan(elsewhere))
        return machine.build()

    def gpu_fails_on_a_kept_engine() -> Told:
        machine = Machine(path)
        machine.build()
        return machine.build(runtime={"kernel_fault": ("cudaErrorIllegalAddress", 1)})

    def computes_something_else() -> Told:
        return Machine(path).build(StandInBuilder(answers_like=elsewhere))

    def new_driver() -> Told:
        machine = Machine(path)
        first = machine.build(gpu={"driver": 12060})
        return {"first": first, "second": machine.build(gpu={"driver": 13000})}

    def stopped() -> Told:
        machine = Machine(path)
        builder = StandInBuilder()
        told = machine.build(builder, is_stopped=lambda: builder.builds >= 2)
        return {**told, "again": machine.build()}

    def cache_in_a_file() -> Told:
        machine = Machine(path)
        blocked = Path(machine.folder.name) / "file"
        blocked.touch()
        return machine.build(cache=blocked / "engines")

    def cache_of_everybody() -> Told:
        machine = Machine(path)
        machine.cache.mkdir()
        machine.cache.chmod(0o777)
        return machine.build()

    def no_gpu() -> Told:
        machine = Machine(path)
        shutil.rmtree(machine.root / "dev")
        return machine.build()

    def commands() -> Told:
        machine = Machine(path)
        return {
            "json": machine.command("--progress", "json"),
            "table": machine.command(),
            "failed": machine.command("--rebuild", builder=StandInBuilder({"build"}, complaint="no kernel")),
            "failed_json": machine.command(
                "--rebuild", "--progress", "json", builder=StandInBuilder({"build"}, complaint="no kernel")
            ),
            "precision": machine.command("--precision", "int4"),
            "not_for_tensorrt": machine.command("--precision", "int8_u8s8"),
            "one": machine.command("--precision", "fp16"),
            "workspace": machine.command("--rebuild", "--workspace", "300"),
        }

    def too_old() -> Told:
        return Machine(path).build(failures=(Failure("cudaGetDeviceCount", 1, "cudaErrorInsufficientDriver"),))

    scenarios: dict[str, Callable[[], Told]] = {
        "whole": whole,
        "damaged": damaged,
        "kept_engine_that_computes_something_else": kept_engine_that_computes_something_else,
        "computes_something_else": computes_something_else,
        "new_driver": new_driver,
        "parser": lambda: Machine(path).build(StandInBuilder({"parse"}, parser_errors=[("Det", "d", "no importer")])),
        "gpu_fails": lambda: Machine(path).build(runtime={"kernel_fault": ("cudaErrorIllegalAddress", 1)}),
        "gpu_fails_on_a_kept_engine": gpu_fails_on_a_kept_engine,
        "gpu_full": lambda: Machine(path).build(failures=(Failure("cudaMalloc", 1, "cudaErrorMemoryAllocation"),)),
        "not_loaded": lambda: Machine(path).build(runtime={"refuses": {"deserialise"}, "complaint": "version tag"}),
        "stopped": stopped,
        "cache_in_a_file": cache_in_a_file,
        "cache_that_cannot_be_made": lambda: Machine(path).build(cache=Path("/proc/scalpscope/engines")),
        "cache_of_everybody": cache_of_everybody,
        "no_gpu": no_gpu,
        "too_old": too_old,
        "workspace": lambda: Machine(path).build(workspace_mib=300, precision=Precision.FP16),
        "board": lambda: Machine(path).build(
            precision=Precision.FP16, gpu={"integrated": True, "memory_bytes": 1 << 30}
        ),
        "card": lambda: Machine(path).build(
            precision=Precision.FP16, gpu={"integrated": False, "memory_bytes": 1 << 30}
        ),
        "commands": commands,
    }
    print(json.dumps({name: scenario() for name, scenario in scenarios.items()}))


def slow(bundle_path: str, cache: str) -> int:
    """The command, its output as it comes, with a builder that needs half a minute for every network but the first."""
    machine = Machine(Path(bundle_path))
    machine.cache = Path(cache)
    builder = StandInBuilder(phases=(("Building engine", None, 1), ("Trying kernels", "Building engine", 300)))
    builder.during = lambda: time.sleep(0.1 if builder.builds > 1 else 0)
    with machine.entered(builder):
        return machine.run("--progress", "json")


if __name__ == "__main__":
    if sys.argv[1] == "slow":
        sys.exit(slow(*sys.argv[2:]))
    main(sys.argv[1])
