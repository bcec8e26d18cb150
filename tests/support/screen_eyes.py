"""What can be seen of the running app: its states by names, its controls with their places, its picture."""

from __future__ import annotations

from collections.abc import Iterator
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
            for part in (
                shown.analysis,
                shown.refinement,
                shown.looked,
                view.surface.shown.refinement,
                view.surface.shown.looked,
            )
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
        "gradable": live.gradable,
        **{name: [row.word, row.beside] for name, row in _condition_rows(live).items()},
        "bars": [int(row.ids.bars.filled) if row.ids.bars.drawn else None for row in _condition_rows(live).values()],
        "looked": None if shown is None or view.surface.bare or shown.looked is None else shown.looked.name,
        "legend": live.ids.legend.words if live.ids.legend.opacity else "",
        "advice": live.ids.advice.open,
        "advice_words": " ".join(caption.text for caption in reversed(live.ids.advice.ids.words.children)),
        "stageable": live.stageable,
        **_overview_state(app.overview),
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


def _condition_rows(live: Any) -> dict[str, Any]:
    return {name: live.conditions.ids[name] for name in ("dandruff", "excess_sebum", "erythema")}


def _overview_state(overview: Any) -> dict[str, Any]:
    return {
        "photographs": len(overview.ids.grid.children),
        "photograph_chosen": overview.chosen,
        "stage": overview.stage,
        "stage_word": overview.word,
        "stage_bars": int(overview.ids.bars.filled) if overview.ids.bars.drawn else None,
        "stage_certainty": overview.certainty,
        "stage_demonstration": overview.demonstration,
        "stage_map": overview.map_shown,
        "overview_hint": overview.hint,
        "overview_problem": overview.problem,
    }


def controls_of(app: Any) -> list[dict[str, Any]]:
    """Every control and text that can be seen, with its place and size."""
    from kivy.uix.behaviors import ButtonBehavior
    from kivy.uix.label import Label
    from kivy.uix.scrollview import ScrollView

    rows = []
    for widget in app.screens.current_screen.walk():
        press, label = isinstance(widget, ButtonBehavior), isinstance(widget, Label)
        if not (press or (label and widget.text)) or _hidden(widget):
            continue
        x, y = widget.to_window(widget.x, widget.y)
        rows.append(
            {
                "text": widget.text if label else "",
                "key": getattr(widget, "key", ""),
                "press": press,
                "box": [x, y, x + widget.width, y + widget.height],
                "texture": list(widget.texture_size) if label else [0, 0],
                "font_px": widget.font_size if label else None,
                "shortened": bool(label and widget.shorten and widget.is_shortened),
                "scrolled": any(isinstance(parent, ScrollView) for parent in _parents(widget)),
            }
        )
    return rows


def _parents(widget: Any) -> Iterator[Any]:
    while widget is not None and widget is not getattr(widget, "parent", None):
        yield widget
        widget = widget.parent


def _hidden(widget: Any) -> bool:
    return any(getattr(parent, "opacity", 1) == 0 for parent in _parents(widget))
