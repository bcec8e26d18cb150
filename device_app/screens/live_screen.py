"""The live screen: the picture with what was found, the figures beside it, and what can be done with them."""

from __future__ import annotations

import time
from typing import Any

from kivy.app import App
from kivy.properties import BooleanProperty, NumericProperty, StringProperty
from kivy.uix.screenmanager import Screen

from calibration.optics.profile import Profile
from device_app.advice import AdviceTable
from device_app.live.analysis import Analysis
from device_app.live.health import Health
from device_app.screens import theme
from device_app.screens.choosing import Shown
from device_app.screens.controls import Chip
from device_app.screens.figures_panel import tabs
from device_app.screens.grading import grade_readings
from device_app.screens.instrument import Instrument
from device_app.screens.notices import Notice, Weight, notices
from device_app.screens.picture_marks import hair_at
from device_app.screens.readings import Doubt, histogram, readings
from device_app.screens.refine_tools import RefineTools
from device_app.screens.texts import text, text_or
from device_app.vision.conditions import Condition

_SAVED_SHOWN_S = 4.0
_FAILED_SHOWN_S = 15.0
_FIGURES_EVERY_S = 0.5  # live figures change no faster than they can be read
_TAP_REACH_PX = 24.0


class LiveScreen(Screen):
    """Shows the instrument; every button is one call to it."""

    frozen = BooleanProperty(False)
    can_freeze = BooleanProperty(False)
    can_save = BooleanProperty(False)
    can_refine = BooleanProperty(False)
    refining = BooleanProperty(False)
    refinable = BooleanProperty(True)
    gradable = BooleanProperty(False)
    stageable = BooleanProperty(False)
    demonstration = BooleanProperty(False)
    rates = StringProperty("")
    made_by = StringProperty("")
    tab = StringProperty("figures")
    short_press = NumericProperty(88.0)
    long_press = NumericProperty(88.0)
    picture_x = NumericProperty(0.0)
    picture_y = NumericProperty(0.0)
    picture_right = NumericProperty(0.0)
    picture_top = NumericProperty(0.0)

    def __init__(self, instrument: Instrument, advice: AdviceTable, **kwargs: Any) -> None:
        self.instrument = instrument
        self._advice = advice
        self._health: Health | None = None
        self._light: Any = None
        self._lost = False
        self._said: tuple[Notice, ...] = ()
        self._outcome: tuple[Notice, float] | None = None
        self._figures_at = 0.0
        self._figures_of: tuple[Analysis, bool] | None = None
        self._card_at: tuple[Analysis, float, float] | None = None
        super().__init__(**kwargs)
        self.tools = RefineTools(instrument.refining, self._tools_pressed)
        self.conditions = self.ids.panel.ids.conditions.__self__
        self.conditions.bind(on_condition=self.press_condition, on_advice=self.press_advice)
        App.get_running_app().bind(folded=self._place_tools)

    # Driven by the app's clocks.
    def refresh_picture(self) -> None:
        """Show the picture of this moment."""
        shown = self.instrument.shown
        if shown is not None and self._lost:
            shown = Shown(shown.frame)
        view = self.ids.view
        view.show(shown, self._light)
        view.surface.dim(self._lost)
        inset = None if shown is None or shown.inset is None else Shown(*shown.inset)
        age_s = 0.0 if inset is None else (time.monotonic_ns() - inset.frame.captured_ns) / 1e9
        self.ids.inset.tell(inset, age_s, view.held, self._light)
        analysis = None if shown is None else shown.analysis
        self.ids.focus.tell(None if analysis is None else analysis.focus)
        self.can_save = not self._lost and (self.instrument.measured() is not None or self.instrument.measuring)
        self.can_freeze = shown is not None
        self.frozen = self.instrument.frozen
        self._tell_refining()
        looked = None if shown is None or view.held else shown.looked
        self.ids.legend.tell("" if looked is None else text(looked.name))

    def refresh_state(self, health: Health, now_ns: int) -> None:
        """Say how everything is."""
        settings = self.instrument.session.settings
        self._light = settings.flat_field
        self.demonstration = health.demonstration
        self._lost = self.instrument.lost(health)
        self.instrument.refining.missing = health.refine_missing
        self.refinable = not health.refine_missing
        self._health = health
        grading = self.instrument.grading
        if health.backend:
            grading.possible = not health.conditions_missing
        self.gradable = grading.possible
        self._tell_conditions(health, now_ns)
        doubt = self.instrument.doubt(health, now_ns)
        self._tell_figures(doubt, now_ns)
        self._tell_notices(notices(health, self.instrument.situation(now_ns)))
        self._tell_status(health)
        self.on_placed()

    def on_placed(self, *_: Any) -> None:
        """The picture lies elsewhere: its marks follow."""
        if not self.ids or self.ids.view.shown is None:
            return
        view = self.ids.view
        x, y, width, height = view.picture_box()
        self.picture_x, self.picture_y, self.picture_right, self.picture_top = x, y, x + width, y + height
        scale = None if self._lost else self.instrument.session.settings.scale_um_per_px
        self.ids.scale_bar.tell(scale, view.screen_px_per_px, width)

    # Buttons and fingers.
    def press_freeze(self) -> None:
        """Stop the picture, or let it move again."""
        if self.instrument.frozen:
            self.instrument.go_live()
            self.close_card()
            self.close_advice()
        else:
            self.instrument.freeze(time.monotonic_ns())
        self._refresh_now()

    def press_condition(self, _: Any, condition: Condition) -> None:
        """Show where the network looked for this, on a frozen picture: a live one is frozen first. Again: no longer."""
        instrument = self.instrument
        if instrument.shown is None:
            return
        instrument.freeze(time.monotonic_ns())
        instrument.grading.toggle(condition)
        instrument.refining.correcting = False
        self.close_card()
        self.close_advice()
        self._refresh_now()

    def press_advice(self, *_: Any) -> None:
        """Say what is known about the grades of a frozen picture: a live one is frozen first. Again: no longer."""
        if self.ids.advice.open or self.instrument.shown is None:
            self.close_advice()
            return
        self.instrument.freeze(time.monotonic_ns())
        self.close_card()
        self.ids.advice.open = True
        self._refresh_now()

    def close_advice(self) -> None:
        """No advice any more."""
        self.ids.advice.open = False

    def press_tab(self) -> None:
        """The next part of the folded panel."""
        self.tab = self.next_tab(self.tab, self.gradable)

    def next_tab(self, tab: str, gradable: bool) -> str:
        """Which part comes after this one."""
        names = tabs(gradable)
        return names[(names.index(tab) + 1) % len(names)] if tab in names else names[0]

    def on_gradable(self, *_: Any) -> None:
        """A tab that is not there any more is not shown."""
        if self.tab not in tabs(self.gradable):
            self.tab = tabs(self.gradable)[0]

    def _tools_pressed(self) -> None:
        """Another mask, points or corrections are wanted: they take the heat map's place."""
        self.instrument.grading.chosen = None
        self._refresh_now()

    def _refresh_now(self) -> None:
        """What a press changed is seen at once."""
        self.instrument.tick(time.monotonic_ns())
        self.refresh_picture()
        if self._health is not None:
            self._tell_conditions(self._health, time.monotonic_ns())

    def press_refine(self) -> None:
        """Refine the picture, a live one frozen; or stop refining."""
        self.instrument.refine(time.monotonic_ns())
        self.refresh_picture()

    def on_touch_down(self, touch: Any) -> bool:
        """A finger on a button that cannot refine is told why."""
        if not self.refinable and self.ids.refine.collide_point(*touch.pos):
            self._say_outcome(Notice("refine_missing", Weight.PLAIN, text("refine_missing")), _SAVED_SHOWN_S)
        return bool(super().on_touch_down(touch))

    def marked(self, x: float, y: float, hair: bool) -> None:
        """A finger corrected a place of the refined picture; its mark is drawn at once."""
        self.close_card()
        self.instrument.refining.correct(x, y, hair)
        self.refresh_picture()

    def press_save(self) -> None:
        """Save what is measured; what comes of it is told when it is known."""
        self._outcome = None
        started = self.instrument.save()
        key = "save_waits" if self.instrument.save_waits else ("saving" if started else "save_nothing")
        self._say_outcome(Notice(key, Weight.PLAIN, text(key)), 60.0 if started else _SAVED_SHOWN_S)

    def say_profile(self, profile: Profile | None) -> None:
        """Tell which calibration holds from now on."""
        words = text("no_scale_now") if profile is None else text("using", name=profile.name)
        self._say_outcome(Notice("using", Weight.PLAIN, words), _SAVED_SHOWN_S)

    def take_saves(self) -> None:
        """Tell how saves went."""
        for outcome in self.instrument.saves():
            if outcome.saved is not None:
                name = text("saved", name=outcome.saved.json.stem)
                self._say_outcome(Notice("saved", Weight.PLAIN, name), _SAVED_SHOWN_S)
            elif outcome.error is not None:
                failed = Notice("save_failed", Weight.BANNER, text("save_failed"), str(outcome.error))
                self._say_outcome(failed, _FAILED_SHOWN_S)

    def tapped(self, x: float, y: float) -> None:
        """A tap on a hair stops the picture and shows that hair; a tap elsewhere closes it."""
        shown = self.instrument.shown
        hair = None
        if shown is not None:
            hair = hair_at(shown, x, y, _TAP_REACH_PX / self.ids.view.screen_px_per_px)
        if shown is None or hair is None:
            self.close_card()
            return
        assert shown.analysis is not None
        if not self.instrument.frozen:
            self.instrument.freeze_at(shown)
            self.refresh_picture()
        self.ids.view.surface.mark_line(hair.centre_line, theme.ACCENT)
        self.ids.card.tell(hair, shown)
        self.ids.card.open = True
        self._card_at = (shown.analysis, x, y)

    def close_card(self) -> None:
        """No single hair any more."""
        self.ids.view.surface.mark_line(None, theme.ACCENT)
        self.ids.card.open = False
        self._card_at = None

    def on_leave(self, *_: Any) -> None:
        """Nothing of this screen stays open behind another."""
        self.close_card()
        self.close_advice()

    # Refining.
    def on_refinable(self, *_: Any) -> None:
        """Tools are for bundles that can refine."""
        self._place_tools()

    def on_frozen(self, *_: Any) -> None:
        """Tools are for frozen pictures."""
        self._place_tools()

    def _place_tools(self, *_: Any) -> None:
        """Beside the picture where the window is folded, else among the buttons."""
        if self.tools.parent is not None:
            self.tools.parent.remove_widget(self.tools)
        if self.frozen and self.refinable:
            folded = App.get_running_app().folded
            self.tools.folded = folded
            (self.ids.beside if folded else self.ids.tray).add_widget(self.tools)

    def _tell_refining(self) -> None:
        instrument, refining, view = self.instrument, self.instrument.refining, self.ids.view
        self.refining = refining.working
        nothing_to_do = instrument.frozen and refining.result is not None and not refining.working
        self.can_refine = self.can_freeze and self.refinable and not nothing_to_do
        view.marking = refining.correcting
        points = None if refining.result is None or not refining.points else refining.result.points
        covered = instrument.shown is not None and instrument.shown.looked is not None
        view.mark(None if covered else points, () if covered else refining.corrections)
        self.tools.tell()
        shown = instrument.shown
        if self._card_at is not None and shown is not None and shown.lined is not self._card_at[0]:
            # The hair of the card was one of another analysis: it shows the one at the same place, or closes.
            self.tapped(*self._card_at[1:])

    # What is written.
    def _tell_conditions(self, health: Health, now_ns: int) -> None:
        """Live grades are steady already: they are written as they come."""
        instrument = self.instrument
        told = grade_readings(instrument.grading.conditions(), instrument.grade_doubt(health, now_ns))
        self.conditions.tell(told, instrument.grading.chosen)
        if self.ids.advice.open:
            self.ids.advice.tell(told, self._advice)

    def _tell_figures(self, doubt: Doubt | None, now_ns: int) -> None:
        measured = self.instrument.measured()
        frozen, before, made = self.instrument.frozen, self._figures_of, self.instrument.refining.made
        of = None if measured is None else (measured[1], frozen)
        due = now_ns / 1e9 - self._figures_at >= _FIGURES_EVERY_S or frozen
        known = before is not None and of is not None and before[0] is of[0] and before[1] == frozen
        if doubt is None and (known or not due):
            return
        self._figures_of = of if doubt is None else None
        self._figures_at = now_ns / 1e9
        analysis = None if measured is None else measured[1]
        bars = None if doubt is not None or analysis is None else histogram(analysis.measurements)
        if doubt is not None or analysis is None:
            why = text((doubt or Doubt.NO_ANALYSIS).value).capitalize()
        else:
            why = text("histogram_none" if bars is None else "histogram_empty")
        self.ids.panel.tell(readings(analysis, doubt, made), bars, why, made)

    def _say_outcome(self, notice: Notice, seconds: float) -> None:
        self._outcome = (notice, time.monotonic() + seconds)

    def _tell_notices(self, found: tuple[Notice, ...]) -> None:
        if self._outcome is not None and time.monotonic() > self._outcome[1]:
            self._outcome = None
        said = found if self._outcome is None else (self._outcome[0], *found)
        if said == self._said:
            return
        self._said = said
        banners = [notice for notice in said if notice.weight is Weight.BANNER]
        self.ids.banner.opacity = 1.0 if banners else 0.0
        if banners:
            self.ids.banner.title, self.ids.banner.detail = banners[0].title, banners[0].detail
        app = App.get_running_app()
        room = min(self.ids.area.width - 4 * app.unit, 60 * app.unit)
        self.ids.chips.clear_widgets()
        for notice in said:
            if notice.weight is not Weight.BANNER:
                chip = Chip()
                chip.tell(notice, app, room)
                self.ids.chips.add_widget(chip)

    @property
    def said(self) -> tuple[Notice, ...]:
        """The states that are told now."""
        return self._said

    def _tell_status(self, health: Health) -> None:
        shown_rate = health.captured_fps if self._runs_ahead() else health.analysed_fps
        latency, refined_ms = health.latency_ms, self.instrument.refining.latency_ms
        if refined_ms is not None:
            took = text("status_refined", ms=f"{refined_ms:.0f}")
        elif latency is not None:
            took = text("status_latency", ms=f"{latency.p50:.0f}")
        else:
            took = text("status_no_latency")
        self.rates = "   ".join(
            (
                text("status_fps", fps=f"{shown_rate:.0f}"),
                took,
                _backend_words(health.backend),
            )
        )
        self.made_by = "   ".join(word for word in (health.bundle, self._scale_words()) if word)

    def _runs_ahead(self) -> bool:
        shown = self.instrument.shown
        return shown is not None and shown.analysis is None

    def _scale_words(self) -> str:
        profile, scale = self.instrument.profile, self.instrument.session.settings.scale_um_per_px
        if profile is not None:
            return profile.name
        return text("status_no_profile") if scale is None else text("status_typed_scale", scale=f"{scale:g}")


def _backend_words(backend: str) -> str:
    """``onnxruntime-cpu int8_u8s8`` -> ``int8 CPU``."""
    if not backend:
        return text("status_no_backend")
    engine, _, precision = backend.partition(" ")
    return f"{text_or(f'precision_{precision}', precision)} {text_or(f'backend_{engine}', engine)}"
