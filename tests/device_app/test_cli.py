"""The `scalpscope` command as a whole: help, versions, errors, and what it does not load before it must."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer

from calibration.errors import ScalpScopeError
from device_app import __version__
from device_app.cli import EXIT_INTERNAL, EXIT_USER, call
from device_app.commands.bench import BENCHES
from device_app.commands.options import PrecisionName
from device_app.engines.engine import Precision
from tests.support.command import ROOT, environment, scalpscope

COMMANDS = ("run", "analyse", "stage", "doctor", "bench")


def test_the_module_is_light() -> None:
    """`--help` answers at once because nothing heavy is loaded for it."""
    code = "import sys, device_app.cli; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment(), check=True
    )
    heavy = {"numpy", "cv2", "onnxruntime", "kivy", "scipy", "skimage", "torch"}
    assert not heavy & set(run.stdout.split())


def test_onnxruntime_finds_its_telemetry_off() -> None:
    code = "import os, device_app; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    env = environment(ORT_DISABLE_TELEMETRY=None)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=env, check=True)
    assert run.stdout.strip() == "1"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert call([command, "--help"]) == 0
    text = capfd.readouterr().out
    assert "Usage: scalpscope" in text
    assert len(text.splitlines()) > 8


def test_help_names_every_command_and_gives_examples() -> None:
    run = scalpscope("--help")
    assert run.returncode == 0
    assert all(command in run.stdout for command in COMMANDS)
    assert "Examples:" in run.stdout


def test_version(capfd: pytest.CaptureFixture[str]) -> None:
    assert call(["--version"]) == 0
    assert capfd.readouterr().out.strip() == f"scalpscope {__version__}"


@pytest.mark.parametrize(
    "words", [["dance"], ["run", "--sauce"], ["analyse"], ["run", "--classes", "mine"], ["bench", "x"]]
)
def test_wrong_words_are_exit_code_2(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert call(words) == EXIT_USER
    assert "Traceback" not in capfd.readouterr().err


def program_that(error: BaseException) -> typer.Typer:
    program = typer.Typer()

    @program.command()
    def command(debug: bool = False) -> None:
        raise error

    return program


def test_an_error_of_the_user_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert call([], program_that(ScalpScopeError("The lens\nis dirty.", "Clean it."))) == EXIT_USER
    assert capfd.readouterr().err == "scalpscope: The lens is dirty. Clean it.\n"


def test_a_fault_of_ours_is_one_line_and_a_traceback_on_demand(capfd: pytest.CaptureFixture[str]) -> None:
    assert call([], program_that(ZeroDivisionError("oh"))) == EXIT_INTERNAL
    err = capfd.readouterr().err
    assert len(err.splitlines()) == 1
    assert "--debug" in err
    assert call(["--debug"], program_that(ZeroDivisionError("oh"))) == EXIT_INTERNAL
    assert "Traceback" in capfd.readouterr().err


def test_debug_and_verbose_may_stand_behind_the_command() -> None:
    run = scalpscope("analyse", "/no/such/picture.png", "--out", "/tmp/none", "--debug", "--verbose")
    assert run.returncode == EXIT_USER
    assert "Traceback" in run.stderr
    assert "/no/such/picture.png" in run.stderr.splitlines()[-1]


def test_the_precisions_on_offer_are_those_there_are() -> None:
    assert [name.value for name in PrecisionName] == [precision.value for precision in Precision]


@pytest.mark.parametrize("name", BENCHES)
def test_every_bench_is_there_and_explains_itself(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert call(["bench", name, "--help"]) == 0
    out = capfd.readouterr().out
    assert f"scalpscope bench {name}" in out
    assert len(out.splitlines()) > 8
