"""Light: the flat field and white balance from a picture of white paper, and whether a picture is well exposed."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any

import cv2
import numpy as np

from calibration.errors import ScalpScopeError

GRID_ROWS, GRID_COLUMNS = 12, 16
MAX_GAIN = 8.0
"""Largest gain that a profile may hold, of the flat field or of the white balance."""

_MIN_PAPER_LEVEL = 60
_MAX_PAPER_LEVEL = 250
_MAX_FALL_OFF = 4.0  # brightest over darkest part of the paper; beyond it the noise in the corners becomes texture
_MAX_COLOUR_CAST = 2.2
_MAX_UNEVENNESS = 0.03  # median of |paper - smooth fit| / fit, after the sensor's noise is blurred away
_MAX_SPOT = 0.12  # the same at its 99.5th percentile: print, hairs, dust, the edge of the sheet
_DUST = 0.05  # a pixel that lies further from the first fit than this part of its level is not paper
_PREVIEW_WIDTH = 160
_FIT_ORDER = 6


class Exposure(Enum):
    """How a picture is exposed."""

    OK = "ok"
    TOO_DARK = "too dark"
    TOO_BRIGHT = "too bright"


class FlatField:
    """Evens out the light of one microscope and makes white paper white.

    All gains are at least 1: the brightest part of the paper keeps its brightness, the rest is raised to it, and a
    saturated glint stays white instead of turning coloured. Picklable.

    Attributes:
        gains: (rows, columns, 3) float32, spatial gain per channel at nodes spread evenly over the picture, the
            outermost ones on its border pixels.
        white_balance: gains of red, green and blue for the whole picture.
    """

    def __init__(self, gains: np.ndarray, white_balance: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> None:
        self.gains = np.asarray(gains, np.float32)
        self.white_balance = white_balance
        self._factors: np.ndarray | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"gains": self.gains, "white_balance": self.white_balance, "_factors": None}

    @classmethod
    def from_gains(
        cls,
        gains: Sequence[Sequence[Sequence[float]]] | None,
        white_balance: tuple[float, float, float] | None,
    ) -> FlatField:
        """From what a profile keeps; None stands for no correction."""
        grid = np.ones((2, 2, 3), np.float32) if gains is None else np.asarray(gains, np.float32)
        return cls(grid, white_balance or (1.0, 1.0, 1.0))

    @classmethod
    def from_white_picture(cls, image: np.ndarray) -> FlatField:
        """Measure the light from a picture of plain white paper, slightly out of focus.

        The logarithm of each channel is fitted by a two-dimensional polynomial, which follows lamp and lens but not the
        fibres of the paper; the gains are what raises that fit to its own maximum.

        Args:
            image: (H, W, 3) uint8 RGB.

        Raises:
            ScalpScopeError: it is too dark, saturated, coloured, too uneven, or not plain paper; says what to do.
        """
        paper = _shrink(image).astype(np.float32)
        _refuse_bad_exposure(paper)
        rows, columns = paper.shape[:2]
        basis = _polynomial_basis(np.linspace(-1, 1, columns), np.linspace(-1, 1, rows))
        logarithm = np.log(np.maximum(paper, 1.0))
        coefficients = np.stack([_robust_fit(basis, logarithm[..., c].ravel()) for c in range(3)], axis=1)
        smooth = np.exp(basis @ coefficients).reshape(paper.shape)
        _refuse_texture(paper, smooth)

        nodes = _polynomial_basis(np.linspace(-1, 1, GRID_COLUMNS), np.linspace(-1, 1, GRID_ROWS)) @ coefficients
        levels = np.exp(nodes).reshape(GRID_ROWS, GRID_COLUMNS, 3)
        brightest = levels.max(axis=(0, 1))
        if float((brightest / levels.min(axis=(0, 1))).max()) > _MAX_FALL_OFF:
            raise ScalpScopeError(
                f"The paper is more than {_MAX_FALL_OFF:.0f} times darker in one part of the picture than in another.",
                "Hold the microscope flat on the paper, so that paper fills the picture and the lamp lights all of it.",
            )
        balance = brightest.max() / brightest
        if balance.max() > _MAX_COLOUR_CAST:
            raise ScalpScopeError(
                "The picture is strongly coloured, not white.",
                "Use plain white paper, switch the microscope's own lamp on, and set its white balance to daylight.",
            )
        red, green, blue = (round(float(gain), 4) for gain in balance)
        return cls(np.maximum(brightest / levels, 1.0), (red, green, blue))

    def correct(self, image: np.ndarray) -> np.ndarray:
        """The picture with even light and neutral white.

        Args:
            image: (H, W, 3) uint8 RGB, of any size; the field is stretched over it.

        Returns:
            A new array of the same shape and type.
        """
        height, width = image.shape[:2]
        factors = self._factors
        if factors is None or factors.shape != image.shape:
            factors = _spread(self.gains * np.asarray(self.white_balance, np.float32), height, width)
            self._factors = factors
        corrected: np.ndarray = cv2.multiply(image, factors, dtype=cv2.CV_8U)
        return corrected


def exposure_state(image: np.ndarray) -> Exposure:
    """Whether hair and skin can be told apart in this light.

    Too dark: nine tenths of the pixels are below 1/5 of full brightness (dense black hair alone does not do that: skin
    shines through). Too bright: a quarter of the pixels is saturated (wet glints alone stay far below).

    Args:
        image: (H, W, 3) uint8 RGB. Every fourth pixel in each direction is looked at.
    """
    red, green, blue = cv2.split(np.ascontiguousarray(image[::4, ::4]))
    brightest, darkest = cv2.max(cv2.max(red, green), blue), cv2.min(cv2.min(red, green), blue)
    if np.count_nonzero(brightest < 51) > 0.9 * red.size:
        return Exposure.TOO_DARK
    if np.count_nonzero(darkest >= 250) > 0.25 * red.size:
        return Exposure.TOO_BRIGHT
    return Exposure.OK


def _shrink(image: np.ndarray) -> np.ndarray:
    """To about 160 pixels a row by averaging: the fit needs no more, and the sensor's noise goes."""
    factor = max(1, round(image.shape[1] / _PREVIEW_WIDTH))
    size = (max(8, image.shape[1] // factor), max(8, image.shape[0] // factor))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _refuse_bad_exposure(paper: np.ndarray) -> None:
    level = paper.max(axis=2)
    if np.median(level) < _MIN_PAPER_LEVEL:
        raise ScalpScopeError(
            "The picture of the paper is too dark.",
            "Switch the microscope's lamp on or raise the exposure, and try again.",
        )
    if np.mean(level > _MAX_PAPER_LEVEL) > 0.02:
        raise ScalpScopeError(
            "The picture of the paper is saturated: part of it is as bright as the camera can show.",
            "Lower the exposure or the lamp until the paper is light grey, and try again.",
        )


def _refuse_texture(paper: np.ndarray, smooth: np.ndarray) -> None:
    deviation = cv2.GaussianBlur(np.abs(paper / np.maximum(smooth, 1.0) - 1.0), (0, 0), 1.5).max(axis=2)
    if np.median(deviation) > _MAX_UNEVENNESS or np.percentile(deviation, 99.5) > _MAX_SPOT:
        raise ScalpScopeError(
            "This is not a picture of plain white paper: there is texture, print or an object in it.",
            "Take clean, unprinted white paper that fills the whole picture, lift the microscope until it is out of "
            "focus, and try again.",
        )


def _polynomial_basis(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(len(y) * len(x), terms) float32: all products of powers of x and y up to `_FIT_ORDER` in total."""
    columns, rows = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
    terms = [columns**i * rows**j for i in range(_FIT_ORDER + 1) for j in range(_FIT_ORDER + 1 - i)]
    return np.stack([term.ravel() for term in terms], axis=1)


def _robust_fit(basis: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Least squares, twice: the second time without what lay far from the first (dust on the sheet)."""
    coefficients = np.linalg.lstsq(basis, values, rcond=None)[0]
    residual = np.abs(values - basis @ coefficients)
    keep = residual <= max(_DUST, 4.0 * float(np.median(residual)))
    refined: np.ndarray = np.linalg.lstsq(basis[keep], values[keep], rcond=None)[0]
    return refined


def _spread(gains: np.ndarray, height: int, width: int) -> np.ndarray:
    """Interpolate the nodes linearly over a picture: (height, width, 3) float32."""
    rows = _weights(gains.shape[0], height)
    columns = _weights(gains.shape[1], width)
    return np.ascontiguousarray(np.einsum("hr,rcn,wc->hwn", rows, gains, columns, optimize=True), dtype=np.float32)


def _weights(nodes: int, pixels: int) -> np.ndarray:
    """(pixels, nodes) float32: how much each node counts at each pixel."""
    position = np.linspace(0, nodes - 1, pixels)
    distance = np.abs(position[:, None] - np.arange(nodes)[None, :])
    return np.maximum(0.0, 1.0 - distance).astype(np.float32)
