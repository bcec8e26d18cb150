"""Everything that can happen to a TensorRT engine, in a process that has one version of its bindings.

Run by `test_tensorrt_engine` as ``python -m tests.device_app.engines.tensorrt_scenarios HAIR SAM FOLDER``: two bundles
and a scratch folder. Prints what each scenario showed as one line of JSON.
"""

from __future__ import annotations

import gc
import json
import logging
import sys
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from calibration.errors import ScalpScopeError
from device_app.bundle import Bundle, ModelEntry, Task, load_bundle
from device_app.engines.cuda_device import describe_device
from device_app.engines.engine import Precision
from device_app.engines.engine_cache import EngineCache
from device_app.engines.onnxruntime_engine import OnnxRuntimeEngine
from device_app.engines.select import open_engine, register_backend
from device_app.engines.tensorrt_engine import TensorRtBackend, TensorRtEngine
from tests.support.stand_in_cuda import Failure, StandInCuda
from tests.support.stand_in_tensorrt import StandInRuntime, make_plan

FRAME = ["cudaMemcpyAsync", "cudaGraphLaunch", "cudaMemcpyAsync", "cudaStreamSynchronize"]
INT8 = Precision.INT8_SYMMETRIC
POINTS = (1, 20, 64)

Facts = dict[str, Any]


@dataclass
class Stage:
    """What the scenarios play with."""

    hair: Bundle
    sam: Bundle
    folder: Path

    @property
    def model(self) -> ModelEntry:
        return self.hair.model(Task.HAIR)

    @property
    def decoder(self) -> ModelEntry:
        return self.sam.model(Task.SAM_DECODER)

    def hair_plan(self) -> bytes:
        return make_plan(self.hair.file(self.model.files[INT8]))

    def decoder_plan(self) -> bytes:
        return make_plan(self.sam.file(self.decoder.files[Precision.FP16]), POINTS)

    def open_hair(self, **named: Any) -> TensorRtEngine:
        return TensorRtEngine(self.hair_plan(), self.model, INT8, **named)

    def open_decoder(self) -> TensorRtEngine:
        return TensorRtEngine(self.decoder_plan(), self.decoder, Precision.FP16)

    def expected(self, inputs: Mapping[str, np.ndarray], model: ModelEntry | None = None) -> dict[str, np.ndarray]:
        if model is None:
            return OnnxRuntimeEngine(self.hair.file(self.model.files[INT8]), self.model, INT8).run(inputs)
        return OnnxRuntimeEngine(self.sam.file(model.files[Precision.FP16]), model, Precision.FP16).run(inputs)


def picture(seed: int = 0) -> dict[str, np.ndarray]:
    return {"image": np.random.default_rng(seed).normal(0, 1, (1, 3, 48, 64)).astype(np.float32)}


def question(model: ModelEntry, points: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng((seed, points))
    made = {
        spec.name: rng.normal(0, 0.2, [points if side == "points" else side for side in spec.shape]).astype(np.float32)
        for spec in model.inputs
    }
    made["point_coords"] = rng.uniform(0, 48, (1, points, 2)).astype(np.float32)
    made["point_labels"] = np.sign(rng.normal(size=(1, points))).astype(np.float32)
    return made


def same(found: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray]) -> bool:
    return found.keys() == wanted.keys() and all(np.array_equal(found[name], wanted[name]) for name in wanted)


def problem_of(action: Callable[[], Any]) -> Facts:
    """What an action raised; an error that a user is not meant to see is not caught."""
    try:
        action()
    except ScalpScopeError as error:
        return {"kind": type(error).__name__, "what": error.what, "remedy": error.remedy}
    return {"kind": "none", "what": "", "remedy": ""}


def balance(cuda: StandInCuda) -> Facts:
    """What was made, and how often it was freed, or at least tried to."""
    count = cuda.calls.count
    return {
        "alive": cuda.alive,
        "violations": cuda.violations,
        "freed": [
            count("cudaMalloc") - count("cudaFree"),
            count("cudaHostAlloc") - count("cudaFreeHost"),
            count("cudaStreamCreateWithFlags") - count("cudaStreamDestroy"),
            count("cudaEventCreateWithFlags") - count("cudaEventDestroy"),
            count("cudaGraphInstantiate") - count("cudaGraphExecDestroy"),
        ],
    }


# --- a whole life ---


