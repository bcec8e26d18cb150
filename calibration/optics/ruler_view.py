"""A picture of a ruler turned so that its ticks stand upright, and cut into strips."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

_STRIPS_OVER_HEIGHT = 40
_MIN_STRIP_PX = 8
_MIN_COVER = 0.6  # of a strip's height that must lie inside the picture for a column to count
_MAX_DIRECTIONS = 4


@dataclass(frozen=True)
class RulerView:
    """Brightness across the ticks, strip by strip. ``u`` counts the turned picture's columns, ``v`` its rows.

    Attributes:
        direction: of the u axis in the picture, radians from the x axis towards the y axis.
        profiles: (strips, columns) float32, mean brightness of each strip's columns.
        valid: (strips, columns) bool, where a strip lies inside the picture.
        noise: (strips,) float, standard deviation of the noise in each profile.
        strip_height: in pixels.
        short_side: of the picture, in pixels.
        back: (2, 3) affine map from (u, v) to the picture's (x, y).
    """

    direction: float
    profiles: np.ndarray
    valid: np.ndarray
    noise: np.ndarray
    strip_height: int
    short_side: int
    back: np.ndarray

    @property
    def strips(self) -> int:
        """How many strips there are."""
        return len(self.profiles)

    @classmethod
    def turn(cls, grey: np.ndarray, direction: float) -> RulerView:
        """Turn a picture (H, W) float32 so that ``direction`` lies along the rows."""
        height, width = grey.shape
        cos, sin = math.cos(direction), math.sin(direction)
        columns = math.ceil(width * abs(cos) + height * abs(sin))
        rows = math.ceil(width * abs(sin) + height * abs(cos))
        axes = np.array([[cos, -sin], [sin, cos]])  # (u, v) to (x, y)
        middle = np.array([(width - 1) / 2, (height - 1) / 2])
        back = np.hstack([axes, (middle - axes @ [(columns - 1) / 2, (rows - 1) / 2])[:, None]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        turned = cv2.warpAffine(grey, back, (columns, rows), flags=flags)
        cover = cv2.warpAffine(np.ones_like(grey), back, (columns, rows), flags=flags) > 0.99
        short_side = min(height, width)
        strip_height = max(_MIN_STRIP_PX, short_side // _STRIPS_OVER_HEIGHT)
        strips = rows // strip_height
        shape = (strips, strip_height, columns)
        inside = cover[: strips * strip_height].reshape(shape)
        levels = turned[: strips * strip_height].reshape(shape)
        count = inside.sum(axis=1)
        profiles = np.where(inside, levels, 0.0).sum(axis=1) / np.maximum(count, 1)
        noise = np.array([_noise(*strip) for strip in zip(levels, inside, strict=True)]) / math.sqrt(strip_height)
        return cls(direction, profiles, count >= _MIN_COVER * strip_height, noise, strip_height, short_side, back)

    def centre_v(self, strip: int) -> float:
        """The row in the middle of a strip."""
        return (strip + 0.5) * self.strip_height - 0.5

    def to_picture(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """(n, 2) points (x, y) in the picture for columns u and rows v."""
        points: np.ndarray = np.stack([u, v], axis=1) @ self.back[:, :2].T + self.back[:, 2]
        return points


def _noise(levels: np.ndarray, inside: np.ndarray) -> float:
    """Standard deviation of pixel noise in a strip, from differences along the ticks, where a ruler has none."""
    there = inside[0] & inside[-1]
    if not there.any():
        return 0.0
    bend = levels[:-2:2, there] - 2.0 * levels[1:-1:2, there] + levels[2::2, there]
    return float(np.median(np.abs(bend))) / (0.6745 * math.sqrt(6.0))


def tick_directions(grey: np.ndarray) -> list[float]:
    """Directions, in radians, in which brightness changes most: across a ruler's ticks, and across its other lines.

    Found in the histogram of the directions of gradients, at a fine scale and at a coarse one (thick or blurred ticks),
    the most frequent first.
    """
    found: list[tuple[float, float]] = []
    for blur in (1.0, 3.0):
        smooth = cv2.GaussianBlur(grey, (0, 0), blur)
        across, down = cv2.Scharr(smooth, cv2.CV_32F, 1, 0), cv2.Scharr(smooth, cv2.CV_32F, 0, 1)
        margin = int(3 * blur) + 1
        across, down = across[margin:-margin:2, margin:-margin:2], down[margin:-margin:2, margin:-margin:2]
        found += _frequent_directions(across.ravel(), down.ravel())
    found.sort(reverse=True)
    distinct: list[float] = []
    for _, direction in found:
        if all(abs(math.sin(direction - other)) > math.sin(math.radians(2.0)) for other in distinct):
            distinct.append(direction)
    return distinct[:_MAX_DIRECTIONS]


def _frequent_directions(across: np.ndarray, down: np.ndarray) -> list[tuple[float, float]]:
    """(share of the gradients, direction in radians) of up to three peaks."""
    energy = across**2 + down**2
    if energy.size == 0 or energy.max() <= 0:
        return []
    strong = energy > max(float(np.percentile(energy, 80)), 0.02 * float(np.percentile(energy, 99)))
    weight = np.sqrt(np.minimum(energy[strong], np.percentile(energy, 99)))
    angle = np.arctan2(down[strong], across[strong]) % math.pi
    bins = 180
    histogram = np.bincount((angle * bins / math.pi).astype(int) % bins, weight, bins)
    kernel = np.exp(-0.5 * (np.arange(-4, 5) / 1.5) ** 2)
    smooth = np.convolve(np.pad(histogram, 4, mode="wrap"), kernel, mode="valid")
    peaks = [b for b in range(bins) if smooth[b] >= smooth[b - 1] and smooth[b] > smooth[(b + 1) % bins]]
    peaks = sorted(peaks, key=lambda b: -smooth[b])[:3]
    found = []
    for peak in peaks:
        middle = (peak + 0.5) * math.pi / bins
        away = (angle - middle + math.pi / 2) % math.pi - math.pi / 2
        near = np.abs(away) < math.radians(4.0)
        share = float(weight[near].sum() / weight.sum())
        found.append((share, middle + float(np.average(away[near], weights=weight[near]))))
    return found
