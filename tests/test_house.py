"""The house itself: arrows only point down, the device installs small, and what is written down is true."""

from __future__ import annotations

import ast
import configparser
import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from setuptools import find_packages

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
FLOORS = {
    "calibration": {"calibration"},
    "device_app": {"calibration", "device_app"},
    "training": {"calibration", "device_app", "training"},
    "export": {"calibration", "device_app", "training", "export"},
}
"""Each floor with the floors it may import from."""
EXTRAS = {"calibration": [], "device_app": ["device"], "training": ["training"], "export": ["export"]}
"""What is installed for each floor."""
MACHINES = [
    {"python_version": version, "python_full_version": f"{version}.9", "platform_machine": machine}
    for version in ("3.10", "3.11", "3.12")
    for machine in ("x86_64", "aarch64")
]
LARGEST_BUNDLE_BYTES = 25_000_000
LARGEST_FILE_BYTES = 5 * 2**20


def source_files(folder: str) -> list[Path]:
    return sorted(path for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_names(source: str, package: str = "") -> Iterator[str]:
    """Every module that `source` imports: at the top, in a function, relatively, or by a written-out name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                yield importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            else:
                yield node.module or ""
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called in {"import_module", "__import__", "find_spec"} and isinstance(node.args[0].value, str):
                yield node.args[0].value


def imports_of(path: Path) -> set[str]:
    """The top-level names that one file of ours imports."""
    name = module_name(path)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    return {imported.split(".")[0] for imported in imported_names(path.read_text(encoding="utf-8"), package)}


def test_imports_are_seen_wherever_they_hide() -> None:
    source = (
        "import os.path\n"
        "from training.data import x\n"
        "from ..cli import main\n"
        "def late():\n    import torch\n    importlib.import_module('kivy.app')\n"
    )
    found = set(imported_names(source, package="device_app.live"))
    assert found == {"os.path", "training.data", "device_app.cli", "torch", "kivy.app"}


@pytest.mark.parametrize("floor", FLOORS)
def test_arrows_only_point_down(floor: str) -> None:
    above = set(FLOORS) - FLOORS[floor]
    files = source_files(floor)
    assert files
    wrong = {str(path.relative_to(ROOT)): imports_of(path) & above for path in files if imports_of(path) & above}
    assert not wrong, f"{floor} may import {sorted(FLOORS[floor])} only"


@pytest.mark.parametrize("floor", ["calibration", "device_app"])
def test_the_device_never_imports_torch(floor: str) -> None:
    training_only = {"torch", "torchvision", "accelerate", "timm", "onnx", "onnxscript", "matplotlib"}
    wrong = {str(path): imports_of(path) & training_only for path in source_files(floor)}
    assert not {path: names for path, names in wrong.items() if names}


def test_only_the_screens_import_kivy() -> None:
    users = {
        path.relative_to(ROOT).parts[:2]
        for floor in FLOORS
        for path in source_files(floor)
        if "kivy" in imports_of(path)
    }
    assert users == {("device_app", "screens")}


@pytest.mark.parametrize("folder", [*FLOORS, "tests"])
def test_no_star_imports(folder: str) -> None:
    for path in source_files(folder):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not (isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names)), path


def import_everything(floors: list[str], absent: list[str], skip: str = "") -> subprocess.CompletedProcess[str]:
    """Import every module of `floors` in a new process where the packages in `absent` cannot be imported."""
    modules = [module_name(path) for floor in floors for path in source_files(floor)]
    modules = [name for name in modules if not (skip and name.startswith(skip)) and not name.endswith("__main__")]
    assert modules
    program = (
        "import importlib, sys\n"
        "class Absent:\n"  # and not None in sys.modules, which libraries that look there take for a module
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {absent!r}:\n"
        "            raise ModuleNotFoundError('absent in this test: ' + name, name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        f"for name in {modules!r}:\n"
        "    importlib.import_module(name)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True)


def test_the_lower_floors_import_with_torch_absent() -> None:
    absent = ["torch", "torchvision", "accelerate", "matplotlib", "onnx", "training", "export", "kivy"]
    result = import_everything(["calibration", "device_app"], absent, skip="device_app.screens")
    assert result.returncode == 0, result.stderr


def test_the_upper_floors_import_with_kivy_absent() -> None:
    result = import_everything(["training", "export"], ["kivy"])
    assert result.returncode == 0, result.stderr


def test_an_absent_package_really_is_absent_in_these_tests() -> None:
    result = import_everything(["calibration"], ["numpy"])
    assert result.returncode != 0 and "numpy" in result.stderr


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
    foreign = imported - set(FLOORS) - set(sys.stdlib_module_names)
    undeclared = {name for name in foreign if not {normal(each) for each in distributions.get(name, [name])} & declared}
    assert not undeclared


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
    for extra in [None, *setup["options.extras_require"]]:
        for requirement in requirements_of(setup, extra):
            if requirement.marker is None or requirement.marker.evaluate({**machine, "sys_platform": "linux"}):
                assert normal(requirement.name) in pins, f"{requirement} has no pin: make constraints"
                assert pins[normal(requirement.name)] in requirement.specifier, f"{requirement}: make constraints"


def test_the_device_extra_needs_no_torch(setup: configparser.ConfigParser) -> None:
    names = {normal(each.name) for extra in (None, "device") for each in requirements_of(setup, extra)}
    assert {"kivy", "onnxruntime"} <= names
    assert not names & {"torch", "torchvision", "accelerate", "onnx"}


# --- the scripts behind make ---


def run_script(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True)


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
    for target in ("run", "test", "lint", "screenshots", "check-aarch64", "clean"):
        assert f"make {target} " in listed


def test_make_run_installs_the_device_extra_with_the_pins(tmp_path: Path) -> None:
    steps = run_script("make", "--dry-run", "run", f"VENV={tmp_path}", "ARGS=--source camera:0").stdout
    assert "-c constraints.txt -e '.[device]'" in steps
    assert f"{tmp_path}/bin/scalpscope run --source camera:0" in steps


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


# --- what is written down ---


def documents() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_readme_shows_the_two_commands_and_the_ci_runs_one_of_them() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make run" in readme and "make test" in readme
    assert re.search(r"^make test\b", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.MULTILINE)
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        linked = (document.parent / path).resolve() if path else document
        assert linked.exists(), f"{document.name} links to {target}"
        assert not anchor or anchor in anchors(linked), f"{document.name} links to {target}"


def test_the_readme_names_only_make_targets_there_are() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for document in documents():
        for target in re.findall(r"(?:^|`)make ([a-z0-9-]+)", document.read_text(encoding="utf-8"), re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{document.name}: make {target}"


def test_every_recipe_parses() -> None:
    recipes = sorted((ROOT / "training" / "configs").glob("*.toml"))
    assert recipes
    for recipe in recipes:
        assert tomllib.loads(recipe.read_text(encoding="utf-8")), recipe


def test_no_file_is_too_big_for_git() -> None:
    listed = run_script("git", "ls-files", "-z")
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    bundle = [path for path in files if path.is_relative_to(ROOT / "device_app/bundles/default")]
    too_big = [path.name for path in files if path.is_file() and path.stat().st_size > LARGEST_FILE_BYTES]
    # The FP32 network is what the others are compared with; the bundle has a budget of its own.
    assert files and set(too_big) <= {path.name for path in bundle}
    assert sum(path.stat().st_size for path in bundle) < LARGEST_BUNDLE_BYTES
