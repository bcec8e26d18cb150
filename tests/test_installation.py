"""What gets installed: setup.cfg, constraints.txt, and the scripts behind make."""

from __future__ import annotations

import configparser
import importlib.metadata
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from setuptools import find_packages

from tests.support.house import FLOORS, NOT_EVERYWHERE, ROOT, imports_of, run_script, source_files

EXTRAS = {"calibration": [], "device_app": ["device"], "training": ["training"], "export": ["export"]}
"""What is installed for each floor."""
GPU_EXTRAS = {"jetpack6", "jetpack7", "tensorrt-cu12", "tensorrt-cu13"}
"""For machines with an NVIDIA GPU, one of them each: they exclude one another, and constraints.txt leaves them out."""
MACHINES = [
    {"python_version": version, "python_full_version": f"{version}.9", "platform_machine": machine}
    for version in ("3.10", "3.11", "3.12")
    for machine in ("x86_64", "aarch64")
]


# --- what setup.cfg and constraints.txt promise ---


@pytest.fixture(scope="module")
def setup() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def requirements_of(setup: configparser.ConfigParser, extra: str | None) -> list[Requirement]:
    """The requirements of one extra with those of the extras it names; of the bare package for None."""
    lines = setup["options.extras_require"][extra] if extra else setup["options"]["install_requires"]
    found = []
    for line in lines.split("\n"):
        if line.strip():
            requirement = Requirement(line)
            inner = requirement.extras if requirement.name == "scalpscope" else ()
            found += [each for name in inner for each in requirements_of(setup, name)] if inner else [requirement]
    return found


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("floor", FLOORS)
def test_every_library_a_floor_imports_is_declared_for_it(floor: str, setup: configparser.ConfigParser) -> None:
    declared = {normal(each.name) for extra in [None, *EXTRAS[floor]] for each in requirements_of(setup, extra)}
    distributions = importlib.metadata.packages_distributions()
    imported = {name for path in source_files(floor) for name in imports_of(path)}
    foreign = imported - set(FLOORS) - set(sys.stdlib_module_names) - set(NOT_EVERYWHERE)
    undeclared = {name for name in foreign if not {normal(each) for each in distributions.get(name, [name])} & declared}
    assert not undeclared


def test_what_is_not_everywhere_is_an_extra(setup: configparser.ConfigParser) -> None:
    names = {"pynvml": "nvidia-ml-py", "mlperf_loadgen": "mlcommons-loadgen", "cuda": "cuda-bindings"}
    bench = {normal(each.name) for each in requirements_of(setup, "bench")}
    assert {names.get(name, name) for name, kind in NOT_EVERYWHERE.items() if kind == "bench"} <= bench
    for extra in GPU_EXTRAS:
        declared = {normal(each.name) for each in requirements_of(setup, extra)}
        assert "cuda-bindings" in declared and "onnxruntime" in declared
        assert extra.startswith("jetpack") or extra in declared  # on a Jetson TensorRT comes with the system


def test_the_gpu_extras_ask_for_the_versions_that_the_tests_drive(setup: configparser.ConfigParser) -> None:
    lines = (ROOT / "tests" / "tensorrt_bindings.txt").read_text(encoding="utf-8").splitlines()
    driven = [Requirement(line.split(maxsplit=1)[1]) for line in lines if line and not line.startswith("#")]
    versions = {(normal(each.name), version.version) for each in driven for version in each.specifier}
    bindings = {
        extra: next(each for each in requirements_of(setup, extra) if normal(each.name) == "cuda-bindings")
        for extra in GPU_EXTRAS
    }
    for extra, requirement in bindings.items():
        ((operator, version),) = {(each.operator, each.version) for each in requirement.specifier}
        assert operator == "==" and ("cuda-bindings", version) in versions, f"{extra}: {requirement}"
        assert Version(version).major == (12 if extra in ("jetpack6", "tensorrt-cu12") else 13)


def test_every_folder_of_code_is_a_package_that_gets_installed(setup: configparser.ConfigParser) -> None:
    include = setup["options.packages.find"]["include"].split()
    installed = set(find_packages(str(ROOT), include=include))
    on_disk = {".".join(path.parent.relative_to(ROOT).parts) for floor in FLOORS for path in source_files(floor)}
    assert on_disk <= installed
    assert {name.split(".")[0] for name in installed} == set(FLOORS)


def test_every_file_that_is_not_code_is_package_data(setup: configparser.ConfigParser) -> None:
    data = {floor: setup["options.package_data"].get(floor, "").split() for floor in FLOORS}
    shipped = {path for floor, patterns in data.items() for each in patterns for path in (ROOT / floor).glob(each)}
    others = {
        path
        for floor in FLOORS
        for path in (ROOT / floor).rglob("*")
        if path.is_file() and path.suffix not in {".py", ".pyc"} and "__pycache__" not in path.parts
    }
    assert {path for path in others if path.suffix == ".toml"}
    assert others <= shipped


