"""The card that says what is known about the grades of the frozen picture: information, with its sources."""

from __future__ import annotations

from typing import Any

from kivy.app import App
from kivy.properties import BooleanProperty
from kivy.uix.boxlayout import BoxLayout

from device_app.advice import AdviceTable
from device_app.screens.controls import Caption
from device_app.screens.grading import GradeReading
from device_app.screens.texts import text


class AdviceCard(BoxLayout):
    """Lies over the picture while it is open, and keeps fingers from it."""

    open = BooleanProperty(False)
    demonstration = BooleanProperty(False)

    def __init__(self, **kwargs: Any) -> None:
        self._told: tuple[GradeReading, ...] | None = None
        super().__init__(**kwargs)

    def tell(self, readings: tuple[GradeReading, ...], table: AdviceTable) -> None:
        """Write what the table says about each grade of the frozen picture."""
        if readings == self._told:
            return
        self._told = readings
        words = self.ids.words
        words.clear_widgets()
        for reading in readings:
            said = f"{reading.word}, {reading.beside}" if reading.beside and not reading.severity else reading.word
            self._write(text("advice_of", condition=reading.label, severity=said), heading=True)
            if reading.severity is None:
                self._write(text("advice_none"))
                continue
            advice = table.of(reading.condition, reading.severity)
            self._write(advice.text)
            for source in advice.sources:
                self._write(text("advice_source", source=source), dim=True)
        self.ids.scroll.scroll_y = 1.0

    def _write(self, words: str, heading: bool = False, dim: bool = False) -> None:
        app = App.get_running_app()
        caption = Caption(text=words, bold=heading)
        if not dim:
            caption.color = app.text_colour
        self.ids.words.add_widget(caption)

    def on_touch_down(self, touch: Any) -> bool:
        """A finger on the card is not one on the picture behind it."""
        inside = self.open and self.collide_point(*touch.pos)
        return bool(super().on_touch_down(touch)) or inside
