"""The calibration screen: a way to a scale on the right, the picture it rests on at the left, and one confirmation."""

from __future__ import annotations

from typing import Any

import numpy as np
from kivy.app import App
from kivy.properties import BooleanProperty, ObjectProperty, StringProperty
from kivy.uix.boxlayout import BoxLayout
from kivy.uix.screenmanager import Screen
from kivy.uix.widget import Widget

from calibration.errors import ScalpScopeError
from calibration.optics.profile import Profile, profile_path
from device_app.live.health import Health
from device_app.screens import theme
from device_app.screens.calibrating import (
    MAGNIFICATIONS,
    SCOPES,
    TICK_CHOICES_UM,
    Calibration,
    Way,
    first_choice,
    keep,
    kept_profiles,
)
from device_app.screens.choosing import Shown
from device_app.screens.controls import Press
from device_app.screens.instrument import Instrument
from device_app.screens.texts import text

_CROSS_UNITS = 1.5
_LONGEST_NUMBER = 8


class RulerBody(BoxLayout):
    """Choose the tick spacing, then look for the ruler."""

    screen = ObjectProperty(None)


class KeypadBody(BoxLayout):
    """Enter a number with ten large keys."""

    screen = ObjectProperty(None)
    caption = StringProperty("")
    typed = StringProperty("")

    def press(self, key: str) -> None:
        """One key: a digit, the point, or the eraser."""
        if key == text("erase"):
            self.typed = self.typed[:-1]
        elif len(self.typed) < _LONGEST_NUMBER and not (key == "." and "." in self.typed):
            self.typed += key


class WhiteBody(BoxLayout):
    """Measure the light on white paper."""

    screen = ObjectProperty(None)
    possible = BooleanProperty(False)


class ProfilesBody(BoxLayout):
    """The profiles kept on the device, to choose from."""

    screen = ObjectProperty(None)


class KeepBody(BoxLayout):
    """What was found, the name to keep it under, and the one confirmation."""

    screen = ObjectProperty(None)
    found = StringProperty("")
    rests_on = StringProperty("")
    named = BooleanProperty(True)
    asks = BooleanProperty(False)
    question = StringProperty("")


