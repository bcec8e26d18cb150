"""A whole bundle built, proved and kept on a machine that stands in for one with a GPU and TensorRT; the command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from calibration.errors import ScalpScopeError
from device_app.bundle import load_bundle
from device_app.engines.building import BuildEnd, BuildStep, from_line
from device_app.engines.engine import Precision
from export.bundle_writer import NetworkFiles, write_bundle
from export.engines import choose_networks
from export.golden_writer import hair_goldens
from tests.support.stand_in_tensorrt import ROOT, environment_for, run_child
from tests.support.tiny_bundle import golden_picture, make_darkness_network, make_tiny_bundle
from tests.support.tiny_sam import make_sam_bundle

Told = dict[str, Any]
ALL = ["hair fp32", "sam_encoder fp32", "sam_decoder fp16"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sam_bundle(tmp_path_factory.mktemp("bundle") / "tiny", 160, 128, max_points=64)


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp() / "stand-ins"


# The oldest and the newest: what differs between the others, `test_tensorrt.py` and the engine's own tests look at.
@pytest.fixture(scope="module", params=["10.3", "11.4"])
def told(request: pytest.FixtureRequest, bundle: Path, stand_ins: Path) -> Told:
    return run_child(request.param, stand_ins, "tests.export.engines_child", str(bundle))


def states(built: Told) -> dict[str, str]:
    return {engine["title"]: engine["state"] for engine in built["engines"]}


def problems(built: Told) -> dict[str, str]:
    return {engine["title"]: engine["problem"] for engine in built["engines"]}


def endings(files: list[str]) -> list[str]:
    return sorted(Path(file).suffix for file in files)


def test_every_network_is_built_proved_and_kept_once(told: Told) -> None:
    first, second = told["whole"]["first"], told["whole"]["second"]

    assert states(first) == dict.fromkeys(ALL, "built")
    assert all("mean difference" in engine["goldens"] for engine in first["engines"])
    assert endings(first["files"]) == [".cache", *[".json"] * 3, *[".plan"] * 3]
    assert states(second) == dict.fromkeys(ALL, "ready") and second["builds"] == 0
    assert states(told["whole"]["rebuilt"]) == dict.fromkeys(ALL, "built")


def test_nothing_is_misused_and_everything_is_freed(told: Told) -> None:
    for name in ("first", "second", "rebuilt"):
        assert told["whole"][name]["misuse"] == []
        assert told["whole"][name]["cuda"] == []


def test_what_is_kept_is_what_the_app_opens(told: Told) -> None:
    assert told["whole"]["opened"] == {"hair": "tensorrt", "sam_encoder": "tensorrt", "sam_decoder": "tensorrt"}
    assert set(told["whole"]["modes"]) == {"0o600"}


def test_progress_rises_to_the_end_and_says_what_is_done(told: Told) -> None:
    first = told["whole"]["first"]

    assert first["fractions_rise"] and first["last_fraction"] == 1
    assert first["steps"][0] == "hair fp32: looking for it"
    assert first["steps"][-2:] == ["sam_decoder fp16: checking it against its goldens", "sam_decoder fp16: built"]


def test_a_damaged_engine_is_built_anew(told: Told) -> None:
    assert states(told["damaged"]) == {"hair fp32": "built", "sam_encoder fp32": "ready", "sam_decoder fp16": "ready"}


def test_an_engine_of_another_driver_is_built_anew_and_thrown_away(told: Told) -> None:
    first, second = told["new_driver"]["first"], told["new_driver"]["second"]

    assert states(second) == dict.fromkeys(ALL, "built")
    assert endings(second["files"]) == [".cache", ".cache", *[".json"] * 3, *[".plan"] * 3]
    assert not {file for file in first["files"] if file.endswith(".plan")} & set(second["files"])


def test_an_engine_that_computes_something_else_is_not_kept(told: Told) -> None:
    built = told["computes_something_else"]

    assert states(built)["hair fp32"] == "failed"
    assert "computes something else on tensorrt" in problems(built)["hair fp32"]
    assert "does not fit" in problems(built)["sam_encoder fp32"]
    assert ".plan" not in endings(built["files"])
    assert not built["complete"]


def test_a_kept_engine_that_computes_something_else_is_built_anew(told: Told) -> None:
    built = told["kept_engine_that_computes_something_else"]

    assert states(built) == dict.fromkeys(ALL, "built") and built["complete"]


def test_one_failure_leaves_the_others_their_chance(told: Told) -> None:
    built = told["gpu_full"]

    assert states(built) == {"hair fp32": "failed", "sam_encoder fp32": "built", "sam_decoder fp16": "built"}
    assert "no memory left" in problems(built)["hair fp32"]
    assert set(states(told["parser"]).values()) == {"failed"}
    assert told["parser"]["last_fraction"] == 1


def test_a_gpu_that_fails_ends_the_work(told: Told) -> None:
    built = told["gpu_fails"]

    assert "Nothing in this process can use it any more" in problems(built)["hair fp32"]
    assert "not tried" in problems(built)["sam_encoder fp32"] and "not tried" in problems(built)["sam_decoder fp16"]
    assert built["builds"] == 1
    kept = told["gpu_fails_on_a_kept_engine"]
    assert set(states(kept).values()) == {"failed"} and kept["builds"] == 0, "it is not the kept engine's fault"


def test_a_plan_that_its_own_tensorrt_does_not_load_is_not_kept(told: Told) -> None:
    built = told["not_loaded"]

    assert "just built cannot be loaded" in problems(built)["hair fp32"]
    assert "version tag" in problems(built)["hair fp32"]
    assert ".plan" not in endings(built["files"])


def test_stopping_keeps_what_is_finished_and_the_next_time_goes_on(told: Told) -> None:
    built = told["stopped"]

    assert built["stopped"] == "sam_encoder fp32"
    assert endings(built["files"]) == [".cache", ".json", ".plan"]
    assert states(built["again"]) == {"hair fp32": "ready", "sam_encoder fp32": "built", "sam_decoder fp16": "built"}


@pytest.mark.parametrize(
    ("name", "what", "remedy"),
    [
        ("cache_in_a_file", "cannot be used", "--cache"),
        ("cache_that_cannot_be_made", "cannot be used", "--cache"),
        ("cache_of_everybody", "others may write into it", "chmod 700"),
        ("no_gpu", "no NVIDIA GPU", "needs no engines"),
        ("too_old", "driver is too old", "Update the driver"),
    ],
)
def test_where_nothing_can_be_built_one_error_says_why_before_any_work(
    told: Told, name: str, what: str, remedy: str
) -> None:
    assert what in told[name]["error"] and remedy in told[name]["remedy"]
    assert told[name]["builds"] == 0 and told[name]["steps"] == []


def test_the_builder_takes_the_memory_that_the_machine_can_spare(told: Told) -> None:
    assert told["workspace"]["pools"][0] == {"WORKSPACE": 300 << 20, "TACTIC_DRAM": 300 << 20}
    assert told["card"]["pools"][0]["WORKSPACE"] == 768 << 20
    assert told["board"]["pools"][0]["WORKSPACE"] <= 512 << 20


def test_the_command_speaks_in_lines_to_a_program(told: Told) -> None:
    done = told["commands"]["json"]
    messages = [from_line(line) for line in done["out"].splitlines()]

    assert done["code"] == 0
    assert messages[-1] == BuildEnd(built=tuple(ALL))
    assert all(isinstance(message, BuildStep) for message in messages[:-1])


def test_the_command_shows_a_table_to_people(told: Told) -> None:
    done = told["commands"]["table"]

    assert done["code"] == 0
    assert "goldens" in done["out"] and done["out"].count("ready") == 3
    assert "Engines in" in done["out"]
    assert told["commands"]["one"]["out"].count("ready") == 1
    assert "hair has no file in fp16, only in fp32" in told["commands"]["one"]["out"].replace("\n", " ")


def test_the_command_tells_every_failure_and_ends_with_1(told: Told) -> None:
    failed, lines = told["commands"]["failed"], told["commands"]["failed_json"]

    assert failed["code"] == 1 and failed["errors"].count("Failed: ") == 3
    assert lines["code"] == 1
    end = from_line(lines["out"].splitlines()[-1])
    assert isinstance(end, BuildEnd) and len(end.failed) == 3 and "no kernel" in end.failed[0]


def test_the_command_refuses_what_makes_no_sense_with_2(told: Told) -> None:
    assert told["commands"]["precision"]["code"] == 2
    assert "There is no precision 'int4'" in told["commands"]["precision"]["errors"]
    assert told["commands"]["not_for_tensorrt"]["code"] == 2
    assert "No engine can be built of int8_u8s8" in told["commands"]["not_for_tensorrt"]["errors"]


# --- processes ---


def start(bundle: Path, stand_ins: Path, cache: Path) -> subprocess.Popen[str]:
    """The command with a slow builder, as the app starts it, read up to the second network."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.export.engines_child", "slow", str(bundle), str(cache)],
        cwd=ROOT,
        env=environment_for("11.4", stand_ins),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    for line in child.stdout:
        if "sam_encoder fp32: Trying kernels" in line:
            break
    return child


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_with_nothing_half_written(
    bundle: Path, stand_ins: Path, tmp_path: Path, number: signal.Signals
) -> None:
    child = start(bundle, stand_ins, tmp_path / "engines")

    child.send_signal(number)
    _, errors = child.communicate(timeout=60)

    assert child.returncode == 128 + number
    assert "Stopped." in errors
    assert endings([file.name for file in (tmp_path / "engines").iterdir()]) == [".cache", ".json", ".plan"]


