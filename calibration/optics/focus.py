"""How sharp a picture is, from the blur of its strongest edges."""

from __future__ import annotations

import cv2
import numpy as np

SHARP_ENOUGH = 0.65
"""From this score on a picture is sharp enough to be measured. docs/calibration.md says how it was chosen."""

_REFERENCE_WIDTH = 640  # blur is told in pixels of a picture this wide, whatever the camera's resolution
_WORK_WIDTH = 320
_FINE_PX, _COARSE_PX = 0.7, 2.0  # standard deviations, in working pixels, of the two blurs that are compared
_OWN_VARIANCE = 4 / 12 + 1 / 12  # of the difference over two working pixels, and of the working pixel itself
_HALF_PX = 4.0  # blur, in reference pixels, at which the score is one half
_TILES = 4  # by as many; each has its own say, so that text or a ring in one corner does not decide
_STRONGEST = 0.04  # part of a tile's pixels that are taken for edges
_MIN_NOISE = 0.3  # grey levels; no picture is trusted to be cleaner than its rounding
_CLEAR_OF_NOISE = 8.0  # edges below this many times the energy of noise say nothing


def focus_score(image: np.ndarray) -> float:
    """How sharp a picture is: 1 / (1 + (blur / 4)²), blur in pixels of a picture 640 wide.

    An edge blurred by a Gaussian of σ has a gradient proportional to 1/σ. The picture (shrunk to about 320 pixels a
    row) is blurred once a little and once more (fine f, coarse c); at the strongest edges of each of 4 x 4 tiles the
    ratio of the two gradient energies, (σ² + c²) / (σ² + f²), gives σ. A ratio knows neither brightness nor contrast;
    the energy that noise adds is estimated from the finest detail and taken off; tiles without an edge that stands out
    from the noise have no say; of the others the sharper quarter decides, for hairs in focus among skin out of it.

    Args:
        image: (H, W, 3) uint8 RGB or (H, W) uint8. The green channel is used.

    Returns:
        0 (no edge stands out from the noise) to 1 (edges as sharp as pixels can be).
    """
    grey = cv2.extractChannel(image, 1) if image.ndim == 3 else image
    factor = max(1, round(grey.shape[1] / _WORK_WIDTH))
    if min(grey.shape) < 16 * factor:
        return 0.0
    small = _shrink(grey, factor)
    noise_energy = max(_MIN_NOISE, _noise_level(small)) ** 2
    fine = cv2.GaussianBlur(small, (0, 0), _FINE_PX)
    coarse = cv2.GaussianBlur(fine, (0, 0), float(np.sqrt(_COARSE_PX**2 - _FINE_PX**2)))
    fine_energy, coarse_energy = _strongest(fine, coarse)
    fine_energy = fine_energy - noise_energy * _noise_gain(_FINE_PX)
    clear = coarse_energy > _CLEAR_OF_NOISE * noise_energy * _noise_gain(_COARSE_PX)
    if np.count_nonzero(clear) < 2:
        return 0.0
    ratio = np.maximum(fine_energy[clear] / coarse_energy[clear], 1.0 + 1e-6)
    variance = np.maximum((_COARSE_PX**2 - ratio * _FINE_PX**2) / (ratio - 1.0) - _OWN_VARIANCE, 0.0)
    blur = np.sqrt(variance) * factor * _REFERENCE_WIDTH / grey.shape[1]
    return float(np.percentile(1.0 / (1.0 + (blur / _HALF_PX) ** 2), 75))


def _shrink(grey: np.ndarray, factor: int) -> np.ndarray:
    """Averaged over blocks of ``factor`` pixels: (H / factor, W / factor) float32."""
    height, width = grey.shape[0] // factor, grey.shape[1] // factor
    whole = grey[: height * factor, : width * factor]
    return cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)


def _noise_level(grey: np.ndarray) -> float:
    """Standard deviation of pixel noise: the median response to a mask that sees neither slopes nor straight edges."""
    rows = grey[1::4]
    height = min(len(grey[0::4]), len(rows), len(grey[2::4]))
    column = grey[0::4][:height] - 2.0 * rows[:height] + grey[2::4][:height]
    response = column[:, :-2:2] - 2.0 * column[:, 1:-1:2] + column[:, 2::2]
    return float(np.median(np.abs(response))) / (0.6745 * 6.0)


def _noise_gain(blur_px: float) -> float:
    """Mean squared gradient of white noise of variance 1 after a Gaussian blur of σ: 1 / (4 π σ⁴)."""
    return 1.0 / (4.0 * np.pi * blur_px**4)


def _strongest(fine: np.ndarray, coarse: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean gradient energy of each tile's strongest edges, fine and coarse: two (tiles,) arrays."""
    tiles = [_into_tiles(_gradient_energy(blurred)) for blurred in (fine, coarse)]
    count = max(4, int(_STRONGEST * tiles[1].shape[1]))
    order = np.argpartition(tiles[1], -count, axis=1)[:, -count:]
    fine_energy, coarse_energy = (np.take_along_axis(tile, order, axis=1).mean(axis=1) for tile in tiles)
    return fine_energy, coarse_energy


def _gradient_energy(grey: np.ndarray) -> np.ndarray:
    """Squared gradient at every second pixel, from central differences."""
    across = (grey[1:-1:2, 2::2] - grey[1:-1:2, :-2:2]) * 0.5
    down = (grey[2::2, 1:-1:2] - grey[:-2:2, 1:-1:2]) * 0.5
    rows, columns = min(across.shape[0], down.shape[0]), min(across.shape[1], down.shape[1])
    return across[:rows, :columns] ** 2 + down[:rows, :columns] ** 2


def _into_tiles(energy: np.ndarray) -> np.ndarray:
    height, width = energy.shape[0] // _TILES, energy.shape[1] // _TILES
    blocks = energy[: height * _TILES, : width * _TILES].reshape(_TILES, height, _TILES, width)
    return blocks.transpose(0, 2, 1, 3).reshape(_TILES * _TILES, height * width)
