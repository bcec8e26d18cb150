"""What a blurred hair looks like in profile, and the width that explains a measured profile best.

A hair of half width h is a box whose level may rise or sink quadratically from the axis to the edge (a round shaft in
uneven light), seen through a Gaussian blur. Where a hair is wide its edges lie at half height and this model says no
more; where it is not much wider than the blur, half height lies too far out, and only the model finds the edge.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

_FIRST_ROUNDS, _LAST_ROUNDS = 5, 4
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
    state = _State(
        half_px.astype(np.float64), np.full(hairs, _FIRST_BLUR_PX), np.tile(np.array([0.0, 1.0, 0.0]), (hairs, 1))
    )
    data = distance.astype(np.float64), value, weight
    state = _improve(*data, state, np.log(_FIRST_BLUR_PX), _FIRST_BLUR_SD, _FIRST_ROUNDS)
    telling = _sound(state, weight, half_px) & (state.half > 2.2 * state.blur)
    if telling.any():
        blur = float(np.median(state.blur[telling]))
        state = _State(state.half, np.full(hairs, blur), state.level)
        state = _improve(*data, state, np.log(blur), _PICTURE_BLUR_SD, _LAST_ROUNDS)
    sound = _sound(state, weight, half_px)
    return Fit(np.where(sound, state.half, np.nan), np.where(sound, state.blur, np.nan))


@dataclass(frozen=True)
class _State:
    """Where the fit stands: (H,) half widths, (H,) blurs, (H, 3) levels of skin, of the shaft on its axis, shading."""

    half: np.ndarray
    blur: np.ndarray
    level: np.ndarray


def _sound(state: _State, weight: np.ndarray, half_px: np.ndarray) -> np.ndarray:
    """(H,): enough of a profile, an edge that stands out, and a width not far from where the fit started."""
    near = np.abs(state.half - half_px) < 0.6 * half_px + 2
    return near & ((weight > 0).sum(axis=1) >= 8) & (state.level[:, 1] + state.level[:, 2] > 0.2)


def _improve(
    distance: np.ndarray,
    value: np.ndarray,
    weight: np.ndarray,
    state: _State,
    log_blur: float,
    log_blur_sd: float,
    rounds: int,
) -> _State:
    """Gauss-Newton on (half width, log blur, the three levels); what is known beforehand counts as observations."""
    half, blur, level = state.half, state.blur, state.level
    diagonal = np.arange(5)
    jacobian = np.ones((len(half), 5, distance.shape[1]))
    for _ in range(rounds):
        box, bowl, by_half, by_blur = _shapes(distance, half, blur)
        skin, shaft, shading = level.T[:, :, None]
        edge = shaft + shading
        jacobian[:, 0] = edge * by_half - shading * 2 * bowl / half[:, None]
        jacobian[:, 1] = edge * by_blur * blur[:, None]
        jacobian[:, 3] = box
        jacobian[:, 4] = bowl
        weighted = jacobian * weight[:, None, :]
        normal = weighted @ jacobian.transpose(0, 2, 1)
        gradient = (weighted @ (value - skin - shaft * box - shading * bowl)[..., None])[..., 0]
        normal[:, 1, 1] += 1 / log_blur_sd**2
        gradient[:, 1] += (log_blur - np.log(blur)) / log_blur_sd**2
        normal[:, 4, 4] += 1 / _SHADING_SD**2
        gradient[:, 4] -= level[:, 2] / _SHADING_SD**2
        normal[:, diagonal, diagonal] *= 1.001
        normal[:, diagonal, diagonal] += 1e-6
        step = np.linalg.solve(normal, gradient[..., None])[..., 0]
        half = np.maximum(half + np.clip(step[:, 0], -0.3 * half, 0.3 * half), 0.2)
        blur = np.clip(blur * np.exp(np.clip(step[:, 1], -0.5, 0.5)), 0.25, 12.0)
        level = np.clip(level + step[:, 2:], -3, 3)
    return _State(half, blur, level)


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
