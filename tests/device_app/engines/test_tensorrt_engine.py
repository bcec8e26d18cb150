"""The TensorRT engine's whole code against the real bindings of five versions; see `tensorrt_scenarios`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from device_app.engines.engine import Precision
from export.bundle_writer import NetworkFacts, hair_network, write_bundle
from tests.support.stand_in_tensorrt import VERSIONS, run_child
from tests.support.tiny_bundle import MEAN, STD, golden_picture, make_darkness_network
from tests.support.tiny_sam import make_sam_bundle

FRAME = ["cudaMemcpyAsync", "cudaGraphLaunch", "cudaMemcpyAsync", "cudaStreamSynchronize"]
FACTS = NetworkFacts((1, 3, 48, 64), MEAN, STD, "a test", "Apache-2.0", "a test", demonstration_only=False)
CPU = "onnxruntime-cpu"


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A hair network in three precisions (for the test's purpose, the same file), and a SAM."""
    folder = tmp_path_factory.mktemp("bundles")
    network = make_darkness_network(folder / "network.onnx", 64, 48)
    files = dict.fromkeys((Precision.FP32, Precision.INT8_SYMMETRIC, Precision.INT8_U8S8), network)
    write_bundle(folder / "hair", "hair", "1", [hair_network(FACTS, files, [golden_picture(3), golden_picture(4)])])
    make_sam_bundle(folder / "sam", 64, 48)
    return folder / "hair", folder / "sam"


