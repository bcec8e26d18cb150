"""A closer look at a picture much larger than the network's input: its four quarters beside the whole.

Seen whole, a thin hair of a large picture is thinner than the network's pixels; seen in quarters, a thick hair is
thicker than any the network has learned. The mean of both views keeps either.
"""

from __future__ import annotations

import cv2
import numpy as np

Box = tuple[int, int, int, int]

CLOSER_FROM = 1.5
"""A picture is looked at in halves along each side that is at least so many times the network's input."""

_OVERLAP = 0.125  # of a side, shared by two neighbours and faded over there


def quarter_boxes(size: tuple[int, int], input_size: tuple[int, int]) -> tuple[Box, ...]:
    """Where to look closer.

    Args:
        size: (width, height) of the picture.
        input_size: (width, height) of the network's input.

    Returns:
        Two or four boxes (left, top, right, bottom) that overlap and cover the picture; none when it is not large.
    """
    (columns, rows) = (
        _halves(side) if side >= CLOSER_FROM * seen else ((0, side),)
        for side, seen in zip(size, input_size, strict=True)
    )
    if len(columns) * len(rows) == 1:
        return ()
    return tuple((left, top, right, bottom) for top, bottom in rows for left, right in columns)


def _halves(side: int) -> tuple[tuple[int, int], tuple[int, int]]:
    reach = int(np.ceil(side * (0.5 + _OVERLAP / 2)))
    return (0, reach), (side - reach, side)


def join_views(whole: np.ndarray, parts: list[np.ndarray], boxes: tuple[Box, ...], size: tuple[int, int]) -> np.ndarray:
    """The mean of the whole view and the closer ones.

    Args:
        whole: (h, w) float32 probability of the whole picture.
        parts: one (h, w) float32 probability for each box.
        boxes: of `quarter_boxes`.
        size: (width, height) of the picture.

    Returns:
        (2h, 2w) float32 probability of the whole picture; neighbours fade into each other where they overlap.
    """
    height, width = 2 * whole.shape[0], 2 * whole.shape[1]
    total = np.zeros((height, width), np.float32)
    weight = np.zeros((height, width), np.float32)
    grid = np.array([width / size[0], height / size[1]] * 2)
    for part, box in zip(parts, boxes, strict=True):
        left, top, right, bottom = np.round(np.array(box) * grid).astype(int)
        fade = np.minimum.outer(_fade(top, bottom, height), _fade(left, right, width))
        total[top:bottom, left:right] += fade * cv2.resize(part, (right - left, bottom - top))
        weight[top:bottom, left:right] += fade
    return 0.5 * (cv2.resize(whole, (width, height)) + total / weight)


def _fade(start: int, end: int, side: int) -> np.ndarray:
    """(end - start,) float32: 1, falling to near 0 over the overlap at an end that is not the picture's own."""
    place = np.arange(start, end) + 0.5
    ramp = max(1.0, _OVERLAP * side)
    rising = np.ones(len(place)) if start == 0 else (place - start) / ramp
    falling = np.ones(len(place)) if end == side else (end - place) / ramp
    return np.clip(np.minimum(rising, falling), 1e-3, 1).astype(np.float32)
