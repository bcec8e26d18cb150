"""The live scenario: real sessions with real workers, whose frames add up whatever happens to either end."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest
from support.command import ROOT, environment
from support.sources import BenchSource, numbered_picture
from support.tiny_bundle import make_tiny_bundle

from calibration.errors import ScalpScopeError
from device_app.bench.latency.frames import FrameTimes, ScenarioRun
from device_app.bench.latency.live import HAND_OVER, NOT_SHOWN, SCREEN_WAIT, run_live
from device_app.bench.latency.report import Stage
from device_app.camera.source import FrameSource, SourceEnded
from device_app.camera.video_file import VideoFile
from device_app.engines.engine import Precision
from device_app.live.settings import PipelineSettings


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> PipelineSettings:
    bundle = make_tiny_bundle(tmp_path_factory.mktemp("live") / "tiny", 160, 120)
    return PipelineSettings(bundle, scale_um_per_px=4.0, threads=1)


class EndingVideo(VideoFile):
    """A video that is over when it is told to be."""

    over = False

    def read(self) -> np.ndarray:
        if self.over:
            raise SourceEnded("over")
        return super().read()

    def end(self) -> None:
        self.over = True


class Caller:
    """What `run_live` calls back, in the order in which it does; may do something at a share of the run."""

    def __init__(self, at: float = 2.0, do: Any = None) -> None:
        self.calls: list[str] = []
        self.shares: list[float] = []
        self._at, self._do = at, do

    def advance(self, share: float) -> None:
        self.shares.append(share)
        if self._do is not None and share >= self._at:
            do, self._do = self._do, None
            do()

    def run(self, settings: PipelineSettings, source: FrameSource, seconds: float, warm_up_s: float) -> ScenarioRun:
        begin, end = (lambda: self.calls.append("begin")), (lambda: self.calls.append("end"))
        return run_live(settings, source, seconds, None, begin, end, self.advance, warm_up_s=warm_up_s)


def adds_up(frame: FrameTimes, inside: str = "network") -> bool:
    """Whether the stages and the waits of a frame make up its whole way; the engine's parts lie inside its call."""
    parts = (Stage.HOST_TO_DEVICE, Stage.COMPUTE, Stage.DEVICE_TO_HOST)
    stages = sum(ms for stage, ms in frame.stages_ms.items() if stage not in parts)
    waits = sum(frame.details_ms.get(wait, 0.0) for wait in (HAND_OVER, SCREEN_WAIT))
    # What is left lies between the pipeline's own clock and the stages it tells: next to nothing, never less.
    return -0.001 <= frame.end_to_end_ms - stages - waits - frame.details_ms[inside] < 0.5


def test_every_frame_is_taken_down_and_every_other_one_is_accounted_for(settings):
    caller = Caller()
    run = caller.run(settings, BenchSource(fps=120.0), 1.0, 0.2)
    assert caller.calls == ["begin", "end"]
    assert caller.shares == sorted(caller.shares) and caller.shares[-1] == 1.0
    assert run.problems == () and run.warm_up > 0 and run.measured_s >= 1.0
    book = run.book
    assert book.reconciles and book.captured == book.analysed + sum(book.dropped.values())
    assert book.analysed == len(run.frames) > 5
    assert book.captured_per_s == pytest.approx(book.captured / run.measured_s, rel=0.1)
    assert [frame.index for frame in run.frames] == list(range(len(run.frames)))
    starts = [frame.at_s for frame in run.frames]
    assert starts == sorted(starts) and -0.5 < starts[0] and starts[-1] < run.measured_s
    for frame in run.frames:
        assert adds_up(frame), frame
        assert set(frame.stages_ms) == {Stage.PREPROCESS, Stage.COMPUTE, Stage.POSTPROCESS}
        assert {HAND_OVER, "network", "mask", "measure", "focus"} == set(frame.details_ms)
    assert set(run.absent_stages) == set(Stage) - {Stage.PREPROCESS, Stage.COMPUTE, Stage.POSTPROCESS}
    assert "bench does not tell" in run.absent_stages[Stage.CAPTURE]
    assert "copies nothing" in run.absent_stages[Stage.HOST_TO_DEVICE]
    assert "no window" in run.absent_stages[Stage.PRESENT]


def test_a_source_that_tells_its_reads_has_them_in_every_frame_and_its_end_is_a_problem(settings, tmp_path):
    video = tmp_path / "some.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 30.0, (160, 120))
    for number in range(5):
        writer.write(np.ascontiguousarray(numbered_picture(number)[..., ::-1]))
    writer.release()
    source = EndingVideo(video)
    caller = Caller(0.0002, source.end)
    run = caller.run(settings, source, 3600.0, 0.1)
    assert caller.calls == ["begin", "end"]
    assert run.book.reconciles and len(run.frames) == run.book.analysed
    for frame in run.frames:
        assert adds_up(frame), frame
        assert {Stage.CAPTURE, Stage.DECODE} <= set(frame.stages_ms)
        assert frame.end_to_end_ms > frame.stages_ms[Stage.CAPTURE] + frame.stages_ms[Stage.DECODE]
    assert not {Stage.CAPTURE, Stage.DECODE} & set(run.absent_stages)
    assert [problem for problem in run.problems if "some.avi was over after" in problem] == list(run.problems)


