"""Opening the window: `run_app` is all that the rest of the product calls."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from calibration.errors import ScalpScopeError
from calibration.optics.profile import Profile
from device_app.advice import AdviceTable, load_advice
from device_app.screens.ending import ToldToEnd
from device_app.screens.kivy_setup import configure
from device_app.screens.texts import choose_language

if TYPE_CHECKING:
    from device_app.live.supervisor import LiveSession
    from device_app.screens.main_window import ScalpScopeApp


def run_app(
    session: LiveSession,
    *,
    profile: Profile | None = None,
    records: Path | None = None,
    advice: AdviceTable | None = None,
    overview_folder: Path | None = None,
    window: tuple[int, int] = (1280, 800),
    fullscreen: bool = False,
    language: str = "en",
    on_open: Callable[[ScalpScopeApp], None] | None = None,
) -> None:
    """Open the app on a live session and stay until its window is closed or the process is told to end (SIGINT,
    SIGTERM). The session is started and stopped here.

    Args:
        session: not started yet. Its settings carry the scale and light of `profile`, or a typed scale without one.
        profile: the calibration in use.
        records: folder that Save writes into; ``~/ScalpScope`` unless given.
        advice: what is said about grades; the table that ships in `language` unless given.
        overview_folder: where overview photographs are chosen from; ``~/Pictures`` unless given.
        window: width and height in pixels.
        fullscreen: fill the screen; Ctrl+Q then closes.
        language: of the texts.
        on_open: called with the app once its window is there, on the thread of the window.

    Raises:
        ScalpScopeError: there is no display, or none that Kivy can draw on.
    """
    choose_language(language)
    advice = advice or load_advice(language=language)
    with ToldToEnd() as told_to_end:
        configure(*window, fullscreen)
        try:
            from kivy.core.window import Window
        except Exception as error:  # a graphics driver may raise anything here
            raise _no_window() from error
        if Window is None:
            raise _no_window()
        from device_app.screens.instrument import Instrument
        from device_app.screens.main_window import ScalpScopeApp
        from device_app.screens.overviewing import Overview

        session.start()
        instrument = Instrument(session, profile, records or Path.home() / "ScalpScope")
        settings = session.settings
        overview = Overview(settings.bundle_path, settings.precision, overview_folder or Path.home() / "Pictures")
        try:
            app = ScalpScopeApp(instrument, advice, overview, on_open=on_open)
            told_to_end.watch(app)
            app.run()
        finally:
            overview.close()
            instrument.close()
            session.stop()


def _no_window() -> ScalpScopeError:
    return ScalpScopeError(
        "There is no display to open a window on.",
        "Start it from the desktop, or use --headless; scalpscope doctor says what is missing.",
    )
