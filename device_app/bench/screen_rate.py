"""`scalpscope bench screen-rate`: pictures a second on the screen while the network is slow.

Goal: the picture keeps 30 frames a second while the network takes 500 ms. The app itself runs, in a window, on the demo
scalp at a higher rate than the goal, so that the screen is what limits; the worker runs the network again and again
until it has taken that long, so that it keeps its cores as busy as a slow network would. A picture counts once, when
the window shows it first; that no overlay lies on a picture that is not its own is checked on every one of them. Also
run as ``python -m device_app.bench.screen_rate``. It needs a display; that of ``xvfb-run -a`` is drawn by the CPU.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.console import Console

from calibration.errors import ScalpScopeError
from device_app.bench.live_rate import hold_to_cores
from device_app.bundle import default_bundle_path
from device_app.camera.demo import DemoScalp
from device_app.commands.options import BundlePath
from device_app.images import write_text_atomically
from device_app.live.settings import PipelineSettings
from device_app.live.supervisor import LiveSession
from device_app.screens.app import run_app
from device_app.settings import parse_window

if TYPE_CHECKING:
    from device_app.screens.choosing import Shown
    from device_app.screens.main_window import ScalpScopeApp

GOAL_FPS = 30.0
_WARM_UP_RESULTS = 3
_PATIENCE_S = 120.0


@dataclass(frozen=True)
class ScreenRate:
    """What the screen reached.

    Attributes:
        window: its size in pixels.
        camera_fps: what the source delivered.
        picture_fps: new pictures shown a second.
        gap_ms_p95, gap_ms_max: between one new picture and the next.
        analysed: frames analysed meanwhile.
        network_ms: median time of the network.
        foreign_overlays: pictures shown with an overlay that was not their own. Any is a fault.
    """

    window: tuple[int, int]
    camera_fps: float
    picture_fps: float
    gap_ms_p95: float
    gap_ms_max: float
    analysed: int
    network_ms: float
    foreign_overlays: int

    @property
    def met(self) -> bool:
        """The goal is met, and no picture carried a foreign overlay."""
        return self.picture_fps >= GOAL_FPS and not self.foreign_overlays


class _Watcher:
    """Counts new pictures as the window shows them, from some analyses after the start."""

    def __init__(self, session: LiveSession, seconds: float) -> None:
        self._session, self._seconds = session, seconds
        self._opened = time.perf_counter()
        self._app: ScalpScopeApp | None = None
        self._last_id = -1
        self._counts_at_start: tuple[int, int] | None = None
        self.shown_at: list[float] = []
        self.foreign = 0
        self.captured = self.analysed = 0
        self.measured_s = 0.0

    def opened(self, app: ScalpScopeApp) -> None:
        """The window is there."""
        self._app = app
        app.after_each_frame(self._drawn)

    def _drawn(self, shown: Shown | None) -> None:
        now = time.perf_counter()
        counts = self._session.health().counts if self._due(now) else None
        if counts is not None and self._counts_at_start is None and counts.analysed >= _WARM_UP_RESULTS:
            self._counts_at_start = (counts.captured, counts.analysed)
            self.shown_at = [now]
        if shown is not None and shown.frame.id != self._last_id and self._counts_at_start is not None:
            self._last_id = shown.frame.id
            self.shown_at.append(now)
            self.foreign += shown.analysis is not None and shown.analysis.frame_id != shown.frame.id
        if self._counts_at_start is not None and counts is not None and now - self.shown_at[0] >= self._seconds:
            self.measured_s = now - self.shown_at[0]
            self.captured = counts.captured - self._counts_at_start[0]
            self.analysed = counts.analysed - self._counts_at_start[1]
            self._end()
        elif self._counts_at_start is None and now - self._opened > _PATIENCE_S:
            self._end()

    def _due(self, now: float) -> bool:
        """Whether the session is to be asked: not at every picture, and for certain at the end."""
        begun = self._counts_at_start is not None
        return now - self.shown_at[0] >= self._seconds if begun else True

    def _end(self) -> None:
        if self._app is not None:
            self._app.stop()


def measure(
    bundle: Path, seconds: float, network_ms: float, window: tuple[int, int], camera_fps: float, cores: int
) -> ScreenRate:
    """Run the app for a time and count.

    Raises:
        ScalpScopeError: there is no display, the bundle is refused, or nothing could be analysed.
    """
    hold_to_cores(cores)
    source = DemoScalp(fps=camera_fps)
    settings = PipelineSettings(bundle, source.scale_um_per_px, threads=cores, network_at_least_ms=network_ms)
    session = LiveSession(source, settings, build_engines=False)
    watcher = _Watcher(session, seconds)
    run_app(session, window=window, on_open=watcher.opened)
    health = session.health()
    if watcher.measured_s == 0.0:
        raise ScalpScopeError(
            "The window was closed before anything was measured.", health.worker_problem or "Leave it open."
        )
    gaps_ms = 1000 * np.diff(watcher.shown_at)
    return ScreenRate(
        window=window,
        camera_fps=watcher.captured / watcher.measured_s,
        picture_fps=(len(watcher.shown_at) - 1) / watcher.measured_s,
        gap_ms_p95=float(np.percentile(gaps_ms, 95)) if len(gaps_ms) else float("inf"),
        gap_ms_max=float(gaps_ms.max(initial=0.0)),
        analysed=watcher.analysed,
        network_ms=health.stage_ms["segment"].p50,
        foreign_overlays=watcher.foreign,
    )


def command(
    seconds: Annotated[float, typer.Option("--seconds", min=1.0, help="For how long.")] = 20.0,
    network_ms: Annotated[
        float, typer.Option("--network-ms", min=0.0, help="What the network is made to take at least.")
    ] = 500.0,
    window: Annotated[str, typer.Option("--window", metavar="WxH", help="Size of the window.")] = "1280x800",
    camera_fps: Annotated[float, typer.Option("--camera-fps", min=1.0, help="Rate of the demo camera.")] = 40.0,
    cores: Annotated[int, typer.Option("--cores", min=1, help="Processor cores to be held to.")] = 2,
    bundle: BundlePath = None,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="R.json", help="Write the result here too.")
    ] = None,
) -> None:
    """Open the app on a slow network and count its pictures. Exit code 1 when the goal is missed.

    \b
    Examples:
      scalpscope bench screen-rate
      xvfb-run -a scalpscope bench screen-rate --window 800x480 --report screen_rate.json
    """
    rate = measure(bundle or default_bundle_path(), seconds, network_ms, parse_window(window), camera_fps, cores)
    Console().print(
        f"{rate.picture_fps:.1f} pictures a second of {rate.camera_fps:.1f} captured, in a window of "
        f"{rate.window[0]} x {rate.window[1]} on {cores} cores, while the network took {rate.network_ms:.0f} ms "
        f"({rate.analysed} analyses); gaps {rate.gap_ms_p95:.0f} ms at the 95th percentile, {rate.gap_ms_max:.0f} ms "
        f"at most; {rate.foreign_overlays} foreign overlays (goal {GOAL_FPS:g} and 0): "
        + ("goal met" if rate.met else "goal missed"),
        highlight=False,
        soft_wrap=True,
    )
    if report is not None:
        content = {"goal_fps": GOAL_FPS, "met": rate.met, **asdict(rate)}
        write_text_atomically(report, json.dumps(content, indent=2) + "\n")
    if not rate.met:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(command)
