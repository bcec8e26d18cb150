"""SingleStream and MultiStream by MLPerf's own load generator (`mlcommons-loadgen`, module `mlperf_loadgen`).

It issues the queries, takes the latencies by its own clock, and says VALID or INVALID with its early-stopping estimate,
so that the figure can be laid beside published ones. Our stamps are taken inside of its queries.

It is C++ that calls Python on the thread that started it. An exception that left such a call would end in a crash when
the process ends, so none does: it is kept, the queries that are left are answered without work (the generator has made
a fixed number of them), and it is raised when the generator is done.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from calibration.errors import ScalpScopeError
from calibration.files import make_folder, write_text_atomically
from device_app.bench.latency.report import LoadGenResult, Scenario

SAMPLES_PER_QUERY = 8
"""Frames of one MultiStream query, as MLPerf's rules have it."""

FOLDER = "loadgen"
MIN_QUERIES = {Scenario.SINGLE_STREAM: 1024, Scenario.MULTI_STREAM: 662}
"""Queries of a run that is to count. MultiStream is judged by its 99th percentile, of which early stopping gives no
estimate before 662 queries."""

LONG_ENOUGH_S = 60.0
"""From here on a run is meant to count, and goes on until it has `MIN_QUERIES`. A shorter one is a quick look."""

_PERCENTILE = {Scenario.SINGLE_STREAM: 90.0, Scenario.MULTI_STREAM: 99.0}
_SEED = 6023615788873153749  # fixed, so that two runs see the frames in one order
_ADVANCE_S = 1.0


@dataclass(frozen=True)
class Load:
    """What is asked of the generator.

    Attributes:
        scenario: one of the two.
        seconds: for how long, at least.
        expected_ms: what one frame takes about, of the warm-up: how many queries are made beforehand hangs on it.
        frames: how many are in memory.
    """

    scenario: Scenario
    seconds: float
    expected_ms: float
    frames: int

    @property
    def min_queries(self) -> int:
        """Queries that it goes on for, however long they take."""
        return MIN_QUERIES[self.scenario] if self.seconds >= LONG_ENOUGH_S else 1

    @property
    def samples_per_query(self) -> int:
        """Frames of one query."""
        return SAMPLES_PER_QUERY if self.scenario is Scenario.MULTI_STREAM else 1

    @property
    def expected_s(self) -> float:
        """How long it will take, about."""
        return max(self.seconds, self.min_queries * self.samples_per_query * self.expected_ms / 1000)


def load_generator() -> ModuleType:
    """The module.

    Raises:
        ScalpScopeError: it is not installed.
    """
    try:
        return importlib.import_module("mlperf_loadgen")
    except ImportError as error:
        raise ScalpScopeError(
            f"MLPerf's load generator (mlcommons-loadgen) is not installed or cannot be loaded: {error}.",
            "Install it with pip install 'scalpscope[bench]', or measure with --scenario live.",
        ) from error


def run_load(
    load: Load, work: Callable[[int], None], folder: Path, advance: Callable[[float], None] = lambda _: None
) -> LoadGenResult:
    """Drive `work` as a scenario says.

    Args:
        load: which scenario, how long.
        work: does frame number n, 0 to `load.frames` - 1; always on the thread that calls this.
        folder: the generator's logs go to its sub-folder `FOLDER`.
        advance: told about once a second which share is done, 0 to 1; between two queries, never inside of one.

    Returns:
        The generator's own result.

    Raises:
        ScalpScopeError: it is not installed, its logs cannot be written or read; or what `work` raised, of any kind.
        KeyboardInterrupt: Ctrl-C was pressed; the frame that was under way is done first.
    """
    lg = load_generator()
    logs = make_folder(folder / FOLDER)
    # Without a folder that it can write to, the generator ends the whole process.
    write_text_atomically(logs / "mlperf_log_detail.txt", "")
    queries = _Queries(lg, load, work, advance)
    settings, log_settings = _settings(lg, load), _log_settings(lg, logs)
    sut = lg.ConstructSUT(queries.issue, _nothing)
    qsl = lg.ConstructQSL(load.frames, load.frames, _nothing, _nothing)
    try:
        with _interrupts_to(queries.interrupt):
            lg.StartTestWithLogSettings(sut, qsl, settings, log_settings, "")
    finally:
        lg.DestroyQSL(qsl)
        lg.DestroySUT(sut)
    if queries.failure is not None:
        raise queries.failure
    return parse_logs(logs, load, queries.duration_s)


class _Queries:
    """Answers the generator's queries."""

    def __init__(
        self, lg: ModuleType, load: Load, work: Callable[[int], None], advance: Callable[[float], None]
    ) -> None:
        self._lg, self._load, self._work, self._advance = lg, load, work, advance
        self._began = self._due = self._last = 0.0
        self._answered = 0
        self.failure: BaseException | None = None

    def issue(self, samples: Sequence[Any]) -> None:
        """One query. Lets nothing through: see above."""
        if not self._answered:
            self._began = self._due = time.monotonic()
        try:
            if self.failure is None:
                for sample in samples:
                    self._work(sample.index)
        except BaseException as failure:  # kept, and raised when the generator is done
            self.failure = failure
        finally:
            self._lg.QuerySamplesComplete([self._lg.QuerySampleResponse(sample.id, 0, 0) for sample in samples])
        try:
            self._answered += 1
            self._last = now = time.monotonic()
            if now >= self._due and self.failure is None:
                self._due = now + _ADVANCE_S
                share = min((now - self._began) / self._load.seconds, self._answered / self._load.min_queries)
                self._advance(min(1.0, share))
        except BaseException as failure:
            self.failure = self.failure or failure

    @property
    def duration_s(self) -> float:
        """From the first query to the last answer."""
        return self._last - self._began

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.failure = self.failure or KeyboardInterrupt()