def life(stage: Stage, integrated: bool = False) -> Facts:
    """Built, kept, chosen, proved, run, timed and closed, by the very calls of the app."""
    with StandInCuda(integrated=integrated) as cuda, StandInRuntime(cuda) as runtime:
        root = stage.folder / "root"
        cache = EngineCache(stage.folder / f"cache-{integrated}")
        backend = TensorRtBackend(cache=cache, root=root)
        before = open_with(stage.hair, backend)
        key = backend.key_for(stage.model, INT8)
        cache.write(key, stage.hair_plan())
        chosen = open_with(stage.hair, backend)
        engine = chosen.engine
        start = len(cuda.calls)
        right = [same(engine.run(picture(seed)), stage.expected(picture(seed))) for seed in range(3)]
        frames = cuda.calls[start:]
        timed, parts = chosen.run_timed(picture(9))
        engine.close()
        engine.close()
        misuse = runtime.misuse
        held = [weakref.ref(made) for made, _ in runtime.made]
        runtime.made.clear()
        gc.collect()
        return {
            "unavailable": backend.why_not(),
            "before": [before.backend, before.fallback, before.reasons, before.build_commands],
            "key": key.told(),
            "chosen": [chosen.backend, chosen.precision.value, chosen.reasons, chosen.fallback],
            "right": right,
            "frames": frames,
            "in_reverse": cuda.freed == cuda.made[::-1],
            "timed_right": same(timed, stage.expected(picture(9))),
            "parts": {name: value >= 0 for name, value in parts.items()},
            "closed": problem_of(lambda: engine.run(picture())),
            "misuse": misuse,
            "held": [type(each()).__name__ for each in held if each() is not None],
            "made": len(held),
            "captured": runtime.enqueued,
            **balance(cuda),
        }


def open_with(bundle: Bundle, backend: TensorRtBackend) -> Any:
    from device_app.engines import select

    known = list(select._BACKENDS)
    register_backend(backend)
    try:
        return open_engine(bundle, Task.HAIR)
    finally:
        select._BACKENDS[:] = known


def threads(stage: Stage) -> Facts:
    """Opened on one thread, run on two others, closed on a fourth."""
    with StandInCuda() as cuda, StandInRuntime(cuda):
        engine = stage.open_hair()
        right: list[bool] = []
        steps = [lambda: right.append(same(engine.run(picture(3)), stage.expected(picture(3))))] * 2 + [engine.close]
        for step in steps:
            thread = threading.Thread(target=step)
            thread.start()
            thread.join()
        return {"right": right, **balance(cuda)}


def answers(stage: Stage) -> Facts:
    """An answer that is held keeps its values; one that was let go lends its memory to the next."""
    with StandInCuda() as cuda, StandInRuntime(cuda):
        engine = stage.open_hair()
        first = engine.run(picture(1))["hair_probability"]
        kept, view = first.copy(), engine.run(picture(2))["hair_probability"][0, 0]
        places = set()
        for seed in range(3, 20):
            places.add(engine.run(picture(seed))["hair_probability"].ctypes.data)
        held = bool(np.array_equal(first, kept)) and same(
            {"hair_probability": view[None, None]}, stage.expected(picture(2))
        )
        many = [engine.run(picture(seed))["hair_probability"] for seed in range(12)]
        apart = len({each.ctypes.data for each in many})
        engine.close()
        return {"held": held, "places": len(places), "apart": apart, **balance(cuda)}


def inputs(stage: Stage) -> Facts:
    """What does not fit is refused before anything is enqueued, and what is not laid out in a row is taken."""
    with StandInCuda() as cuda, StandInRuntime(cuda):
        engine = stage.open_hair()
        start = len(cuda.calls)
        wrong = [
            {},
            {"image": np.zeros((1, 3, 24, 64), np.float32)},
            {"image": np.zeros((1, 3, 48, 64))},
            {**picture(), "mask": np.zeros(1, np.float32)},
        ]
        told = [problem_of(lambda given=given: engine.run(given)) for given in wrong]
        silent = cuda.calls[start:] == []
        turned = {"image": np.ascontiguousarray(picture()["image"].transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)}
        right = same(engine.run(turned), stage.expected(turned))
        engine.close()
        return {"told": told, "silent": silent, "right": right, **balance(cuda)}