@pytest.mark.parametrize("script", ["scalpscope", "scalpscope-train", "scalpscope-export", "scalpscope-calibrate"])
def test_every_command_starts_and_explains_itself(script: str, setup: configparser.ConfigParser) -> None:
    scripts = dict(
        re.split(r"\s*=\s*", line) for line in setup["options.entry_points"]["console_scripts"].split("\n") if line
    )
    module, function = scripts[script].split(":")
    program = (
        f"import sys; sys.argv = [{script!r}, '--help']; from {module} import {function} as main; sys.exit(main())"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "usage" in result.stdout.lower() and script in result.stdout


def pins_for(machine: dict[str, str]) -> dict[str, Version]:
    """The one version of each package that constraints.txt allows on a machine."""
    environment = {"sys_platform": "linux", "platform_system": "Linux", "implementation_name": "cpython", **machine}
    pins: dict[str, Version] = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            pin = Requirement(line)
            if pin.marker is None or pin.marker.evaluate(environment):
                (specifier,) = pin.specifier
                assert specifier.operator == "==" and normal(pin.name) not in pins, line
                pins[normal(pin.name)] = Version(specifier.version)
    return pins


@pytest.mark.parametrize("machine", MACHINES, ids=lambda each: f"{each['python_version']}-{each['platform_machine']}")
def test_every_requirement_is_pinned_on_every_machine(
    machine: dict[str, str], setup: configparser.ConfigParser
) -> None:
    pins = pins_for(machine)
    for extra in [None, *(set(setup["options.extras_require"]) - GPU_EXTRAS)]:
        for requirement in requirements_of(setup, extra):
            if requirement.marker is None or requirement.marker.evaluate({**machine, "sys_platform": "linux"}):
                assert normal(requirement.name) in pins, f"{requirement} has no pin: make constraints"
                assert pins[normal(requirement.name)] in requirement.specifier, f"{requirement}: make constraints"


def test_the_pins_are_made_of_every_extra_but_those_for_gpus(setup: configparser.ConfigParser) -> None:
    pinned = set(re.findall(r"--extra (\S+)", (ROOT / ".ci" / "pin").read_text(encoding="utf-8")))
    assert pinned == set(setup["options.extras_require"]) - GPU_EXTRAS


@pytest.mark.parametrize("extra", ["device", "bench", *sorted(GPU_EXTRAS)])
def test_what_a_device_installs_needs_no_torch(extra: str, setup: configparser.ConfigParser) -> None:
    names = {normal(each.name) for each in [*requirements_of(setup, None), *requirements_of(setup, extra)]}
    assert {"kivy", "onnxruntime"} <= names
    assert not names & {"torch", "torchvision", "accelerate", "onnx"}


# --- the scripts behind make ---


def test_a_fitting_python_is_found_behind_ones_that_do_not_fit(tmp_path: Path) -> None:
    too_old = tmp_path / "python3"
    too_old.write_text("#!/bin/sh\nexit 1\n")
    too_old.chmod(0o755)
    found = run_script("sh", ".ci/find-python", "no-such-python", str(too_old), sys.executable)
    assert (found.returncode, found.stdout.strip()) == (0, sys.executable)
    none = run_script("sh", ".ci/find-python", "no-such-python", str(too_old))
    assert none.returncode == 1 and not none.stdout
    assert "make PYTHON=" in none.stderr


def test_make_lists_its_targets() -> None:
    listed = run_script("make", "--no-print-directory").stdout
    for target in ("run", "test", "test-gpu", "lint", "screenshots", "link-tensorrt", "check-aarch64", "clean"):
        assert f"make {target} " in listed


def test_make_run_installs_the_device_extra_with_the_pins(tmp_path: Path) -> None:
    steps = run_script("make", "--dry-run", "run", f"VENV={tmp_path}", "ARGS=--source camera:0").stdout
    assert "-c constraints.txt -e '.[device]'" in steps
    assert f"sh .ci/link-tensorrt {tmp_path}" in steps
    assert f"{tmp_path}/bin/scalpscope run --source camera:0" in steps


def test_make_test_fetches_the_bindings_that_the_tests_drive(tmp_path: Path) -> None:
    steps = run_script("make", "--dry-run", "test", f"VENV={tmp_path}").stdout
    assert f"sh .ci/tensorrt-bindings {tmp_path}/bin/python {tmp_path}/tensorrt" in steps
    assert "SCALPSCOPE_TEST_GPU=1" in run_script("make", "--dry-run", "test-gpu", f"VENV={tmp_path}").stdout


def test_a_library_for_another_machine_is_found_out(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("check_aarch64", ROOT / ".ci" / "check_aarch64.py")
    assert spec and spec.loader
    checker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(checker)
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "right.so").write_bytes(b"\x7fELF" + bytes(14) + b"\xb7\x00")
    (tmp_path / "pkg" / "wrong.cpython-310.so.2").write_bytes(b"\x7fELF" + bytes(14) + b"\x3e\x00")
    (tmp_path / "pkg" / "names.sources").write_text("no library")
    assert checker.foreign_files(tmp_path) == [Path("pkg/wrong.cpython-310.so.2")]


class Board:
    """A virtual environment and, beside it, a system's Python with TensorRT, as on a Jetson."""

    def __init__(self, folder: Path) -> None:
        self.venv = folder / "venv"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", self.venv], check=True)
        paths = f"import sysconfig; print(sysconfig.get_paths(vars={{'base': {str(self.venv)!r}}})['purelib'])"
        self.site = Path(run_script(str(self.venv / "bin" / "python"), "-c", paths).stdout.strip())
        self.packages = folder / "dist-packages"
        (self.packages / "tensorrt").mkdir(parents=True)
        (self.packages / "tensorrt" / "__init__.py").write_text("raise RuntimeError('TensorRT was loaded')\n")
        (self.packages / "tensorrt-10.3.0.dist-info").mkdir()
        (self.packages / "tensorrt-10.3.0.dist-info" / "METADATA").write_text("Name: tensorrt\nVersion: 10.3.0\n")
        self.python = folder / "python3"
        self.python.write_text(f'#!/bin/sh\nexport PYTHONPATH={self.packages}\nexec {sys.executable} "$@"\n')
        self.python.chmod(0o755)
        self.release = folder / "nv_tegra_release"
        # A pip that writes down what it was asked for.
        (self.site / "pip").mkdir()
        (self.site / "pip" / "__main__.py").write_text(
            f"import sys; open({str(folder / 'pip.txt')!r}, 'a').write(' '.join(sys.argv[1:]) + '\\n')\n"
        )
        self.asked = folder / "pip.txt"

    def link(self) -> subprocess.CompletedProcess[str]:
        return run_script("sh", ".ci/link-tensorrt", str(self.venv), str(self.python), str(self.release))

    def seen(self) -> str:
        program = (
            "import importlib.metadata as m, importlib.util as u\n"
            "print(m.version('tensorrt') if u.find_spec('tensorrt') else 'none')"
        )
        return run_script(str(self.venv / "bin" / "python"), "-c", program).stdout.strip()


def test_the_systems_tensorrt_is_shown_to_the_environment(tmp_path: Path) -> None:
    board = Board(tmp_path)
    assert board.seen() == "none"
    done = board.link()
    assert done.returncode == 0 and "visible" in done.stdout, done.stderr
    assert board.seen() == "10.3.0"
    assert board.link().returncode == 0 and board.seen() == "10.3.0"  # a second time changes nothing
    assert not board.asked.exists()  # no Jetson: which CUDA bindings fit is not known
    for name in ("tensorrt", "tensorrt-10.3.0.dist-info"):  # JetPack goes: nothing is left that leads nowhere
        (board.packages / name).rename(tmp_path / name)
    assert board.link().returncode == 0 and not list(board.site.glob("tensorrt*"))


@pytest.mark.parametrize(("release", "extra"), [("R36", "jetpack6"), ("R38", "jetpack7"), ("R39", "jetpack7")])
def test_a_jetson_gets_the_cuda_bindings_of_its_jetpack(tmp_path: Path, release: str, extra: str) -> None:
    board = Board(tmp_path)
    board.release.write_text(f"# {release} (release), REVISION: 4.3, GCID: 38968081, BOARD: generic\n")
    assert board.link().returncode == 0
    assert f"-e .[{extra}]" in board.asked.read_text()


def test_an_installed_tensorrt_is_left_alone_and_a_foreign_python_is_told(tmp_path: Path) -> None:
    board = Board(tmp_path)
    (board.site / "tensorrt").mkdir()
    assert board.link().returncode == 0
    assert not (board.site / "tensorrt").is_symlink()
    (board.site / "tensorrt").rmdir()
    script = board.python.read_text()
    board.python.write_text(script.replace("exec ", "case $* in *version_info*) echo 3.9; exit;; esac\nexec "))
    done = board.link()
    assert done.returncode == 0 and not (board.site / "tensorrt").exists()
    assert "Python 3.9" in done.stderr and "make distclean" in done.stderr


def test_without_tensorrt_on_the_system_nothing_happens(tmp_path: Path) -> None:
    board = Board(tmp_path)
    board.python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    done = board.link()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not list(board.site.glob("tensorrt*"))
