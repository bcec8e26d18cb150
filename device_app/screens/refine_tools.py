"""The tools of a refined picture: which mask is drawn, its points, and corrections by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from kivy.graphics import Color, Line
from kivy.properties import BooleanProperty, NumericProperty, StringProperty
from kivy.uix.boxlayout import BoxLayout

from device_app.screens import theme
from device_app.screens.choosing import Layer
from device_app.screens.controls import Press
from device_app.screens.refining import Refining

_ALONG = np.linspace(0, 1, 17)
_WAVE = np.stack([_ALONG, 0.5 + 0.3 * np.sin(2 * np.pi * _ALONG)], axis=1)
_OUTLINE = tuple(_WAVE * (1, 0.8) + (0, shift) for shift in (-0.15, 0.35))
_TURN = np.deg2rad(np.linspace(-100, 160, 17))

# What is drawn above each word: lines through points of a square (0..1, y up), their width in units of the grid, and
# their colour where it means something.
_Stroke = tuple[np.ndarray, float, "theme.Colour | None"]
_ICONS: dict[str, tuple[_Stroke, ...]] = {
    "coarse": ((_WAVE, 0.7, None),),
    "sam": tuple((line, 0.15, None) for line in _OUTLINE),
    "hair": (*((line, 0.15, None) for line in _OUTLINE), (_WAVE * (1, 0.8) + (0, 0.1), 0.15, None)),
    "points": (
        (np.array([(0.0, 0.5), (0.4, 0.5)]), 0.22, theme.HAIR_POINT_ON_DARK),
        (np.array([(0.2, 0.2), (0.2, 0.8)]), 0.22, theme.HAIR_POINT_ON_DARK),
        (0.78 + 0.2 * np.stack([np.cos(2 * np.pi * _ALONG), np.sin(2 * np.pi * _ALONG) * 1.4 - 1.4], axis=1),
         0.22, theme.SCALP_POINT),
    ),
    "correct": (
        (np.array([(0.2, 0.05), (0.28, 0.35), (0.7, 1.0), (0.88, 0.8), (0.43, 0.18), (0.2, 0.05)]), 0.15, None),
    ),
    "undo": (
        (np.stack([0.5 + 0.38 * np.cos(_TURN), 0.4 + 0.38 * np.sin(_TURN)], axis=1), 0.18, None),
        (np.array([(0.0, 0.75), (0.14, 0.45), (0.42, 0.6)]), 0.18, None),
    ),
}  # fmt: skip


class Tool(Press):
    """A button with a small drawing above its word."""

    icon = StringProperty("")
    unit = NumericProperty(8.0)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in ("pos", "size", "icon", "unit", "color", "disabled"):
            self.fbind(name, self._draw)

    def _draw(self, *_: Any) -> None:
        self.canvas.after.clear()
        side = 2 * self.unit
        left, bottom = self.x + (self.width - side) / 2, self.y + self.height / 2 + 0.4 * self.unit
        with self.canvas.after:
            for line, width, colour in _ICONS.get(self.icon, ()):
                Color(*(self.color if colour is None or self.disabled or self.chosen else colour))
                points = (line * side + (left, bottom)).ravel().tolist()
                Line(points=points, width=width * self.unit / 2, cap="round", joint="round")


class RefineTools(BoxLayout):
    """Three ways to look, and three things to do; all of them wait for the refinement.

    Args:
        refining: what the buttons change.
        changed: called after each press.
    """

    folded = BooleanProperty(False)
    ready = BooleanProperty(False)
    layer = StringProperty(Layer.HAIR.value)
    points = BooleanProperty(False)
    correcting = BooleanProperty(False)
    undoable = BooleanProperty(False)

    def __init__(self, refining: Refining, changed: Callable[[], None], **kwargs: Any) -> None:
        self._refining, self._changed = refining, changed
        super().__init__(**kwargs)

    def tell(self) -> None:
        """Show how things are."""
        refining = self._refining
        self.ready = refining.result is not None
        self.layer = refining.layer.value
        self.points, self.correcting = refining.points, refining.correcting
        self.undoable = bool(refining.corrections)

    def choose(self, layer: str) -> None:
        """Draw this mask."""
        self._refining.choose(Layer(layer))
        self._changed()

    def press_points(self) -> None:
        """Draw the prompt points, or do not."""
        self._refining.toggle_points()
        self._changed()

    def press_correct(self) -> None:
        """Correct with the finger, or no longer."""
        self._refining.toggle_correcting()
        self._changed()

    def press_undo(self) -> None:
        """Take the last correction back."""
        self._refining.undo()
        self._changed()
