"""How long the app takes from the command line to the first analysed frame, with what the machine has in its caches."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from calibration.errors import ScalpScopeError
from device_app.child_environment import child_environment
from device_app.engines.engine import Precision

GOAL_S = 3.0
"""Engines cached, ONNX Runtime on two processor cores."""

_PATIENCE_S = 180.0


def measure_first_frame(
    bundle: Path,
    precision: Precision | None = None,
    backend: str | None = None,
    source: str = "demo",
    runs: int = 3,
) -> float:
    """Start ``scalpscope run --headless`` some times, each a process of its own, and see when it has analysed a frame.

    The time runs from the moment before the process is started to the moment at which the first analysis is at hand in
    it, both by ``time.monotonic_ns()``, which all processes of the machine share. Engines that a back end builds must
    be there: the app starts without them otherwise. The device's own settings are left out.

    Args:
        bundle: the bundle's folder.
        precision, backend: these and no others; None: the best for this machine.
        source: as on the command line.
        runs: how often, at least once.

    Returns:
        Seconds, the median.

    Raises:
        ScalpScopeError: the app could not analyse a frame; says why.
    """
    with tempfile.TemporaryDirectory(prefix="scalpscope-first-frame-") as folder:
        return statistics.median(
            _first_frame_s(_command(bundle, precision, backend, source, Path(folder)), Path(folder))
            for _ in range(runs)
        )


def _command(bundle: Path, precision: Precision | None, backend: str | None, source: str, folder: Path) -> list[str]:
    settings = folder / "settings.toml"
    settings.write_text("", encoding="utf-8")
    words = ["--headless", "--seconds", "0.1", "--source", source, "--bundle", str(bundle.resolve())]
    words += ["--settings", str(settings), "--report", str(folder / "report.json")]
    if precision is not None:
        words += ["--precision", precision.value]
    if backend is not None:
        words += ["--backend", backend]
    return [sys.executable, "-m", "device_app.cli", "run", *words]


def _first_frame_s(command: list[str], folder: Path) -> float:
    environment = child_environment()
    report = folder / "report.json"
    report.unlink(missing_ok=True)
    began_ns = time.monotonic_ns()
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            _, said = process.communicate(timeout=_PATIENCE_S)
        except subprocess.TimeoutExpired as error:
            raise ScalpScopeError(
                f"The app analysed nothing within {_PATIENCE_S:g} s of its start.", "Run scalpscope doctor."
            ) from error
        finally:
            process.kill()  # and its worker, which lives no longer than it
    if process.returncode != 0:
        lines = said.strip().splitlines() or ["it said nothing"]
        raise ScalpScopeError(
            f"The app that was started for its first frame ended with code {process.returncode}: {lines[-1]}",
            "Run scalpscope doctor.",
        )
    content: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    return (int(content["first_analysed_ns"]) - began_ns) / 1e9
