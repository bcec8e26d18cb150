"""Reading the project's own code: its floors, its files, and what they import."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FLOORS = {
    "calibration": {"calibration"},
    "device_app": {"calibration", "device_app"},
    "training": {"calibration", "device_app", "training"},
    "export": {"calibration", "device_app", "training", "export"},
}
"""Each floor with the floors it may import from."""
NOT_EVERYWHERE = {
    "matplotlib": "bench",
    "mlperf_loadgen": "bench",
    "pynvml": "bench",
    "tensorrt": "gpu",
    "cuda": "gpu",
    "rembg": "nobody",  # measured beside ours where somebody has it
}
"""What is used where it is installed, and done without elsewhere; with who brings it."""


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


def run_script(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True)
