"""The real app in a process of its own, driven by fingers: ``python -m tests.support.screen_child PLAN.json``.

The plan names the window, the source and the steps: "press that, expect this". Every expectation waits until it holds;
the process ends with code 1 and says what it saw when one never does.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from calibration.optics.profile import Profile
from device_app.advice import load_advice
from device_app.camera.choose import open_source
from device_app.camera.demo import DemoScalp
from device_app.camera.source import FrameSource, SourceLost
from device_app.live.settings import PipelineSettings
from device_app.live.supervisor import LiveSession
from device_app.screens.app import run_app
from tests.support.screen_eyes import controls_of, state_of, window_picture

PATIENCE_S = 60.0


class CutSource:
    """A source with a cable that can be pulled."""

    def __init__(self, source: FrameSource) -> None:
        self._source = source
        self.cut = False

    @property
    def name(self) -> str:
        return self._source.name

    def open(self) -> None:
        if self.cut:
            raise SourceLost("The camera is not there.", "Plug it in.")
        self._source.open()

    def read(self) -> np.ndarray:
        if self.cut:
            raise SourceLost("The camera is gone.", "Plug it in again.")
        return self._source.read()

    def close(self) -> None:
        self._source.close()

    def swap(self, source: FrameSource) -> None:
        """Another camera in its place."""
        old, self._source = self._source, source
        old.close()


class Driver:
    """Fingers, eyes and the list of steps."""

    def __init__(self, app: Any, plan: dict[str, Any], source: CutSource) -> None:
        from kivy.clock import Clock

        self.app, self.plan, self.source = app, plan, source
        self.fingers: dict[str, Any] = {}
        self.remembered: dict[str, np.ndarray] = {}
        self.failure: str | None = None
        self._steps = self._run()
        self._tick = Clock.schedule_interval(self._advance, 0)

    def _advance(self, _: float) -> None:
        try:
            next(self._steps)
        except StopIteration:
            self._end()
        except Exception:
            self.failure = traceback.format_exc() + json.dumps(self.state(), indent=1, default=str)
            self._end()

    def _end(self) -> None:
        self._tick.cancel()
        self.app.stop()

    def _run(self) -> Iterator[None]:
        for number, step in enumerate(self.plan["steps"]):
            (verb, argument), *_ = step.items()
            until = time.monotonic() + PATIENCE_S
            waiting = verb in ("expect", "press")
            while True:
                problem = self.misses(argument) if verb == "expect" else self._not_pressable(verb, argument)
                if not waiting or not problem:
                    break
                if time.monotonic() > until:
                    raise AssertionError(f"step {number} {step}: {problem}")
                yield
            if verb != "expect":
                yield from getattr(self, f"do_{verb}")(argument) or ()
                yield

    # Eyes.
    def state(self) -> dict[str, Any]:
        """What a user could tell about the screen, by names."""
        return {**state_of(self.app, Path(self.plan["records"])), "masks": self._masks()}

    def _masks(self) -> dict[str, bool]:
        """How the hair mask that is shown compares with those that were remembered."""
        shown = self.app.live.ids.view.shown
        if shown is None or shown.mask is None:
            return {}
        return {name: np.array_equal(mask, shown.mask) for name, mask in self.remembered.items()}

    def misses(self, wanted: dict[str, Any]) -> str:
        """What of `wanted` is not so now; ``notices`` and ``files`` ask for a part, ``no_notice`` for an absence,
        ``NAME_not`` for another value, ``NAME_has`` for a part of a text; ``mask_of`` and ``mask_not_of`` compare the
        mask that is shown with a remembered one."""
        state, problems = self.state(), []
        if not state["belongs"]:
            raise AssertionError("a mask lies on a picture that it does not belong to")
        for key, value in wanted.items():
            if key == "notices":
                fine = set(value) <= set(state[key])
            elif key == "no_notice":
                fine = value not in state["notices"]
            elif key in ("mask_of", "mask_not_of"):
                fine = state["masks"].get(value) is (key == "mask_of")
            elif key == "file_count":
                fine = len(state["files"]) == value
            elif key.endswith("_not"):
                fine = state[key[:-4]] != value
            elif key.endswith("_has"):
                fine = value in state[key[:-4]]
            else:
                fine = state[key] == value
            if not fine:
                problems.append(f"{key} is not {value!r}")
        return f"{'; '.join(problems)} in {state}" if problems else ""

    def _control(self, key: str) -> Any:
        found = [
            w for w in self.app.screens.current_screen.walk() if getattr(w, "key", None) == key and hasattr(w, "state")
        ]
        return found[0] if found else None

    def _not_pressable(self, verb: str, key: Any) -> str:
        if verb != "press":
            return ""
        control = self._control(key)
        if self.app.screens.transition.is_active:
            return "the screen is changing"
        if control is None:
            return f"there is no {key!r}"
        return f"{key!r} cannot be pressed" if control.disabled else ""

    # Fingers.
    def _finger(self, at: tuple[float, float]) -> Any:
        from kivy.core.window import Window
        from kivy.input.motionevent import MotionEvent

        class Finger(MotionEvent):
            def depack(self, args: Any) -> None:
                self.sx, self.sy = args
                self.profile = ["pos"]
                super().depack(args)

        number = f"finger{time.monotonic_ns()}"
        return Finger("test", number, (at[0] / Window.width, at[1] / Window.height), is_touch=True, type_id="touch")

    def _post(self, what: str, finger: Any, at: tuple[float, float] | None = None) -> None:
        from kivy.base import EventLoop
        from kivy.core.window import Window

        if at is not None and what != "begin":
            finger.move((at[0] / Window.width, at[1] / Window.height))
        if what == "end":
            finger.update_time_end()
        EventLoop.post_dispatch_input(what, finger)

    def _wait(self, seconds: float) -> Iterator[None]:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            yield

    def _tap(self, at: tuple[float, float]) -> Iterator[None]:
        finger = self._finger(at)
        self._post("begin", finger)
        yield
        self._post("end", finger)

    def do_press(self, key: str) -> Iterator[None]:
        """Touch the middle of a control."""
        from kivy.core.window import Window

        yield from self._wait(0.1)  # a control that has just come is laid out with the next frame
        control = self._control(key)
        x, y = control.to_window(*control.center)
        if not (0 <= x < Window.width and 0 <= y < Window.height):
            raise AssertionError(f"{key} lies outside the window at {x, y}")
        yield from self._tap((x, y))

    def _view(self) -> Any:
        return self.app.screens.current_screen.ids.view

    def _on_picture(self, at: tuple[float, float]) -> tuple[float, float]:
        view = self._view()
        height, width = view.shown.frame.image.shape[:2]
        return view.to_screen(at[0] * width, at[1] * height)

    def do_tap_picture(self, at: tuple[float, float]) -> Iterator[None]:
        """Tap the picture at a share of its width and height."""
        yield from self._tap(self._on_picture(at))
        yield from self._wait(0.5)

    def do_double_tap(self, at: tuple[float, float]) -> Iterator[None]:
        """Tap twice, quickly."""
        yield from self._tap(self._on_picture(at))
        yield from self._tap(self._on_picture(at))

    def do_tap_hair(self, _: Any) -> Iterator[None]:
        """Tap the middle of the longest hair of the frozen picture."""
        yield from self._tap(self._hair_place())
        yield from self._wait(0.5)

    def _hair_place(self) -> tuple[float, float]:
        hair = max(self._view().shown.analysis.measurements.hairs, key=lambda hair: hair.length_px)
        x, y = hair.centre_line[len(hair.centre_line) // 2]
        return self._view().to_screen(float(x), float(y))

    def do_hold(self, at: tuple[float, float]) -> None:
        """Lay a finger on the picture and leave it there."""
        self.fingers["hold"] = self._finger(self._on_picture(at))
        self._post("begin", self.fingers["hold"])

    def _bare_place(self) -> tuple[float, float]:
        """The place farthest from any hair, on the screen."""
        mask = self._view().shown.mask
        return self._greatest(cv2.distanceTransform((mask == 0).astype(np.uint8), cv2.DIST_L2, 5))

    def _greatest(self, values: np.ndarray) -> tuple[float, float]:
        """The pixel of the picture with the greatest value, on the screen; edges left out, where a finger may miss."""
        height, width = values.shape
        inner = values[height // 10 : -height // 10, width // 10 : -width // 10]
        y, x = np.unravel_index(int(inner.argmax()), inner.shape)
        return self._view().to_screen(float(x + width // 10), float(y + height // 10))

    def do_tap_bare(self, _: Any) -> Iterator[None]:
        """Tap the skin, far from any hair."""
        yield from self._tap(self._bare_place())

    def do_hold_hair(self, _: Any) -> None:
        """Lay a finger on the palest hair and leave it there."""
        shown = self._view().shown
        inside = cv2.erode(shown.mask, np.ones((3, 3), np.uint8)) > 0
        pale = np.where(inside, cv2.blur(cv2.cvtColor(shown.frame.image, cv2.COLOR_RGB2GRAY), (3, 3)), 0)
        self.fingers["hold"] = self._finger(self._greatest(pale))
        self._post("begin", self.fingers["hold"])

    def do_remember_mask(self, name: str) -> None:
        """Keep the mask that is shown, for comparisons."""
        self.remembered[name] = self._view().shown.mask

    def do_pause_refiner(self, paused: bool) -> Iterator[None]:
        """The refine process stops where it is, as soon as there is one; or goes on."""
        until = time.monotonic() + PATIENCE_S
        while (pid := self.app.instrument.session.health().refine_pid) is None:
            if time.monotonic() > until:
                raise AssertionError("there is no refine process")
            yield
        os.kill(pid, 19 if paused else 18)

    def do_touch(self, key: str) -> Iterator[None]:
        """Touch a control that may not be pressed."""
        control = self._control(key)
        yield from self._tap(control.to_window(*control.center))

    def do_lift(self, _: Any) -> None:
        """Take it off."""
        self._post("end", self.fingers.pop("hold"))

    def do_pinch(self, factor: float) -> Iterator[None]:
        """Two fingers about the middle of the picture, moving apart."""
        x, y = self._on_picture((0.5, 0.5))
        fingers = [self._finger((x - 30, y)), self._finger((x + 30, y))]
        for finger in fingers:
            self._post("begin", finger)
        yield
        for step in range(1, 11):
            reach = 30 * (1 + (factor - 1) * step / 10)
            for sign, finger in zip((-1, 1), fingers):
                self._post("update", finger, (x + sign * reach, y))
            yield
        for finger in fingers:
            self._post("end", finger)

    # Everything else that happens to an instrument.
    def do_cut(self, cut: bool) -> None:
        """Pull the camera's cable, or plug it in."""
        self.source.cut = cut

    def do_source(self, spec: str) -> Iterator[None]:
        """Another picture under the microscope; goes on when some frames of it have come."""
        session = self.app.instrument.session
        before = session.health().captured
        self.source.swap(open_source(spec))
        until = time.monotonic() + PATIENCE_S
        while session.health().captured < before + 5:
            if time.monotonic() > until:
                raise AssertionError(f"{spec} gives no frames")
            yield

    def do_kill_worker(self, _: Any) -> None:
        """The analysis process dies."""
        os.kill(self.app.instrument.session.health().worker_pid, 9)

    def do_stop_worker(self, _: Any) -> None:
        """The analysis process stops answering."""
        os.kill(self.app.instrument.session.health().worker_pid, 19)

    def do_resize(self, size: tuple[int, int]) -> Iterator[None]:
        """The window takes another size."""
        from kivy.core.window import Window

        Window.size = size
        yield from self._wait(0.5)

    def do_key(self, code: int) -> None:
        """A key of the keyboard."""
        from kivy.core.window import Window

        Window.dispatch("on_keyboard", code, code, None, [])

    def do_wait(self, seconds: float) -> Iterator[None]:
        """Let time pass where nothing can be waited for, for pictures only."""
        yield from self._wait(seconds)

    def do_expect_motion(self, pictures: int) -> Iterator[None]:
        """The window draws this many new pictures though nothing else on the screen changes."""
        from kivy.clock import Clock

        Clock.unschedule(self.app._slow_tick)
        seen: set[int] = set()
        self.app.after_each_frame(lambda shown: seen.add(-1 if shown is None else shown.frame.id))
        until = time.monotonic() + PATIENCE_S
        while len(seen) < pictures:
            if time.monotonic() > until:
                raise AssertionError(f"only {len(seen)} of {pictures} pictures were drawn")
            yield
        Clock.schedule_interval(self.app._slow_tick, 0.25)

    def do_measure_controls(self, path: str) -> None:
        """Write every control and text that can be seen, with its place and size."""
        Path(path).write_text(json.dumps(controls_of(self.app)), encoding="utf-8")

    def do_place(self, path: str) -> None:
        """Write where the picture lies on the window, and the heat map that is drawn over it."""
        view = self._view()
        left, top, scale = view.surface._place
        heat = view.shown.looked.heat.tolist()
        Path(path).write_text(json.dumps({"left": left, "top": top, "scale": scale, "heat": heat}), encoding="utf-8")

    def do_picture(self, path: str) -> None:
        """Save what the window shows."""
        cv2.imwrite(path, window_picture())


def main() -> None:
    """Run the plan."""
    plan = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    spec = plan.get("source", "demo")
    inner = DemoScalp(**plan.get("demo", {})) if spec == "demo" else open_source(spec)
    source = CutSource(inner)
    profile = Profile.load(plan["profile"]) if "profile" in plan else None
    scale = plan.get("scale") if profile is None else profile.scale_um_per_px
    pipeline = PipelineSettings(
        Path(plan["bundle"]),
        scale_um_per_px=scale,
        network_at_least_ms=plan.get("network_at_least_ms", 0.0),
        threads=1,
        refine_still=plan.get("refine_still", False),
    )
    drivers: list[Driver] = []
    run_app(
        LiveSession(source, pipeline),
        profile=profile,
        records=Path(plan["records"]),
        advice=load_advice(Path(plan["advice"])) if "advice" in plan else None,
        overview_folder=Path(plan["overview_folder"]) if "overview_folder" in plan else None,
        window=tuple(plan.get("window", (800, 480))),
        on_open=lambda app: drivers.append(Driver(app, plan, source)),
    )
    if not drivers or drivers[0].failure:
        sys.stderr.write(drivers[0].failure if drivers else "the app never opened\n")
        raise SystemExit(1)


if __name__ == "__main__":
    main()
