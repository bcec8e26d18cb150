"""Algorithm 1 of ScalpVision (arXiv 2406.17254) written out step by step, and as slow as that: `prompts` must match it.

Nothing of the shipped code is used, and no library but numpy: the skeleton by the loop of erosions and openings, a box
for every skeleton pixel, non-maximum suppression over the list of boxes, and the mean of the hair pixels of each box.
Where the paper leaves something open it is settled as `device_app.vision.prompts` says: boxes in row-major order, hair
going on beyond the picture, a mask that is all hair being all skeleton.
"""

from __future__ import annotations

import numpy as np

Box = tuple[int, int, int, int]


def _beside(mask: np.ndarray, outside: bool) -> list[np.ndarray]:
    """The mask itself and the mask as seen from the left, right, upper and lower neighbour: the 3x3 cross."""
    height, width = mask.shape
    padded = np.pad(mask, 1, constant_values=outside)
    return [
        padded[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]
        for dx, dy in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))
    ]


def erode(mask: np.ndarray) -> np.ndarray:
    """Hair whose four neighbours are hair; beyond the picture all is hair."""
    return np.logical_and.reduce(_beside(mask, outside=True))


def dilate(mask: np.ndarray) -> np.ndarray:
    """Hair, and what has hair beside it."""
    return np.logical_or.reduce(_beside(mask, outside=False))


def skeleton(mask: np.ndarray) -> np.ndarray:
    """Erode, open, subtract, accumulate, until nothing is left."""
    found = np.zeros_like(mask)
    while mask.any():
        eroded = erode(mask)
        if (eroded == mask).all():  # all hair: nothing will ever be eroded
            return found | mask
        found = found | (mask & ~dilate(eroded))
        mask = eroded
    return found


def box_round(x: int, y: int, n: int) -> Box:
    """n x n pixels round a pixel: left, top, and right, bottom, which are excluded."""
    left, top = x - n // 2, y - n // 2
    return left, top, left + n, top + n


def intersection_over_union(one: Box, other: Box) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0, wide) * max(0, high)
    area = (one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1])
    return shared / (area - shared)


def suppress(boxes: list[Box], threshold: float) -> list[Box]:
    """Keep the first box, drop all that overlap with it, go on with the rest."""
    kept = []
    while boxes:
        best = boxes[0]
        kept.append(best)
        boxes = [box for box in boxes[1:] if intersection_over_union(best, box) <= threshold]
    return kept


def mean_of_hair(mask: np.ndarray, box: Box) -> tuple[float, float]:
    x_sum = y_sum = count = 0
    for y in range(max(0, box[1]), min(mask.shape[0], box[3])):
        for x in range(max(0, box[0]), min(mask.shape[1], box[2])):
            if mask[y, x]:
                x_sum, y_sum, count = x_sum + x, y_sum + y, count + 1
    return x_sum / count, y_sum / count


def positive_points(mask: np.ndarray, n: int = 10, threshold: float = 0.1) -> np.ndarray:
    """All of it: (P, 2) float32 points (x, y) from an (H, W) mask, not 0 where hair is."""
    hair = mask != 0
    boxes = [box_round(int(x), int(y), n) for y, x in np.argwhere(skeleton(hair))]
    points = [mean_of_hair(hair, box) for box in suppress(boxes, threshold)]
    return np.array(points, np.float32).reshape(-1, 2)
