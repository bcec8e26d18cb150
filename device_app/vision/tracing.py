"""Hairs one by one out of the mask: pieces of skeleton joined through crossings and over gaps.

At a place where hairs cross, the skeleton knots. There every branch is continued by the branch that lies straightest
across from it and is about as thick; a branch that finds no partner ends there (`joints`). Two forks joined by a short
bridge are one crossing of thick hairs. The same rule joins two free ends that face each other over a gap in the mask.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from device_app.vision.joints import Ends, ends_of, join_ends, piece_lengths
from device_app.vision.lines import even_lines, extend_to_mask, line_lengths, smooth_lines
from device_app.vision.skeleton import Pieces, skeleton_pieces, to_native

LEAST_LENGTH_IN_WIDTHS = 3.0
"""A traced thing shorter than this many of its own widths is a flake or a blot, no hair."""

LEAST_LENGTH_IN_WIDTHS_CUT = 1.8
"""The same for one that the picture's border cuts: more of it lies outside."""

LEFTOVER_LENGTH_IN_WIDTHS = 10.0
"""A piece shorter than this whose ends both lie inside other hairs is what a knot leaves over, no hair."""

LEAST_LENGTH_SHARE = 0.035
"""Nor is one shorter than this share of the picture's shorter side (17 px of 480)."""

POINTS = 36
"""Points on every hair's centre line, whatever its length: the hairs of a picture are then one array."""


@dataclass(frozen=True)
class Strand:
    """One traced hair before its diameter is measured, in native pixels.

    Attributes:
        centre_line: (POINTS, 2) float32, evenly spaced, smoothed, from end to end.
        length_px: its arc length.
        mask_width_px: its width by the mask: rough, only where to look for the edges.
        ends_inside: whether the first and the last point lie inside the picture.
    """

    centre_line: np.ndarray
    length_px: float
    mask_width_px: float
    ends_inside: tuple[bool, bool]


def trace_hairs(mask: np.ndarray, image: np.ndarray | None = None) -> list[Strand]:
    """Trace every hair of a mask.

    Args:
        mask: (H, W) uint8, 0 or 255, any size from 1x1.
        image: (H, W, 3) uint8 RGB, the picture: its colours help to tell which branch continues which.

    Returns:
        The strands, longest first.
    """
    if min(mask.shape) < 8 or not mask.any() or mask.all():
        return []
    pieces = skeleton_pieces(mask)
    if len(pieces) == 0:
        return []
    alive = _not_spurs(pieces)
    pieces = _without_bare_nodes(pieces, alive)
    cluster = _clusters(pieces, alive)
    ends = ends_of(pieces, image)
    partner = join_ends(pieces, ends, alive, cluster, mask)
    strands = _strands(_chains(alive, partner), pieces, ends, mask)
    return sorted(strands, key=lambda strand: -strand.length_px)


def _not_spurs(pieces: Pieces) -> np.ndarray:
    """(P,) bool: pieces that are more than the whisker which a rough edge or a blunt end grows."""
    lengths = piece_lengths(pieces)
    free = (pieces.nodes < 0).sum(axis=1)
    node = pieces.nodes.max(axis=1)
    radius = np.where(node >= 0, pieces.node_radius[node] if len(pieces.node_radius) else 0, 0)
    tip = np.where(pieces.nodes[:, 0] < 0, pieces.radius[pieces.start[:-1]], pieces.radius[pieces.start[1:] - 1])
    # A whisker of a rough edge is as long as the shaft's half width there and thins out to nothing.
    spur = (free == 1) & (lengths <= 1.5 * radius + 1.5 - np.minimum(tip, radius) * 0.5)
    lone_dot = (free == 2) & (lengths < 3)
    return ~(spur | lone_dot)


def _without_bare_nodes(pieces: Pieces, alive: np.ndarray) -> Pieces:
    """The pieces, an end free where all that met it were spurs: a fork at a blunt end is no crossing."""
    met = np.bincount(pieces.nodes[alive].ravel() + 1, minlength=len(pieces.node_radius) + 1)
    bare = (met[pieces.nodes + 1] <= 1) & (pieces.nodes >= 0)
    return replace(pieces, nodes=np.where(bare, -1, pieces.nodes))


