"""What lies on the picture besides the overlay: scale bar, focus ring, the inset, and the card of one hair."""

from __future__ import annotations

from typing import Any

import numpy as np
from kivy.graphics import Color, Line, Rectangle
from kivy.properties import BooleanProperty, NumericProperty, ObjectProperty, StringProperty
from kivy.uix.boxlayout import BoxLayout
from kivy.uix.widget import Widget

from calibration.optics.focus import SHARP_ENOUGH
from device_app.screens import theme
from device_app.screens.canvas_text import CanvasText
from device_app.screens.choosing import Shown
from device_app.screens.surface import FrameSurface
from device_app.screens.texts import text
from device_app.vision.hairs import Hair
from device_app.vision.overlay import bar_length_um, class_of

_INSET_LINE_PX = 3.0


class ScaleBar(BoxLayout):
    """A round length in micrometres, as long as it is on the screen; gone without a scale."""

    words = StringProperty("")
    length_px = NumericProperty(0.0)

    def tell(self, scale_um_per_px: float | None, screen_px_per_px: float, room_px: float) -> None:
        """Choose the length for a picture of this scale, shown this large in this width."""
        self.opacity = 0.0 if scale_um_per_px is None else 1.0
        if scale_um_per_px is None:
            return
        um_per_screen_px = scale_um_per_px / screen_px_per_px
        length_um = bar_length_um(int(room_px), um_per_screen_px)
        self.length_px = length_um / um_per_screen_px
        key, length = ("bar_mm", length_um / 1000) if length_um >= 1000 else ("bar_um", length_um)
        self.words = text(key, length=f"{length:g}")


class FocusRing(BoxLayout):
    """How sharp the picture is: a ring that closes, and a word. The word and the ring say it without their colour."""

    score = NumericProperty(0.0)
    sharp = BooleanProperty(False)
    words = StringProperty("")
    turn = NumericProperty(0.0)

    def tell(self, score: float | None) -> None:
        """Show a focus score; None hides the ring."""
        self.opacity = 0.0 if score is None else 1.0
        if score is None:
            return
        self.score, self.sharp = score, score >= SHARP_ENOUGH
        self.words = text("sharp" if self.sharp else "blurred")
        self.turn = 360.0 * min(score / SHARP_ENOUGH, 1.0)


class Inset(Widget):
    """An analysed frame with its overlay, small, and its age; shown while the analysis runs behind the picture."""

    words = StringProperty("")
    age_width = NumericProperty(0.0)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._surface: FrameSurface | None = None

    @property
    def seen(self) -> bool:
        """Whether a picture is on the canvas."""
        return self._surface is not None

    def tell(self, shown: Shown | None, age_s: float, bare: bool, light: Any) -> None:
        """Show a frame with its overlay and age, or nothing."""
        self.opacity = 0.0 if shown is None else 1.0
        if shown is None:
            # A render context knows nothing of its widget's opacity: what may not be seen has to leave the canvas.
            if self._surface is not None:
                self.canvas.before.remove(self._surface)
                self._surface = None
            return
        if self._surface is None:
            self._surface = FrameSurface(line_px=_INSET_LINE_PX)
            self.canvas.before.add(self._surface)
        height, width = shown.frame.image.shape[:2]
        self.height = self.width * height / width
        if self._surface.show(shown, bare=bare, light=light):
            self.canvas.ask_update()
        self._surface.place(self.x, self.top, self.width / width)
        self.words = text("inset_age", age=f"{age_s:.1f}")


class WidthPlot(Widget):
    """Diameter along a hair: a line where it was measured, gaps where it was not."""

    values = ObjectProperty(())
    colour = ObjectProperty(theme.UNCLASSED)
    cuts = ObjectProperty(())
    text_px = NumericProperty(16.0)

    def __init__(self, **kwargs: Any) -> None:
        self._letters = CanvasText()
        super().__init__(**kwargs)
        for name in ("pos", "size", "values", "colour", "cuts", "text_px"):
            self.fbind(name, self._draw)

    def _draw(self, *_: Any) -> None:
        self.canvas.clear()
        values = np.asarray(self.values, float)
        if len(values) < 2 or self.height < 10:
            return
        measured = values[np.isfinite(values)]
        top = max(1.25 * float(measured.max()) if len(measured) else 1.0, 1e-6)
        right = self.right - 1.3 * max(
            (self._letters.width_of(f"{cut:g}", self.text_px) for cut in self.cuts), default=0
        )
        with self.canvas:
            Color(*theme.DIM)
            Line(points=[self.x, self.y, right, self.y], width=1)
            for cut in self.cuts:
                if cut < top:
                    y = self.y + self.height * cut / top
                    label_y = y - 0.6 * self.text_px
                    self._letters.write(f"{cut:g}", self.right, label_y, self.text_px, theme.DIM, shift=1.0)
                    Line(points=[self.x, y, right, y], width=1, dash_offset=4, dash_length=4)
            Color(*self.colour)
            step = (right - self.x) / (len(values) - 1)
            for run in _runs(values):
                points = [(self.x + i * step, self.y + self.height * float(values[i]) / top) for i in run]
                if len(points) == 1:
                    Rectangle(pos=(points[0][0] - 1, points[0][1] - 1), size=(2, 2))
                else:
                    Line(points=[number for point in points for number in point], width=1.5)


def _runs(values: np.ndarray) -> list[np.ndarray]:
    """Indices of the stretches that were measured."""
    finite = np.flatnonzero(np.isfinite(values))
    return [run for run in np.split(finite, np.flatnonzero(np.diff(finite) > 1) + 1) if len(run)]


class HairCard(BoxLayout):
    """One hair of the frozen picture: its number, diameter and class, and the diameter along it."""

    open = BooleanProperty(False)
    title = StringProperty("")
    diameter = StringProperty("")
    kind = StringProperty("")
    caption = StringProperty("")

    def tell(self, hair: Hair, shown: Shown) -> None:
        """Show a hair of this picture's analysis."""
        assert shown.analysis is not None
        measurements = shown.analysis.measurements
        scale = measurements.scale_um_per_px
        kind = class_of(hair, scale, measurements.classes)
        self.title = text("hair_card", id=hair.id)
        self.kind = "" if kind is None else text(f"class_{kind.value}")
        factor, unit = (1.0, "px") if scale is None else (scale, "um")
        self.caption = text(f"hair_along_{unit}")
        if np.isfinite(hair.diameter_px):
            value, spread = hair.diameter_px * factor, hair.diameter_spread_px * factor
            self.diameter = text(f"hair_diameter_{unit}", value=f"{value:.1f}", spread=f"{spread:.1f}")
        else:
            self.diameter = text("hair_unmeasured")
        plot = self.ids.plot
        classes = measurements.classes
        plot.cuts = () if scale is None else (classes.vellus_below_um, classes.terminal_above_um)
        plot.colour = theme.UNCLASSED if kind is None else theme.CLASS_COLOURS[kind]
        plot.values = tuple((np.asarray(hair.widths_px) * factor).tolist())


def hair_at(shown: Shown, x: float, y: float, reach_px: float) -> Hair | None:
    """The hair nearest to a point of the picture, within `reach_px` of its edge; None when there is none, or when no
    hair lines are drawn."""
    if shown.lined is None:
        return None
    best, nearest = None, reach_px
    for hair in shown.lined.measurements.hairs:
        half = hair.diameter_px / 2 if np.isfinite(hair.diameter_px) else 0.0
        distance = float(np.hypot(*(hair.centre_line - (x, y)).T).min()) - half
        if distance < nearest:
            best, nearest = hair, distance
    return best