def points(stage: Stage) -> Facts:
    """A decoder that takes any number of points: right for each, a graph for those that come again, not too many."""
    with StandInCuda() as cuda, StandInRuntime(cuda) as runtime:
        engine = stage.open_decoder()
        opened = list(cuda.calls)
        right, launches, graphs = [], [], []
        for number, count in enumerate([5, 5, 5, 7, 5, 7, 7, 1, 64, 64, 9, 9, 11, 11, 13, 13, 5, 5]):
            start = len(cuda.calls)
            given = question(stage.decoder, count, number)
            right.append(same(engine.run(given), stage.expected(given, stage.decoder)))
            launches.append("cudaGraphLaunch" in cuda.calls[start:])
            graphs.append(cuda.alive.count("launchable graph"))
        outside = [problem_of(lambda n=n: engine.run(question(stage.decoder, n))) for n in (0, 65)]
        uneven = {**question(stage.decoder, 5), "point_labels": np.zeros((1, 6), np.float32)}
        outside.append(problem_of(lambda: engine.run(uneven)))
        given = question(stage.decoder, 6)
        after = same(engine.run_timed(given)[0], stage.expected(given, stage.decoder))
        engine.close()
        return {
            "right": right,
            "launches": launches,
            "graphs": graphs,
            "captured_at_start": "cudaStreamBeginCapture" in opened,
            "outside": outside,
            "after": after,
            "misuse": runtime.misuse,
            **balance(cuda),
        }


# --- failures ---


def out_of_memory(stage: Stage) -> list[Facts]:
    """Each allocation of an engine fails in its turn; and each other thing that is made."""
    told = []
    made = ("cudaMalloc", "cudaHostAlloc", "cudaStreamCreateWithFlags", "cudaEventCreateWithFlags")
    for call in made:
        for nth in range(1, 9):
            with StandInCuda(Failure(call, nth, "cudaErrorMemoryAllocation")) as cuda, StandInRuntime(cuda):
                problem = problem_of(lambda: stage.open_decoder().close())
                if problem["kind"] == "none":
                    break
                told.append({"call": call, "nth": nth, **problem, **balance(cuda)})
    return told


def refusals(stage: Stage) -> dict[str, Facts]:
    """TensorRT answers with None or False, at each place where it can."""
    found = {}
    for what in ("runtime", "deserialise", "context", "address", "shape", "inference", "enqueue"):
        with StandInCuda() as cuda, StandInRuntime(cuda, refuses={what}) as runtime:
            found[what] = {**problem_of(stage.open_hair), "misuse": runtime.misuse, **balance(cuda)}
    with StandInCuda() as cuda, StandInRuntime(cuda, unspecified=["image"]):
        found["unspecified"] = {**problem_of(stage.open_hair), **balance(cuda)}
    with StandInCuda() as cuda, StandInRuntime(cuda) as runtime:
        foreign = problem_of(lambda: TensorRtEngine(b"another TensorRT's", stage.model, INT8))
        found["foreign"] = {**foreign, **balance(cuda)}
    return found


def lost_while_opening(stage: Stage) -> Facts:
    """The choice goes on to what needs no GPU."""
    with StandInCuda() as cuda, StandInRuntime(cuda, kernel_fault=("cudaErrorIllegalAddress", 1)):
        backend = TensorRtBackend(cache=EngineCache(stage.folder / "cache-False"), root=stage.folder / "root")
        chosen = open_with(stage.hair, backend)
        chosen.close()
        return {"chosen": [chosen.backend, chosen.fallback, chosen.reasons]}


def other_tensors(stage: Stage) -> dict[str, Facts]:
    """An engine that is not the manifest's network."""
    import tensorrt

    changes: dict[str, dict[str, tuple[tuple[int, ...], Any]]] = {
        "input shape": {"image": ((1, 3, 96, 64), None)},
        "output shape": {"hair_probability": ((1, 1, 24, 64), None)},
        "type": {"image": ((1, 3, 48, 64), tensorrt.DataType.HALF)},
        "size unknown": {"hair_probability": ((1, 1, -1, 64), None)},
    }
    found = {}
    for name, changed in changes.items():
        with StandInCuda() as cuda, StandInRuntime(cuda, changed=changed):
            found[name] = {**problem_of(stage.open_hair), **balance(cuda)}
    return found


def no_second_context(stage: Stage) -> Facts:
    """No memory for another context: the graph of other points is given up, and all goes on."""
    with StandInCuda() as cuda, StandInRuntime(cuda) as runtime:
        engine = stage.open_decoder()
        right = []
        for number, count in enumerate([5, 5, 7, 7, 5]):
            runtime.refuses = {"context"} if number >= 2 else set()
            given = question(stage.decoder, count, number)
            right.append(same(engine.run(given), stage.expected(given, stage.decoder)))
        graphs = cuda.alive.count("launchable graph")
        engine.close()
        return {"right": right, "graphs": graphs, **balance(cuda)}


