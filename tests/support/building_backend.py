"""A back end that comes as an installed package, whose engines are built by a program of its own.

The package is real (an entry point, found by every process that has its folder on PYTHONPATH), and so are the builder's
process and the engines: ONNX Runtime's, under another name. What they do is said by files in the bench's folder.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

NAME = "bench-gpu"

_PACKAGE = """
import os, signal, sys, time
from pathlib import Path
from device_app.engines.engine import EngineLost, EngineNotBuilt, Precision
from device_app.engines.onnxruntime_engine import OnnxRuntimeEngine

STATE = Path({state!r})

class Engine(OnnxRuntimeEngine):
    backend = {name!r}
    runs = 0

    def __init__(self, path, model, precision, threads):
        super().__init__(path, model, precision, threads)
        self.task = model.task.value

    def run(self, inputs):
        self.runs += 1
        lose = STATE / ("lose_" + self.task)
        if lose.exists() and self.runs > int(lose.read_text()):
            raise EngineLost("The bench's accelerator fell off the bus.", "Start again.")
        return super().run(inputs)

class Backend:
    name = {name!r}

    def why_not(self):
        return None

    def preferences(self):
        return tuple((wanted, "there is nothing faster on this bench") for wanted in (Precision.FP32, Precision.FP16))

    def build_command(self, bundle):
        return (sys.executable, str(STATE / "builder.py"), str(bundle))

    def open(self, path, model, precision, threads):
        if not (STATE / "engine").exists():
            raise EngineNotBuilt("its engine is not built yet", "Build it.")
        if (STATE / "open_hangs").exists():
            time.sleep(1e6)
        if (STATE / "open_crashes").exists():
            os.kill(os.getpid(), signal.SIGSEGV)
        return Engine(path, model, precision, threads)
"""

_BUILDER = """
import os, signal, subprocess, sys, time
from pathlib import Path
from device_app.engines.building import BuildEnd, BuildStep, to_line

state, bundle = Path(__file__).parent, Path(sys.argv[1])
mode = (state / "mode").read_text()

def say(message):
    print(to_line(message), flush=True)

def add(name, line):
    with (state / name).open("a") as file:
        file.write(line + "\\n")

if mode == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1e6)"])
    add("pids", str(child.pid))
add("pids", str(os.getpid()))
add("runs", sys.argv[1])
print("a library says something that is no step")
say(BuildStep("hair: looking at the graph", 0.1))
while not (state / "go").exists():
    time.sleep(0.01)
say(BuildStep("hair: trying kernels", 0.9))
say(BuildStep("hair: and back", 0.5))
if mode == "fails":
    say(BuildEnd(failed=("hair: the board ran out of memory. Close other programs.",)))
    sys.exit(1)
if mode == "refuses":
    print("scalpscope-export: There is no such library. Install it.", file=sys.stderr)
    sys.exit(2)
if mode == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if mode == "says nothing":
    say(BuildEnd())
    sys.exit(0)
if mode == "spoils the bundle":
    next(bundle.glob("*.onnx")).write_bytes(b"changed")
(state / "engine").touch()
say(BuildEnd(built=("hair fp32",), failed=("sam_encoder: no room. " + "Make some. " * 40,) if mode == "half" else ()))
"""


@dataclass(frozen=True)
class BenchBackend:
    """The back end in a test's hands.

    Attributes:
        state: the folder that says what it does.
        site: the folder with the package, for PYTHONPATH.
    """

    state: Path
    site: Path

    def says(self, name: str, text: str = "") -> None:
        """Put a file: ``engine`` (it is built), ``go`` (the builder may go on), ``lose_TASK`` (an engine is lost after
        so many runs), ``open_hangs``, ``open_crashes``, ``mode`` (of the builder)."""
        temporary = self.state / f"{name}.part"
        temporary.write_text(text)
        temporary.replace(self.state / name)

    def unsays(self, name: str) -> None:
        """Take it away again."""
        (self.state / name).unlink()

    def lines(self, name: str) -> list[str]:
        """What the builder wrote: ``runs``, the bundle of each; ``pids``, every process that it was."""
        path = self.state / name
        return path.read_text().split() if path.exists() else []

    @property
    def command(self) -> tuple[str, ...]:
        """The builder's command line, but for the bundle."""
        return sys.executable, str(self.state / "builder.py")


def install_bench_backend(folder: Path) -> BenchBackend:
    """Write the package and the builder below `folder`, which is made."""
    bench = BenchBackend(folder / "state", folder / "site")
    bench.state.mkdir(parents=True)
    bench.site.mkdir()
    (bench.site / "bench_backend.py").write_text(_PACKAGE.format(state=str(bench.state), name=NAME))
    info = bench.site / "bench_backend-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bench-backend\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[scalpscope.backends]\nbench = bench_backend:Backend\n")
    (bench.state / "builder.py").write_text(_BUILDER)
    bench.says("mode", "works")
    return bench


def python_path(bench: BenchBackend) -> str:
    """PYTHONPATH with the package on it."""
    return os.pathsep.join(filter(None, [str(bench.site), os.environ.get("PYTHONPATH", "")]))


def is_gone(pid: int) -> bool:
    """Whether a process runs no more; one whose parent died before it may stay in the table for a while."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
