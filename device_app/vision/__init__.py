"""From a network's probability to measured hairs: pure functions, no files, no clocks.

In the order of a frame: `to_network_input` (preprocess), `hair_mask` (masks), `trace_hairs` (skeleton, tracing),
`measure_widths` (diameter), `measure_hairs` (measure, with the intervals of intervals), `draw_overlay` (overlay).
"""

from device_app.vision.hairs import (
    TRICHOSCAN,
    TRICHOSCOPY,
    Figure,
    Hair,
    HairClass,
    HairClasses,
    Measurements,
)
from device_app.vision.masks import hair_mask
from device_app.vision.measure import measure_hairs
from device_app.vision.overlay import draw_overlay
from device_app.vision.preprocess import to_network_input
from device_app.vision.tracing import trace_hairs

__all__ = [
    "TRICHOSCAN",
    "TRICHOSCOPY",
    "Figure",
    "Hair",
    "HairClass",
    "HairClasses",
    "Measurements",
    "draw_overlay",
    "hair_mask",
    "measure_hairs",
    "to_network_input",
    "trace_hairs",
]
