"""Takes the pictures of docs/images from the running app on the demo scalp: ``make screenshots``.

Each picture is one run of the real app with the bundle that ships: the steps below, then what the window shows.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from device_app.bundle import Task, default_bundle_path, load_bundle
from device_app.camera.demo import DemoScalp
from device_app.live.classifier import Classifiers
from device_app.live.refiner import refinement_missing
from device_app.live.settings import PipelineSettings
from device_app.live.supervisor import LiveSession
from device_app.screens.app import run_app
from device_app.screens.calibrating import Way

IMAGES = Path(__file__).resolve().parent / "images"
PATIENCE_S = 120.0

Steps = Callable[[Any], Iterator[None]]


def until(holds: Callable[[], bool], what: str) -> Iterator[None]:
    """Wait for something to hold."""
    end = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > end:
            raise SystemExit(f"gave up waiting for {what}")
        yield


def pause(seconds: float) -> Iterator[None]:
    """Let things settle."""
    end = time.monotonic() + seconds
    return until(lambda: time.monotonic() > end, "time to pass")


def frozen(app: Any) -> Iterator[None]:
    """The picture stands still, measured."""
    instrument = app.instrument
    yield from until(lambda: instrument.session.latest_result() is not None, "the first analysis")
    yield from pause(3.0)
    app.live.press_freeze()
    yield from until(lambda: instrument.frozen and not instrument.measuring, "the frozen picture's analysis")
    yield from pause(1.0)


def refined(app: Any) -> Iterator[None]:
    """The frozen picture refined, with its prompt points."""
    yield from frozen(app)
    refining = app.instrument.refining
    yield from until(lambda: refining.result is not None or bool(refining.problem), "the refinement")
    if refining.result is None:
        raise SystemExit(f"not refined: {refining.problem}")
    refining.toggle_points()
    yield from pause(1.0)


def one_hair(app: Any) -> Iterator[None]:
    """The card of the longest hair."""
    yield from frozen(app)
    hairs = app.instrument.shown.analysis.measurements.hairs
    hair = max((hair for hair in hairs if np.isfinite(hair.diameter_px)), key=lambda hair: hair.length_px)
    app.live.tapped(*map(float, hair.centre_line[len(hair.centre_line) // 2]))
    yield from pause(0.5)


def histogram(app: Any) -> Iterator[None]:
    """The folded screen's other tab."""
    yield from frozen(app)
    app.live.tab = "histogram"
    yield from pause(0.5)


def graded(app: Any) -> Iterator[None]:
    """The frozen picture with its grades, on the folded screen's tab for them."""
    yield from frozen(app)
    grading = app.instrument.grading
    yield from until(lambda: not grading.waiting, "the grades")
    app.live.tab = "conditions"
    yield from pause(0.5)


def heat_map(app: Any) -> Iterator[None]:
    """Where the network looked for the first condition that it grades."""
    yield from graded(app)
    conditions = app.instrument.grading.of_frozen
    found = [] if conditions is None else [own for own, grade in conditions.grades.items() if grade.refused is None]
    if not found:
        raise SystemExit("nothing is graded in this picture")
    app.live.press_condition(None, found[0])
    yield from pause(0.5)


def advice(app: Any) -> Iterator[None]:
    """What is said about the grades."""
    yield from graded(app)
    app.live.press_advice()
    yield from pause(0.5)


def calibration(app: Any) -> Iterator[None]:
    """The calibration screen, asking for a number."""
    yield from until(lambda: app.instrument.session.latest_frame() is not None, "the first frame")
    app.go_to("calibrate")
    app.calibrate.choose(Way.RULER)
    yield from pause(1.0)


PICTURES: dict[str, tuple[tuple[int, int], Steps]] = {
    "live_1920x1080": ((1920, 1080), frozen),
    "live_800x480": ((800, 480), frozen),
    "histogram_800x480": ((800, 480), histogram),
    "one_hair_1280x800": ((1280, 800), one_hair),
    "calibrate_800x480": ((800, 480), calibration),
    "refined_1280x800": ((1280, 800), refined),
    "refined_800x480": ((800, 480), refined),
    "conditions_800x480": ((800, 480), graded),
    "heat_map_1280x800": ((1280, 800), heat_map),
    "advice_800x480": ((800, 480), advice),
}


def window_picture() -> np.ndarray:
    """What the window shows, (H, W, 3) BGR."""
    from kivy.core.window import Window
    from kivy.graphics.opengl import GL_RGBA, GL_UNSIGNED_BYTE, glReadPixels

    width, height = Window.system_size
    pixels = glReadPixels(0, 0, width, height, GL_RGBA, GL_UNSIGNED_BYTE)
    rgba = np.frombuffer(pixels, np.uint8).reshape(height, width, 4)[::-1]
    return cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGR)


def take(name: str, bundle: Path, out: Path) -> None:
    """Run the app for one picture; a process has one window, so this is called once in each."""
    window, steps = PICTURES[name]
    source = DemoScalp()
    session = LiveSession(source, PipelineSettings(bundle, source.scale_um_per_px))

    def opened(app: Any) -> None:
        from kivy.clock import Clock

        running = steps(app)

        def advance(_: float) -> bool:
            if next(running, "over") != "over":
                return True
            cv2.imwrite(str(out / f"{name}.png"), window_picture(), [cv2.IMWRITE_PNG_COMPRESSION, 9])
            app.stop()
            return False

        Clock.schedule_interval(advance, 0)

    with tempfile.TemporaryDirectory() as records:
        run_app(session, window=window, records=Path(records), on_open=opened)


def main() -> None:
    """Take all pictures, or the one that is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", nargs="?", choices=sorted(PICTURES), help="only this one")
    parser.add_argument("--bundle", type=Path, default=default_bundle_path())
    parser.add_argument("--out", type=Path, default=IMAGES)
    chosen = parser.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    if chosen.name:
        take(chosen.name, chosen.bundle, chosen.out)
        return
    bundle = load_bundle(chosen.bundle)
    lacks: dict[Steps, str | None] = {refined: refinement_missing(bundle)}
    lacks |= dict.fromkeys((graded, heat_map, advice), Classifiers(bundle).missing(Task.CONDITIONS))
    for name, (_, steps) in PICTURES.items():
        if missing := lacks.get(steps):
            print(f"no {name}: {missing}")
            continue
        words = [name, "--bundle", str(chosen.bundle.resolve()), "--out", str(chosen.out.resolve())]
        with tempfile.TemporaryDirectory() as config:  # no profile of this machine's user may come into a picture
            subprocess.run(
                [sys.executable, __file__, *words], check=True, env={**os.environ, "XDG_CONFIG_HOME": config}
            )
        print(chosen.out / f"{name}.png")


if __name__ == "__main__":
    main()
