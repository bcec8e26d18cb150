"""Which traced strands may be called hairs: those that the network is sure of and that have the shape of a hair."""

from __future__ import annotations

import numpy as np

from device_app.vision.diameter import Widths
from device_app.vision.tracing import Strand

LEAST_CERTAINTY = 0.72
"""Mean probability along the centre line below which a strand is left out: faint rims of flakes and noise lie below."""

SURE = 0.90
"""From this certainty on a strand is a hair even where its edges cannot be measured."""

LEAST_MEASURED = 0.15
"""Share of a centre line that must have two edges in a strand less certain than `SURE`: a blot of gloss has none."""

MOST_WINDING = 2.5
"""Length over the distance of the ends, above which a strand is the ring of a bubble."""


def certainties(strands: list[Strand], probability: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Mean probability along each centre line.

    Args:
        strands: in the pixels of the picture.
        probability: (h, w) float, 0..1, of any size.
        size: (width, height) of the picture.

    Returns:
        (N,) float64.
    """
    if not strands:
        return np.zeros(0)
    lines = np.stack([strand.centre_line for strand in strands])
    height, width = probability.shape
    x = np.clip((lines[..., 0] + 0.5) * (width / size[0]), 0, width - 1).astype(int)
    y = np.clip((lines[..., 1] + 0.5) * (height / size[1]), 0, height - 1).astype(int)
    return np.asarray(probability[y, x], np.float64).mean(axis=1)


def is_hair(strand: Strand, widths: Widths, certainty: float) -> bool:
    """Whether a strand may be called a hair, by the limits of this module."""
    ends = np.linalg.norm(strand.centre_line[-1] - strand.centre_line[0])
    measured = np.isfinite(widths.widths_px).mean()
    return bool(
        certainty >= LEAST_CERTAINTY
        and strand.length_px <= MOST_WINDING * ends
        and (certainty >= SURE or measured >= LEAST_MEASURED)
    )