@pytest.fixture(scope="session", params=VERSIONS)
def shown(
    request: pytest.FixtureRequest, bundles: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What every scenario showed, with one version of TensorRT."""
    scratch = tmp_path_factory.mktemp("scratch")
    make_darkness_network(scratch / "other.onnx", 64, 48, dark_below=0.75)
    libraries = tmp_path_factory.getbasetemp() / "stand-ins"
    module = "tests.device_app.engines.tensorrt_scenarios"
    return run_child(request.param, libraries, module, *map(str, bundles), str(scratch))


def is_balanced(facts: dict[str, Any]) -> bool:
    return facts["alive"] == [] and facts["violations"] == [] and not facts.get("misuse")


def told_of(facts: dict[str, Any], *parts: str) -> bool:
    """An error that holds all of these, and says what to do."""
    return all(part in facts["what"] for part in parts) and facts["remedy"] != "" and "\n" not in facts["what"]


@pytest.mark.parametrize("memory", ["life", "shared_life"])
def test_an_engine_is_missed_then_kept_chosen_proved_run_and_freed(shown: dict[str, Any], memory: str) -> None:
    life = shown[memory]
    assert life["unavailable"] is None
    backend, fallback, reasons, commands = life["before"]
    assert (backend, fallback) == (CPU, True)
    assert "tensorrt int8_symmetric not used: no engine was built yet for hair int8_symmetric" in reasons
    assert [command[:4] for command in commands] == [[sys.executable, "-m", "export", "engines"]]
    assert commands[0][-2] == "--cache" and "json" in commands[0]
    assert life["key"]["tensorrt"] == shown["version"]
    assert (life["key"]["gpu"], life["key"]["compute_capability"]) == ("Orin", "8.7")
    assert life["key"]["driver"] == "13.2 (R36.4.3)"
    backend, precision, reasons, fallback = life["chosen"]
    assert (backend, precision, fallback) == ("tensorrt", "int8_symmetric", False) and len(reasons) == 1
    assert life["right"] == [True] * 3 and life["timed_right"]
    assert life["parts"] == {"host_to_device": True, "compute": True, "device_to_host": True}
    assert told_of(life["closed"], "closed")
    assert is_balanced(life) and life["freed"] == [0] * 5 and life["in_reverse"]
    assert life["made"] >= 3 and life["held"] == []  # runtime, engine and context went with it


def test_a_frame_is_two_copies_and_one_launch(shown: dict[str, Any]) -> None:
    assert shown["life"]["frames"] == FRAME * 3
    assert len(shown["life"]["captured"]) == 2  # once to settle, once captured; never for a frame


def test_on_shared_memory_nothing_is_copied(shown: dict[str, Any]) -> None:
    assert shown["shared_life"]["frames"] == ["cudaGraphLaunch", "cudaStreamSynchronize"] * 3


def test_it_runs_on_any_thread(shown: dict[str, Any]) -> None:
    assert shown["threads"]["right"] == [True, True] and is_balanced(shown["threads"])


def test_answers_are_the_callers_and_their_memory_comes_back(shown: dict[str, Any]) -> None:
    answers = shown["answers"]
    assert answers["held"] and answers["apart"] == 12
    assert answers["places"] == 1
    assert is_balanced(answers)


def test_inputs_that_do_not_fit_never_reach_the_gpu(shown: dict[str, Any]) -> None:
    inputs = shown["inputs"]
    missing, size, kind, unknown = inputs["told"]
    assert told_of(missing, "'image' is missing") and told_of(size, "(1, 3, 24, 64)")
    assert told_of(kind, "float64") and told_of(unknown, "no input 'mask'")
    assert inputs["silent"] and inputs["right"] and is_balanced(inputs)


def test_any_number_of_points_and_a_graph_for_those_that_come_again(shown: dict[str, Any]) -> None:
    points = shown["points"]
    assert all(points["right"]) and points["after"]
    #                                 5      5     5     7      5     7     7     1      64     64
    assert points["launches"][:10] == [False, True, True, False, True, True, True, False, False, True]
    assert max(points["graphs"]) == 4 and points["graphs"][-1] == 4
    assert points["launches"][-2:] == [False, True]  # 5 was given up for later ones, and is captured anew
    assert not points["captured_at_start"]
    assert told_of(points["outside"][0], "0 points", "1 to 64") and told_of(points["outside"][1], "65 points")
    assert told_of(points["outside"][2], "5 and 6 points")
    assert is_balanced(points) and points["freed"] == [0] * 5


def test_without_memory_for_another_context_a_graph_is_given_up(shown: dict[str, Any]) -> None:
    found = shown["no_second_context"]
    assert found["right"] == [True] * 5 and found["graphs"] == 0  # each count took the only context from the other
    assert is_balanced(found)


def test_whatever_cannot_be_allocated_everything_else_is_freed(shown: dict[str, Any]) -> None:
    tried = shown["out_of_memory"]
    assert [(each["call"], each["nth"]) for each in tried] == [
        *(("cudaMalloc", nth) for nth in (1, 2, 3)),  # scratch memory, inputs, outputs
        *(("cudaHostAlloc", nth) for nth in (1, 2)),
        ("cudaStreamCreateWithFlags", 1),
        *(("cudaEventCreateWithFlags", nth) for nth in (1, 2, 3, 4)),
    ]
    for each in tried:
        assert each["kind"] == "ScalpScopeError" and told_of(each, "no memory left", each["call"])
        assert is_balanced(each), each


def test_each_refusal_of_tensorrt_is_told_with_its_own_words(shown: dict[str, Any]) -> None:
    refusals = shown["refusals"]
    for what, facts in refusals.items():
        words = {"unspecified": "image", "foreign": "Magic tag"}.get(what, "the stand-in was told to fail")
        assert told_of(facts, words), facts
        assert is_balanced(facts), facts
        assert (facts["kind"] == "EngineNotBuilt") == (what in {"deserialise", "foreign"})


def test_an_engine_of_other_tensors_is_refused(shown: dict[str, Any]) -> None:
    for name, facts in shown["other_tensors"].items():
        assert told_of(facts, "manifest says", "no float32" if name == "type" else "64"), facts
        assert is_balanced(facts)


def test_an_engine_that_computes_something_else_never_goes_live(shown: dict[str, Any]) -> None:
    backend, fallback, reasons = shown["another_network"]["chosen"]
    assert (backend, fallback) == (CPU, True)
    assert any(reason.startswith("tensorrt") and "mask Dice" in reason for reason in reasons)
    assert is_balanced(shown["another_network"])


def test_after_a_refused_frame_the_next_is_right(shown: dict[str, Any]) -> None:
    later = shown["enqueue_refused_later"]
    assert told_of(later["first"], "refused to run") and later["first"]["kind"] == "ScalpScopeError"
    assert later["right"] and is_balanced(later)


@pytest.mark.parametrize("when", ["opening", "frame", "copy", "refused"])
def test_a_gpu_that_is_lost_is_told_apart_and_everything_is_let_go(shown: dict[str, Any], when: str) -> None:
    lost = shown["lost"][when]
    assert lost["first"]["kind"] == "EngineLost" and told_of(lost["first"], "Nothing in this process")
    assert lost["again"] is None or lost["again"]["kind"] == "EngineLost"
    assert lost["opened"] == (when != "opening")
    assert lost["freed"] == [0] * 5 and lost["violations"] == []  # tried, though such a GPU frees nothing


def test_a_gpu_that_is_lost_while_opening_is_passed_over(shown: dict[str, Any]) -> None:
    backend, fallback, reasons = shown["lost_while_opening"]["chosen"]
    assert (backend, fallback) == (CPU, True)
    assert [reason.split(":")[0] for reason in reasons[1:]] == ["tensorrt int8_symmetric not used"]


@pytest.mark.parametrize("why", ["invalid", "empty", "refused", "instantiate", "begin"])
def test_without_a_graph_it_says_so_and_is_right(shown: dict[str, Any], why: str) -> None:
    found = shown["no_capture"][why]
    assert found["right"] == [True] * 3 and found["tries"] == 1
    assert len(found["remarks"]) == 1 and "no graph can be captured" in found["remarks"][0]
    assert is_balanced(found)


def test_the_choice_says_what_its_engine_does_without(shown: dict[str, Any]) -> None:
    backend, fallback, reasons = shown["no_capture_chosen"]["chosen"]
    assert (backend, fallback) == ("tensorrt", False)
    assert len(reasons) == 2 and "no graph can be captured" in reasons[1]


def test_values_that_are_no_numbers_are_an_error(shown: dict[str, Any]) -> None:
    assert told_of(shown["no_numbers"]["told"], "not numbers") and shown["no_numbers"]["right"]


def test_the_device_and_what_is_wrong_with_it(shown: dict[str, Any]) -> None:
    device = shown["device"]
    assert device["found"] == {
        "name": "NVIDIA Thor",
        "compute_capability": "11.0",
        "driver": "13.2",
        "driver_build": "R36.4.3",
        "integrated": True,
        "memory_mib": 128 * 1024,
    }
    assert told_of(device["problems"]["none"], "finds no GPU") and device["problems"]["none"]["missed"]
    assert told_of(device["problems"]["old"], "too old", "CUDA 11.4") and device["problems"]["old"]["missed"]
    if device["really"] is not None:  # the test's made-up GPU with this machine's own CUDA, which may have no driver
        reason, missed, remedy = device["really"]
        assert missed and remedy and ("driver" in reason or "GPU" in reason)
    assert device["nowhere"] == {"reason": "no NVIDIA GPU", "missed": False, "remedy": ""}


def test_what_is_taken_by_name_only_and_what_never(shown: dict[str, Any]) -> None:
    by_name = shown["by_name"]
    assert told_of(by_name["unsigned"], "unsigned") and by_name["unsigned"]["kind"] == "ScalpScopeError"
    assert by_name["missing"]["kind"] == by_name["other"]["kind"] == "EngineNotBuilt"
    assert (by_name["core"], by_name["name"]) == (1, "tensorrt-dla1")
    assert by_name["preferences"] == ["int8_symmetric", "fp16"] and by_name["command"][-2:] == ["--dla", "1"]
    assert is_balanced(by_name)


def test_versions_are_the_ones_that_were_asked_for(shown: dict[str, Any], request: pytest.FixtureRequest) -> None:
    asked = request.node.callspec.params["shown"]
    assert shown["version"].split(".")[:2] == asked.split(".")
