"""What Kivy must be told before its window exists. Imports no Kivy until it is called."""

from __future__ import annotations

import logging
import os


def configure(width: int, height: int, fullscreen: bool) -> None:
    """Set Kivy up for an instrument. Call before anything of Kivy is imported.

    No command line, files or console of Kivy's own (its log goes through `logging`); no way out by Escape, no settings
    by F1, no screen saver. Touch comes through the window (SDL) alone: Kivy's second reader of the same touch screen
    would deliver every finger twice.
    """
    os.environ.update(KIVY_NO_ARGS="1", KIVY_NO_FILELOG="1", KIVY_NO_CONFIG="1", KIVY_LOG_MODE="PYTHON")
    logging.getLogger("kivy").setLevel(logging.WARNING)
    from kivy.config import Config

    Config.set("kivy", "exit_on_escape", "0")
    Config.set("kivy", "log_level", "warning")
    Config.set("graphics", "allow_screensaver", "0")
    Config.set("graphics", "width", str(width))
    Config.set("graphics", "height", str(height))
    Config.set("graphics", "fullscreen", "auto" if fullscreen else "0")
    Config.set("graphics", "maxfps", "60")
    Config.set("graphics", "multisamples", "0")  # the lines are smoothed by their own texture; software GL pays dearly
    Config.set("input", "mouse", "mouse,disable_multitouch")
    Config.remove_option("input", "%(name)s")
    for module in list(Config.options("modules")):
        Config.remove_option("modules", module)
