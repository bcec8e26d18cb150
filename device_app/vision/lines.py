"""Lines, all hairs of a picture at once: sampled evenly, smoothed, lengthened to the mask's own ends."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

_LOOK_AHEAD_STEPS = 64


def even_lines(points: np.ndarray, counts: np.ndarray, samples: int) -> np.ndarray:
    """Sample C polylines anew, each at the same number of even steps.

    Every sample is the mean of the stretch of line around it, so that the staircase of a skeleton is averaged, not
    sampled.

    Args:
        points: (n, 2) float64, the lines' points one line after the other.
        counts: (C,) how many belong to each line, each 2 or more.

    Returns:
        (C, samples, 2) float64.
    """
    stop = np.cumsum(counts)
    start = stop - counts
    step = np.hypot(*np.diff(points, axis=0, prepend=points[:1]).T)
    step[start] = 0.0
    # One coordinate along all lines: strictly rising, so that one interpolation serves them all.
    along = np.cumsum(step + 1e-9)
    low, high = along[start], along[stop - 1]
    share = np.linspace(0, 1, samples)
    at = low[:, None] + (high - low)[:, None] * share
    half = (high - low)[:, None] / (samples - 1) / 2
    # The mean over a stretch: the integral's difference over it. Trapezoids; jumps between the lines have no length.
    middle = np.empty_like(points)
    middle[1:] = 0.5 * (points[1:] + points[:-1])
    middle[0] = points[0]
    step[start] = 1e-9
    integral = np.cumsum(middle * step[:, None], axis=0)
    before, after = np.maximum(at - half, low[:, None]), np.minimum(at + half, high[:, None])
    lines = np.empty((*at.shape, 2))
    for axis in (0, 1):
        difference = np.interp(after, along, integral[:, axis]) - np.interp(before, along, integral[:, axis])
        lines[..., axis] = difference / np.maximum(after - before, 1e-6)
    return lines


@lru_cache(maxsize=4)
def _bending_modes(samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and vectors of the squared second difference: the modes in which an even line bends."""
    second = np.diff(np.eye(samples), n=2, axis=0)
    values, vectors = np.linalg.eigh(second.T @ second)
    # Two modes are straight lines and do not bend at all. What rounding leaves of their 0, which differs from processor
    # to processor, would pull a very short line away from its place.
    values[:2] = 0
    return np.maximum(values, 0), vectors


def smooth_lines(lines: np.ndarray, shortest_wave_px: np.ndarray) -> np.ndarray:
    """Smooth even lines (Whittaker); what bends in waves shorter than `shortest_wave_px` is taken out.

    Args:
        lines: (C, K, 2), even along each line.
        shortest_wave_px: (C,).
    """
    samples = lines.shape[1]
    values, modes = _bending_modes(samples)
    spacing = line_lengths(lines) / (samples - 1)
    weight = (shortest_wave_px / (2 * np.pi * np.maximum(spacing, 1e-3))) ** 4
    gain = 1 / (1 + weight[:, None] * values)
    return modes @ (gain[..., None] * (modes.T @ lines))


def line_lengths(lines: np.ndarray) -> np.ndarray:
    """(C,) arc lengths of lines (C, K, 2)."""
    step = np.diff(lines, axis=1)
    return np.hypot(step[..., 0], step[..., 1]).sum(axis=1)


def extend_to_mask(
    lines: np.ndarray, width_px: np.ndarray, mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lengthen both ends of every line straight on to where the mask ends, and say which of them lie inside.

    A skeleton stops about half a width short of a blunt end. An end within max(2 px, 0.15 widths) of the picture's
    border is cut by it.

    Args:
        lines: (C, K, 2) float64, even.
        width_px: (C,) the hairs' widths by the mask.
        mask: (H, W) uint8, 0 or 255.

    Returns:
        The lines, even again; (C, 2) bool, whether the first and the last point lie inside the picture; and (C, 2)
        bool, whether the mask goes on beyond them: such an end is buried in another hair.
    """
    height, width = mask.shape
    samples = lines.shape[1]
    spacing = line_lengths(lines) / (samples - 1)
    back = np.clip(np.round(1.5 * width_px / np.maximum(spacing, 1e-3)), 3, samples // 3).astype(int)
    rows = np.arange(len(lines))
    ends = lines[:, [0, -1]]
    heading = ends - np.stack([lines[rows, back], lines[rows, samples - 1 - back]], axis=1)
    heading /= np.maximum(np.linalg.norm(heading, axis=2, keepdims=True), 1e-6)
    # As far as a blunt end can lie ahead, and what was cut off the skeleton besides.
    reach = 1.8 * width_px + 4
    ahead = reach[:, None] * np.linspace(0, 1, _LOOK_AHEAD_STEPS)
    way = ends[:, :, None, :] + ahead[:, None, :, None] * heading[:, :, None, :]
    x, y = np.round(way[..., 0]).astype(int), np.round(way[..., 1]).astype(int)
    within = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    hit = within & (mask[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)] > 0)
    hit[..., 0] = True  # the end itself may lie in a pinhole
    stop = np.logical_and.accumulate(hit, axis=2).sum(axis=2) - 1
    tips = ends + np.take_along_axis(np.broadcast_to(ahead[:, None, :], hit.shape), stop[..., None], 2) * heading
    # Half a look-ahead step is lost on the average.
    margin = np.minimum(tips, np.array([width - 1, height - 1]) - tips).min(axis=2)
    inside = margin > np.maximum(2.0, 0.15 * width_px)[:, None]
    longer = np.concatenate([tips[:, :1], lines, tips[:, 1:]], axis=1)
    buried = inside & (stop == _LOOK_AHEAD_STEPS - 1)
    return _even_again(np.clip(longer, 0, np.array([width - 1, height - 1])), samples), inside, buried


def _even_again(lines: np.ndarray, samples: int) -> np.ndarray:
    """Lines (C, n, 2) sampled anew at `samples` even steps, ends kept."""
    step = np.hypot(*np.moveaxis(np.diff(lines, axis=1), 2, 0))
    along = np.concatenate([np.zeros((len(lines), 1)), np.cumsum(step + 1e-9, axis=1)], axis=1)
    total = along[:, -1]
    shift = np.concatenate([[0.0], np.cumsum(total + 1.0)[:-1]])[:, None]
    at = np.linspace(0, 1, samples)[None, :] * total[:, None] + shift
    flat = (along + shift).ravel()
    return np.stack([np.interp(at, flat, lines[..., axis].ravel()) for axis in (0, 1)], axis=2)
