"""The figures, the histogram of diameters and the conditions, beside the picture or in a strip under it."""

from __future__ import annotations

from typing import Any

from kivy.graphics import Color, Line, Rectangle
from kivy.properties import BooleanProperty, NumericProperty, ObjectProperty, StringProperty
from kivy.uix.boxlayout import BoxLayout
from kivy.uix.widget import Widget

from device_app.screens import theme
from device_app.screens.canvas_text import CanvasText
from device_app.screens.readings import LAST_BIN_UM, Histogram, Made, Reading
from device_app.screens.texts import text
from device_app.vision.hairs import HairClass


class FigureTile(BoxLayout):
    """One figure: its label, the number in large type, its unit and interval; or a dash and the reason."""

    label = StringProperty("")
    value = StringProperty("")
    unit = StringProperty("")
    beside = StringProperty("")
    doubtful = BooleanProperty(False)

    def tell(self, reading: Reading) -> None:
        """Show a reading."""
        self.label, self.value, self.unit = reading.label, reading.value, reading.unit
        self.beside = reading.reason or reading.interval
        self.doubtful = bool(reading.reason)


class HistogramView(Widget):
    """Bars of hairs by diameter in the colours of their classes, with the cuts marked on the axis."""

    histogram = ObjectProperty(None, allownone=True)
    why_empty = StringProperty("")
    text_px = NumericProperty(16.0)
    unit = NumericProperty(8.0)

    def __init__(self, **kwargs: Any) -> None:
        self._letters = CanvasText()
        super().__init__(**kwargs)
        for name in ("pos", "size", "histogram", "why_empty", "text_px", "unit"):
            self.fbind(name, self._draw)

    def _draw(self, *_: Any) -> None:
        self.canvas.clear()
        histogram: Histogram | None = self.histogram
        axis_y = self.y + self.text_px * 1.4
        top = self.top - self.unit / 2
        if self.width < 10 or top <= axis_y:
            return
        with self.canvas:
            if histogram is not None and histogram.highest:
                self._bars(histogram, axis_y, top)
            elif self.why_empty:
                y = (axis_y + top - self.text_px) / 2
                self._letters.write(self.why_empty, self.center_x, y, self.text_px, theme.DIM, shift=0.5)
            Color(*theme.DIM)
            Line(points=[self.x, axis_y, self.right, axis_y], width=1)
            cuts = {0.0, LAST_BIN_UM}
            if histogram is not None:
                cuts |= {histogram.classes.vellus_below_um, histogram.classes.terminal_above_um}
            for cut in sorted(cuts):
                self._mark(cut, axis_y)

    def _bars(self, histogram: Histogram, axis_y: float, top: float) -> None:
        bins = len(histogram.counts)
        step = self.width / bins
        per_hair = (top - axis_y) / max(histogram.highest, 4)
        gap = max(1.0, step * 0.12)
        for index, row in enumerate(histogram.counts):
            y = axis_y
            for kind, count in zip(HairClass, row):
                if count:
                    Color(*theme.CLASS_COLOURS[kind])
                    Rectangle(pos=(self.x + index * step + gap / 2, y), size=(step - gap, count * per_hair))
                    y += count * per_hair

    def _mark(self, at_um: float, axis_y: float) -> None:
        x = self.x + self.width * at_um / LAST_BIN_UM
        Color(*theme.DIM)
        Line(points=[x, axis_y, x, axis_y - self.unit / 2], width=1)
        words = f"{at_um:g}" if at_um < LAST_BIN_UM else f"{at_um:g}+ {text('unit_um')}"
        shift = 0.0 if at_um == 0 else (1.0 if at_um >= LAST_BIN_UM else 0.5)
        self._letters.write(words, x, self.y, self.text_px, theme.DIM, shift)


class Legend(BoxLayout):
    """The classes: a swatch of their colour, their name and how many there are."""

    def tell(self, histogram: Histogram | None) -> None:
        """Show the counts of a histogram; dashes without one."""
        for entry, kind in zip((self.ids.vellus, self.ids.intermediate, self.ids.terminal), HairClass):
            entry.name = text(f"class_{kind.value}")
            entry.count = "–" if histogram is None else str(histogram.totals[kind])


class LegendEntry(BoxLayout):
    """One class of the legend."""

    name = StringProperty("")
    count = StringProperty("–")
    swatch = ObjectProperty((0, 0, 0, 0))


def tabs(gradable: bool) -> tuple[str, ...]:
    """The parts of the panel, by name, for a bundle that can grade conditions and for one that cannot."""
    return ("figures", "histogram", "conditions") if gradable else ("figures", "histogram")


class FiguresPanel(BoxLayout):
    """Figures above, histogram below, then the conditions where they can be graded; folded: one of them in a strip."""

    folded = BooleanProperty(False)
    gradable = BooleanProperty(False)
    tab = StringProperty("figures")
    chart_title = StringProperty("")

    def on_kv_post(self, _: Any) -> None:
        """Keep the parts, of which a folded panel shows one."""
        # By reference: what `ids` hands out does not keep a part alive that is off the screen.
        parts = (self.ids.figures, self.ids.chart, self.ids.conditions)
        self._parts = dict(zip(tabs(gradable=True), (part.__self__ for part in parts), strict=True))
        self.bind(folded=self._arrange, tab=self._arrange, gradable=self._arrange)
        self._arrange()

    def _arrange(self, *_: Any) -> None:
        self.clear_widgets()
        for name in tabs(self.gradable):
            if not self.folded or name == self.tab:
                self.add_widget(self._parts[name])

    def tell(
        self, figures: tuple[Reading, ...], histogram: Histogram | None, why_empty: str, made: Made = Made.COARSE
    ) -> None:
        """Show figures and histogram, of a mask that was `made` so; `why_empty` stands where there are no bars."""
        self.chart_title = text(made.value, label=text("histogram_title"))
        for tile, reading in zip((self.ids.density, self.ids.diameter, self.ids.thin), figures):
            tile.tell(reading)
        view = self.ids.histogram
        view.why_empty = why_empty
        view.histogram = histogram
        self.ids.legend.tell(histogram)