def another_network(stage: Stage) -> Facts:
    """A kept engine that is whole, and computes something else: the goldens find it out."""
    with StandInCuda() as cuda, StandInRuntime(cuda):
        cache = EngineCache(stage.folder / "cache-other")
        backend = TensorRtBackend(cache=cache, root=stage.folder / "root")
        cache.write(backend.key_for(stage.model, INT8), make_plan(stage.folder / "other.onnx"))
        chosen = open_with(stage.hair, backend)
        chosen.close()
        return {"chosen": [chosen.backend, chosen.fallback, chosen.reasons], **balance(cuda)}


def enqueue_refused_later(stage: Stage) -> Facts:
    """A frame fails; the next would be right again."""
    with StandInCuda() as cuda, StandInRuntime(cuda, breaks_capture=True) as runtime:
        engine = stage.open_hair()
        runtime.refuses = {"enqueue"}
        first = problem_of(lambda: engine.run(picture()))
        runtime.refuses = set()
        right = same(engine.run(picture(1)), stage.expected(picture(1)))
        engine.close()
        return {"first": first, "right": right, **balance(cuda)}


def lost(stage: Stage) -> dict[str, Facts]:
    """The GPU fails in a way that stays: while the engine is opened, in a frame, in a copy."""
    found = {}
    for name, fault in (("opening", ("cudaErrorIllegalAddress", 1)), ("frame", ("cudaErrorLaunchFailure", 3))):
        with StandInCuda() as cuda, StandInRuntime(cuda, kernel_fault=fault, breaks_capture=True):
            engines: list[TensorRtEngine] = []
            first = problem_of(lambda: engines.append(stage.open_hair()) or engines[0].run(picture()))  # noqa: B023
            again = problem_of(lambda: engines[0].run(picture())) if engines else None  # noqa: B023
            for engine in engines:
                engine.close()
            found[name] = {"first": first, "again": again, "opened": bool(engines), **balance(cuda)}
    with StandInCuda(Failure("cudaMemcpyAsync", 3, "cudaErrorECCUncorrectable")) as cuda, StandInRuntime(cuda):
        engine = stage.open_hair()
        found["copy"] = {"first": problem_of(lambda: engine.run(picture())), "again": None, "opened": True}
        engine.close()
        found["copy"] |= balance(cuda)
    with StandInCuda() as cuda, StandInRuntime(cuda, breaks_capture=True) as runtime:
        engine = stage.open_hair()
        runtime.refuses, runtime.refusal_poisons = {"enqueue"}, "cudaErrorMisalignedAddress"
        found["refused"] = {"first": problem_of(lambda: engine.run(picture())), "again": None, "opened": True}
        engine.close()
        found["refused"] |= balance(cuda)
    return found


def no_capture(stage: Stage) -> dict[str, Facts]:
    """No graph can be captured: said, and every frame is right without one."""
    found = {}
    ways: dict[str, tuple[tuple[Failure, ...], dict[str, bool]]] = {
        "invalid": ((), {"breaks_capture": True}),
        "empty": ((), {"captures_nothing": True}),
        "refused": ((), {}),
        "instantiate": ((Failure("cudaGraphInstantiate", 1, "cudaErrorMemoryAllocation"),), {}),
        "begin": ((Failure("cudaStreamBeginCapture", 1, "cudaErrorNotSupported"),), {}),
    }
    for name, (failures, how) in ways.items():
        with StandInCuda(*failures) as cuda, StandInRuntime(cuda, **how) as runtime:
            if name == "refused":  # the second enqueue is the one that is captured
                runtime.refuses, runtime.enqueue_refused_from = {"enqueue"}, 2
            engine = stage.open_hair()
            runtime.refuses = set()
            right = [same(engine.run(picture(seed)), stage.expected(picture(seed))) for seed in range(3)]
            tries = cuda.calls.count("cudaStreamBeginCapture")
            remarks = engine.remarks
            engine.close()
            found[name] = {"right": right, "remarks": remarks, "tries": tries, **balance(cuda)}
    return found


