"""What can be seen of the running app: its states by names, its controls with their places, its picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np


def window_picture() -> np.ndarray:
    """What is on the window now, (H, W, 3) BGR."""
    from kivy.core.window import Window
    from kivy.graphics.opengl import GL_RGBA, GL_UNSIGNED_BYTE, glReadPixels

    width, height = Window.system_size
    pixels = glReadPixels(0, 0, width, height, GL_RGBA, GL_UNSIGNED_BYTE)
    rgba = np.frombuffer(pixels, np.uint8).reshape(height, width, 4)[::-1]
    return cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGR)


def state_of(app: Any, records: Path) -> dict[str, Any]:
    """What a user could tell about the screen, by names."""
    live, instrument, view = app.live, app.instrument, app.live.ids.view
    shown = view.shown
    panel = live.ids.panel.ids
    calibrate = app.calibrate
    return {
        "screen": app.screens.current,
        "frozen": live.frozen,
        "measuring": instrument.measuring,
        "notices": [notice.key for notice in live.said],
        "banner": live.ids.banner.title if live.ids.banner.opacity else "",
        "demonstration": bool(live.ids.demo.opacity),
        "picture": shown is not None,
        "overlay": shown is not None and shown.analysis is not None and not view.surface.bare,
        "belongs": shown is None
        or all(
            part is None or part.frame_id == shown.frame.id
            for part in (shown.analysis, shown.refinement, view.surface.shown.refinement)
        ),
        "refining": live.refining,
        "refined": shown is not None and shown.refinement is not None,
        "layer": None if shown is None or shown.refinement is None else shown.layer.value,
        "hair_lines": bool(view.surface._lines.children),
        "marks": bool(view.surface.points.children),
        "points": live.tools.points,
        "correcting": live.tools.correcting,
        "tools": live.tools.parent is not None,
        "can_refine": live.can_refine,
        "corrections": len(instrument.refining.corrections),
        "corrected": 0 if shown is None or shown.refinement is None else len(shown.refinement.corrections),
        "label": panel.density.label,
        "inset": live.ids.inset.seen,
        "held": view.held,
        "zoom": view.zoom,
        "zoomed": view.zoom > 1.01,
        "card": live.ids.card.open,
        "density": panel.density.value,
        "density_beside": panel.density.beside,
        "diameter": panel.diameter.value,
        "diameter_beside": panel.diameter.beside,
        "tab": live.tab,
        "folded": app.folded,
        "rates": live.rates,
        "made_by": live.made_by,
        "profile": None if instrument.profile is None else instrument.profile.name,
        "scale": instrument.session.settings.scale_um_per_px,
        "light": instrument.session.settings.flat_field is not None,
        "way": calibrate.way,
        "problem": calibrate.problem,
        "keeping": calibrate.keeping,
        "ticks": 0 if calibrate.calibration.scale is None else len(calibrate.calibration.scale.ticks),
        "found": getattr(calibrate._body(), "found", ""),
        "asks": bool(getattr(calibrate._body(), "asks", False)),
        "files": sorted(path.name for path in records.glob("*")),
    }


def controls_of(app: Any) -> list[dict[str, Any]]:
    """Every control and text that can be seen, with its place and size."""
    from kivy.uix.label import Label

    from device_app.screens.controls import Press

    rows = []
    for widget in app.screens.current_screen.walk():
        if not isinstance(widget, Label) or not widget.text or _hidden(widget):
            continue
        x, y = widget.to_window(widget.x, widget.y)
        rows.append(
            {
                "text": widget.text,
                "key": getattr(widget, "key", ""),
                "press": isinstance(widget, Press),
                "box": [x, y, x + widget.width, y + widget.height],
                "texture": list(widget.texture_size),
                "font_px": widget.font_size,
                "shortened": bool(widget.shorten and widget.is_shortened),
            }
        )
    return rows


def _hidden(widget: Any) -> bool:
    while widget is not None and widget is not getattr(widget, "parent", None):
        if getattr(widget, "opacity", 1) == 0:
            return True
        widget = widget.parent
    return False
