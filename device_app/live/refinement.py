"""What refining a frame gives, and what a clinician may say against it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from device_app.live.analysis import Analysis
from device_app.manifest_parts import Combination
from device_app.vision.prompts import PromptPoints

CORRECTED_PX = 24.0
"""How far a correction reaches, in pixels of a picture of 640x480; as far on the scalp in any other."""


class Cancelled(Exception):
    """The refinement was not wanted any more."""


def never() -> bool:
    """Nobody cancels."""
    return False


def leave_if(cancelled: Callable[[], bool]) -> None:
    """Raise `Cancelled` if it is."""
    if cancelled():
        raise Cancelled


@dataclass(frozen=True)
class Correction:
    """A clinician's word on one place: here is a hair, or here is none.

    Attributes:
        x, y: pixels of the picture, centres at .0.
        hair: whether there is a hair.
    """

    x: float
    y: float
    hair: bool


@dataclass(frozen=True)
class Refinement:
    """Everything found in one refined frame. Its masks belong to frame `frame_id` alone.

    Attributes:
        frame_id: `Frame.id` of the picture it was computed from.
        coarse_mask: M̂, of the hair network.
        refined_mask: M_AP, of SAM; empty when there was no hair to ask it about.
        mask: M, of both. All three (H, W) uint8, 0 or 255, the picture's own size.
        points: what SAM was asked, the corrections among them.
        corrections: as they were given.
        analysis: of M: its mask, measurements, focus; its `timings_ms` are this refinement's.
        combination: how M came from the other two.
        predicted_iou: SAM's own guess of how good M_AP is; NaN when it was not asked.
        timings_ms: wall time of each stage that ran, by its name, and ``total``. A correction of the last frame runs
            none of the stages up to ``embed`` again, and they are not in it.
    """

    frame_id: int
    coarse_mask: np.ndarray
    refined_mask: np.ndarray
    mask: np.ndarray
    points: PromptPoints
    corrections: tuple[Correction, ...]
    analysis: Analysis
    combination: Combination
    predicted_iou: float
    timings_ms: dict[str, float]


def points_of(corrections: Iterable[Correction], size: tuple[int, int]) -> PromptPoints:
    """Corrections as prompt points, those outside a picture of (width, height) left out."""
    places: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    for correction in corrections:
        places[correction.hair].append((correction.x, correction.y))
    positive, negative = (np.array(places[hair], np.float32).reshape(-1, 2) for hair in (True, False))
    return PromptPoints(positive, negative).within((0, 0, *size))


def without_contradiction(drawn: PromptPoints, corrections: PromptPoints, size: tuple[int, int]) -> PromptPoints:
    """Drawn points without those that say the opposite of a correction within half its reach.

    A hair that M̂ misses is scalp to Algorithm 1, so a negative point may well lie on it; and a speck that M̂ takes for
    hair has positive ones.
    """
    reach = reach_px(size) / 2
    return PromptPoints(
        _away_from(drawn.positive, corrections.negative, reach), _away_from(drawn.negative, corrections.positive, reach)
    )


def near_points(points: PromptPoints, shape: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Where corrections have their say.

    Args:
        points: of `points_of`, in pixels of the picture.
        shape: (h, w) of what is asked for, which stands for the whole picture.
        size: (width, height) of the picture.

    Returns:
        (h, w) bool.
    """
    height, width = shape
    found = np.zeros(shape, np.uint8)
    factor_x, factor_y = width / size[0], height / size[1]
    radius = reach_px(size)
    axes = max(1, round(radius * factor_x)), max(1, round(radius * factor_y))
    moved = points.scaled(factor_x, factor_y)
    for x, y in np.concatenate([moved.positive, moved.negative]).round().astype(int).tolist():
        cv2.ellipse(found, (x, y), axes, 0, 0, 360, 1, cv2.FILLED)
    return found > 0


def reach_px(size: tuple[int, int]) -> float:
    """How far a correction reaches in a picture of (width, height), in its pixels."""
    return float(CORRECTED_PX * (size[0] * size[1] / (640 * 480)) ** 0.5)


def _away_from(points: np.ndarray, others: np.ndarray, reach: float) -> np.ndarray:
    """Those of (n, 2) points that are further than this from each of (m, 2) others."""
    away = np.linalg.norm(points[:, None] - others[None], axis=2) > reach
    return points[away.all(axis=1)]