class CalibrateScreen(Screen):
    """Makes a profile, or chooses one. Built anew at every visit."""

    hint = StringProperty("")
    problem = StringProperty("")
    way = StringProperty(Way.RULER.value)
    keeping = BooleanProperty(False)
    busy = BooleanProperty(False)

    def __init__(self, instrument: Instrument, **kwargs: Any) -> None:
        self.instrument = instrument
        self.calibration = Calibration(instrument.profile)
        super().__init__(**kwargs)

    def on_pre_enter(self, *_: Any) -> None:
        """Begin a visit."""
        self.instrument.go_live()
        self.calibration = Calibration(self.instrument.profile)
        self.choose(Way.RULER)

    def on_leave(self, *_: Any) -> None:
        """End it."""
        self.calibration.close()
        self.ids.view.show(None)

    def on_touch_down(self, touch: Any) -> bool:
        """A change of mind elsewhere takes the question whether to replace back."""
        body = self._body()
        handled = super().on_touch_down(touch)
        if isinstance(body, KeepBody) and body.asks and not body.ids.keep.collide_point(*touch.pos):
            body.asks = False
        return bool(handled)

    # Driven by the app's clocks.
    def refresh_picture(self) -> None:
        """The newest frame without an overlay, or the still picture with the points that matter."""
        calibration = self.calibration
        frame = calibration.still or self.instrument.session.latest_frame()
        self.ids.view.show(None if frame is None else Shown(frame), calibration.light)

    def refresh_state(self, health: Health, now_ns: int) -> None:
        """Take what was found meanwhile."""
        if self.calibration.poll():
            self._rebuild()
        self.ids.no_picture.opacity = 0.0 if self.ids.view.shown is not None else 1.0

    def mark(self, *_: Any) -> None:
        """Draw the ticks or the tapped points where the picture lies now."""
        calibration = self.calibration
        points = calibration.points if calibration.scale is None else calibration.scale.ticks
        reach = _CROSS_UNITS * App.get_running_app().unit
        if len(points) > 2:  # ticks stand close: their marks must not run into each other
            spacing = float(np.linalg.norm(np.diff(points, axis=0), axis=1).min())
            reach = min(reach, 0.35 * spacing * self.ids.view.screen_px_per_px)
        self.ids.view.surface.mark_points(np.asarray(points), theme.ACCENT, reach)

    # Buttons and fingers.
    def choose(self, way: Way | str) -> None:
        """Another way to a scale."""
        self.calibration.choose(Way(way))
        self._rebuild()

    def choose_tick(self, tick_um: int) -> None:
        """Another ruler."""
        self.calibration.tick_um = tick_um
        self._rebuild()

    def find(self) -> None:
        """Look for the ruler, or measure the white paper, in the newest frame."""
        self.calibration.start_finding(self.instrument.session.latest_frame())
        self._rebuild()

    def tapped(self, x: float, y: float) -> None:
        """A finger marked a point."""
        shown = self.ids.view.shown
        if shown is not None and self.calibration.way is Way.POINTS:
            self.calibration.tap(x, y, shown.frame)
            self._rebuild()

    def enter(self, typed: str) -> None:
        """The number on the keypad is meant."""
        try:
            value = float(typed)
        except ValueError:
            self.problem = text("enter_number")
            return
        frame = self.instrument.session.latest_frame()
        self.calibration.enter(value, frame, self.ids.view.screen_px_per_px)
        self._rebuild()

    def again(self) -> None:
        """Not this one."""
        self.calibration.again()
        self._rebuild()

    def keep(self, body: KeepBody) -> None:
        """Keep what was found and measure with it; a profile of that name is replaced only when asked twice."""
        profile = self.calibration.made_profile(body.ids.scope.shown, body.ids.magnification.shown)
        replaces = self.calibration.light is None and profile_path(profile.name).exists()
        if replaces and not body.asks:
            body.question, body.asks = text("replace", name=profile.name), True
            return
        try:
            keep(profile)
        except ScalpScopeError as error:
            self.problem = str(error)
            return
        self.use(profile)

    def use(self, profile: Profile | None) -> None:
        """Measure with this profile and go back to the picture."""
        self.instrument.use_profile(profile)
        App.get_running_app().live.say_profile(profile)
        App.get_running_app().go_to("live")

    # What is shown.
    def _rebuild(self) -> None:
        calibration = self.calibration
        self.way, self.problem, self.busy = calibration.way.value, calibration.problem, calibration.busy
        self.keeping = calibration.scale is not None or calibration.light is not None
        self.hint = "" if self.keeping else text(_HINTS[calibration.way][min(len(calibration.points), 2)])
        old = self._body()
        new = self._made_body()
        if isinstance(old, KeypadBody) and isinstance(new, KeypadBody) and old.caption == new.caption:
            new.typed = old.typed
        self.ids.body.clear_widgets()
        self.ids.body.add_widget(new)
        self.mark()

    def _body(self) -> Widget | None:
        children = self.ids.body.children
        return children[0] if children else None

    def _made_body(self) -> Widget:
        calibration = self.calibration
        if self.keeping:
            return self._made_keep_body()
        if calibration.way is Way.RULER:
            body = RulerBody(screen=self)
            for tick_um in TICK_CHOICES_UM:
                chosen = tick_um == calibration.tick_um
                press = Press(text=str(tick_um), key=f"tick_{tick_um}", chosen=chosen)
                press.bind(on_release=lambda _, tick_um=tick_um: self.choose_tick(tick_um))
                body.ids.ticks.add_widget(press)
            return body
        if calibration.way is Way.WHITE:
            return WhiteBody(screen=self, possible=calibration.profile is not None)
        if calibration.way is Way.PROFILES:
            return self._made_profiles_body()
        if calibration.way is Way.POINTS and len(calibration.points) < 2:
            return Widget()
        caption = text("distance_um" if calibration.way is Way.POINTS else "scale_um_per_px")
        return KeypadBody(screen=self, caption=caption)

    def _made_keep_body(self) -> KeepBody:
        calibration, body = self.calibration, KeepBody(screen=self)
        scope, magnification = first_choice(calibration.profile)
        body.ids.scope.offer(SCOPES, scope)
        body.ids.magnification.offer(MAGNIFICATIONS, magnification)
        if calibration.light is not None and calibration.profile is not None:
            body.named = False
            fall = 100 / float(calibration.light.gains.max())
            body.found, body.rests_on = text("white_found", fall=f"{fall:.0f}"), calibration.profile.name
        elif calibration.scale is not None:
            scale = calibration.scale
            spread = scale.uncertainty_um_per_px
            digits = 3 if spread < 0.02 else 2
            body.found = text("scale_found", scale=f"{scale.scale_um_per_px:.{digits}f}", spread=f"{spread:.{digits}f}")
            body.rests_on = text("ruler_found", count=len(scale.ticks)) if calibration.way is Way.RULER else ""
        return body

    def _made_profiles_body(self) -> ProfilesBody:
        body, profiles = ProfilesBody(screen=self), kept_profiles()
        for profile in (None, *profiles):
            words = text("no_profile_choice")
            if profile is not None:
                line = text(
                    "profile_line",
                    scale=f"{profile.scale_um_per_px:.3g}",
                    width=profile.width_px,
                    height=profile.height_px,
                )
                words = f"{profile.name}\n{line}"
            press = Press(text=words, key="profile_none" if profile is None else profile.name)
            press.chosen = profile == self.instrument.profile
            press.bind(on_release=lambda _, profile=profile: self.use(profile))
            body.ids.list.add_widget(press)
        return body


_HINTS: dict[Way, tuple[str, str, str]] = {
    Way.RULER: ("ruler_help",) * 3,
    Way.POINTS: ("points_help", "points_one", "points_two"),
    Way.TYPED: ("typed_help",) * 3,
    Way.WHITE: ("white_help",) * 3,
    Way.PROFILES: ("profiles_help",) * 3,
}
