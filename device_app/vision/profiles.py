"""Profiles across all hairs at once: read from the native picture, told apart into shaft, skin and neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

ACROSS = 49
"""Samples of a profile, odd: the middle one lies on the centre line."""

MARGIN_PX = 9.0
"""Least stretch of skin read on each side."""

_MASK_SLACK_PX = 4.0  # how far outside the mask's edge the true one may lie
_LEAST_CONTRAST = 6.0  # grey levels between shaft and skin, below which there is no edge to find
_ROWS_AT_ONCE = 16_000  # cv2.remap takes no more than 32767
_OUTSIDE = 128  # what the mask reads as beyond the picture


@dataclass(frozen=True)
class Profiles:
    """Profiles of H hairs at K points each, M samples across.

    Attributes:
        offset: (H, M) float32, signed distance from the centre line, px.
        signal: (H, K, M) float32, 0 on skin and 1 on the shaft, along the line between this hair's two colours; NaN for
            a hair without contrast.
        skin: (H, K, M) bool, skin that belongs to this hair's profile.
        near: (H, K, M) bool, this hair, or so near outside that its true edge may lie there.
        clean: (H, K) bool, no other hair touches here.
    """

    offset: np.ndarray
    signal: np.ndarray
    skin: np.ndarray
    near: np.ndarray
    clean: np.ndarray


def read_profiles(
    image: np.ndarray, mask: np.ndarray, lines: np.ndarray, normals: np.ndarray, half: np.ndarray
) -> Profiles:
    """Read picture and mask across every hair.

    Args:
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) uint8, 0 or 255.
        lines, normals: (hairs, K, 2) float32, centre lines and their unit normals.
        half: (hairs,) float32, half widths by the mask.
    """
    hairs, points = lines.shape[:2]
    reach = half + np.maximum(MARGIN_PX, 0.6 * half)
    offset = reach[:, None] * np.linspace(-1, 1, ACROSS, dtype=np.float32)
    x, y = (
        (lines[:, :, None, axis] + offset[:, None, :] * normals[:, :, None, axis]).reshape(-1, ACROSS)
        for axis in (0, 1)
    )
    colour = _remap(image, x, y, cv2.INTER_LINEAR, cv2.BORDER_REPLICATE).reshape(hairs, points * ACROSS, 3)
    covered = _remap(mask, x, y, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT).reshape(hairs, points, ACROSS)
    skin, near, clean = _tell_apart(covered, offset, reach, half)
    shaft = (np.abs(offset) > 0.4 * half[:, None]) & (np.abs(offset) < 0.85 * half[:, None])
    signal = _signal(colour.astype(np.float32), skin & clean[..., None], shaft[:, None, :] & clean[..., None])
    # Where the mask stands out over a thin hair, what was taken for shaft was partly skin: 1 is the hair's own level.
    known = clean[..., None] & np.isfinite(signal)
    mean = np.where(known, signal, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    level = np.where(np.abs(offset) < half[:, None], mean, 0).max(axis=1)
    signal /= np.clip(level, 0.5, 5.0)[:, None, None]
    return Profiles(offset, signal, skin, near, clean)


def centre_in_mask(
    mask: np.ndarray, lines: np.ndarray, normals: np.ndarray, half: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where the hairs' axes lie in the native mask, and how wide it is there: tracing saw it shrunk.

    Returns:
        (hairs, K) float64 shifts along the normals, NaN where another hair touches, and (hairs,) float32 half widths.
    """
    reach = 1.6 * half + 6
    offset = reach[:, None] * np.linspace(-1, 1, ACROSS, dtype=np.float32)
    x, y = (
        (lines[:, :, None, axis] + offset[:, None, :] * normals[:, :, None, axis]).reshape(-1, ACROSS)
        for axis in (0, 1)
    )
    covered = _remap(mask, x, y, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT).reshape(*lines.shape[:2], ACROSS)
    hair = (covered == 255) | (np.abs(offset) < 0.4 * half[:, None])[:, None, :]
    middle = ACROSS // 2
    left, right = np.argmin(hair[:, :, middle::-1], axis=2), np.argmin(hair[:, :, middle:], axis=2)
    step = (reach / middle)[:, None]
    # argmin is 0 where the hair fills the profile to its end.
    alone = (left > 0) & (right > 0) & (covered[:, :, middle] != _OUTSIDE)
    width = np.where(alone, (left + right - 1) * step, np.nan)
    typical = quantile_rows(width, 0.5)
    known = np.isfinite(typical)
    alone &= np.abs(width - np.where(known, typical, 0)[:, None]) < 0.3 * np.where(known, typical, 0)[:, None] + 1.5
    return np.where(alone, (right - left) / 2 * step, np.nan), np.where(known, typical / 2, half).astype(np.float32)


