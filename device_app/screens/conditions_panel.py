"""The conditions: a row each, with bars, a word, and how certain it is. Pressed, it shows where the network looked."""

from __future__ import annotations

from typing import Any

import numpy as np
from kivy.graphics import Color, Line, RoundedRectangle
from kivy.graphics.texture import Texture
from kivy.properties import BooleanProperty, NumericProperty, ObjectProperty, StringProperty
from kivy.uix.behaviors import ButtonBehavior
from kivy.uix.boxlayout import BoxLayout
from kivy.uix.widget import Widget

from device_app.screens import theme
from device_app.screens.grading import GradeReading
from device_app.screens.texts import text
from device_app.vision.conditions import Condition, Severity
from device_app.vision.overlay import draw_heat

_RAMP_STEPS = 64


class SeverityBars(Widget):
    """As many filled bars as the severity has steps above good; none at all without a severity."""

    filled = NumericProperty(0)
    bars = NumericProperty(len(Severity) - 1)
    colour = ObjectProperty(theme.DIM)
    drawn = BooleanProperty(False)
    unit = NumericProperty(8.0)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in ("pos", "size", "filled", "bars", "colour", "drawn", "unit"):
            self.fbind(name, self._draw)

    def _draw(self, *_: Any) -> None:
        self.canvas.clear()
        if not self.drawn:
            return
        count = int(self.bars)
        gap, radius = self.unit / 2, self.unit / 4
        width = (self.width - (count - 1) * gap) / count
        height = min(self.height, self.unit * 2)
        y = self.center_y - height / 2
        with self.canvas:
            for index in range(count):
                x = self.x + index * (width + gap)
                if index < self.filled:
                    Color(*self.colour)
                    RoundedRectangle(pos=(x, y), size=(width, height), radius=[radius])
                else:
                    Color(*theme.DIM)
                    Line(rounded_rectangle=(x + 1, y + 1, width - 2, height - 2, radius), width=1)


class ConditionRow(ButtonBehavior, BoxLayout):
    """One condition. Dead while it cannot be graded, because there is no heat map then."""

    key = StringProperty("")
    label = StringProperty("")
    word = StringProperty("")
    beside = StringProperty("")
    chosen = BooleanProperty(False)

    def tell(self, reading: GradeReading, chosen: bool) -> None:
        """Show a reading; `chosen`: its heat map is wanted."""
        self.label, self.word, self.beside = reading.label, reading.word, reading.beside
        bars = self.ids.bars
        bars.drawn = reading.severity is not None
        if reading.severity is not None:
            bars.filled, bars.colour = int(reading.severity), theme.SEVERITY_COLOURS[reading.severity]
        self.disabled = not reading.lookable
        self.chosen = chosen and reading.lookable


class ConditionsPanel(BoxLayout):
    """The rows, under each other or, folded, side by side, and the button for what is known about them.

    Events:
        on_condition(condition): a row was pressed.
        on_advice(): the button was.
    """

    folded = BooleanProperty(False)

    __events__ = ("on_condition", "on_advice")

    def tell(self, readings: tuple[GradeReading, ...], chosen: Condition | None) -> None:
        """Show readings, in the order of `Condition`."""
        for row, reading in zip((self.ids.dandruff, self.ids.excess_sebum, self.ids.erythema), readings, strict=True):
            row.tell(reading, chosen is reading.condition)

    def press(self, key: str) -> None:
        """A row was pressed."""
        self.dispatch("on_condition", Condition(key.removeprefix("condition_")))

    def on_condition(self, condition: Condition) -> None:
        """Default of the event: nothing."""

    def on_advice(self) -> None:
        """Default of the event: nothing."""


class HeatLegend(BoxLayout):
    """What the colours of the heat map mean, and what it is of."""

    words = StringProperty("")
    ramp = ObjectProperty(None, allownone=True)

    def tell(self, what: str) -> None:
        """Name what the network looked for; empty hides the legend."""
        self.opacity = 1.0 if what else 0.0
        if what:
            self.words = text("looked_at", what=what)
            self.ramp = self.ramp or _ramp()


def _ramp() -> Texture:
    """A heat map from 0 to 1 over an even grey."""
    values = np.linspace(0, 1, _RAMP_STEPS, dtype=np.float32)[None]
    colours = draw_heat(np.full((1, _RAMP_STEPS, 3), 128, np.uint8), values)
    texture = Texture.create(size=(_RAMP_STEPS, 1), colorfmt="rgb")
    texture.blit_buffer(colours.reshape(-1), colorfmt="rgb", bufferfmt="ubyte")
    return texture
