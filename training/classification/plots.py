"""The pictures of a report as PNG bytes: reliability curves, and where a network looked."""

from __future__ import annotations

import io
from collections.abc import Mapping

import cv2
import numpy as np

from training.classification.evaluate import Calibrated

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Of the palette of Okabe and Ito (2008): told apart with any colour vision."""

_MARKERS = "os^Dvx"
_WIDEST = 360  # of an embedded picture, pixels


def reliability_plot(curves: Mapping[str, Calibrated]) -> bytes:
    """Reliability curves side by side, with the 95 % interval of each point; PNG.

    Args:
        curves: by title, at least one.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.1 * len(curves), 3.3), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    for place, (axes, (title, own)) in enumerate(
        zip(figure.subplots(1, len(curves), squeeze=False)[0], curves.items())
    ):
        axes.plot([0, 1], [0, 1], color="#999999", linewidth=1, linestyle="--")
        x, y = [one.foretold for one in own.curve], [one.observed for one in own.curve]
        reach = [
            [max(0.0, one.observed - one.low) for one in own.curve],
            [max(0.0, one.high - one.observed) for one in own.curve],
        ]
        axes.errorbar(
            x, y, yerr=reach, color=COLOURS[place % len(COLOURS)], marker=_MARKERS[place % len(_MARKERS)], capsize=2,
            linewidth=1.2,
        )  # fmt: skip
        axes.set(
            xlim=(-0.02, 1.02),
            ylim=(-0.02, 1.02),
            aspect="equal",
            xlabel="foretold probability",
            ylabel="share that came true",
        )
        axes.set_title(title, fontsize=10)
        axes.grid(alpha=0.3)
    data = io.BytesIO()
    figure.savefig(data, format="png")
    return data.getvalue()


def tint_heat(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """The picture in grey under a heat map from dark blue (0) to yellow (1); (H, W, 3) uint8 RGB.

    Args:
        image: (H, W, 3) uint8 RGB.
        heat: (h, w) float32, 0..1, of the whole picture.
    """
    height, width = image.shape[:2]
    values = np.clip(cv2.resize(heat, (width, height), interpolation=cv2.INTER_LINEAR), 0, 1)
    colours = cv2.applyColorMap((values * 255).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[:, :, ::-1].astype(np.float32)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)[..., None]
    return np.clip(0.5 * grey + 0.5 * colours, 0, 255).astype(np.uint8)


def as_jpeg(image: np.ndarray) -> bytes:
    """(H, W, 3) uint8 RGB -> JPEG, at most `_WIDEST` pixels wide."""
    height, width = image.shape[:2]
    if width > _WIDEST:
        size = (_WIDEST, max(1, round(height * _WIDEST / width)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 82])
    return encoded.tobytes()
