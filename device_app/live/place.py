"""Whether the microscope is still at the same place of the scalp."""

from __future__ import annotations

import cv2
import numpy as np

from device_app.live.stillness import small_view

LEAST_LIKENESS = 0.7
"""Least correlation of the middle of a place's first small view with the best fitting part of a later one.

Real scalp pictures moved by up to an eighth of their width, blurred and made noisy reach 0.85 and more; pictures of two
scalps, both lit from the middle, pass 0.7 once in thirty times.
"""
_LEAST_CONTRAST = 0.5  # of a small view, whose contrast is 1 unless the picture has less than eight grey levels of it


class PlaceWatch:
    """Watches pictures go by. Pure.

    Each picture's small view is searched for the middle of the place's first one. The tremor of a hand, and a drift by
    less than a quarter of the picture, move it and do not lose it; at another place it is not found.

    Attributes:
        place: which place this is; counts up whenever the picture is somewhere else.
    """

    def __init__(self) -> None:
        self.place = 0
        self._first: np.ndarray | None = None

    def see(self, image: np.ndarray) -> int:
        """Take in the next picture, (H, W, 3) uint8 RGB, of any size; returns `place`."""
        view = small_view(image)
        if self._first is None or not _same_place(self._first, view):
            self._first = view
            self.place += 1
        return self.place


def _same_place(first: np.ndarray, view: np.ndarray) -> bool:
    if first.std() < _LEAST_CONTRAST or view.std() < _LEAST_CONTRAST:
        return bool(max(first.std(), view.std()) < _LEAST_CONTRAST)  # bare skin, or the lid on, tells nothing
    sought = _without_border(first, 4)
    if sought.std() < _LEAST_CONTRAST:  # all there is lies round the middle: less room to move in
        sought = _without_border(first, 12)
    return float(cv2.matchTemplate(view, sought, cv2.TM_CCOEFF_NORMED).max()) >= LEAST_LIKENESS


def _without_border(view: np.ndarray, part: int) -> np.ndarray:
    """A view without one `part`-th of its height and width on each side."""
    rows, columns = view.shape[0] // part, view.shape[1] // part
    return view[rows:-rows, columns:-columns]
