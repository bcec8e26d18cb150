"""Hair lines as one triangle mesh per class, built with numpy: a `Line` instruction per hair would cost the frame."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from device_app.vision.hairs import Hair, HairClass, Measurements
from device_app.vision.overlay import class_of

_MOST_VERTICES = 60_000  # an index of a mesh has 16 bits


def lines_by_class(
    measurements: Measurements, width_px: float
) -> dict[HairClass | None, tuple[np.ndarray, np.ndarray]]:
    """The hairs' centre lines as ribbons.

    Args:
        measurements: of one picture.
        width_px: of the ribbons, in pixels of that picture.

    Returns:
        (vertices (4 * N,) float32 as x, y, u, v; indices (M,) uint16, triangles) per class; None is the class of hairs
        without one. u runs 0..1 across the ribbon, for a texture that smooths its edges.
    """
    groups: dict[HairClass | None, list[Hair]] = {}
    for hair in measurements.hairs:
        kind = class_of(hair, measurements.scale_um_per_px, measurements.classes)
        groups.setdefault(kind, []).append(hair)
    return {kind: ribbons((hair.centre_line for hair in hairs), width_px) for kind, hairs in groups.items()}


def ribbons(lines: Iterable[np.ndarray], width_px: float) -> tuple[np.ndarray, np.ndarray]:
    """Polylines, each (N, 2), as one mesh of ribbons; see `lines_by_class`."""
    all_vertices, all_indices, used = [], [], 0
    for line in lines:
        points = _thinned(np.asarray(line, np.float32))
        count = len(points)
        if count < 2 or used + 2 * count > _MOST_VERTICES:
            continue
        tangent = np.gradient(points, axis=0)
        tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-6)
        offset = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1) * (width_px / 2)
        vertices = np.zeros((count, 2, 4), np.float32)
        vertices[:, 0, :2], vertices[:, 1, :2] = points + offset, points - offset
        vertices[:, 1, 2] = 1.0
        vertices[:, :, 3] = 0.5
        first = used + 2 * np.arange(count - 1)[:, None]
        all_vertices.append(vertices.ravel())
        all_indices.append((first + np.array([0, 1, 2, 1, 3, 2])).ravel())
        used += 2 * count
    if not all_vertices:
        return np.zeros(0, np.float32), np.zeros(0, np.uint16)
    return np.concatenate(all_vertices), np.concatenate(all_indices).astype(np.uint16)


def sprites(points: np.ndarray, reach_px: float) -> tuple[np.ndarray, np.ndarray]:
    """A small square about every point, as one mesh.

    Args:
        points: (N, 2), in pixels of the picture; those beyond what a mesh holds are left out.
        reach_px: from a point to the sides of its square, in the same pixels.

    Returns:
        (vertices (16 * N,) float32 as x, y, u, v; indices (6 * N,) uint16, triangles). u and v run 0..1 over the
        square, v downwards as rows of a texture that was filled from its top.
    """
    corners = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], np.float32)
    points = np.asarray(points, np.float32).reshape(-1, 2)[: _MOST_VERTICES // 4]
    vertices = np.empty((len(points), 4, 4), np.float32)
    vertices[:, :, :2] = points[:, None] + (2 * corners - 1) * reach_px
    vertices[:, :, 2:] = corners
    indices = 4 * np.arange(len(points))[:, None] + np.array([0, 1, 2, 2, 3, 0])
    return vertices.ravel(), indices.ravel().astype(np.uint16)


def _thinned(points: np.ndarray, step_px: float = 3.0) -> np.ndarray:
    """Every so many points, ends kept: traced lines have a point a pixel, more than an eye can see."""
    if len(points) < 3:
        return points
    length = float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())
    keep = min(len(points), max(3, int(length / step_px)))
    return points[np.round(np.linspace(0, len(points) - 1, keep)).astype(int)]
