"""Opening what is timed: engines are built where they have to be, and nothing is fallen back to unsaid."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from calibration.errors import ScalpScopeError
from device_app.bench.latency.cold_start import Wanted, open_subject, run_builder, time_first
from device_app.bench.latency.report import Model
from device_app.engines import select
from device_app.engines.backend import Unavailable
from device_app.engines.building import BuildEnd, BuildStep, to_line
from device_app.engines.engine import EngineNotBuilt, Precision
from device_app.engines.onnxruntime_engine import OnnxRuntimeEngine
from tests.support.tiny_bundle import golden_picture

STEP = to_line(BuildStep("hair: trying kernels", 0.5))
READY = to_line(BuildEnd(built=("hair fp32",)))
FAILED = to_line(BuildEnd(failed=("Out of memory.",)))

GOOD = (
    "import sys, pathlib\n"
    f"print({STEP!r}, flush=True)\n"
    "pathlib.Path(sys.argv[1]).write_text('x')\n"
    f"print('noise')\nprint({READY!r})"
)
BAD = f"print({FAILED!r})\nraise SystemExit(1)"


class BuiltBackend:
    """ONNX Runtime, but only once a builder has made a file."""

    name = "brick"

    def __init__(self, engine_file: Path, builder: str, why_not: Unavailable | None = None) -> None:
        self._file, self._builder, self._why_not = engine_file, builder, why_not

    def why_not(self):
        return self._why_not

    def preferences(self):
        return ((Precision.FP32, "the only one"),)

    def open(self, path, model, precision, threads):
        if not self._file.exists():
            raise EngineNotBuilt("The engine of bricks is not built.", "Build it.")
        engine = OnnxRuntimeEngine(path, model, precision, threads)
        engine.backend = self.name
        return engine

    def build_command(self, bundle: Path):
        return [sys.executable, "-c", self._builder, str(self._file)]


@pytest.fixture()
def with_backend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Path]:
    """Registers a `BuiltBackend` for one test; gives the file that its builder has to make."""

    def register(builder: str = "", why_not: Unavailable | None = None) -> Path:
        file = tmp_path / "engine"
        monkeypatch.setattr(select, "_BACKENDS", list(select._BACKENDS))
        select.register_backend(BuiltBackend(file, builder, why_not))
        return file

    return register


@pytest.mark.parametrize("asked", [None, "brick"])
def test_what_can_be_built_is_built_first_and_timed_apart(tiny_bundle, with_backend, asked):
    file = with_backend(GOOD)
    told: list[tuple[str, float]] = []
    opened = open_subject(
        Wanted(tiny_bundle, Model.HAIR, asked, threads=1), lambda what, share: told.append((what, share))
    )
    assert opened.subject.ran.backend == "brick"
    assert not opened.subject.ran.fallback
    assert file.exists()
    assert opened.build_s > 0 and opened.load_s > 0
    assert told == [("hair: trying kernels", 0.5)]
    assert time_first(opened.subject, golden_picture()) > 0
    opened.subject.close()
    again = open_subject(Wanted(tiny_bundle, Model.HAIR, asked, threads=1))
    assert again.build_s is None
    again.subject.close()


@pytest.mark.parametrize("model", [Model.HAIR, Model.PIPELINE])
def test_a_builder_that_fails_is_said_and_the_next_best_runs(tiny_bundle, with_backend, model):
    with_backend(BAD)
    opened = open_subject(Wanted(tiny_bundle, model, threads=1))
    assert opened.subject.ran.backend == "onnxruntime-cpu"
    assert opened.subject.ran.fallback
    assert opened.subject.ran.reasons[1] == "Out of memory."
    assert any("not built" in reason for reason in opened.subject.ran.reasons)
    assert opened.build_s is not None
    opened.subject.close()


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"backend": "brick"}, "no bricks here"),
        ({"backend": "tensorrt-dla0"}, "no NVIDIA GPU"),
        ({"precision": Precision.INT8_SYMMETRIC}, "has no such file"),
    ],
)
def test_what_was_asked_for_and_cannot_be_had_is_replaced_with_the_reason(tiny_bundle, with_backend, wanted, words):
    with_backend("raise SystemExit('never started')", Unavailable("no bricks here", missed=False))
    opened = open_subject(Wanted(tiny_bundle, Model.HAIR, threads=1, **wanted))
    ran = opened.subject.ran
    opened.subject.close()
    assert (ran.backend, ran.precision, ran.fallback) == ("onnxruntime-cpu", "fp32", True)
    assert words in ran.reasons[1]
    assert opened.build_s is None


def test_a_back_end_that_nobody_knows_and_a_network_that_is_not_there_are_errors(tiny_bundle):
    with pytest.raises(ScalpScopeError, match=r"no back end 'warp'.*onnxruntime-cpu"):
        open_subject(Wanted(tiny_bundle, Model.HAIR, "warp"))
    with pytest.raises(ScalpScopeError, match="sam_encoder"):
        open_subject(Wanted(tiny_bundle, Model.SAM_ENCODER, "onnxruntime-cpu"))


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (f"print({READY!r})", ()),
        (BAD, ("Out of memory.",)),
        ("import sys; sys.exit('the board is on fire')", ("code 1 before it was done: the board is on fire",)),
        ("import os; os.kill(os.getpid(), 9)", ("code -9 before it was done: it said nothing",)),
    ],
)
def test_however_a_builder_ends_it_is_known(program, said):
    found = run_builder([sys.executable, "-c", program], lambda _what, _share: None)
    assert len(found) == len(said)
    assert all(words in problem for problem, words in zip(found, said, strict=True))


def test_a_builder_that_is_not_there_is_a_sentence():
    (problem,) = run_builder(["/no/such/builder"], lambda _what, _share: None)
    assert "cannot be started" in problem


def test_a_builder_does_not_outlive_an_error_of_ours(tmp_path):
    pid_file = tmp_path / "pid"
    program = (
        f"import os, pathlib, time; pathlib.Path({str(pid_file)!r}).write_text(str(os.getpid()))\n"
        f"print({STEP!r}, flush=True); time.sleep(60)"
    )

    def advance(_what: str, _share: float) -> None:
        raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_builder([sys.executable, "-c", program], advance)
    assert time.monotonic() - began < 30
    assert not Path(f"/proc/{pid_file.read_text()}").exists()
