"""From a mask to the pieces of its skeleton: the unbranched runs between the places where runs meet or end.

Everything is done for all pieces at once, on a picture shrunk until its thinner hairs are a few pixels wide: the centre
lines need no more than that, since `diameter` finds the true centre again in the native picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra
from skimage.morphology import skeletonize

_FACTOR_BY_OPENING = ((4, 8), (3, 6), (2, 4))
"""The mask is shrunk by the first factor whose square, so many native pixels wide, fits into nearly all of it."""

_OPENING_KEEPS = 0.93

_NEIGHBOURS = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], np.float32)


@dataclass(frozen=True)
class Pieces:
    """P pieces of a skeleton with n pixels in all, and the nodes between them; lengths in shrunk pixels.

    Attributes:
        factor: native pixels per shrunk pixel.
        points: (n, 2) float32, (x, y) of every pixel, piece after piece, each from its first to its last end.
        radius: (n,) float32, distance from each pixel to the edge of the mask.
        start: (P + 1,) int, where each piece begins in `points`.
        nodes: (P, 2) int, the node at the first and the last end; -1 where the piece ends freely.
        node_centre: (N, 2) float32, centres of the nodes.
        node_radius: (N,) float32, the mask's half width there.
    """

    factor: int
    points: np.ndarray
    radius: np.ndarray
    start: np.ndarray
    nodes: np.ndarray
    node_centre: np.ndarray
    node_radius: np.ndarray

    def __len__(self) -> int:
        return len(self.start) - 1


def shrink_factor(mask: np.ndarray) -> int:
    """How many times the mask may be shrunk so that its thin hairs, too, stay some 2.5 pixels wide: 1 to 4."""
    area = cv2.countNonZero(mask)
    for factor, side in _FACTOR_BY_OPENING:
        opened = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((side, side), np.uint8))
        if cv2.countNonZero(opened) >= _OPENING_KEEPS * area:
            return factor
    return 1


def shrink(mask: np.ndarray, factor: int) -> np.ndarray:
    """The mask at 1 / factor of its size, (ceil(H / factor), ceil(W / factor)) uint8 0/255."""
    if factor == 1:
        return mask
    height, width = mask.shape
    padded = cv2.copyMakeBorder(mask, 0, -height % factor, 0, -width % factor, cv2.BORDER_REPLICATE)
    size = (padded.shape[1] // factor, padded.shape[0] // factor)
    small = cv2.resize(padded, size, interpolation=cv2.INTER_AREA)
    return cv2.threshold(small, 95, 255, cv2.THRESH_BINARY)[1]


def skeleton_pieces(mask: np.ndarray) -> Pieces:
    """Thin a mask to its skeleton and take that apart.

    Args:
        mask: (H, W) uint8, 0 or 255.
    """
    factor = shrink_factor(mask)
    small = shrink(mask, factor)
    # The picture's border is no edge of a hair: replicate it, so that a cut hair's skeleton runs out of the picture.
    pad = 8
    small = cv2.copyMakeBorder(small, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
    distance = _fill_holes_in_shafts(small, cv2.distanceTransform(small, cv2.DIST_L2, 5))
    keep = 2
    inner = slice(pad - keep, keep - pad)
    small, distance = np.ascontiguousarray(small[inner, inner]), distance[inner, inner]
    skeleton = skeletonize(small.astype(bool)).view(np.uint8)
    neighbours = cv2.filter2D(skeleton, cv2.CV_8U, _NEIGHBOURS, borderType=cv2.BORDER_CONSTANT)
    forks = skeleton & (neighbours >= 3)
    runs = skeleton & ~forks & 1
    node_count, node_labels, _, node_centre = cv2.connectedComponentsWithStats(forks, connectivity=8, ltype=cv2.CV_32S)
    run_count, run_labels = cv2.connectedComponents(runs, connectivity=8, ltype=cv2.CV_32S)
    _cut_rings(runs, run_labels, run_count)
    rows, columns = np.nonzero(runs)
    label = run_labels[rows, columns]
    order, rank_starts = _along_runs(runs, rows, columns, label)
    rows, columns, label = rows[order], columns[order], label[order]
    last = np.append(rank_starts[1:], len(rows)) - 1
    nodes = _touching_nodes(node_labels, rows, columns, rank_starts, last)
    fork_rows, fork_columns = np.nonzero(forks)
    node_radius = np.zeros(node_count, np.float32)
    np.maximum.at(node_radius, node_labels[fork_rows, fork_columns], distance[fork_rows, fork_columns])
    return Pieces(
        factor=factor,
        points=np.stack([columns, rows], axis=1).astype(np.float32) - keep,
        radius=distance[rows, columns],
        start=np.append(rank_starts, len(rows)),
        nodes=nodes,
        node_centre=(node_centre[1:] - keep).astype(np.float32),
        node_radius=node_radius[1:],
    )


def _fill_holes_in_shafts(mask: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Fill, in place, holes narrower than the hair round them: gloss, not skin. Returns the new distance."""
    contours, parents = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    holes = []
    for contour, parent in zip(contours, parents[0, :, 3].tolist() if contours else ()):
        if parent < 0:
            continue
        # Of a disc its radius, of a slit its width.
        narrowness = 2 * cv2.contourArea(contour) / len(contour)
        left, top, width, height = cv2.boundingRect(contour)
        rim = int(narrowness) + 2
        around = distance[max(top - rim, 0) : top + height + rim, max(left - rim, 0) : left + width + rim]
        if narrowness <= 1.1 * float(around.max()):
            holes.append(contour)
    if not holes:
        return distance
    cv2.drawContours(mask, holes, -1, 255, cv2.FILLED)
    return cv2.distanceTransform(mask, cv2.DIST_L2, 5)


