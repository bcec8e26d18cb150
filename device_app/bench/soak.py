"""`scalpscope bench soak`: the live loop for long, with workers killed and the source dropped again and again.

Goal: 30 minutes, the worker killed every minute and the source dropped every two; back within 2 s each time, every
frame accounted for, memory flat. Also run as ``python -m device_app.bench.soak``.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from device_app.bundle import default_bundle_path
from device_app.camera.choose import open_source
from device_app.camera.source import FrameSource, SourceLost
from device_app.commands.options import BundlePath
from device_app.images import write_text_atomically
from device_app.live.headless import run_headless
from device_app.live.settings import PipelineSettings
from device_app.live.supervisor import LiveSession

GOAL_BACK_S = 2.0
GOAL_GROWTH = 0.05  # of the session's memory, from the run's second quarter to its last
_OUTAGE_S = 1.0
_PATIENCE_S = 60.0


class UnpluggableSource:
    """Any source, with a cable that can be pulled."""

    def __init__(self, source: FrameSource) -> None:
        self._source = source
        self._plugged = threading.Event()
        self._plugged.set()

    @property
    def name(self) -> str:
        return self._source.name

    def unplug(self) -> None:
        """Reading and opening fail from now on."""
        self._plugged.clear()

    def plug(self) -> None:
        """There again."""
        self._plugged.set()

    def open(self) -> None:
        """Open the source. Raises `SourceLost` while it is unplugged."""
        self._check()
        self._source.open()

    def read(self) -> np.ndarray:
        """The source's next picture. Raises `SourceLost` while it is unplugged."""
        picture = self._source.read()
        self._check()
        return picture

    def close(self) -> None:
        """Close the source."""
        self._source.close()

    def _check(self) -> None:
        if not self._plugged.is_set():
            raise SourceLost(f"The source {self.name} is unplugged.", "Plug it in again.")


@dataclass(frozen=True)
class Recovery:
    """One disturbance and how long it lasted.

    Attributes:
        kind: ``worker killed`` or ``source dropped``.
        at_s: when, in seconds since the first analysis.
        back_after_s: until the next analysis came back after the kill, or the next frame after the source was plugged
            in again; None: it did not within a minute.
    """

    kind: str
    at_s: float
    back_after_s: float | None

    @property
    def in_time(self) -> bool:
        """Back within the goal."""
        return self.back_after_s is not None and self.back_after_s <= GOAL_BACK_S


