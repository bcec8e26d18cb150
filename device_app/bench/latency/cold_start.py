"""The first time: engines built where they have to be, bundle and engine opened and proved, the first frame.

None of it is in the other figures of a report.
"""

from __future__ import annotations

import logging
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from calibration.errors import ScalpScopeError
from device_app.bench.latency.report import Model
from device_app.bench.latency.subjects import TimedPipeline, open_network, pipeline_settings
from device_app.bench.latency.timed import TASKS, Timed
from device_app.bundle import Bundle, load_bundle
from device_app.engines.backend import BuildsEngines
from device_app.engines.building import BuildEnd, BuildStep, from_line
from device_app.engines.engine import Precision
from device_app.engines.select import backends_named
from device_app.live.pipeline import Pipeline

log = logging.getLogger(__name__)

_ENDS_WITHIN_S = 10.0


@dataclass(frozen=True)
class Wanted:
    """What is to be timed.

    Attributes:
        bundle: its folder.
        model: which.
        backend, precision: what was asked for; None: the best for this machine.
        threads: of an engine that runs on the processor.
        points: prompt points of the decoder.
    """

    bundle: Path
    model: Model
    backend: str | None = None
    precision: Precision | None = None
    threads: int = 2
    points: int = 300


@dataclass(frozen=True)
class Opened:
    """A subject that is ready, and what it took.

    Attributes:
        bundle: loaded.
        subject: to be closed by whoever asked for it.
        build_s: what building engines took; None: none had to be built.
        load_s: bundle and engine opened and proved by the goldens.
    """

    bundle: Bundle
    subject: Timed
    build_s: float | None
    load_s: float


def check_wanted(wanted: Wanted) -> None:
    """Whether it can be opened at all, as far as that is known without opening it.

    Raises:
        ScalpScopeError: the bundle is refused or has no such network, or there is no back end of that name.
    """
    backends_named(wanted.backend)
    load_bundle(wanted.bundle).model(TASKS[wanted.model])


def open_subject(wanted: Wanted, advance: Callable[[str, float], None] = lambda _what, _share: None) -> Opened:
    """Open what is to be timed; build engines first where a back end says that it could use them.

    Where the back end or the precision that was asked for cannot be used here, the best that can is opened instead, and
    its reasons say why: the report is then INVALID.

    Args:
        wanted: what is to be timed.
        advance: told what is being built, and which share of it is done, 0 to 1.

    Raises:
        ScalpScopeError: the bundle is refused or has no such network, there is no back end of that name, or no engine
            at all can be used.
    """
    check_wanted(wanted)
    began = time.perf_counter()
    bundle = load_bundle(wanted.bundle)
    if wanted.model is Model.PIPELINE:
        began = time.perf_counter()  # the pipeline loads it itself, once more
    subject, problem = _open_or_why_not(bundle, wanted)
    load_s = time.perf_counter() - began
    problems: list[str] = []
    build_s = None
    if commands := _build_commands(bundle, wanted) if subject is None else subject.ran.build_commands:
        if subject is not None:
            subject.close()
        began = time.perf_counter()
        for command in commands:
            log.info("building engines: %s", " ".join(command))
            problems += run_builder(command, advance)
        build_s = time.perf_counter() - began
        began = time.perf_counter()
        subject, problem = _open_or_why_not(bundle, wanted)
        load_s = time.perf_counter() - began
    if subject is None:
        assert problem is not None
        if wanted.backend is None and wanted.precision is None:
            raise problem
        problems.insert(0, problem.what.rstrip("."))
        began = time.perf_counter()
        subject = _open(bundle, replace(wanted, backend=None, precision=None))
        load_s = time.perf_counter() - began
    if problems:
        # The first reason is the choice itself; what stands behind it was passed over.
        first, *others = subject.ran.reasons
        subject.ran = replace(subject.ran, reasons=(first, *problems, *others), fallback=True)
    return Opened(bundle, subject, build_s, load_s)


def run_builder(command: Sequence[str], advance: Callable[[str, float], None]) -> tuple[str, ...]:
    """Run a process that builds engines to its end; it does not outlive this call.

    Args:
        command: its command line; it says where it is as `device_app.engines.building` has it.
        advance: told what it is doing, and which share is done.

    Returns:
        What could not be built, one sentence each; empty when all is ready.
    """
    end: BuildEnd | None = None
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        try:
            process = subprocess.Popen(list(command), stdout=subprocess.PIPE, stderr=said, text=True)
        except OSError as error:
            return (f"The engine builder cannot be started: {error}.",)
        try:
            assert process.stdout is not None
            with process.stdout as lines:
                for line in lines:
                    message = from_line(line)
                    if isinstance(message, BuildStep):
                        advance(message.what, message.fraction)
                    elif isinstance(message, BuildEnd):
                        end = message
            code = process.wait()
        finally:
            _end(process)
        if end is not None:
            return end.failed
        said.seek(0)
        last = said.read().strip().splitlines()[-1:]
    return (f"The engine builder ended with code {code} before it was done: {' '.join(last) or 'it said nothing'}",)


def time_first(subject: Timed, prepared: object) -> float:
    """What the very first frame takes after opening, in milliseconds."""
    stamps = subject.stamps(room=1)
    subject.run(prepared, stamps)
    return stamps.last_ms()


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _open(bundle: Bundle, wanted: Wanted) -> Timed:
    if wanted.model is Model.PIPELINE:
        settings = pipeline_settings(bundle, wanted.precision, wanted.threads, wanted.backend)
        return TimedPipeline(Pipeline(settings))
    return open_network(bundle, wanted.model, wanted.precision, wanted.threads, wanted.backend, wanted.points)


def _open_or_why_not(bundle: Bundle, wanted: Wanted) -> tuple[Timed | None, ScalpScopeError | None]:
    try:
        return _open(bundle, wanted), None
    except ScalpScopeError as error:
        return None, error


def _build_commands(bundle: Bundle, wanted: Wanted) -> tuple[tuple[str, ...], ...]:
    """What would build engines for the back end that was asked for by name and could not be opened."""
    if wanted.backend is None:
        return ()
    return tuple(
        tuple(backend.build_command(bundle.path))
        for backend in backends_named(wanted.backend)
        if isinstance(backend, BuildsEngines) and backend.why_not() is None
    )
