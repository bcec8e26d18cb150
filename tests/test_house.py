"""The house itself: arrows only point down, the device installs small, and what is written down is true."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.house import (
    FLOORS,
    NOT_EVERYWHERE,
    ROOT,
    imported_names,
    imports_of,
    module_name,
    run_script,
    source_files,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LARGEST_BUNDLE_BYTES = 25_000_000
LARGEST_FILE_BYTES = 5 * 2**20


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
    training_only = {"torch", "torchvision", "accelerate", "timm", "onnx", "onnxscript"}
    wrong = {str(path): imports_of(path) & training_only for path in source_files(floor)}
    assert not {path: names for path, names in wrong.items() if names}


def imported_at_once(source: str) -> set[str]:
    """The top-level names that are imported as soon as a module is: outside its functions, and not for types alone."""
    found: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(source)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").split(".")[0])
        waiting += ast.iter_child_nodes(node)
    return found


def test_imports_at_once_are_told_from_those_in_functions() -> None:
    source = (
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import tensorrt\nelse:\n    import cuda.bindings\n"
        "class A:\n    import pynvml\n    def late(self):\n        import matplotlib\n"
    )
    assert imported_at_once(source) == {"typing", "cuda", "pynvml"}


def test_the_device_asks_for_what_is_not_everywhere_only_when_it_needs_it() -> None:
    files = [path for floor in ("calibration", "device_app") for path in source_files(floor)]
    at_once = {str(path): imported_at_once(path.read_text(encoding="utf-8")) & set(NOT_EVERYWHERE) for path in files}
    assert not {path: names for path, names in at_once.items() if names}


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


def run_without(absent: list[str], program: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a new process where the packages in `absent` cannot be imported."""
    program = (
        "import sys\n"
        "class Absent:\n"  # and not None in sys.modules, which libraries that look there take for a module
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {absent!r}:\n"
        "            raise ModuleNotFoundError('absent in this test: ' + name, name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
    ) + program
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True)


def import_everything(floors: list[str], absent: list[str], skip: str = "") -> subprocess.CompletedProcess[str]:
    """Import every module of `floors` in a new process where the packages in `absent` cannot be imported."""
    modules = [module_name(path) for floor in floors for path in source_files(floor)]
    modules = [name for name in modules if not (skip and name.startswith(skip)) and not name.endswith("__main__")]
    assert modules
    return run_without(absent, f"import importlib\nfor name in {modules!r}:\n    importlib.import_module(name)\n")


def test_the_lower_floors_import_with_torch_absent() -> None:
    absent = ["torch", "torchvision", "accelerate", "onnx", "training", "export", "kivy", *NOT_EVERYWHERE]
    result = import_everything(["calibration", "device_app"], absent, skip="device_app.screens")
    assert result.returncode == 0, result.stderr


def test_the_upper_floors_import_with_kivy_absent() -> None:
    result = import_everything(["training", "export"], ["kivy", "mlperf_loadgen", "pynvml", "rembg"])
    assert result.returncode == 0, result.stderr


def test_the_device_starts_the_builder_of_engines_without_what_training_needs() -> None:
    absent = ["torch", "torchvision", "timm", "onnx", "accelerate", "training", "kivy", *NOT_EVERYWHERE]
    program = (
        "import runpy\nsys.argv = ['export', 'engines', '--help']\nrunpy.run_module('export', run_name='__main__')"
    )
    result = run_without(absent, program)
    assert result.returncode == 0, result.stderr
    assert "--progress" in result.stdout


def test_an_absent_package_really_is_absent_in_these_tests() -> None:
    result = import_everything(["calibration"], ["numpy"])
    assert result.returncode != 0 and "numpy" in result.stderr


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
