"""Drawing one hair exactly: the ground under the demo camera, the phantoms and the training pseudo-images.

A strand is a centre line and a width along it. Its coverage is drawn by polygons on a finer grid and averaged down, so
that an edge that passes through a pixel fills that pixel by the share it covers: widths are true to about 0.06 px.
"""

from __future__ import annotations

import cv2
import numpy as np

_SHIFT = 6  # sub-pixel bits of OpenCV's polygon coordinates


def normals_of(centre_line: np.ndarray) -> np.ndarray:
    """Unit normals, (N, 2), of a polyline (N, 2) of distinct points (x, y)."""
    tangent = np.gradient(centre_line.astype(np.float64), axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    return np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)


def strand_coverage(
    shape: tuple[int, int], centre_line: np.ndarray, widths_px: np.ndarray | float, supersample: int = 4
) -> np.ndarray:
    """How much of each pixel a strand covers.

    Args:
        shape: (height, width) of the picture.
        centre_line: (N, 2) points (x, y) in pixels, pixel centres at .0, N >= 2; may leave the picture.
        widths_px: full width at each point, or one for all.
        supersample: finer grid per pixel, 1 to 8.

    Returns:
        (height, width) uint8, 0 = untouched, 255 = covered.
    """
    height, width = shape
    line = np.asarray(centre_line, np.float64)
    half = np.broadcast_to(np.asarray(widths_px, np.float64) / 2, (len(line),))[:, None]
    normals = normals_of(line)
    # Pixel centres at .0 of the picture lie at (supersample - 1) / 2 of the finer grid.
    left, right = ((line + sign * half * normals) * supersample + (supersample - 1) / 2 for sign in (1, -1))
    # fillPoly also paints the pixels its outline passes through: half a fine pixel too much on each side.
    inset = np.minimum(0.5, half * supersample) * normals
    left, right = left - inset, right + inset
    fine = np.zeros((height * supersample, width * supersample), np.uint8)
    # One quad per step: a single outline would cancel itself where a curve folds over.
    quads = np.stack([left[:-1], left[1:], right[1:], right[:-1]], axis=1)
    quads = np.round(np.clip(quads, -30000, 30000) * (1 << _SHIFT)).astype(np.int32)
    for quad in quads:
        cv2.fillConvexPoly(fine, quad, 255, lineType=cv2.LINE_8, shift=_SHIFT)
    if supersample == 1:
        return fine
    return cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)