def _clusters(pieces: Pieces, alive: np.ndarray) -> np.ndarray:
    """(N,) the crossing each node belongs to: nodes joined by a piece not longer than the hair is wide are one."""
    count = len(pieces.node_radius)
    cluster = np.arange(count)
    lengths = piece_lengths(pieces)
    for piece in np.flatnonzero(alive & np.all(pieces.nodes >= 0, axis=1)):
        a, b = pieces.nodes[piece]
        if a != b and lengths[piece] <= 1.1 * max(pieces.node_radius[a], pieces.node_radius[b]) + 1:
            cluster[cluster == cluster[b]] = cluster[a]
            alive[piece] = False
    return cluster


def _chains(alive: np.ndarray, partner: np.ndarray) -> list[list[int]]:
    """Follow the partners: each chain lists the ends at which its pieces are entered."""
    seen = (~alive).tolist()
    next_end = partner.tolist()
    chains = []
    # Open chains first; what remains are rings.
    for start in [end for end, other in enumerate(next_end) if other < 0] + list(range(len(next_end))):
        if seen[start // 2]:
            continue
        chain, end = [], start
        while end >= 0 and not seen[end // 2]:
            seen[end // 2] = True
            chain.append(end)
            end = next_end[end ^ 1]
        chains.append(chain)
    return chains


def _is_scrap(end: int, ends: Ends, pieces: Pieces) -> bool:
    """Whether a piece is what a knot left over: it leads from crossing to crossing and continues nothing."""
    nodes = ends.node[[end, end ^ 1]]
    if np.any(nodes < 0):
        return False
    return float(ends.length[end]) < 8 * float(ends.width[end]) + 3 * float(pieces.node_radius[nodes].sum())


def _strands(chains: list[list[int]], pieces: Pieces, ends: Ends, mask: np.ndarray) -> list[Strand]:
    """Join every chain's pieces into one smooth line that reaches the mask's own ends; drop what is no hair."""
    runs, count, width = [], [], []
    start, node, knot = pieces.start.tolist(), ends.node.tolist(), pieces.node_radius.tolist()
    piece_width, piece_length = ends.width.tolist(), ends.length.tolist()
    for chain in chains:
        if len(chain) == 1 and _is_scrap(chain[0], ends, pieces):
            continue
        points = 0
        for place, end in enumerate(chain):
            low, high = start[end // 2], start[end // 2 + 1]
            # Beside a crossing the skeleton leans towards the other hair, and at a free end towards a corner: leave
            # these stretches out and go straight.
            cut = [
                int(knot[node[side]]) if node[side] >= 0 and not outer else int(0.8 * piece_width[end])
                for side, outer in ((end, place == 0), (end ^ 1, place == len(chain) - 1))
            ]
            if high - low <= sum(cut) + 3:
                cut = [min((high - low) // 3, size) for size in cut]
            forwards = end % 2 == 0
            run = pieces.points[low + cut[not forwards] : high - cut[forwards]]
            runs.append(run if forwards else run[::-1])
            points += len(run)
        count.append(points)
        lengths = [piece_length[end] for end in chain]
        width.append(sum(piece_width[end] * length for end, length in zip(chain, lengths)) / sum(lengths))
    if not count:
        return []
    width_px = np.maximum(np.array(width), 1.0) * pieces.factor
    raw = to_native(np.concatenate(runs).astype(np.float64), pieces.factor)
    lines = smooth_lines(even_lines(raw, np.array(count), POINTS), np.maximum(6 * width_px, 30.0))
    lines, inside, buried = extend_to_mask(lines, width_px, mask)
    lengths_px = line_lengths(lines)
    cut_by_border = ~inside.all(axis=1)
    least = np.maximum(
        np.where(cut_by_border, LEAST_LENGTH_IN_WIDTHS_CUT, LEAST_LENGTH_IN_WIDTHS) * width_px,
        LEAST_LENGTH_SHARE * min(mask.shape),
    )
    leftover = buried.all(axis=1) & (lengths_px < LEFTOVER_LENGTH_IN_WIDTHS * width_px)
    return [
        Strand(
            lines[k].astype(np.float32),
            float(lengths_px[k]),
            float(width_px[k]),
            (bool(inside[k, 0]), bool(inside[k, 1])),
        )
        for k in np.flatnonzero((lengths_px >= least) & ~leftover)
    ]
