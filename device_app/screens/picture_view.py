"""The picture area: one frame fitted in, zoomed by pinching, bare while a finger rests on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from kivy.clock import Clock
from kivy.properties import BooleanProperty, NumericProperty
from kivy.uix.stencilview import StencilView

from calibration.optics.illumination import FlatField
from device_app.live.refinement import Correction
from device_app.screens.choosing import Shown
from device_app.screens.surface import FrameSurface
from device_app.vision.prompts import PromptPoints

_HOLD_S = 0.35
_MARK_HOLD_S = 0.5
_DOUBLE_TAP_S = 0.3
_MOST_ZOOM = 12.0


class PictureView(StencilView):
    """Shows a `Shown` and handles fingers on it.

    Events:
        on_picture_tap(x, y): a tap, in pixels of the picture shown.
        on_picture_mark(x, y, hair): while `marking`, a tap (`hair` True) or a finger held for half a second (False).
        on_placed(): the picture moved or changed size on the screen.
    """

    zoom = NumericProperty(1.0)
    held = BooleanProperty(False)
    holdable = BooleanProperty(True)
    marking = BooleanProperty(False)
    slop = NumericProperty(14.0)
    screen_px_per_px = NumericProperty(1.0)
    line_px = NumericProperty(5.0)
    mark_px = NumericProperty(6.0)

    __events__ = ("on_picture_tap", "on_picture_mark", "on_placed")

    def __init__(self, **kwargs: Any) -> None:
        self._shown: Shown | None = None
        self._light: FlatField | None = None
        self._centre = (0.5, 0.5)  # of the area, as a share of the picture
        self._touches: list[Any] = []
        self._moved = False
        self._pinched = False
        self._marked = False
        self._hold_event: Any = None
        self._tap_event: Any = None
        self._visible = False
        super().__init__(**kwargs)
        self.surface = FrameSurface()
        self.bind(pos=self._replace, size=self._replace, line_px=self._replace)

    @property
    def shown(self) -> Shown | None:
        """What is on the screen now."""
        return self._shown

    def show(self, shown: Shown | None, light: FlatField | None = None) -> None:
        """Show this from now on; None empties the area."""
        new_size = shown is not None and (
            self._shown is None or self._shown.frame.image.shape != shown.frame.image.shape
        )
        self._shown, self._light = shown, light
        if (shown is not None) != self._visible:
            self._visible = shown is not None
            (self.canvas.add if self._visible else self.canvas.remove)(self.surface)
        if shown is None:
            return
        if self.surface.show(shown, bare=self.held, light=light):
            self.canvas.ask_update()
        if new_size:
            self.reset_zoom()

    def mark(self, prompts: PromptPoints | None, corrections: Sequence[Correction]) -> None:
        """Draw prompt points (None: none) and corrections over the picture, but for while it is held bare."""
        if self.held:
            prompts, corrections = None, ()
        if self.surface.points.tell(prompts, corrections, self.mark_px / self.screen_px_per_px):
            self.canvas.ask_update()

    def picture_box(self) -> tuple[float, float, float, float]:
        """x, y, width, height of the visible part of the picture on the screen."""
        left, top, scale = self._placement()
        height, width = (1, 1) if self._shown is None else self._shown.frame.image.shape[:2]
        x, y = max(left, self.x), max(top - height * scale, self.y)
        return x, y, min(left + width * scale, self.right) - x, min(top, self.top) - y

    def to_screen(self, x: float, y: float) -> tuple[float, float]:
        """A point of the picture, in pixels with centres at .0, on the screen."""
        left, top, scale = self._placement()
        return left + (x + 0.5) * scale, top - (y + 0.5) * scale

    def reset_zoom(self) -> None:
        """Show the whole picture."""
        self._centre = (0.5, 0.5)
        self.zoom = 1.0
        self._replace()

    def on_picture_tap(self, x: float, y: float) -> None:
        """Default of the event: nothing."""

    def on_picture_mark(self, x: float, y: float, hair: bool) -> None:
        """Default of the event: nothing."""

    def on_placed(self) -> None:
        """Default of the event: nothing."""

    def on_held(self, *_: Any) -> None:
        """Show or hide the overlay at once."""
        if self._shown is not None:
            self.surface.show(self._shown, bare=self.held, light=self._light)
            self.canvas.ask_update()

    def _fit(self) -> float:
        if self._shown is None:
            return 1.0
        height, width = self._shown.frame.image.shape[:2]
        return max(min(self.width / width, self.height / height), 1e-3)

    def _placement(self) -> tuple[float, float, float]:
        scale = self._fit() * self.zoom
        height, width = (1, 1) if self._shown is None else self._shown.frame.image.shape[:2]
        left = self.center_x - self._centre[0] * width * scale
        top = self.center_y + self._centre[1] * height * scale
        return left, top, scale

    def _replace(self, *_: Any) -> None:
        self._centre = (self._clamped(0), self._clamped(1))
        left, top, scale = self._placement()
        self.screen_px_per_px = scale
        self.surface.line_px = self.line_px
        self.surface.place(left, top, scale)
        self.dispatch("on_placed")

    def _clamped(self, axis: int) -> float:
        """The centre so that no empty margin opens where the picture could fill it."""
        if self._shown is None:
            return 0.5
        length = self._shown.frame.image.shape[1 - axis] * self._fit() * self.zoom
        room = (self.width, self.height)[axis]
        if length <= room:
            return 0.5
        half = room / length / 2
        return min(max(self._centre[axis], half), 1 - half)

    # Fingers.
    def on_touch_down(self, touch: Any) -> bool:
        """Begin a tap, a hold, a drag or a pinch."""
        if not self.collide_point(*touch.pos) or self._shown is None:
            return False
        if touch.is_mouse_scrolling:
            self._zoom_by(1.15 if touch.button == "scrolldown" else 1 / 1.15, touch.pos)
            return True
        touch.grab(self)
        self._touches.append(touch)
        if len(self._touches) == 1:
            self._moved = self._pinched = self._marked = False
            if self.marking:
                self._hold_event = Clock.schedule_once(lambda _: self._mark_held(touch), _MARK_HOLD_S)
            elif self.holdable:
                self._hold_event = Clock.schedule_once(self._begin_hold, _HOLD_S)
        else:
            self._pinched = True
            self._end_hold()
        return True

    def on_touch_move(self, touch: Any) -> bool:
        """Pan with one finger, pan and zoom with two."""
        if touch.grab_current is not self:
            return False
        if math.dist(touch.pos, touch.opos) > self.slop:
            self._moved = True
            if not self.held:
                self._end_hold()
        if len(self._touches) >= 2:
            first, second = self._touches[:2]
            before = math.dist(first.ppos, second.pos) if touch is first else math.dist(first.pos, second.ppos)
            now = math.dist(first.pos, second.pos)
            middle = ((first.x + second.x) / 2, (first.y + second.y) / 2)
            self._pan(touch.dx / 2, touch.dy / 2)
            if before > 1 and now > 1:
                self._zoom_by(now / before, middle)
        elif self._moved and not self.held:
            self._pan(touch.dx, touch.dy)
        return True

    def on_touch_up(self, touch: Any) -> bool:
        """End whatever began."""
        if touch.grab_current is not self:
            return False
        touch.ungrab(self)
        if touch in self._touches:
            self._touches.remove(touch)
        was_held = self.held
        self._end_hold()
        if self._touches or was_held or self._moved or self._pinched or self._marked:
            return True
        if self.marking:
            self._tell_place("on_picture_mark", touch.x, touch.y, True)
        elif self._tap_event is not None:
            self._tap_event.cancel()
            self._tap_event = None
            self.reset_zoom()
        else:
            # The first tap waits: it may be half of a double tap.
            self._tap_event = Clock.schedule_once(lambda _: self._tapped(touch.x, touch.y), _DOUBLE_TAP_S)
        return True

    def _tapped(self, x: float, y: float) -> None:
        self._tap_event = None
        self._tell_place("on_picture_tap", x, y)

    def _mark_held(self, touch: Any) -> None:
        self._hold_event, self._marked = None, True
        self._tell_place("on_picture_mark", touch.x, touch.y, False)

    def _tell_place(self, event: str, x: float, y: float, *more: Any) -> None:
        """Tell a place on the screen as one of the picture, if it lies on it."""
        if self._shown is None:
            return
        at_x, at_y = self.surface.to_picture(x, y)
        height, width = self._shown.frame.image.shape[:2]
        if -0.5 <= at_x <= width - 0.5 and -0.5 <= at_y <= height - 0.5:
            self.dispatch(event, at_x, at_y, *more)

    def _begin_hold(self, _: float) -> None:
        self.held = True

    def _end_hold(self) -> None:
        if self._hold_event is not None:
            self._hold_event.cancel()
            self._hold_event = None
        self.held = False

    def _pan(self, dx: float, dy: float) -> None:
        if self._shown is None:
            return
        scale = self._fit() * self.zoom
        height, width = self._shown.frame.image.shape[:2]
        self._centre = (self._centre[0] - dx / (width * scale), self._centre[1] + dy / (height * scale))
        self._replace()

    def _zoom_by(self, factor: float, about: tuple[float, float]) -> None:
        """Zoom so that the point of the picture under `about` stays there."""
        if self._shown is None:
            return
        zoom = min(max(self.zoom * factor, 1.0), _MOST_ZOOM)
        left, top, scale = self._placement()
        height, width = self._shown.frame.image.shape[:2]
        share = ((about[0] - left) / (width * scale), (top - about[1]) / (height * scale))
        scale = self._fit() * zoom
        self.zoom = zoom
        self._centre = (
            share[0] + (self.center_x - about[0]) / (width * scale),
            share[1] - (self.center_y - about[1]) / (height * scale),
        )
        self._replace()