def quantile_rows(values: np.ndarray, share: float) -> np.ndarray:
    """(H,): a quantile of every row of an (H, K) array without its NaNs; NaN for a row of NaNs."""
    ordered = np.sort(values, axis=1)
    count = np.isfinite(ordered).sum(axis=1)
    place = np.maximum(count - 1, 0) * share
    low = np.floor(place).astype(int)
    high = np.minimum(low + 1, np.maximum(count - 1, 0))
    rows = np.arange(len(values))
    result = ordered[rows, low] + (ordered[rows, high] - ordered[rows, low]) * (place - low)
    return np.where(count > 0, result, np.nan)


def _remap(picture: np.ndarray, x: np.ndarray, y: np.ndarray, interpolation: int, border: int) -> np.ndarray:
    """`cv2.remap` in portions that it can take."""
    parts = [
        cv2.remap(picture, x[low : low + _ROWS_AT_ONCE], y[low : low + _ROWS_AT_ONCE], interpolation,
                  borderMode=border, borderValue=_OUTSIDE)
        for low in range(0, len(x), _ROWS_AT_ONCE)
    ]  # fmt: skip
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _tell_apart(
    covered: np.ndarray, offset: np.ndarray, reach: np.ndarray, half: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`Profiles.skin`, `.near` and `.clean`, from the mask along the profiles."""
    middle = ACROSS // 2
    hair = covered == 255
    hair |= (np.abs(offset) < 0.6 * half[:, None])[:, None, :]  # a hole in the middle of the shaft is no skin
    step = (reach / middle)[:, None]
    # Skin begins 2 px off the mask's edge, which is rough, and ends 2 px before the next hair.
    away = np.ceil(2.0 / step).astype(np.int16)
    slack = np.ceil(np.maximum(_MASK_SLACK_PX, 0.25 * half)[:, None] / step).astype(np.int16)
    rank = np.arange(middle + 1, dtype=np.int16)
    skin, near = np.empty_like(hair), np.empty_like(hair)
    clean = covered[:, :, middle] != _OUTSIDE
    for side, part in ((-1, slice(None, middle + 1)), (1, slice(middle, None))):
        # Outwards from the centre line: this hair up to `size`, then skin, then perhaps another hair.
        outwards = hair[:, :, part][:, :, ::side]
        size = np.argmin(outwards, axis=2).astype(np.int16)
        size[outwards[:, :, -1] & outwards.all(axis=2)] = middle + 1
        other = outwards & (rank > size[..., None])
        first_other = np.argmax(other, axis=2).astype(np.int16)
        first_other[first_other == 0] = middle + 1
        skin[:, :, part] = ((rank >= (size + away - 1)[..., None]) & (rank <= (first_other - away)[..., None]))[
            :, :, ::side
        ]
        near[:, :, part] = (rank < np.minimum(size + slack, first_other)[..., None])[:, :, ::side]
        clean &= size * step < 1.5 * half[:, None] + 3
    inside = covered != _OUTSIDE
    skin &= inside
    near &= inside
    return skin, near, clean


def _signal(colour: np.ndarray, skin: np.ndarray, shaft: np.ndarray) -> np.ndarray:
    """`Profiles.signal` from the colours (H, K * M, 3) float32 and where they are surely skin and surely shaft."""
    hairs, points, across = skin.shape

    def mean_colour(where: np.ndarray) -> np.ndarray:
        weight = where.reshape(hairs, 1, -1).astype(np.float32)
        return (weight @ colour)[:, 0] / np.maximum(weight.sum(axis=2), 1)

    skin_colour = mean_colour(skin)
    difference = skin_colour - mean_colour(shaft)
    contrast = np.linalg.norm(difference, axis=1)
    usable = (contrast >= _LEAST_CONTRAST) & shaft.any(axis=(1, 2)) & skin.any(axis=(1, 2))
    axis = difference / np.where(usable, contrast, np.nan)[:, None] ** 2
    level = np.sum(skin_colour * axis, axis=1)
    signal = (level[:, None] - (colour @ axis[:, :, None])[..., 0]).reshape(hairs, points, across)
    # Neighbours along the hair look alike and their noise does not.
    smooth = signal.copy()
    smooth[:, 1:-1] *= 0.5
    smooth[:, 1:-1] += 0.25 * (signal[:, :-2] + signal[:, 2:])
    return smooth
