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

MOST_BESIDE_BORDER = 0.6
"""Share of a centre line along the border from which a strand is the border and no hair."""

MOST_WINDING = 6.0
"""Length over the distance of the ends, above which a strand is the ring of a bubble."""


def sure_strands(strands: list[Strand], probability: np.ndarray, shape: tuple[int, int]) -> list[Strand]:
    """Those strands that the network is sure enough of.

    Args:
        strands: in the pixels of the picture.
        probability: (h, w) float, 0..1, of any size.
        shape: (height, width) of the picture.
    """
    certainty = certainties(strands, probability, shape)
    return [strand for strand, sure in zip(strands, certainty, strict=True) if sure >= LEAST_CERTAINTY]


def shaped_like_hairs(
    strands: list[Strand], widths: list[Widths], probability: np.ndarray, shape: tuple[int, int]
) -> tuple[list[Strand], list[Widths]]:
    """Those measured strands that are open, not rings, do not run along the picture's border, where the network sees
    half of everything, and have two edges unless the network is very sure of them.

    Args:
        strands, widths: one for one.
        probability, shape: as in `sure_strands`.
    """
    certainty = certainties(strands, probability, shape)
    kept = [
        (strand, found)
        for strand, found, sure in zip(strands, widths, certainty, strict=True)
        if strand.length_px <= MOST_WINDING * float(np.linalg.norm(strand.centre_line[-1] - strand.centre_line[0]))
        and _beside_border(strand, shape) < MOST_BESIDE_BORDER
        and (sure >= SURE or np.isfinite(found.widths_px).mean() >= LEAST_MEASURED)
    ]
    return [strand for strand, _ in kept], [found for _, found in kept]


def _beside_border(strand: Strand, shape: tuple[int, int]) -> float:
    """Share of a centre line that runs within its own width of the picture's border."""
    far = np.array([shape[1] - 1, shape[0] - 1])
    margin = np.minimum(strand.centre_line, far - strand.centre_line).min(axis=1)
    return float((margin < max(3.0, 0.75 * strand.mask_width_px)).mean())


def certainties(strands: list[Strand], probability: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(N,) float64 mean probability along each centre line; arguments as in `sure_strands`."""
    if not strands:
        return np.zeros(0)
    lines = np.stack([strand.centre_line for strand in strands])
    height, width = probability.shape
    x = np.clip((lines[..., 0] + 0.5) * (width / shape[1]), 0, width - 1).astype(int)
    y = np.clip((lines[..., 1] + 0.5) * (height / shape[0]), 0, height - 1).astype(int)
    return np.asarray(probability[y, x], np.float64).mean(axis=1)