def no_capture_chosen(stage: Stage) -> Facts:
    """What the choice says of such an engine."""
    with StandInCuda() as cuda, StandInRuntime(cuda, breaks_capture=True):
        chosen = open_with(
            stage.hair, TensorRtBackend(cache=EngineCache(stage.folder / "cache-False"), root=stage.folder / "root")
        )
        chosen.close()
        return {"chosen": [chosen.backend, chosen.fallback, chosen.reasons], **balance(cuda)}


def no_numbers(stage: Stage) -> Facts:
    """Values that are no numbers never leave the engine."""
    with StandInCuda() as cuda, StandInRuntime(cuda):
        engine = stage.open_hair()
        given = {"image": np.full((1, 3, 48, 64), np.nan, np.float32)}
        told = problem_of(lambda: engine.run(given))
        right = same(engine.run(picture()), stage.expected(picture()))
        engine.close()
        return {"told": told, "right": right, **balance(cuda)}


def device(stage: Stage) -> Facts:
    """What CUDA says of the machine."""
    root = stage.folder / "root"
    with StandInCuda(name="NVIDIA Thor", compute=(11, 0), integrated=True, memory_bytes=128 << 30):
        found = describe_device(root=root)
    problems = {}
    too_old = [Failure("cudaGetDeviceCount", nth, "cudaErrorInsufficientDriver") for nth in (1, 2)]
    for name, cuda in (("none", StandInCuda(devices=0)), ("old", StandInCuda(*too_old, driver=11040))):
        with cuda:
            missing = TensorRtBackend(root=root).why_not()
            problems[name] = problem_of(lambda: describe_device(root=root))
            problems[name] |= {"missed": missing is not None and missing.missed}
    really = TensorRtBackend(root=root).why_not()  # this machine's own CUDA, which has no driver
    return {
        "found": vars(found),
        "driver": found.whole_driver,
        "problems": problems,
        "really": None if really is None else [really.reason, really.missed, really.remedy],
        "nowhere": vars(TensorRtBackend(root=stage.folder / "nowhere").why_not()),
    }


def by_name(stage: Stage) -> Facts:
    """Precisions and accelerators that are taken only by their names, or not at all."""
    with StandInCuda() as cuda, StandInRuntime(cuda) as runtime:
        cache = EngineCache(stage.folder / "cache-dla")
        dla = TensorRtBackend(1, cache, stage.folder / "root")
        path = stage.hair.file(stage.model.files[INT8])
        unsigned = problem_of(lambda: dla.open(path, stage.model, Precision.INT8_U8S8, 2))
        missing = problem_of(lambda: dla.open(path, stage.model, INT8, 2))
        cache.write(dla.key_for(stage.model, INT8), stage.hair_plan())
        other = problem_of(lambda: TensorRtBackend(0, cache, stage.folder / "root").open(path, stage.model, INT8, 2))
        engine = dla.open(path, stage.model, INT8, 2)
        core = runtime.made[0][0].DLA_core
        name = engine.backend
        engine.close()
        return {
            "unsigned": unsigned,
            "missing": missing,
            "other": other,
            "core": core,
            "name": name,
            "preferences": [precision.value for precision, _ in dla.preferences()],
            "command": dla.build_command(Path("b")),
            **balance(cuda),
        }


SCENARIOS: tuple[Callable[[Stage], Any], ...] = (
    life,
    threads,
    answers,
    inputs,
    points,
    out_of_memory,
    refusals,
    other_tensors,
    another_network,
    no_second_context,
    enqueue_refused_later,
    lost,
    lost_while_opening,
    no_capture,
    no_capture_chosen,
    no_numbers,
    device,
    by_name,
)


def main() -> None:
    logging.disable(logging.CRITICAL)
    hair, sam, folder = (Path(argument) for argument in sys.argv[1:4])
    (folder / "root" / "dev").mkdir(parents=True)
    (folder / "root" / "dev" / "nvidia0").touch()
    (folder / "root" / "etc").mkdir()
    (folder / "root" / "etc" / "nv_tegra_release").write_text(
        "# R36 (release), REVISION: 4.3, GCID: 1, BOARD: generic\n"
    )
    stage = Stage(load_bundle(hair), load_bundle(sam), folder)
    import tensorrt

    facts: Facts = {"version": tensorrt.__version__, "shared_life": life(stage, integrated=True)}
    for scenario in SCENARIOS:
        facts[scenario.__name__] = scenario(stage)
    print(json.dumps(facts, default=lambda value: vars(value) if hasattr(value, "__dict__") else str(value)))


if __name__ == "__main__":
    main()