def test_a_worker_that_is_killed_is_a_problem_and_no_frame_is_lost_from_the_book(settings):
    def kill_workers() -> None:
        for child in psutil.Process().children():
            if "device_app.live.worker" in child.cmdline():
                child.kill()

    run = Caller(0.1, kill_workers).run(settings, BenchSource(fps=60.0), 3.0, 0.1)
    assert any("analysis process was lost" in problem for problem in run.problems)
    assert run.book.reconciles and run.book.captured == run.book.analysed + sum(run.book.dropped.values())
    assert run.book.dropped.get("worker_down", 0) + run.book.dropped.get("worker_lost", 0) > 0
    assert run.frames[-1].at_s > 0.6  # it came back


def test_what_cannot_be_timed_is_an_error_and_nothing_begins(settings, tmp_path):
    unplugged = BenchSource()
    unplugged.unplug()
    refused = dataclasses.replace(settings, precision=Precision.INT8_U8S8)  # which the tiny bundle has not
    for source, use, words in (
        (unplugged, settings, "unplugged"),
        (BenchSource(), refused, "int8_u8s8"),
        (BenchSource(fps=30.0, ends_after=20), settings, "before the timing could begin"),
    ):
        caller = Caller()
        with pytest.raises(ScalpScopeError, match=words):
            caller.run(use, source, 1.0, 1.2)
        assert caller.calls == [] and caller.shares == []


def test_the_end_is_told_even_when_the_run_is_broken_off(settings):
    def break_off() -> None:
        raise KeyboardInterrupt

    caller = Caller(0.0, break_off)
    with pytest.raises(KeyboardInterrupt):
        caller.run(settings, BenchSource(), 5.0, 0.0)
    assert caller.calls == ["begin", "end"]
    assert not any("device_app.live.worker" in child.cmdline() for child in psutil.Process().children())


IN_A_WINDOW = """
import dataclasses, json, os, signal, sys
from pathlib import Path
from device_app.bench.latency.live import run_live
from device_app.camera.demo import DemoScalp
from device_app.live.settings import PipelineSettings

bundle, out, seconds, close_at = sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
calls = []

def advance(share):
    if share >= close_at:
        os.kill(os.getpid(), signal.SIGINT)

run = run_live(
    PipelineSettings(Path(bundle), scale_um_per_px=6.0, threads=1),
    DemoScalp(width=320, height=240, fps=15.0),
    seconds, (800, 480), lambda: calls.append("begin"), lambda: calls.append("end"), advance, warm_up_s=0.2,
)
frames = [
    dataclasses.asdict(frame) | {"stages_ms": {stage.value: ms for stage, ms in frame.stages_ms.items()}}
    for frame in run.frames
]
Path(out).write_text(json.dumps({
    "calls": calls, "frames": frames, "problems": run.problems, "book": run.book.model_dump(),
    "absent": sorted(stage.value for stage in run.absent_stages), "measured_s": run.measured_s,
}))
"""


def run_in_a_window(bundle: Path, tmp_path: Path, seconds: float, close_at: float) -> dict[str, Any]:
    """What `run_live` made of the app in a window that is closed at a share of the run."""
    starter: list[str] = []
    if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        if shutil.which("xvfb-run") is None:
            pytest.skip("no display, and no xvfb-run to make one")
        starter = ["xvfb-run", "-a"]
    out = tmp_path / "run.json"
    words = [str(bundle), str(out), str(seconds), str(close_at)]
    command = [*starter, sys.executable, "-c", IN_A_WINDOW, *words]
    home = environment(HOME=str(tmp_path), XDG_CONFIG_HOME=str(tmp_path / "config"))
    done = subprocess.run(command, cwd=ROOT, env=home, capture_output=True, text=True, timeout=240)
    assert out.exists(), done.stderr[-4000:]
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize(("seconds", "close_at"), [(1.0, 2.0), (600.0, 0.0015)], ids=["to its end", "closed by hand"])
def test_in_a_window_a_frame_ends_where_it_is_seen_with_its_overlay(tiny_bundle, tmp_path, seconds, close_at):
    found = run_in_a_window(tiny_bundle, tmp_path, seconds, close_at)
    assert found["calls"] == ["begin", "end"]
    book, frames = found["book"], found["frames"]
    assert book["reconciles"] and book["captured"] == book["analysed"] + sum(book["dropped"].values())
    assert book["analysed"] == len(frames) > 2
    assert set(book["dropped"]) <= {"replaced", "stopped", NOT_SHOWN}
    for row in frames:
        stages = {Stage(name): ms for name, ms in row["stages_ms"].items()}
        frame = FrameTimes(row["index"], row["at_s"], stages, row["details_ms"], row["end_to_end_ms"])
        assert adds_up(frame), frame
        assert {Stage.CAPTURE, Stage.UPLOAD, Stage.PRESENT} <= set(stages)
        assert all(ms > 0 for ms in stages.values()) and frame.details_ms[SCREEN_WAIT] >= 0
    assert found["absent"] == ["decode", "device_to_host", "host_to_device"]
    # On a machine that is busy with other things the analysis may come too late for the screen, which is a problem.
    problems = [problem for problem in found["problems"] if "not shown" not in problem]
    assert len(problems) == (close_at < 1)
    if problems:
        assert "The window was closed after" in problems[0] and "of 600.0 s" in problems[0]
    else:
        assert found["measured_s"] >= seconds
