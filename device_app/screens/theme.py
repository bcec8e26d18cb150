"""One palette, one typeface, one grid: every colour and size that the screens use."""

from __future__ import annotations

from dataclasses import dataclass

from device_app.vision.conditions import Severity
from device_app.vision.hairs import HairClass
from device_app.vision.overlay import CLASS_COLOURS_RGB, HEAT_RGB, MASK_TINT_RGB, UNCLASSED_RGB

Colour = tuple[float, float, float, float]


def _colour(hex_rgb: str, alpha: float = 1.0) -> Colour:
    red, green, blue = (int(hex_rgb[i : i + 2], 16) / 255 for i in (0, 2, 4))
    return red, green, blue, alpha


def _from_rgb(rgb: tuple[int, int, int], alpha: float = 1.0) -> Colour:
    return rgb[0] / 255, rgb[1] / 255, rgb[2] / 255, alpha


SURFACE = _colour("0d1114")
RAISED = _colour("182026")
CONTROL = _colour("26323a")
PRESSED = _colour("37464f")
RULE = _colour("2e3a42")
TEXT = _colour("f3f6f8")
DIM = _colour("b4c0c9")
FAINT = _colour("7d8b95")
"""Only for what cannot be pressed now; such controls are exempt from the contrast that everything else holds."""
ACCENT = _colour("3fd0c0")
ON_ACCENT = _colour("06231f")
WARNING = _colour("ffc857")
ON_WARNING = _colour("2b1d00")
SHADE = _colour("0d1114", 0.82)
"""Behind text that lies on the picture."""

MASK_TINT = _from_rgb(MASK_TINT_RGB, 0.38)
CLASS_COLOURS = {kind: _from_rgb(rgb) for kind, rgb in CLASS_COLOURS_RGB.items()}
UNCLASSED = _from_rgb(UNCLASSED_RGB)
HAIR_POINT, SCALP_POINT = _from_rgb((0, 114, 178)), _from_rgb((230, 159, 0))
"""Points that SAM was asked about, blue crosses and orange rings: Okabe and Ito's blue and orange."""
HAIR_POINT_ON_DARK = _from_rgb((86, 180, 233))
"""The blue that stands out from a control."""

SEVERITY_COLOURS = {
    Severity.GOOD: DIM,
    Severity.MILD: _from_rgb((86, 180, 233)),
    Severity.MODERATE: _from_rgb((230, 159, 0)),
    Severity.SEVERE: _from_rgb((240, 110, 30)),
}
"""Of the bars, which say it first by their number: Okabe and Ito's sky blue, orange, and a lighter vermilion."""
HEAT = _from_rgb(HEAT_RGB)
"""Where a network looked."""
HEAT_FROM, HEAT_TO = 0.15, 0.9
"""Values of a heat map between which it lights up, as in `device_app.vision.overlay.draw_heat`."""

TEXT_PAIRS = {
    "text on surface": (TEXT, SURFACE),
    "text on raised": (TEXT, RAISED),
    "text on control": (TEXT, CONTROL),
    "text on pressed": (TEXT, PRESSED),
    "dim on surface": (DIM, SURFACE),
    "dim on raised": (DIM, RAISED),
    "dim on control": (DIM, CONTROL),
    "accent on surface": (ACCENT, SURFACE),
    "accent on raised": (ACCENT, RAISED),
    "accent button": (ON_ACCENT, ACCENT),
    "warning chip": (ON_WARNING, WARNING),
    "warning text on raised": (WARNING, RAISED),
    "text on the shade over a white picture": (TEXT, SHADE),
}
"""Every pair of text and ground on the screens, for the test of contrast."""

GRAPHIC_PAIRS = (
    {f"{kind.value} bar": (CLASS_COLOURS[kind], RAISED) for kind in HairClass}
    | {
        "hair point on its button": (HAIR_POINT_ON_DARK, CONTROL),
        "scalp point on its button": (SCALP_POINT, CONTROL),
    }
    | {f"{severity.word} bar": (SEVERITY_COLOURS[severity], CONTROL) for severity in Severity}
)
"""Graphics that carry meaning and the ground they stand on."""


def contrast(text: Colour, ground: Colour) -> float:
    """WCAG 2 contrast ratio, 1 to 21. A ground that lets the picture through is judged over a white picture."""
    red, green, blue, alpha = ground
    solid = (red * alpha + 1 - alpha, green * alpha + 1 - alpha, blue * alpha + 1 - alpha)
    lighter, darker = sorted((_luminance(text[:3]), _luminance(solid)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(rgb: tuple[float, float, float]) -> float:
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@dataclass(frozen=True)
class Layout:
    """Sizes of everything in a window, in pixels.

    Attributes:
        folded: figures are a strip under the picture and the histogram a tab of it.
        unit: the grid: every distance is a multiple of it (8 px in a small window).
        body, title, figure: text sizes.
        touch: height and least width of what can be pressed.
    """

    folded: bool
    unit: float
    body: float
    title: float
    figure: float
    touch: float


FOLD_BELOW_PX = (1240, 680)
"""Below it the bar has no room for the tools of a refined picture, or the panel none for all of its parts."""


def layout_for(width: float, height: float) -> Layout:
    """The layout of a window: text and controls keep their size on small screens and grow on large ones."""
    scale = min(max(1.0, min(width / 1280, height / 720)), 3.0)
    folded = width < FOLD_BELOW_PX[0] or height < FOLD_BELOW_PX[1]
    return Layout(
        folded=folded,
        unit=8 * scale,
        body=round(16 * scale),
        title=round(20 * scale),
        figure=round((28 if folded else 40) * scale),
        touch=round(56 * scale),
    )