def parse_logs(logs: Path, load: Load, duration_s: float) -> LoadGenResult:
    """The generator's own words: its detailed log, in which every line is `:::MLLOG` and JSON.

    Args:
        logs: the folder.
        load: what was asked of it.
        duration_s: from the first query to the last answer.

    Raises:
        ScalpScopeError: they are not there, or not complete.
    """
    try:
        lines = (logs / "mlperf_log_detail.txt").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise ScalpScopeError(f"The log of the load generator in {logs} cannot be read.", "Measure again.") from error
    said: dict[str, Any] = {}
    errors: list[str] = []
    for line in lines:
        _, mark, text = line.partition(":::MLLOG ")
        if not mark:
            continue
        try:
            row = json.loads(text)
        except ValueError:
            continue  # some of its messages are no JSON; every figure is
        said[row["key"]] = row["value"]
        if row.get("metadata", {}).get("is_error"):
            errors.append(f"{row['key']}: {row['value']}")
    try:
        return _result(said, errors, load, duration_s)
    except (KeyError, TypeError, ValueError) as error:
        raise ScalpScopeError(
            f"The log of the load generator in {logs} is not complete ({error}).", "Measure again."
        ) from error


def _result(said: Mapping[str, Any], errors: Sequence[str], load: Load, duration_s: float) -> LoadGenResult:
    percentile = 100.0 * float(said["effective_target_latency_percentile"])
    multi = load.scenario is Scenario.MULTI_STREAM
    of_query = "_per_query" if multi else ""
    estimate = int(said.get("early_stopping_latency_ms" if multi else "early_stopping_latency_ss", 0))
    queries = int(said["result_query_count"])
    valid = said["result_validity"] == "VALID"
    reasons = list(errors)
    if not valid:
        reasons += [str(said[key]).strip() for key in ("result_invalid_reason",) if str(said.get(key, "")).strip()]
        if not said["early_stopping_met"]:
            reasons.append(" ".join(str(said["early_stopping_result"]).replace(" * ", " ").split()))
    settings = {
        key: int(value) if isinstance(value, bool) else value
        for key, value in said.items()
        if key.startswith("effective_") and isinstance(value, (int, float, str))
    }
    return LoadGenResult(
        version=version("mlcommons-loadgen"),
        valid=valid,
        reasons=tuple(reasons),
        percentile=percentile,
        percentile_ms=int(said[f"result_{percentile:.2f}_percentile{of_query}_latency_ns"]) / 1e6,
        early_stopping_ms=estimate / 1e6 if estimate else None,
        queries=queries,
        samples=queries * load.samples_per_query,
        min_duration_s=float(said["effective_min_duration_ms"]) / 1000,
        duration_s=duration_s,
        settings={key.removeprefix("effective_"): value for key, value in settings.items()},
        folder=FOLDER,
    )


def _settings(lg: ModuleType, load: Load) -> Any:
    settings = lg.TestSettings()
    settings.mode = lg.TestMode.PerformanceOnly
    multi = load.scenario is Scenario.MULTI_STREAM
    settings.scenario = lg.TestScenario.MultiStream if multi else lg.TestScenario.SingleStream
    settings.min_duration_ms = round(load.seconds * 1000)
    settings.max_duration_ms = 0
    settings.min_query_count = load.min_queries
    # How many queries are made beforehand: the generator makes twice as many as this asks for, and this asks for half
    # as many again as were seen. A machine that gets faster must not run out of them, which would be INVALID.
    expected_ns = max(1000, round(load.expected_ms * load.samples_per_query * 1e6 / 1.5))
    settings.single_stream_target_latency_percentile = _PERCENTILE[Scenario.SINGLE_STREAM] / 100
    settings.multi_stream_target_latency_percentile = _PERCENTILE[Scenario.MULTI_STREAM] / 100
    settings.single_stream_expected_latency_ns = expected_ns
    settings.multi_stream_expected_latency_ns = expected_ns
    settings.multi_stream_samples_per_query = SAMPLES_PER_QUERY
    settings.qsl_rng_seed = settings.sample_index_rng_seed = settings.schedule_rng_seed = _SEED
    return settings


def _log_settings(lg: ModuleType, logs: Path) -> Any:
    output = lg.LogOutputSettings()
    output.outdir = str(logs.resolve())
    output.copy_summary_to_stdout = False
    settings = lg.LogSettings()
    settings.log_output = output
    settings.enable_trace = False
    return settings


@contextlib.contextmanager
def _interrupts_to(heed: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C calls `heed` instead of raising wherever Python happens to be, which may be inside of the generator."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handler(_number: int, _frame: FrameType | None) -> None:
        heed()

    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _nothing(*_: object) -> None:
    return None
