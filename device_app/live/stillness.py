"""Whether the live picture stands still: then there is time to look at it more closely."""

from __future__ import annotations

import cv2
import numpy as np

STILL_AFTER_S = 1.5
MOST_CHANGE = 0.15
"""Largest mean change of a still picture's small view, in standard deviations of its brightness.

On rendered scalps of 640 x 480 a shift by one pixel changes it by 0.04 to 0.07, by five pixels by 0.17 and more: the
tremor of a hand that holds still passes, a movement does not. Noise of 10 grey levels changes it by less than 0.1.
"""
_LEAST_CONTRAST = 8.0  # grey levels; bare skin has less, and its noise is not to be taken for a picture that moves
_LONGEST_GAP_S = 0.5
_SIZE = (64, 48)
_ENOUGH = (640, 480)  # so many pixels of a larger picture will do: this runs beside the live loop


def small_view(image: np.ndarray) -> np.ndarray:
    """What two pictures are compared by.

    Args:
        image: (H, W, 3) uint8 RGB.

    Returns:
        (48, 64) float32: grey, its mean taken away and its contrast brought to 1, so that neither the camera's
        exposure control nor a flickering lamp counts as movement. Sensor noise averages out over the many pixels of
        each value.
    """
    if image.shape[1] > _ENOUGH[0] and image.shape[0] > _ENOUGH[1]:
        image = cv2.resize(image, _ENOUGH, interpolation=cv2.INTER_NEAREST)
    small = cv2.resize(image, _SIZE, interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    grey -= grey.mean()
    return grey / max(float(grey.std()), _LEAST_CONTRAST)


class Stillness:
    """Watches pictures go by. Pure: it knows no clock but the times it is given.

    Each picture is compared with the first of the present still moment, not with the one before, so that a slow drift
    counts as movement in the end.

    Attributes:
        moment: which still moment this is; counts up whenever the picture moves.
    """

    def __init__(self) -> None:
        self.moment = 0
        self._first: np.ndarray | None = None
        self._since_s = self._last_s = 0.0

    def see(self, image: np.ndarray, at_s: float) -> bool:
        """Take in the next picture.

        Args:
            image: (H, W, 3) uint8 RGB, of any size.
            at_s: when it was captured, in seconds on any clock that does not go back.

        Returns:
            Whether the picture has stood still for `STILL_AFTER_S`, without a gap of more than half a second.
        """
        view = small_view(image)
        gap_s, self._last_s = at_s - self._last_s, at_s
        if self._first is None or gap_s > _LONGEST_GAP_S or self._change(view) > MOST_CHANGE:
            self._first, self._since_s = view, at_s
            self.moment += 1
        return at_s - self._since_s >= STILL_AFTER_S

    def _change(self, view: np.ndarray) -> float:
        return float(np.abs(view - self._first).mean())
