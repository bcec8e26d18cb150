"""The app: its window, its screens, the sizes that follow the window, and the clock that drives them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kivy.app import App
from kivy.clock import Clock
from kivy.core.window import Window
from kivy.lang import Builder
from kivy.properties import BooleanProperty, ColorProperty, NumericProperty
from kivy.uix.screenmanager import NoTransition, ScreenManager

from device_app.advice import AdviceTable
from device_app.screens import theme
from device_app.screens.calibrate_screen import CalibrateScreen
from device_app.screens.choosing import Shown
from device_app.screens.instrument import Instrument
from device_app.screens.live_screen import LiveScreen
from device_app.screens.overview_screen import OverviewScreen
from device_app.screens.overviewing import Overview
from device_app.screens.texts import text

_HERE = Path(__file__).parent
KV_FILES = (
    "controls.kv",
    "conditions_panel.kv",
    "figures_panel.kv",
    "refine_tools.kv",
    "advice_card.kv",
    "live_screen.kv",
    "calibrate_screen.kv",
    "overview_screen.kv",
)
_SLOW_S = 0.25


class ScalpScopeApp(App):
    """The app. Colours and sizes are properties, so that every rule in the .kv files follows the window."""

    use_kivy_settings = False

    unit = NumericProperty(8.0)
    body = NumericProperty(16.0)
    heading = NumericProperty(20.0)
    figure = NumericProperty(40.0)
    touch = NumericProperty(56.0)
    folded = BooleanProperty(False)

    raised_colour = ColorProperty(theme.RAISED)
    control_colour = ColorProperty(theme.CONTROL)
    pressed_colour = ColorProperty(theme.PRESSED)
    rule_colour = ColorProperty(theme.RULE)
    text_colour = ColorProperty(theme.TEXT)
    dim_colour = ColorProperty(theme.DIM)
    faint_colour = ColorProperty(theme.FAINT)
    accent_colour = ColorProperty(theme.ACCENT)
    on_accent_colour = ColorProperty(theme.ON_ACCENT)
    warning_colour = ColorProperty(theme.WARNING)
    on_warning_colour = ColorProperty(theme.ON_WARNING)
    shade_colour = ColorProperty(theme.SHADE)

    def __init__(
        self,
        instrument: Instrument,
        advice: AdviceTable,
        overview: Overview,
        on_open: Callable[[ScalpScopeApp], None] | None = None,
    ) -> None:
        self.instrument, self.overview_judge = instrument, overview
        self._advice = advice
        self._when_open = on_open
        super().__init__()

    def build(self) -> ScreenManager:
        """Make the screens."""
        self.title = text("app")
        Window.clearcolor = theme.SURFACE
        self._lay_out(Window, Window.width, Window.height)
        Window.bind(on_resize=self._lay_out, on_keyboard=self._on_key)
        for name in KV_FILES:
            Builder.load_file(str(_HERE / name))
        self.screens = ScreenManager(transition=NoTransition())
        self.live = LiveScreen(self.instrument, self._advice, name="live")
        self.calibrate = CalibrateScreen(self.instrument, name="calibrate")
        self.overview = OverviewScreen(self.overview_judge, name="overview")
        for screen in (self.live, self.calibrate, self.overview):
            self.screens.add_widget(screen)
        return self.screens

    def on_start(self) -> None:
        """Start the clocks."""
        Clock.schedule_interval(self._tick, 0)
        Clock.schedule_interval(self._slow_tick, _SLOW_S)
        when_open = self._when_open
        if when_open is not None:
            Clock.schedule_once(lambda _: when_open(self), 0)

    def go_to(self, screen: str) -> None:
        """Show a screen by its name."""
        self.screens.current = screen

    def after_each_frame(self, call: Callable[[Shown | None], None]) -> None:
        """Call this with what the live screen shows whenever the window was drawn; for benchmarks."""
        Window.bind(on_flip=lambda *_: call(self.live.ids.view.shown))

    def open_settings(self, *_: Any) -> bool:
        """Kivy's own settings have no place here."""
        return False

    def _tick(self, _: float) -> None:
        self.instrument.tick(time.monotonic_ns())
        self.screens.current_screen.refresh_picture()

    def _slow_tick(self, _: float) -> None:
        self.instrument.look_at_exposure()
        health = self.instrument.session.health()
        self.live.take_saves()
        self.live.stageable = self.overview_judge.possible
        self.screens.current_screen.refresh_state(health, time.monotonic_ns())

    def _lay_out(self, _: Any, width: float, height: float) -> None:
        layout = theme.layout_for(width, height)
        self.unit, self.body, self.heading = layout.unit, layout.body, layout.title
        self.figure, self.touch, self.folded = layout.figure, layout.touch, layout.folded

    def _on_key(self, _: Any, key: int, __: int, ___: str | None, modifiers: list[str]) -> bool:
        if key == ord("q") and "ctrl" in modifiers:
            self.stop()
            return True
        return key == 27  # Escape and the back key of a kiosk close nothing
