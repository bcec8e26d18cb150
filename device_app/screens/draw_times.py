"""When a picture with its overlay was uploaded and when it was on the screen, for the bench of the live loop."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kivy.clock import Clock
from kivy.core.window import Window
from kivy.graphics.opengl import glFinish

from device_app.screens.choosing import Shown

if TYPE_CHECKING:
    from calibration.optics.illumination import FlatField
    from device_app.screens.main_window import ScalpScopeApp


@dataclass(frozen=True)
class Drawn:
    """The way of one analysed picture to the screen, by ``time.monotonic_ns()``.

    Attributes:
        frame_id: `Frame.id` of the picture, and of the overlay on it.
        began_ns: the screen began to take it over.
        uploaded_ns: its pixels, its mask and its hair lines are with the graphics driver.
        presented_ns: the window is drawn with it, and the buffers are swapped.
    """

    frame_id: int
    began_ns: int
    uploaded_ns: int
    presented_ns: int


class DrawTimes:
    """Watches the live screen of an app that is open, and calls back while the window lives. Used by its thread only.

    It waits after each swap until the graphics processor is done: else the time would be that of the order to draw and
    not that of the drawing. The app itself does not wait there.

    Args:
        app: its window is open.
        drawn: told once of every picture that was shown with its overlay; not of those that were shown bare.
        tick: called every `tick_s` seconds, whether anything is drawn or not.
    """

    def __init__(
        self, app: ScalpScopeApp, drawn: Callable[[Drawn], None], tick: Callable[[], None], tick_s: float = 0.1
    ) -> None:
        surface = app.live.ids.view.surface
        self._tell = drawn
        self._show = surface.show
        self._uploaded: tuple[int, int, int] | None = None
        surface.show = self._timed_show  # this one surface only: the app has no stamps in its way
        Window.bind(on_flip=self._flip)
        self._ticking = Clock.schedule_interval(lambda _: tick(), tick_s)

    def _timed_show(self, shown: Shown, bare: bool = False, light: FlatField | None = None) -> bool:
        """`FrameSurface.show`, between two stamps."""
        began_ns = time.monotonic_ns()
        uploaded = self._show(shown, bare=bare, light=light)
        if uploaded:
            overlaid = shown.analysis is not None and not bare
            self._uploaded = (shown.frame.id, began_ns, time.monotonic_ns()) if overlaid else None
        return uploaded

    def _flip(self, *_: object) -> bool:
        """In place of the window's own handler, which swaps the buffers after all others were called."""
        Window.flip()
        glFinish()
        if self._uploaded is not None:
            drawn, self._uploaded = Drawn(*self._uploaded, time.monotonic_ns()), None
            self._tell(drawn)
        return True
