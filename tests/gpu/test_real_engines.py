"""The shipped networks as real TensorRT engines on this machine's GPU: built, proved, timed, and treated badly.

What no stand-in can show: that TensorRT takes the files, computes what FP32 computes, and gives its memory back. Times
are printed and asserted of nothing; `scalpscope bench` makes the figures that count.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from calibration.errors import ScalpScopeError
from device_app.bundle import Bundle, ModelEntry, Task, default_bundle_path, load_bundle
from device_app.engines.building import BuildEnd, BuildStep, from_line
from device_app.engines.engine import Engine, EngineNotBuilt, Precision
from device_app.engines.engine_cache import EngineCache
from device_app.engines.goldens import check_goldens, mask_dice
from device_app.engines.onnxruntime_cuda_engine import OnnxRuntimeCudaBackend
from device_app.engines.onnxruntime_engine import OnnxRuntimeEngine
from device_app.engines.tensorrt_engine import TensorRtBackend
from device_app.manifest_parts import POINTS
from export.engines import EnginesBuilt, EngineSettings, State, build_engines, choose_networks
from export.tensorrt import BuildRequest, BuildStopped, build_plan

FRAMES = 200
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle(default_bundle_path())


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> TensorRtBackend:
    made = TensorRtBackend(cache=EngineCache(tmp_path_factory.mktemp("cache") / "engines"))
    if (unavailable := made.why_not()) is not None:
        pytest.skip(f"TensorRT cannot be used here: {unavailable.reason}. {unavailable.remedy}")
    return made


@pytest.fixture(scope="module")
def built(bundle: Bundle, backend: TensorRtBackend) -> EnginesBuilt:
    """Every network of the bundle, built once for all tests of this file."""
    steps: list[BuildStep] = []
    made = build_engines(EngineSettings(bundle.path, backend.cache.folder), steps.append)
    _say(
        f"{backend.device.name}, compute capability {backend.device.compute_capability}, {backend.device.whole_driver}"
    )
    for engine in made.engines:
        told = engine.problem or str(engine.goldens)
        _say(f"{engine.title}: {engine.state.value}, {engine.seconds:.1f} s, {engine.size_mib:.1f} MiB; {told}")
    fractions = [step.fraction for step in steps]
    assert fractions == sorted(fractions) and fractions[-1] == 1
    return made


@pytest.fixture(scope="module")
def engines(bundle: Bundle, backend: TensorRtBackend, built: EnginesBuilt) -> Iterator[dict[Task, Engine]]:
    chosen, _ = choose_networks(bundle, [precision for precision, _ in backend.preferences()])
    opened = {model.task: _open(bundle, backend, model, precision) for model, precision in chosen}
    yield opened
    for engine in opened.values():
        engine.close()


def test_every_network_is_built_and_reproduces_its_goldens(built: EnginesBuilt) -> None:
    assert [engine.problem for engine in built.engines if engine.problem] == []
    assert all(engine.state is State.BUILT for engine in built.engines)
    assert built.left_out == ()


def test_what_is_built_is_found_by_a_process_of_its_own(
    bundle: Bundle, backend: TensorRtBackend, built: EnginesBuilt
) -> None:
    done = subprocess.run(backend.build_command(bundle.path), cwd=ROOT, capture_output=True, text=True, timeout=600)

    assert done.returncode == 0, done.stderr
    assert from_line(done.stdout.splitlines()[-1]) == BuildEnd(ready=tuple(engine.title for engine in built.engines))


def test_the_app_opens_what_was_built_and_proves_it_again(bundle: Bundle, engines: dict[Task, Engine]) -> None:
    for task, engine in engines.items():
        check_goldens(engine, bundle, bundle.model(task))


def test_the_same_picture_gives_the_same_answer_every_time(bundle: Bundle, engines: dict[Task, Engine]) -> None:
    for task, engine in engines.items():
        inputs = _inputs(bundle.model(task), 40)
        first = engine.run(inputs)
        for _ in range(5):
            again = engine.run(inputs)
            for name, values in first.items():
                np.testing.assert_array_equal(again[name], values)


def test_an_answer_belongs_to_its_own_picture(bundle: Bundle, engines: dict[Task, Engine]) -> None:
    """Nothing of an earlier picture is left in a buffer that is used again."""
    for task, engine in engines.items():
        questions = [_inputs(bundle.model(task), 40, seed) for seed in range(3)]
        alone = [engine.run(question) for question in questions]
        for _ in range(2):
            for question, expected in zip(questions, alone, strict=True):
                answer = engine.run(question)
                for name, values in expected.items():
                    np.testing.assert_array_equal(answer[name], values)


@pytest.mark.parametrize("points", [1, 2, 7, 40, 300, 301, 1024])
def test_the_decoder_answers_any_number_of_points_as_the_processor_does(
    bundle: Bundle, engines: dict[Task, Engine], points: int
) -> None:
    model = bundle.model(Task.SAM_DECODER)
    precision = engines[Task.SAM_DECODER].precision
    processor = OnnxRuntimeEngine(bundle.file(model.files[precision]), model, precision)
    inputs = _inputs(model, points)

    found, expected = engines[Task.SAM_DECODER].run(inputs), processor.run(inputs)

    for mask in range(found["masks"].shape[1]):
        assert mask_dice(found["masks"][0, mask] > 0, expected["masks"][0, mask] > 0) > 0.98
    np.testing.assert_allclose(found["iou_predictions"], expected["iou_predictions"], atol=0.05)


def test_two_engines_on_two_threads_answer_as_each_alone(bundle: Bundle, engines: dict[Task, Engine]) -> None:
    tasks = (Task.HAIR, Task.CONDITIONS)
    questions = {task: _inputs(bundle.model(task), 40) for task in tasks}
    alone = {task: engines[task].run(questions[task]) for task in tasks}
    wrong: list[str] = []

    def work(task: Task) -> None:
        for _ in range(50):
            answer = engines[task].run(questions[task])
            wrong.extend(name for name in answer if not np.array_equal(answer[name], alone[task][name]))

    threads = [threading.Thread(target=work, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []


def test_every_part_of_a_run_is_timed(bundle: Bundle, engines: dict[Task, Engine]) -> None:
    for task, engine in engines.items():
        inputs = _inputs(bundle.model(task), 300)
        times: list[dict[str, float]] = []
        for _ in range(FRAMES + 20):
            outputs, parts = engine.run_timed(inputs)  # type: ignore[attr-defined]
            times.append(parts)
        assert all(np.isfinite(value) and value >= 0 for parts in times for value in parts.values())
        assert all(parts["compute"] > 0 for parts in times)
        told = {name: sorted(parts[name] for parts in times[20:]) for name in times[0]}
        _say(
            f"{task.value} {engine.precision.value}: "
            + ", ".join(
                f"{name} p50 {statistics.median(values):.3f} ms, p99 {values[int(0.99 * len(values))]:.3f} ms"
                for name, values in told.items()
            )
        )
        assert outputs.keys() == {spec.name for spec in bundle.model(task).outputs}


def test_opening_and_closing_gives_the_memory_back(
    bundle: Bundle, backend: TensorRtBackend, built: EnginesBuilt
) -> None:
    from cuda.bindings import runtime

    model = bundle.model(Task.HAIR)
    precision = next(each for each, _ in backend.preferences() if each in model.files)
    free = []
    for _ in range(12):
        _open(bundle, backend, model, precision).close()
        error, now, _ = runtime.cudaMemGetInfo()
        assert error == runtime.cudaError_t.cudaSuccess
        free.append(now)

    # The first times fill what the libraries keep for themselves. On a shared board others take and give meanwhile.
    assert free[-1] >= free[3] - (64 << 20), [value >> 20 for value in free]


def test_a_plan_that_was_cut_short_is_refused(bundle: Bundle, backend: TensorRtBackend, built: EnginesBuilt) -> None:
    model = bundle.model(Task.HAIR)
    precision = next(each for each, _ in backend.preferences() if each in model.files)
    plan = backend.cache.read(backend.key_for(model, precision))

    with pytest.raises(EngineNotBuilt):
        backend.open_plan(plan[: len(plan) // 2], model, precision)


def test_a_file_that_is_no_network_is_refused_by_the_parser(
    bundle: Bundle, backend: TensorRtBackend, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\x08\x08not a network")
    key = backend.key_for(bundle.model(Task.HAIR), Precision.INT8_SYMMETRIC)

    with pytest.raises(ScalpScopeError, match="parser refuses it"):
        build_plan(BuildRequest(broken, key, 256))


def test_a_building_can_be_stopped(bundle: Bundle, backend: TensorRtBackend) -> None:
    model = bundle.model(Task.HAIR)
    key = backend.key_for(model, Precision.INT8_SYMMETRIC)
    told: list[str] = []

    with pytest.raises(BuildStopped):
        build_plan(
            BuildRequest(bundle.file(model.files[Precision.INT8_SYMMETRIC]), key, 1024),
            lambda fraction, what: told.append(what),
            lambda: len(told) > 3,
        )


def test_onnx_runtime_on_the_gpu_runs_all_of_a_network_or_refuses_it(bundle: Bundle, backend: TensorRtBackend) -> None:
    other = OnnxRuntimeCudaBackend()
    if (unavailable := other.why_not()) is not None:
        pytest.skip(f"ONNX Runtime cannot use the GPU here: {unavailable.reason}")
    model = bundle.model(Task.SAM_DECODER)
    engine = other.open(bundle.file(model.files[Precision.FP16]), model, Precision.FP16, 2)
    check_goldens(engine, bundle, model)
    engine.close()


def test_the_bench_runs_on_it(bundle: Bundle, built: EnginesBuilt, backend: TensorRtBackend, tmp_path: Path) -> None:
    """The whole way of a figure, for a few seconds: too short to count, which the report has to say."""
    environment = {"XDG_CACHE_HOME": str(_as_user_cache(backend.cache.folder, tmp_path))}
    command = [
        sys.executable,
        "-c",
        "from device_app.cli import main; main()",
        "bench",
        "--model",
        "hair",
        "--backend",
        "tensorrt",
    ]
    command += ["--seconds", "5", "--out", str(tmp_path / "report")]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=600
    )

    assert done.returncode == 1, done.stdout + done.stderr
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    _say(done.stdout)
    assert "tensorrt" in json.dumps(report)


def _as_user_cache(folder: Path, where: Path) -> Path:
    """A folder that works as XDG_CACHE_HOME with the engines of `folder` in it."""
    home = where / "cache"
    (home / "scalpscope").mkdir(parents=True)
    target = home / "scalpscope" / "engines"
    target.mkdir(mode=0o700)
    for file in folder.iterdir():
        copy = target / file.name
        copy.write_bytes(file.read_bytes())
        copy.chmod(0o600)
    return home


def _open(bundle: Bundle, backend: TensorRtBackend, model: ModelEntry, precision: Precision) -> Engine:
    return backend.open(bundle.file(model.files[precision]), model, precision, 2)


def _inputs(model: ModelEntry, points: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Inputs such as the network meets: smooth, about the size of normalised colours; points within the picture."""
    random = np.random.default_rng(seed)
    made = {}
    for spec in model.inputs:
        shape = tuple(points if side == POINTS else int(side) for side in spec.shape)
        if spec.name == "point_coords":
            made[spec.name] = random.uniform(0, 480, shape)
        elif spec.name == "point_labels":
            made[spec.name] = random.integers(0, 2, shape)
        elif spec.name == "has_mask_input":
            made[spec.name] = np.zeros(shape)
        else:
            made[spec.name] = np.cumsum(random.normal(0, 0.1, shape), axis=-1).clip(-2.5, 2.5)
    return {name: np.ascontiguousarray(values, np.float32) for name, values in made.items()}


def _say(line: str) -> None:
    print(f"\n  {line}", end="", file=sys.__stdout__)
