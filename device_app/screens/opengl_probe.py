"""Opens the smallest window and says which OpenGL it got: ``python -m device_app.screens.opengl_probe``.

`scalpscope doctor` runs it as a process of its own, because a broken graphics driver may end the process that asks.
"""

from __future__ import annotations

import json
import os
import sys


def main() -> None:
    """Print one line of JSON: renderer, version, and the window provider that Kivy chose."""
    os.environ.setdefault("KIVY_NO_ARGS", "1")
    os.environ.setdefault("KIVY_NO_CONSOLELOG", "1")
    os.environ.setdefault("KIVY_NO_FILELOG", "1")
    from kivy.config import Config

    for key, value in (("width", "64"), ("height", "64"), ("borderless", "1")):
        Config.set("graphics", key, value)
    from kivy.core.window import Window
    from kivy.graphics.opengl import GL_RENDERER, GL_VERSION, glGetString

    if Window is None:
        raise SystemExit("no window provider of Kivy could open a window")
    found = {
        "renderer": glGetString(GL_RENDERER).decode(errors="replace"),
        "version": glGetString(GL_VERSION).decode(errors="replace"),
        "window": type(Window).__name__,
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