def test_it_ends_when_nobody_listens_any_more(bundle: Path, stand_ins: Path, tmp_path: Path) -> None:
    child = start(bundle, stand_ins, tmp_path / "engines")
    assert child.stdout is not None and child.stderr is not None

    child.stdout.close()
    errors = child.stderr.read()

    assert child.wait(timeout=60) == 1
    assert "Traceback" not in errors and "BrokenPipe" not in errors


def test_the_command_needs_neither_torch_nor_onnx(tmp_path: Path) -> None:
    """The device has neither. Here it ends because there is no GPU, which is after everything was imported."""
    for name in ("torch", "onnx", "onnxruntime"):
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('{name} is not installed')\n")

    done = subprocess.run(
        [sys.executable, "-m", "export", "engines", str(ROOT / "device_app" / "bundles" / "default")],
        cwd=ROOT,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 2
    assert done.stderr.startswith("scalpscope-export: No TensorRT engine can be built here:")
    assert len(done.stderr.splitlines()) == 1


# --- which networks ---

TAKEN = (Precision.INT8_SYMMETRIC, Precision.FP16, Precision.FP32)


def test_the_best_file_of_each_network_is_taken() -> None:
    chosen, left_out = choose_networks(load_bundle(ROOT / "device_app" / "bundles" / "default"), TAKEN)

    assert {model.task.value: precision.value for model, precision in chosen} == {
        "hair": "int8_symmetric",
        "sam_encoder": "int8_symmetric",
        "sam_decoder": "fp16",
        "conditions": "int8_symmetric",
    }
    assert left_out == ()


def test_a_bundle_without_a_network_for_tensorrt_is_refused_by_name(tmp_path: Path) -> None:
    facts = load_bundle(make_tiny_bundle(tmp_path / "tiny", 64, 64)).manifest.models[0]
    network = make_darkness_network(tmp_path / "network.onnx", 64, 64)
    files = NetworkFiles(facts, {Precision.INT8_U8S8: network}, hair_goldens([golden_picture()]), reference=network)
    bundle = write_bundle(tmp_path / "processor", "processor", "1", [files])

    with pytest.raises(
        ScalpScopeError, match=r"nothing that TensorRT can build: hair has no file in .* only in int8_u8s8"
    ):
        choose_networks(bundle, TAKEN)
    with pytest.raises(ScalpScopeError, match="Leave --precision out"):
        choose_networks(bundle, TAKEN, Precision.FP16)
