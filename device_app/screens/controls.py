"""What can be pressed, and the small pieces that carry text: shared by all screens."""

from __future__ import annotations

from typing import Any

from kivy.properties import BooleanProperty, ColorProperty, NumericProperty, StringProperty
from kivy.uix.behaviors import ButtonBehavior
from kivy.uix.boxlayout import BoxLayout
from kivy.uix.label import Label

from device_app.screens.notices import Notice, Weight


class Caption(Label):
    """Text in the body size, wrapped to its width, as high as it needs."""


class Press(ButtonBehavior, Label):
    """A button: a word on a plate. `chosen` fills it with the accent.

    `key` names it for tests and other languages.
    """

    key = StringProperty("")
    chosen = BooleanProperty(False)
    plain = BooleanProperty(False)


class Chip(Label):
    """A short state on its own small ground."""

    ground = ColorProperty((0, 0, 0, 0))

    def tell(self, notice: Notice, app: Any, most_px: float) -> None:
        """Take a notice's words and the colours of its weight.

        They are wrapped where they are wider than `most_px`, and cut where they take more lines than the notice wants.
        """
        loud = notice.weight is Weight.WARNING
        self.font_size = app.body
        self.text = f"{notice.title}: {notice.detail}" if notice.detail else notice.title
        self.texture_update()
        line_px = self.texture_size[1]
        if self.texture_size[0] > most_px:
            self.text_size = (most_px, None)
            if notice.most_lines is not None:
                self._cut(line_px * (notice.most_lines + 0.5))
        self.ground = app.warning_colour if loud else app.shade_colour
        self.color = app.on_warning_colour if loud else app.text_colour

    def _cut(self, most_px: float) -> None:
        """Leave words out at the end until it is no higher than this."""
        self.texture_update()
        words = self.text.split()
        fits, too_many = 0, len(words) + 1
        if self.texture_size[1] <= most_px:
            return
        while too_many - fits > 1:
            count = (fits + too_many) // 2
            self.text = f"{' '.join(words[:count])} …"
            self.texture_update()
            fits, too_many = (count, too_many) if self.texture_size[1] <= most_px else (fits, count)
        self.text = f"{' '.join(words[:fits])} …"


class Banner(BoxLayout):
    """What does not work, and what to do."""

    title = StringProperty("")
    detail = StringProperty("")


class Stepper(BoxLayout):
    """One of a few values, chosen by two large buttons; no keyboard."""

    key = StringProperty("")
    caption = StringProperty("")
    suffix = StringProperty("")
    shown = StringProperty("")
    index = NumericProperty(0)

    def __init__(self, **kwargs: Any) -> None:
        self.values: tuple[str, ...] = ("",)
        super().__init__(**kwargs)

    def offer(self, values: tuple[str, ...], index: int = 0) -> None:
        """The values to choose from."""
        self.values, self.index = values, index
        self.shown = values[index]

    def step(self, by: int) -> None:
        """The next or the previous value, round and round."""
        self.index = (int(self.index) + by) % len(self.values)
        self.shown = self.values[int(self.index)]
