"""Building one plan, with the real bindings of five versions of TensorRT and a builder behind them that stands in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.tensorrt import Phases, workspace_mib
from tests.support.stand_in_tensorrt import VERSIONS, run_child
from tests.support.tiny_sam import make_sam_bundle

Told = dict[str, Any]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sam_bundle(tmp_path_factory.mktemp("bundle") / "tiny", 160, 128, max_points=1024)


@pytest.fixture(scope="module", params=VERSIONS)
def told(request: pytest.FixtureRequest, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Told:
    """What came of every scenario, with one version of TensorRT."""
    folder = tmp_path_factory.getbasetemp() / "stand-ins"
    return run_child(request.param, folder, "tests.export.tensorrt_child", str(bundle))


def test_a_plan_is_built_strongly_typed_within_the_memory_given(told: Told) -> None:
    plain = told["plain"]

    assert "hair_fp32.onnx" in plain["plan"]
    assert plain["flags"] == [plain["strongly_typed"]]
    assert plain["builder_flags"] == [], "precision is the file's, not a flag's"
    assert plain["level"] == 3
    assert plain["pools"] == {"WORKSPACE": 512 << 20, "TACTIC_DRAM": 512 << 20}
    assert plain["profiles"] == [], "nothing is free"
    assert plain["misuse"] == []


def test_progress_is_told_by_phase_and_does_not_fall(told: Told) -> None:
    fractions = [fraction for fraction, _ in told["plain"]["progress"]]

    assert fractions == sorted(fractions) and fractions[0] == 0 and fractions[-1] == 1
    assert {words for _, words in told["plain"]["progress"]} == {"Building engine", "Trying kernels", "Serialising"}
    assert 1 / 6 in fractions, "a third of the first of two steps"


def test_the_points_may_be_from_one_to_the_most(told: Told) -> None:
    shapes = told["free_axis"]

    assert shapes["profiles"] == [
        {
            "point_coords": [[1, 1, 2], [1, 300, 2], [1, 1024, 2]],
            "point_labels": [[1, 1], [1, 300], [1, 1024]],
        }
    ]
    assert shapes["misuse"] == []
    assert "are free, and nothing says how long" in told["nobody_says_how_long"]["what"]
    assert "does not accept 1 to 1024 points" in told["profile_refused"]["what"]


def test_every_error_of_the_parser_is_told(told: Told) -> None:
    assert told["parser"]["what"] == (
        "hair fp32: TensorRT's parser refuses it: Det '/head/Det': no importer; the file is odd."
    )
    assert "no such file" in told["parser_without_errors"]["what"]


def test_no_plan_is_told_with_what_tensorrt_said(told: Told) -> None:
    assert "no kernel for layer 3" in told["no_plan"]["what"]
    assert "--workspace" not in told["no_plan"]["remedy"]
    assert told["no_plan"]["files"] == [], "nothing is kept of a building that failed"


def test_a_lack_of_memory_comes_with_what_to_do(told: Told) -> None:
    assert "out of memory" in told["no_memory"]["what"]
    assert "--workspace" in told["no_memory"]["remedy"]


def test_a_builder_that_is_not_to_be_had_is_an_error_with_its_reason(told: Told) -> None:
    assert "CUDA initialization failure 35" in told["no_builder"]["what"]


def test_times_of_kernels_are_taken_up_again_and_kept(told: Told) -> None:
    assert told["plain"]["times"] == "times of hair_fp32.onnx"
    assert told["kept_times"]["given"][0] == "earlier"
    assert told["kept_times"]["times"].split("+")[:2] == ["earlier", "times of hair_fp32.onnx"]
    assert told["times_of_another_builder"]["times"] == "times of hair_fp32.onnx+meanwhile"


@pytest.mark.parametrize("name", ["times_of_another_version", "times_of_another_device"])
def test_times_that_do_not_fit_are_measured_anew(told: Told, name: str) -> None:
    assert told[name]["given"][:2] == ["earlier", ""]
    assert told[name]["times"].startswith("times of hair_fp32.onnx")


def test_times_that_cannot_be_kept_fail_nothing(told: Told) -> None:
    assert "hair_fp32.onnx" in told["times_that_do_not_combine"]["plan"]
    assert "hair_fp32.onnx" in told["times_that_are_not_to_be_had"]["plan"]
    assert told["times_that_are_not_to_be_had"]["times"] == "earlier"
    assert told["no_cache"]["given"] == []


def test_a_building_that_is_stopped_ends_at_its_next_step(told: Told) -> None:
    assert told["stopped"]["stopped"] == "hair fp32"
    assert told["stopped"]["builder_stopped"]
    assert told["stopped"]["files"] == []


def test_an_exception_does_not_go_through_tensorrt(told: Told) -> None:
    assert told["progress_that_fails"] == {"error": "Building engine", "builder_stopped": True}


def test_the_accelerator_is_used_when_it_is_asked_for_and_there(told: Told) -> None:
    assert told["dla"]["flags"] == ["GPU_FALLBACK"]
    assert (told["dla"]["device"], told["dla"]["core"]) == ("DLA", 1)
    assert "finds none here" in told["no_dla"]["what"]
    assert "--dla" in told["no_dla"]["remedy"]


MEMINFO = "MemTotal:        7800000 kB\nMemFree:          100000 kB\nMemAvailable:    4194304 kB\n"


def test_a_board_that_shares_its_memory_keeps_half_of_what_is_free(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(MEMINFO)

    assert workspace_mib(7600, integrated=True, meminfo=meminfo) == 2048
    assert workspace_mib(1000, integrated=True, meminfo=meminfo) == 500
    assert workspace_mib(7600, integrated=True, meminfo=tmp_path / "none") == 3800
    assert workspace_mib(16000, integrated=False, meminfo=meminfo) == 12000
    assert workspace_mib(100, integrated=False, meminfo=meminfo) == 256


NAMES = ["a", "b", "c", "d"]
CALLS = st.one_of(
    st.tuples(st.just("start"), st.sampled_from(NAMES), st.sampled_from([None, *NAMES]), st.integers(0, 9)),
    st.tuples(st.just("step"), st.sampled_from(NAMES), st.integers(-1, 12)),
    st.tuples(st.just("finish"), st.sampled_from(NAMES)),
)


@given(st.lists(CALLS, max_size=40))
def test_whatever_tensorrt_tells_the_fraction_stays_between_0_and_1_and_does_not_fall(calls: list[Any]) -> None:
    fractions: list[float] = []
    phases = Phases(lambda fraction, words: fractions.append(fraction))

    for name, *arguments in calls:
        getattr(phases, name)(*arguments)

    assert fractions == sorted(fractions)
    assert all(0 <= fraction <= 1 for fraction in fractions)
