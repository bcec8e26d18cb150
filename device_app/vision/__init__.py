"""From a network's probability to measured hairs: pure functions, no files, no clocks.

In the order of a frame: `to_network_input` (preprocess), `hair_mask` (masks), `trace_hairs` (skeleton, tracing),
`measure_widths` (diameter), `measure_hairs` (measure, with the intervals of intervals), `draw_overlay` (overlay).
Where SAM refines the mask: `draw_prompts` (prompts) before it, `combine_masks` and `drop_small` (masks) after it.
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
from device_app.vision.masks import CleanUp, Combination, combine_masks, drop_small, hair_mask
from device_app.vision.measure import measure_hairs
from device_app.vision.overlay import draw_overlay
from device_app.vision.preprocess import to_network_input
from device_app.vision.prompts import PromptOptions, PromptPoints, draw_prompts
from device_app.vision.tracing import trace_hairs

__all__ = [
    "TRICHOSCAN",
    "TRICHOSCOPY",
    "CleanUp",
    "Combination",
    "Figure",
    "Hair",
    "HairClass",
    "HairClasses",
    "Measurements",
    "PromptOptions",
    "PromptPoints",
    "combine_masks",
    "draw_overlay",
    "draw_prompts",
    "drop_small",
    "hair_mask",
    "measure_hairs",
    "to_network_input",
    "trace_hairs",
]
