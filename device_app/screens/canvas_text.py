"""Short texts drawn straight onto a canvas, each rendered once."""

from __future__ import annotations

from kivy.core.text import Label as TextTexture
from kivy.graphics import Color, Rectangle

from device_app.screens.theme import Colour


class CanvasText:
    """Writes words with the canvas that is open, and keeps their textures for the next time."""

    def __init__(self) -> None:
        self._rendered: dict[tuple[str, float], TextTexture] = {}

    def write(self, words: str, x: float, y: float, size_px: float, colour: Colour, shift: float = 0.0) -> None:
        """Draw words with their lower left corner at x, y.

        Args:
            shift: share of their width by which they lie to the left: 0.5 centres them, 1 ends them at x.
        """
        label = self._rendered.get((words, size_px))
        if label is None:
            label = TextTexture(text=words, font_size=size_px, font_name="Roboto")
            label.refresh()
            self._rendered[words, size_px] = label
        width, height = label.texture.size
        Color(*colour)
        Rectangle(texture=label.texture, pos=(round(x - shift * width), round(y)), size=(width, height))

    def width_of(self, words: str, size_px: float) -> float:
        """How wide words are."""
        return float(TextTexture(font_size=size_px, font_name="Roboto").get_extents(words)[0])
