"""The overview screen: choose a photograph of the head, and read the stage of hair loss that the network sees in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from kivy.graphics.texture import Texture
from kivy.properties import BooleanProperty, ObjectProperty, StringProperty
from kivy.uix.behaviors import ButtonBehavior
from kivy.uix.screenmanager import Screen
from kivy.uix.widget import Widget

from device_app.live.analysis import ClassJudgement
from device_app.live.health import Health
from device_app.manifest_parts import STAGES
from device_app.screens import theme
from device_app.screens.grading import certainty_words
from device_app.screens.notices import duration
from device_app.screens.overviewing import Overview
from device_app.screens.texts import text
from device_app.vision.conditions import Refusal, Severity

_COLOURS = (
    theme.SEVERITY_COLOURS[Severity.GOOD],
    theme.SEVERITY_COLOURS[Severity.MILD],
    theme.SEVERITY_COLOURS[Severity.MODERATE],
    theme.SEVERITY_COLOURS[Severity.MODERATE],
    theme.SEVERITY_COLOURS[Severity.SEVERE],
)


class Photograph(ButtonBehavior, Widget):
    """A photograph to choose, small."""

    key = StringProperty("")
    texture = ObjectProperty(None, allownone=True)

    def show(self, picture: np.ndarray) -> None:
        """Show (h, w, 3) uint8 RGB."""
        height, width = picture.shape[:2]
        texture = Texture.create(size=(width, height), colorfmt="rgb")
        texture.blit_buffer(np.ascontiguousarray(picture).reshape(-1), colorfmt="rgb", bufferfmt="ubyte")
        self.texture = texture


class OverviewScreen(Screen):
    """Photographs to choose from; then the chosen one and its stage."""

    chosen = BooleanProperty(False)
    busy = BooleanProperty(False)
    hint = StringProperty("")
    problem = StringProperty("")
    stage = StringProperty("")
    word = StringProperty("")
    certainty = StringProperty("")
    made_by = StringProperty("")
    demonstration = BooleanProperty(False)
    has_map = BooleanProperty(False)
    map_shown = BooleanProperty(False)

    def __init__(self, overview: Overview, **kwargs: Any) -> None:
        self.overview = overview
        self._photographs: dict[Path, Photograph] = {}
        super().__init__(**kwargs)

    def on_pre_enter(self, *_: Any) -> None:
        """Begin a visit."""
        self.overview.look()
        self._tell()

    def on_leave(self, *_: Any) -> None:
        """End it: no photograph of a person stays behind."""
        self.overview.leave()
        self._tell()

    # Driven by the app's clocks.
    def refresh_picture(self) -> None:
        """Nothing here moves."""

    def refresh_state(self, health: Health, now_ns: int) -> None:
        """Take what came meanwhile."""
        if self.overview.poll() or self.overview.judging_s is not None:
            self._tell()

    # Buttons.
    def choose(self, photograph: Path) -> None:
        """This one."""
        self.overview.choose(photograph)
        self._tell()

    def again(self) -> None:
        """Another photograph; or, where there are none, look once more."""
        if self.overview.judged is None:
            self.overview.look()
        else:
            self.overview.again()
        self._tell()

    def press_map(self) -> None:
        """Show where the network looked, or no longer."""
        self.overview.map_wanted = not self.overview.map_wanted
        self._tell()

    # What is shown.
    def _tell(self) -> None:
        overview = self.overview
        judged, seconds = overview.judged, overview.judging_s
        self.chosen, self.busy = judged is not None, seconds is not None
        self.problem = overview.problem
        self.hint = self._hint(seconds)
        shown = overview.shown()
        self.ids.view.show(shown)
        self.map_shown = shown is not None and shown.looked is not None
        self.ids.legend.tell(text("overview_title") if self.map_shown else "")
        self._tell_judgement(None if judged is None else judged.judgement)
        self._tell_photographs()

    def _hint(self, seconds: float | None) -> str:
        overview = self.overview
        if seconds is not None:
            return text("overview_judging", since=duration(seconds))
        if overview.judged is not None:
            return ""
        if overview.photographs is None:
            return text("overview_looking")
        key = "overview_folder" if overview.photographs else "overview_none"
        return text(key, folder=overview.folder)

    def _tell_judgement(self, judgement: ClassJudgement | None) -> None:
        self.has_map = judgement is not None and judgement.heat_map is not None
        self.demonstration = judgement is not None and judgement.demonstration
        bars = self.ids.bars
        bars.drawn = judgement is not None and judgement.label is not None
        self.stage = self.word = self.certainty = self.made_by = ""
        if judgement is None:
            return
        self.made_by = text("overview_made_by", bundle=judgement.bundle, backend=judgement.backend)
        if judgement.label is None or judgement.certainty is None:
            self.stage = text("overview_cannot")
            refused = judgement.refused
            self.word = "" if refused is None else text(_WHY.get(refused, f"refusal_{refused.value}"))
            return
        stage = STAGES.index(judgement.label)
        bars.filled, bars.colour = stage, _COLOURS[stage]
        self.stage = text("overview_stage", stage=stage, most=len(STAGES) - 1)
        self.word = text(f"stage_{stage}")
        self.certainty = certainty_words(judgement.certainty)

    def _tell_photographs(self) -> None:
        found = () if self.overview.judged is not None else self.overview.photographs or ()
        grid = self.ids.grid
        if tuple(self._photographs) != found:
            grid.clear_widgets()
            self._photographs = {path: self._made(path) for path in found}
            for photograph in self._photographs.values():
                grid.add_widget(photograph)
        for path, photograph in self._photographs.items():
            photograph.disabled = self.busy
            picture = self.overview.thumbnails.get(path)
            if picture is not None and photograph.texture is None:
                photograph.show(picture)

    def _made(self, path: Path) -> Photograph:
        photograph = Photograph(key=f"photograph_{path.name}")
        photograph.bind(on_release=lambda *_: self.choose(path))
        return photograph


_WHY = {Refusal.NO_SCALP: "overview_no_head"}
