"""What a blurred hair looks like in profile, and the width that explains a measured profile best.

A hair of half width h is a box whose level may rise or sink quadratically from the axis to the edge (a round shaft in
uneven light), seen through a Gaussian blur. Where a hair is wide its edges lie at half height and this model says no
more; where it is not much wider than the blur, half height lies too far out, and only the model finds the edge.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

_ROUNDS = 7
_SHADING_SD = 0.5  # shading: level at the edge against the axis, as a share of the contrast
_FIRST_BLUR_PX, _FIRST_BLUR_SD = 1.2, 0.7  # before the picture's own blur is known; sd of its logarithm
_PICTURE_BLUR_SD = 0.18  # how far one hair's blur may differ from the picture's


@dataclass(frozen=True)
class Fit:
    """The model fitted to H hairs; NaN where it would not fit.

    Attributes:
        half_px: (H,) half widths.
        blur_px: (H,) standard deviations of the blur.
    """

    half_px: np.ndarray
    blur_px: np.ndarray


def fit_profiles(distance: np.ndarray, value: np.ndarray, weight: np.ndarray, half_px: np.ndarray) -> Fit:
    """Fit half width, blur and levels to the half profiles of all hairs at once.

    All hairs of a picture were seen through the same optics: the blur is first found from the hairs wide enough to tell
    it from their width, and the narrow ones are then fitted knowing it.

    Args:
        distance: (H, M) distance from the axis, px.
        value: (H, M) signal there, about 0 on skin and 1 on the shaft.
        weight: (H, M) 1 / variance of the value; 0 for none.
        half_px: (H,) where to start.
    """
    hairs = len(half_px)
    prior = np.full(hairs, np.log(_FIRST_BLUR_PX))
    first = _fit(distance, value, weight, half_px, prior, np.full(hairs, _FIRST_BLUR_SD))
    with np.errstate(invalid="ignore"):
        telling = first.half_px > 2.2 * first.blur_px
    if not telling.any():
        return first
    blur = float(np.median(first.blur_px[telling]))
    start = np.where(np.isfinite(first.half_px), first.half_px, half_px)
    return _fit(distance, value, weight, start, np.full(hairs, np.log(blur)), np.full(hairs, _PICTURE_BLUR_SD))


def _fit(
    distance: np.ndarray,
    value: np.ndarray,
    weight: np.ndarray,
    half_px: np.ndarray,
    log_blur: np.ndarray,
    log_blur_sd: np.ndarray,
) -> Fit:
    """Gauss-Newton on (half width, log blur, skin level, shaft level, shading), the priors as further observations."""
    hairs = len(half_px)
    half, blur = half_px.astype(np.float64).copy(), np.exp(log_blur)
    level = np.tile(np.array([0.0, 1.0, 0.0]), (hairs, 1))  # skin, shaft on the axis, shading
    diagonal = np.arange(5)
    for _ in range(_ROUNDS):
        box, bowl, by_half, by_blur = _shapes(distance, half, blur)
        skin, shaft, shading = level.T[:, :, None]
        model = skin + shaft * box + shading * bowl
        edge = shaft + shading
        jacobian = np.stack(
            [
                edge * by_half - shading * 2 * bowl / half[:, None],
                edge * by_blur * blur[:, None],
                np.ones_like(box),
                box,
                bowl,
            ],
            axis=1,
        )
        weighted = jacobian * weight[:, None, :]
        normal = weighted @ jacobian.transpose(0, 2, 1)
        gradient = np.einsum("hpm,hm->hp", weighted, value - model)
        normal[:, 1, 1] += 1 / log_blur_sd**2
        gradient[:, 1] += (log_blur - np.log(blur)) / log_blur_sd**2
        normal[:, 4, 4] += 1 / _SHADING_SD**2
        gradient[:, 4] -= level[:, 2] / _SHADING_SD**2
        normal[:, diagonal, diagonal] *= 1.001
        normal[:, diagonal, diagonal] += 1e-6
        step = np.linalg.solve(normal, gradient[..., None])[..., 0]
        half = np.clip(half + np.clip(step[:, 0], -0.3 * half, 0.3 * half), 0.2, None)
        blur = blur * np.exp(np.clip(step[:, 1], -0.5, 0.5))
        blur = np.clip(blur, 0.25, 12.0)
        level = np.clip(level + step[:, 2:], -3, 3)
    contrast = level[:, 1] + level[:, 2]
    good = (weight > 0).sum(axis=1) >= 8
    good &= np.isfinite(half) & (np.abs(half - half_px) < 0.6 * half_px + 2) & (contrast > 0.2)
    return Fit(np.where(good, half, np.nan), np.where(good, blur, np.nan))


def _shapes(
    distance: np.ndarray, half: np.ndarray, blur: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The blurred box, the blurred bowl (x / half)^2 inside the box, and the box's slopes by half width and by blur."""
    h, s = half[:, None], blur[:, None]
    far, near = (distance + h) / s, (distance - h) / s
    density_far, density_near = (np.exp(-0.5 * z * z) * 0.3989422804 for z in (far, near))
    box = ndtr(far) - ndtr(near)
    bowl = (distance**2 + s**2) * box + 2 * distance * s * (density_far - density_near)
    bowl = (bowl + s**2 * (near * density_near - far * density_far)) / h**2
    by_half = (density_far + density_near) / s
    by_blur = (near * density_near - far * density_far) / s
    return box, bowl, by_half, by_blur
