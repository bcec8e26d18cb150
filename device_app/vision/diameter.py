"""Diameters at sub-pixel accuracy, from profiles across the hairs of the native picture.

The mask only says where to look. At every point of a centre line a profile is read across the hair, in the colour
direction that tells this hair from the skin beside it. Its two edges lie, to begin with, half way between the skin's
level on that side and the shaft's level just inside that edge; what lies further inside, such as a wet streak of
gloss, plays no part. Blur pushes the half level outwards where a hair is narrow: by how much, `edge_model` finds from
the mean profile of the hair.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from device_app.vision.edge_model import fit_profiles
from device_app.vision.profiles import (
    ACROSS,
    MARGIN_PX,
    Profiles,
    centre_in_mask,
    quantile_rows,
    read_profiles,
)
from device_app.vision.tracing import Strand

_BIN_PX, _BINS = 0.6, 36  # of the mean profile, from 12 px inside the edge to 9 px outside


@dataclass(frozen=True)
class Widths:
    """What the profiles of one hair gave.

    Attributes:
        centre_line: (N, 2) float32, moved to the middle between the two edges where these were found.
        widths_px: (N,) float32, NaN where the edges could not be found.
    """

    centre_line: np.ndarray
    widths_px: np.ndarray


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
    shift, half = centre_in_mask(mask, lines, normals, half)
    lines = (lines + smooth_rows(shift, 0)[..., None] * normals).astype(np.float32)
    profiles = read_profiles(image, mask, lines, normals, half)
    left, right = _edges(profiles, half)
    widths = _without_outliers(left + right)
    shift = np.where(np.isfinite(widths), (right - left) / 2, np.nan)
    shift = smooth_rows(shift, 0)
    widths = widths + _correction(profiles, widths, shift)[:, None]
    centres = lines + shift[..., None] * normals
    return [Widths(centre.astype(np.float32), width.astype(np.float32)) for centre, width in zip(centres, widths)]


def _correction(profiles: Profiles, widths: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """(H,): what every half-level width of a hair lacks, by the model of a blurred hair fitted to its mean profile.

    The profiles of a hair are laid over each other, both sides folded onto one, each shifted so that their edges
    coincide: what remains is one profile with little noise, on a grid finer than the pixels.
    """
    middle = quantile_rows(widths, 0.5)
    usable = np.isfinite(widths) & profiles.clean
    half = (np.nan_to_num(middle, nan=3.0)[:, None, None] / 2).astype(np.float32)
    own_half = (np.nan_to_num(smooth_rows(widths, 2), nan=6.0)[..., None] / 2).astype(np.float32)
    distance = np.abs(profiles.offset[:, None, :] - shift[..., None].astype(np.float32)) - (own_half - half)
    inner = half - np.maximum(3.0, 0.5 * half)
    take = usable[..., None] & (profiles.skin | profiles.near) & (distance > inner) & (distance < half + MARGIN_PX)
    index = np.flatnonzero(take)
    hair = index // (take.shape[1] * take.shape[2])
    far, level = distance.ravel()[index], profiles.signal.ravel()[index]
    cell = hair * _BINS + np.clip((far - half[hair, 0, 0] + 12.0) / _BIN_PX, 0, _BINS - 1).astype(np.intp)
    size = len(widths) * _BINS
    count = np.bincount(cell, minlength=size).reshape(-1, _BINS)
    where, value, square = (
        np.bincount(cell, weights, minlength=size).reshape(-1, _BINS) / np.maximum(count, 1)
        for weights in (far, level, level * level)
    )
    variance = square - value**2
    # The skin's texture is alike in neighbouring profiles: a mean of n of them is not as good as n independent ones.
    noise = 4 * np.maximum((variance * count).sum(axis=1) / np.maximum(count.sum(axis=1), 1), 1e-4)[:, None]
    fit = fit_profiles(where, value, count / noise, np.maximum(half[:, 0, 0], 1.0))
    return 2 * fit.half_px - middle


def smooth_rows(values: np.ndarray, degree: int) -> np.ndarray:
    """(H, K): every row without its NaNs smoothed: its running mean over 5 (degree 0) or a parabola through all (2).

    A row with nothing to go by is 0 (degree 0) or NaN (degree 2).
    """
    known = np.isfinite(values)
    filled = np.where(known, values, 0.0)
    if degree == 0:
        kernel = np.array([[1.0, 2.0, 3.0, 2.0, 1.0]])
        total = cv2.filter2D(filled, cv2.CV_64F, kernel, borderType=cv2.BORDER_CONSTANT)
        share = cv2.filter2D(known.astype(np.float64), cv2.CV_64F, kernel, borderType=cv2.BORDER_CONSTANT)
        return total / np.maximum(share, 1e-9)
    basis = np.vander(np.linspace(-1, 1, values.shape[1]), 3)
    weighted = known[:, :, None] * basis
    normal = weighted.transpose(0, 2, 1) @ basis + 0.5 * np.diag([1.0, 1.0, 0.0]) + 1e-9 * np.eye(3)
    coefficients = np.linalg.solve(normal, weighted.transpose(0, 2, 1) @ filled[..., None])
    return np.where(known.any(axis=1)[:, None], (basis @ coefficients)[..., 0], np.nan)


def _normals(lines: np.ndarray) -> np.ndarray:
    """(H, K, 2) unit normals."""
    tangent = np.gradient(lines, axis=1)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=2, keepdims=True), 1e-6)
    return np.stack([-tangent[..., 1], tangent[..., 0]], axis=2)


def _edges(profiles: Profiles, half: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance (H, K) from the centre line to the left and to the right edge, NaN where there is none."""
    middle = ACROSS // 2
    sides = ((-1, slice(None, middle + 1)), (1, slice(middle, None)))
    skin = [profiles.skin[:, :, part] for _, part in sides]
    amount = np.stack([where.sum(axis=2) for where in skin])
    level_of_skin = np.stack(
        [(profiles.signal[:, :, part] * where).sum(axis=2) for (_, part), where in zip(sides, skin)]
    )
    level_of_skin /= np.maximum(amount, 1)
    found = []
    for number, (side, part) in enumerate(sides):
        # Where a neighbour stands too near to leave skin between, the skin beyond the other edge serves.
        here = np.where(amount[number] >= 2, number, 1 - number)
        background = np.take_along_axis(level_of_skin, here[None], 0)[0]
        usable = profiles.clean & (amount.max(axis=0) >= 2)
        out = profiles.signal[:, :, part][:, :, ::side]
        near = profiles.near[:, :, part][:, :, ::side]
        distance = np.abs(profiles.offset[:, part][:, ::side])
        # The shaft's level is that of the whole hair, just inside the edge: its darkest there, whatever shines within.
        weight = usable[..., None] * near
        mean = np.einsum("hkm,hkm->hm", np.nan_to_num(out), weight) / np.maximum(weight.sum(axis=1), 1)
        zone = (distance > 0.4 * half[:, None]) & (distance < half[:, None])
        plateau = np.where(zone, mean, -np.inf).max(axis=1)[:, None]
        level = 0.5 * (background + plateau)
        # From outside in: the first place that is as dark as that.
        dark = near & (out > level[..., None]) & (distance > 0.3 * half[:, None])[:, None, :]
        last = middle - np.argmax(dark[:, :, ::-1], axis=2)
        usable &= dark.any(axis=2) & (last < middle) & (plateau - background > 0.3)
        last = np.minimum(last, middle - 1)[..., None]
        inner, outer = np.take_along_axis(out, last, 2)[..., 0], np.take_along_axis(out, last + 1, 2)[..., 0]
        drop = inner - outer
        share = np.clip((inner - level) / np.where(drop > 1e-6, drop, 1.0), 0, 1)
        step = distance[:, 1:2]
        found.append(np.where(usable, (last[..., 0] + share) * step, np.nan))
    return found[0], found[1]


def _without_outliers(widths: np.ndarray) -> np.ndarray:
    """Widths that leave the running of their own hair become NaN."""
    middle = quantile_rows(widths, 0.5)[:, None]
    spread = quantile_rows(np.abs(widths - middle), 0.5)[:, None] * 1.5
    odd = ~(np.abs(widths - middle) <= np.maximum(4 * spread, 0.25 * middle + 1))
    return np.where(odd, np.nan, widths)