class Disturber:
    """Kills workers and pulls the cable on schedule, on a thread of its own, and takes the time until all is back.

    The drops fall halfway between two kills, so that each recovery is its own.

    Args:
        source: whose cable it pulls.
        kill_every_s, drop_every_s: seconds between two kills, and between two drops.
    """

    def __init__(self, source: UnpluggableSource, kill_every_s: float, drop_every_s: float) -> None:
        self._source = source
        self._kill_every_s, self._drop_every_s = kill_every_s, drop_every_s
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.recoveries: list[Recovery] = []

    def attend(self, session: LiveSession, elapsed_s: float) -> None:
        """Begin with the session's first tick; later ticks change nothing. For `run_headless`'s `on_tick`."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._disturb, args=(session,), name="disturber", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Let a disturbance under way come to its end, and begin no other."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(_PATIENCE_S + _OUTAGE_S)

    def _disturb(self, session: LiveSession) -> None:
        began = time.monotonic()
        kill_at, drop_at = self._kill_every_s, self._drop_every_s - self._kill_every_s / 2
        while not self._stopping.wait(max(0.0, began + min(kill_at, drop_at) - time.monotonic())):
            at_s = time.monotonic() - began
            if kill_at <= drop_at:
                self.recoveries.append(Recovery("worker killed", at_s, self._kill(session)))
                kill_at += self._kill_every_s
            else:
                self.recoveries.append(Recovery("source dropped", at_s, self._drop(session)))
                drop_at += self._drop_every_s

    def _kill(self, session: LiveSession) -> float | None:
        pid = session.health().worker_pid
        if pid is None:
            return None
        os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        while session.health().worker_pid == pid:  # what it had answered already does not count as back
            time.sleep(0.002)
        return self._until_more(killed, lambda: session.health().analysed)

    def _drop(self, session: LiveSession) -> float | None:
        self._source.unplug()
        time.sleep(_OUTAGE_S)
        captured = session.health().captured
        self._source.plug()
        return self._until_more(time.monotonic(), lambda: session.health().captured, captured)

    @staticmethod
    def _until_more(since: float, count: Any, before: int | None = None) -> float | None:
        before = count() if before is None else before
        while count() <= before:
            if time.monotonic() - since > _PATIENCE_S:
                return None
            time.sleep(0.01)
        return time.monotonic() - since


@dataclass(frozen=True)
class SoakResult:
    """What the soak run came to.

    Attributes:
        minutes: how long it ran.
        recoveries: every disturbance.
        reconciles: every captured frame is accounted for.
        growth: growth of the session's memory from the run's second quarter to its last, as a share.
    """

    minutes: float
    recoveries: tuple[Recovery, ...]
    reconciles: bool
    growth: float

    @property
    def met(self) -> bool:
        """All goals are met."""
        return all(recovery.in_time for recovery in self.recoveries) and self.reconciles and self.growth <= GOAL_GROWTH


def soak(
    source: FrameSource, settings: PipelineSettings, seconds: float, kill_every_s: float, drop_every_s: float
) -> tuple[SoakResult, dict[str, Any]]:
    """Run the live loop and disturb it. Returns the result and the report of `run_headless`.

    Raises:
        ScalpScopeError: the loop cannot be started at all.
    """
    cable = UnpluggableSource(source)
    disturber = Disturber(cable, kill_every_s, drop_every_s)
    try:
        found = run_headless(cable, settings, seconds, on_tick=disturber.attend, on_end=disturber.stop)
    finally:
        disturber.stop()
    return (
        SoakResult(
            minutes=found["measured_s"] / 60,
            recoveries=tuple(disturber.recoveries),
            reconciles=found["reconciles"] and found["pending"] == 0,
            growth=found["memory"]["session_growth_fraction"],
        ),
        found,
    )


def command(
    minutes: Annotated[float, typer.Option("--minutes", min=0.1, help="For how long.")] = 30.0,
    source: Annotated[str, typer.Option("--source", metavar="demo|camera[:N]|PATH", help="What to look at.")] = "demo",
    kill_every: Annotated[float, typer.Option("--kill-every", min=5.0, help="Seconds between two kills.")] = 60.0,
    drop_every: Annotated[float, typer.Option("--drop-every", min=5.0, help="Seconds between two drops.")] = 120.0,
    bundle: BundlePath = None,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="R.json", help="Write the result here too.")
    ] = None,
) -> None:
    """Run the live loop for long while its worker is killed and its source dropped. Exit code 1 when a goal is missed.

    \b
    Examples:
      scalpscope bench soak
      scalpscope bench soak --minutes 5 --kill-every 20 --drop-every 40 --report soak.json
    """
    settings = PipelineSettings(bundle or default_bundle_path(), scale_um_per_px=3.0)
    result, found = soak(open_source(source), settings, minutes * 60, kill_every, drop_every)
    if report is not None:
        content = {"goal_back_s": GOAL_BACK_S, "goal_growth": GOAL_GROWTH, **asdict(result), "run": found}
        write_text_atomically(report, json.dumps(content, indent=2) + "\n")
    _print(result, found)
    if not result.met:
        raise typer.Exit(1)


def _print(result: SoakResult, found: dict[str, Any]) -> None:
    console = Console()
    for kind in ("worker killed", "source dropped"):
        times = [recovery.back_after_s for recovery in result.recoveries if recovery.kind == kind]
        back = [seconds for seconds in times if seconds is not None]
        longest = f"back after {np.median(back):.2f} s (median), {max(back):.2f} s (longest)" if back else "never back"
        if times:
            console.print(
                f"{kind}: {len(times)} times, {len(times) - len(back)} without return; {longest}", soft_wrap=True
            )
    dropped = ", ".join(f"{count} {cause}" for cause, count in found["dropped"].items() if count)
    session = found["memory"]["session_mb"]
    console.print(
        f"{result.minutes:.1f} minutes: {found['captured']} captured = {found['analysed']} analysed + {dropped}: "
        + ("reconciles" if result.reconciles else "DOES NOT RECONCILE"),
        highlight=False,
        soft_wrap=True,
    )
    console.print(
        f"memory of the session {session['first']:.0f} to {session['last']:.0f} MiB, growth {result.growth:+.1%}; "
        + ("goals met" if result.met else "goal missed"),
        highlight=False,
        soft_wrap=True,
    )


if __name__ == "__main__":
    typer.run(command)
