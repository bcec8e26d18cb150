"""Diameters at sub-pixel accuracy, from profiles across the hairs of the native picture.

The mask only says where to look. At every point of a centre line a profile is read across the hair, in the colour
direction that tells this hair from the skin beside it; its two edges lie where it passes half way between the skin's
level on that side and the shaft's level just inside that edge. What lies further inside, such as a wet streak of gloss,
plays no part.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from device_app.vision.tracing import Strand

_ACROSS = 57  # samples of a profile, odd: the middle one lies on the centre line
_MARGIN_PX = 9.0  # of skin on each side
_LEAST_CONTRAST = 6.0  # grey levels between shaft and skin, below which there is no edge to find
_ROWS_AT_ONCE = 16_000  # cv2.remap takes no more than 32767


@dataclass(frozen=True)
class Widths:
    """What the profiles of one hair gave.

    Attributes:
        centre_line: (N, 2) float32, moved to the middle between the two edges where these were found.
        widths_px: (N,) float32, NaN where the edges could not be found.
    """

    centre_line: np.ndarray
    widths_px: np.ndarray


@dataclass(frozen=True)
class _Profiles:
    """Profiles of H hairs at K points each, M samples across."""

    offset: np.ndarray  # (H, M) signed distance from the centre line, px
    colour: np.ndarray  # (H, K, M, 3) float32
    own: np.ndarray  # (H, K, M) bool: this hair, by the mask
    skin: np.ndarray  # (H, K, M) bool: skin that belongs to this hair's profile
    clean: np.ndarray  # (H, K) bool: no other hair touches here


def measure_widths(image: np.ndarray, mask: np.ndarray, strands: list[Strand]) -> list[Widths]:
    """Measure the diameters along every strand.

    Args:
        image: (H, W, 3) uint8 RGB, the native picture.
        mask: (H, W) uint8, 0 or 255: where hairs are, so that a neighbour is not taken for skin.
        strands: traced hairs; all centre lines have the same number of points.
    """
    if not strands:
        return []
    lines = np.stack([strand.centre_line for strand in strands]).astype(np.float32)
    half = np.array([strand.mask_width_px / 2 for strand in strands], np.float32)
    normals = _normals(lines)
    profiles = _read_profiles(image, mask, lines, normals, half)
    signal = _signal(profiles, half)
    left, right = (_edge(profiles, signal, half, side) for side in (-1, 1))
    widths = left + right
    shift = np.nan_to_num((right - left) / 2)
    widths, shift = _without_outliers(widths, shift)
    centres = lines + shift[..., None] * normals
    return [Widths(centre.astype(np.float32), width.astype(np.float32)) for centre, width in zip(centres, widths)]


def _normals(lines: np.ndarray) -> np.ndarray:
    """(H, K, 2) unit normals."""
    tangent = np.gradient(lines, axis=1)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=2, keepdims=True), 1e-6)
    return np.stack([-tangent[..., 1], tangent[..., 0]], axis=2)


def _read_profiles(
    image: np.ndarray, mask: np.ndarray, lines: np.ndarray, normals: np.ndarray, half: np.ndarray
) -> _Profiles:
    """Read picture and mask across every hair at once."""
    hairs, points = lines.shape[:2]
    reach = half + np.maximum(_MARGIN_PX, 0.6 * half)
    offset = (reach[:, None] * np.linspace(-1, 1, _ACROSS, dtype=np.float32)).astype(np.float32)
    place = lines[:, :, None, :] + offset[:, None, :, None] * normals[:, :, None, :]
    x = np.ascontiguousarray(place[..., 0], np.float32).reshape(-1, _ACROSS)
    y = np.ascontiguousarray(place[..., 1], np.float32).reshape(-1, _ACROSS)
    colour = _remap(image, x, y, cv2.INTER_LINEAR, cv2.BORDER_REPLICATE).reshape(hairs, points, _ACROSS, 3)
    # 128 marks what lies outside the picture.
    covered = _remap(mask, x, y, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT).reshape(hairs, points, _ACROSS)
    outside = covered == 128
    hair = (covered == 255) | (np.abs(offset) < 0.6 * half[:, None])[:, None, :]
    middle = _ACROSS // 2
    step = (reach / middle)[:, None]
    own = np.empty_like(hair)
    skin = np.empty_like(hair)
    clean = np.ones((hairs, points), bool)
    for side in (-1, 1):
        # Outwards from the centre line: this hair, then skin, then perhaps another hair.
        part = slice(None, middle + 1) if side < 0 else slice(middle, None)
        outwards = hair[:, :, part][:, :, ::side]
        this = np.logical_and.accumulate(outwards, axis=2)
        size = this.sum(axis=2)
        beyond = np.logical_or.accumulate(outwards & ~this, axis=2)
        # Skin begins 2 px off the mask's edge, which is rough, and ends 2 px before the next hair.
        away = np.ceil(2.0 / step).astype(int)[:, :, None]
        rank = np.arange(middle + 1)[None, None, :]
        first_other = np.where(beyond.any(axis=2), np.argmax(beyond, axis=2), middle + 1)[:, :, None]
        bare = (rank >= size[:, :, None] + away - 1) & (rank <= first_other - away)
        own[:, :, part] = this[:, :, ::side]
        skin[:, :, part] = bare[:, :, ::side]
        clean &= size * step < 1.5 * half[:, None] + 3
    skin &= ~outside
    clean &= ~outside[:, :, middle]
    return _Profiles(offset, colour.astype(np.float32), own, skin, clean)


def _remap(picture: np.ndarray, x: np.ndarray, y: np.ndarray, interpolation: int, border: int) -> np.ndarray:
    """`cv2.remap` in portions that it can take; outside is 128 with a constant border."""
    parts = [
        cv2.remap(picture, x[low : low + _ROWS_AT_ONCE], y[low : low + _ROWS_AT_ONCE], interpolation,
                  borderMode=border, borderValue=128)
        for low in range(0, len(x), _ROWS_AT_ONCE)
    ]  # fmt: skip
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _signal(profiles: _Profiles, half: np.ndarray) -> np.ndarray:
    """(H, K, M): 0 on skin, 1 on the shaft, along the line between their colours; NaN for hairs without contrast."""
    near_edge = (np.abs(profiles.offset) > 0.4 * half[:, None]) & (np.abs(profiles.offset) < 0.85 * half[:, None])
    shaft = profiles.own & near_edge[:, None, :] & profiles.clean[..., None]
    skin = profiles.skin & profiles.clean[..., None]

    def mean_colour(where: np.ndarray) -> np.ndarray:
        weight = where.astype(np.float32)
        return np.einsum("hkmc,hkm->hc", profiles.colour, weight) / np.maximum(weight.sum(axis=(1, 2)), 1)[:, None]

    skin_colour = mean_colour(skin)
    difference = skin_colour - mean_colour(shaft)
    contrast = np.linalg.norm(difference, axis=1)
    usable = (contrast >= _LEAST_CONTRAST) & shaft.any(axis=(1, 2)) & skin.any(axis=(1, 2))
    axis = difference / np.where(usable, contrast, np.nan)[:, None] ** 2
    level = np.einsum("hc,hc->h", skin_colour, axis)
    signal = level[:, None, None] - np.einsum("hkmc,hc->hkm", profiles.colour, axis)
    # Neighbours along the hair look alike and their noise does not.
    smooth = signal.copy()
    smooth[:, 1:-1] = 0.25 * signal[:, :-2] + 0.5 * signal[:, 1:-1] + 0.25 * signal[:, 2:]
    return smooth


def _edge(profiles: _Profiles, signal: np.ndarray, half: np.ndarray, side: int) -> np.ndarray:
    """(H, K): distance from the centre line to the edge on one side (-1 or 1), NaN where there is none."""
    middle = _ACROSS // 2
    part = slice(None, middle + 1) if side < 0 else slice(middle, None)
    out = signal[:, :, part][:, :, ::side]
    skin = profiles.skin[:, :, part][:, :, ::side]
    distance = np.abs(profiles.offset[:, part][:, ::side])[:, None, :]
    h = half[:, None, None]
    shaft = (distance > 0.45 * h) & (distance < 0.8 * h)
    background = np.where(skin, out, 0).sum(axis=2) / np.maximum(skin.sum(axis=2), 1)
    plateau = np.where(shaft, out, 0).sum(axis=2) / np.maximum(shaft.sum(axis=2), 1)
    level = (0.5 * (background + plateau))[:, :, None]
    below = (out < level) & (distance > 0.45 * h)
    index = np.argmax(below, axis=2)
    found = below.any(axis=2) & (index > 0) & (skin.sum(axis=2) >= 2) & profiles.clean & (plateau - background > 0.3)
    index = np.maximum(index, 1)[:, :, None]
    inner, outer = np.take_along_axis(out, index - 1, 2), np.take_along_axis(out, index, 2)
    share = np.clip((inner - level) / np.where(np.abs(inner - outer) > 1e-6, inner - outer, 1e-6), 0, 1)
    step = distance[:, :, 1:2]
    return np.where(found, ((index - 1 + share) * step)[:, :, 0], np.nan)


def _without_outliers(widths: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Widths that leave the running of their own hair become NaN, and the centre line is not moved there."""
    middle = quantile_rows(widths, 0.5)[:, None]
    spread = quantile_rows(np.abs(widths - middle), 0.5)[:, None] * 1.5
    odd = ~(np.abs(widths - middle) <= np.maximum(4 * spread, 0.25 * middle + 1))
    return np.where(odd, np.nan, widths), np.where(odd, 0.0, shift)


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