def to_native(points: np.ndarray, factor: int) -> np.ndarray:
    """Shrunk coordinates to native ones, pixel centres at .0 in both."""
    return points * factor + (factor - 1) / 2


def _cut_rings(runs: np.ndarray, labels: np.ndarray, count: int) -> None:
    """Open every closed ring by taking one pixel out, in place: a run must have two ends."""
    degree = cv2.filter2D(runs, cv2.CV_8U, _NEIGHBOURS, borderType=cv2.BORDER_CONSTANT)
    has_end = np.zeros(count, bool)
    has_end[labels[(runs > 0) & (degree <= 1)]] = True
    has_end[0] = True
    for label in np.flatnonzero(~has_end):
        row, column = np.argwhere(labels == label)[0]
        runs[row, column] = 0


def _along_runs(
    runs: np.ndarray, rows: np.ndarray, columns: np.ndarray, label: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Order the run pixels piece by piece and along each piece; returns the order and where each piece starts."""
    count = len(rows)
    if count == 0:
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    index = np.full((runs.shape[0] + 2, runs.shape[1] + 2), -1, np.int32)
    index[rows + 1, columns + 1] = np.arange(count, dtype=np.int32)
    # Half of the eight directions: every link once.
    beside = np.concatenate([index[rows + 1 + dy, columns + 1 + dx] for dy, dx in ((0, 1), (1, -1), (1, 0), (1, 1))])
    here = np.tile(np.arange(count, dtype=np.int32), 4)
    linked = beside >= 0
    here, beside = here[linked], beside[linked]
    degree = np.bincount(here, minlength=count) + np.bincount(beside, minlength=count)
    ends = np.flatnonzero(degree <= 1)
    _, first = np.unique(label[ends], return_index=True)
    graph = coo_matrix((np.ones(len(here), np.float32), (here, beside)), shape=(count, count)).tocsr()
    steps = dijkstra(graph, directed=False, indices=ends[first], unweighted=True, min_only=True)
    order = np.lexsort((steps, label))
    ordered = label[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    return order, starts


def _touching_nodes(
    node_labels: np.ndarray, rows: np.ndarray, columns: np.ndarray, first: np.ndarray, last: np.ndarray
) -> np.ndarray:
    """(P, 2) int: the node beside each end of each piece, -1 for none."""
    padded = np.pad(node_labels, 1)
    offsets = [(dy, dx) for dy in (0, 1, 2) for dx in (0, 1, 2)]
    touching = [
        np.stack([padded[rows[end] + dy, columns[end] + dx] for dy, dx in offsets], axis=1) for end in (first, last)
    ]
    nodes = np.stack([found.max(axis=1) for found in touching], axis=1) if len(first) else np.zeros((0, 2), np.int32)
    if len(first):
        # A piece of one or two pixels between two nodes sees both of them from either end: keep them apart.
        lower = np.where(touching[0] > 0, touching[0], np.iinfo(np.int32).max).min(axis=1)
        short = (last - first <= 1) & (nodes[:, 0] == nodes[:, 1]) & (lower != nodes[:, 0]) & (nodes[:, 0] > 0)
        nodes[short, 0] = lower[short]
    return nodes.astype(np.int64) - 1
