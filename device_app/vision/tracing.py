"""Hairs one by one out of the mask: pieces of skeleton joined through crossings and over gaps.

At a place where hairs cross, the skeleton knots. There every branch is continued by the branch that lies straightest across
from it and is about as thick; a branch that finds no partner ends there. Two forks joined by a short bridge are one
crossing of thick hairs. The same rule joins two free ends that face each other over a gap in the mask.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from device_app.vision.skeleton import Pieces, skeleton_pieces, to_native

LEAST_LENGTH_IN_WIDTHS = 3.0
"""A traced thing shorter than this many of its own widths is a flake or a blot, no hair."""

LEAST_LENGTH_SHARE = 0.025
"""Nor is one shorter than this share of the picture's shorter side (12 px of 480)."""

_STRAIGHT_LIMIT = np.deg2rad(38.0)
"""Most that a hair may turn across a crossing."""

_GAP_LIMIT = np.deg2rad(22.0)
"""Most that a hair may turn across a gap."""

POINTS = 48
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


@dataclass(frozen=True)
class _Ends:
    """The 2P ends of the pieces, end 2p the first and 2p + 1 the last of piece p; shrunk pixels."""

    place: np.ndarray  # (2P, 2) the end itself
    anchor: np.ndarray  # (2P, 2) a point a little way in, past the knot's disturbance
    heading: np.ndarray  # (2P, 2) unit vector out of the piece through its end
    width: np.ndarray  # (2P,) width of the piece
    node: np.ndarray  # (2P,) -1 free
    length: np.ndarray  # (2P,) of the piece, pixels


def trace_hairs(mask: np.ndarray) -> list[Strand]:
    """Trace every hair of a mask.

    Args:
        mask: (H, W) uint8, 0 or 255, any size from 1x1.

    Returns:
        The strands, longest first.
    """
    if min(mask.shape) < 8 or not mask.any() or mask.all():
        return []
    pieces = skeleton_pieces(mask)
    if len(pieces) == 0:
        return []
    alive = _not_spurs(pieces)
    cluster = _clusters(pieces, alive)
    ends = _ends_of(pieces)
    partner = np.full(2 * len(pieces), -1)
    _pair_at_crossings(pieces, ends, alive, cluster, partner)
    _pair_over_gaps(pieces, ends, alive, partner, mask)
    strands = [
        strand
        for chain in _chains(alive, partner)
        if (strand := _strand(chain, pieces, ends, cluster, mask)) is not None
    ]
    return sorted(strands, key=lambda strand: -strand.length_px)


def _piece_lengths(pieces: Pieces) -> np.ndarray:
    """(P,) arc length of each piece."""
    step = np.linalg.norm(np.diff(pieces.points, axis=0, prepend=pieces.points[:1]), axis=1)
    step[pieces.start[:-1]] = 1.0
    return np.add.reduceat(step, pieces.start[:-1])


def _piece_widths(pieces: Pieces) -> np.ndarray:
    """(P,) width of each piece by the mask: mean over its middle half, where neither end disturbs it."""
    total = np.concatenate([[0.0], np.cumsum(pieces.radius, dtype=np.float64)])
    count = np.diff(pieces.start)
    low = pieces.start[:-1] + count // 4
    high = np.maximum(pieces.start[1:] - count // 4, low + 1)
    return 2 * (total[high] - total[low]) / (high - low) - 0.5


def _not_spurs(pieces: Pieces) -> np.ndarray:
    """(P,) bool: pieces that are more than the whisker which a rough edge or a blunt end grows."""
    lengths = _piece_lengths(pieces)
    free = (pieces.nodes < 0).sum(axis=1)
    node = pieces.nodes.max(axis=1)
    radius = np.where(node >= 0, pieces.node_radius[node] if len(pieces.node_radius) else 0, 0)
    tip = np.where(pieces.nodes[:, 0] < 0, pieces.radius[pieces.start[:-1]], pieces.radius[pieces.start[1:] - 1])
    # A whisker of a rough edge is as long as the shaft's half width there and thins out to nothing.
    spur = (free == 1) & (lengths <= 1.5 * radius + 1.5 - np.minimum(tip, radius) * 0.5)
    lone_dot = (free == 2) & (lengths < 3)
    return ~(spur | lone_dot)


def _clusters(pieces: Pieces, alive: np.ndarray) -> np.ndarray:
    """(N,) the crossing each node belongs to: nodes joined by a piece not longer than the hair is wide are one."""
    count = len(pieces.node_radius)
    cluster = np.arange(count)
    lengths = _piece_lengths(pieces)
    for piece in np.flatnonzero(alive & np.all(pieces.nodes >= 0, axis=1)):
        a, b = pieces.nodes[piece]
        if a != b and lengths[piece] <= 1.1 * max(pieces.node_radius[a], pieces.node_radius[b]) + 1:
            cluster[cluster == cluster[b]] = cluster[a]
            alive[piece] = False
    return cluster


def _ends_of(pieces: Pieces) -> _Ends:
    """Where each piece ends, and which way it heads there, fitted well away from the knot."""
    count = np.diff(pieces.start)
    width = _piece_widths(pieces)
    node = pieces.nodes.reshape(-1)
    knot = np.where(node >= 0, pieces.node_radius[node] if len(pieces.node_radius) else 0, 0)
    repeated = np.repeat(count, 2)
    skip = np.minimum(np.ceil(np.where(node >= 0, 1.0 * knot, 0.5 * np.repeat(width, 2))), repeated // 3).astype(int)
    reach = np.minimum(np.ceil(np.maximum(2.5 * np.repeat(width, 2), 8)), repeated - skip).astype(int)
    sign = np.tile([1, -1], len(count))
    edge = np.stack([pieces.start[:-1], pieces.start[1:] - 1], axis=1).reshape(-1)
    totals = np.concatenate([np.zeros((1, 2)), np.cumsum(pieces.points, axis=0, dtype=np.float64)])

    def mean_of(first: np.ndarray, size: np.ndarray) -> np.ndarray:
        """Mean of `size` points from the `first`-th point of the piece on, counted from its end."""
        a = edge + sign * first
        b = edge + sign * (first + size - 1)
        low, high = np.minimum(a, b), np.maximum(a, b) + 1
        return (totals[high] - totals[low]) / size[:, None]

    half = np.maximum(reach // 2, 1)
    near = mean_of(skip, half)
    far = mean_of(skip + reach - half, half)
    heading = near - far
    norm = np.linalg.norm(heading, axis=1, keepdims=True)
    return _Ends(
        place=pieces.points[edge].astype(np.float64),
        anchor=near,
        heading=heading / np.maximum(norm, 1e-6),
        width=np.repeat(width, 2),
        node=node,
        length=np.repeat(_piece_lengths(pieces), 2),
    )


def _turns(ends: _Ends, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """How far a hair would turn, in radians, that leaves by end i and goes on by end j: the greatest of three angles."""
    across = ends.anchor[j] - ends.anchor[i]
    across = across / np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-6)

    def angle(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.arccos(np.clip(np.sum(a * b, axis=1), -1, 1))

    out, back = ends.heading[i], -ends.heading[j]
    return np.maximum(angle(out, back), np.maximum(angle(out, across), angle(across, back)))


def _pair_greedily(cost: np.ndarray, i: np.ndarray, j: np.ndarray, partner: np.ndarray) -> None:
    """Join pairs from the cheapest on, each end once, in place."""
    for pair in np.argsort(cost, kind="stable"):
        a, b = i[pair], j[pair]
        if partner[a] < 0 and partner[b] < 0:
            partner[a], partner[b] = b, a


def _pair_at_crossings(
    pieces: Pieces, ends: _Ends, alive: np.ndarray, cluster: np.ndarray, partner: np.ndarray
) -> None:
    """At every crossing join the branches that continue each other, bridges of shallow crossings first."""
    at = np.where(ends.node >= 0, cluster[ends.node] if len(cluster) else -1, -1)
    at[~np.repeat(alive, 2)] = -1
    _bridge_shallow_crossings(pieces, ends, alive, at, partner)
    busy = np.flatnonzero((at >= 0) & np.repeat(alive, 2) & (partner < 0))
    busy = busy[np.argsort(at[busy], kind="stable")]
    first, second = _pairs_within(at[busy])
    i, j = busy[first], busy[second]
    turn = _turns(ends, i, j)
    unlike = np.abs(np.log(np.maximum(ends.width[i], 1) / np.maximum(ends.width[j], 1)))
    cost = turn + 0.3 * unlike
    # Where just two branches are left (the third was a spur), nothing was crossed: a bend is a bend.
    members = np.bincount(at[busy], minlength=1)[at[i]] if len(busy) else np.zeros(0)
    allowed = turn < np.where(members == 2, np.deg2rad(60), _STRAIGHT_LIMIT)
    _pair_greedily(cost[allowed], i[allowed], j[allowed], partner)


def _pairs_within(group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All index pairs (a, b), a < b, of equal value in a sorted array."""
    a, b = [], []
    edges = np.flatnonzero(np.append(True, group[1:] != group[:-1])) if len(group) else np.zeros(0, int)
    for low, high in zip(edges, np.append(edges[1:], len(group))):
        if high - low > 1:
            first, second = np.triu_indices(high - low, 1)
            a.append(first + low)
            b.append(second + low)
    empty = np.zeros(0, int)
    return (np.concatenate(a), np.concatenate(b)) if a else (empty, empty)


def _bridge_shallow_crossings(
    pieces: Pieces, ends: _Ends, alive: np.ndarray, at: np.ndarray, partner: np.ndarray
) -> None:
    """Two hairs that cross at a shallow angle share a long bridge between two forks: send each on past it."""
    for piece in np.flatnonzero(alive & np.all(pieces.nodes >= 0, axis=1)):
        a, b = at[2 * piece], at[2 * piece + 1]
        if a == b or a < 0 or b < 0:
            continue
        left = [end for end in np.flatnonzero(at == a) if end // 2 != piece and partner[end] < 0]
        right = [end for end in np.flatnonzero(at == b) if end // 2 != piece and partner[end] < 0]
        if len(left) != 2 or len(right) != 2 or set(e // 2 for e in left) & set(e // 2 for e in right):
            continue
        width = max(ends.width[left + right])
        options = []
        for first, second in ((right[0], right[1]), (right[1], right[0])):
            i, j = np.array(left), np.array([first, second])
            turn = _turns(ends, i, j)
            unlike = np.abs(np.log(np.maximum(ends.width[i], 1) / np.maximum(ends.width[j], 1)))
            options.append((float((turn + 0.3 * unlike).sum()), float(turn.max()), i, j))
        _, turn, i, j = min(options, key=lambda option: option[0])
        cos = float(np.clip(np.abs(np.sum(ends.heading[left[0]] * ends.heading[left[1]])), 0, 1))
        overlap = width / max(np.sin(np.arccos(cos)), 0.12)
        if turn < np.deg2rad(25) and ends.length[2 * piece] <= 1.6 * overlap + 2:
            partner[i], partner[j] = j, i
            alive[piece] = False
            at[2 * piece : 2 * piece + 2] = -1


def _pair_over_gaps(pieces: Pieces, ends: _Ends, alive: np.ndarray, partner: np.ndarray, mask: np.ndarray) -> None:
    """Join ends that face each other over a gap: a glint, or another hair lying across with torn edges."""
    open_ends = np.flatnonzero(np.repeat(alive, 2) & (partner < 0) & (ends.length > 2))
    if len(open_ends) < 2:
        return
    first, second = np.triu_indices(len(open_ends), 1)
    i, j = open_ends[first], open_ends[second]
    span = np.linalg.norm(ends.place[j] - ends.place[i], axis=1)
    width = np.minimum(ends.width[i], ends.width[j])
    near = (i // 2 != j // 2) & (span < 6 * width + 10) & (np.maximum(ends.width[i], ends.width[j]) < 1.8 * width + 1)
    # Two ends at one crossing that were not joined there are not joined here either.
    near &= ~((ends.node[i] >= 0) & (ends.node[i] == ends.node[j]))
    i, j, span, width = i[near], j[near], span[near], width[near]
    turn = _turns(ends, i, j)
    bare = _bare_length(pieces, ends, mask, i, j, span)
    allowed = (turn < _GAP_LIMIT) & (bare < 2.0 * width + 3)
    _pair_greedily((turn + 0.02 * span)[allowed], i[allowed], j[allowed], partner)


def _bare_length(
    pieces: Pieces, ends: _Ends, mask: np.ndarray, i: np.ndarray, j: np.ndarray, span: np.ndarray
) -> np.ndarray:
    """How much of the straight way from end i to end j is not mask; shrunk pixels."""
    share = np.linspace(0, 1, 33)[None, :, None]
    way = to_native(ends.place[i, None] * (1 - share) + ends.place[j, None] * share, pieces.factor)
    x = np.clip(np.round(way[..., 0]), 0, mask.shape[1] - 1).astype(int)
    y = np.clip(np.round(way[..., 1]), 0, mask.shape[0] - 1).astype(int)
    return (mask[y, x] == 0).mean(axis=1) * span


def _chains(alive: np.ndarray, partner: np.ndarray) -> list[list[int]]:
    """Follow the partners: each chain lists the ends at which its pieces are entered."""
    seen = ~alive
    chains = []
    # Open chains first; what remains are rings.
    starts = [end for end in range(len(partner)) if partner[end] < 0] + list(range(len(partner)))
    for start in starts:
        if seen[start // 2]:
            continue
        chain, end = [], start
        while end >= 0 and not seen[end // 2]:
            seen[end // 2] = True
            chain.append(end)
            end = partner[end ^ 1]
        chains.append(chain)
    return chains


def _strand(chain: list[int], pieces: Pieces, ends: _Ends, cluster: np.ndarray, mask: np.ndarray) -> Strand | None:
    """Join a chain's pieces into one smooth line that reaches the mask's own ends, or None if it is no hair."""
    runs = []
    for place, end in enumerate(chain):
        piece = end // 2
        low, high = pieces.start[piece], pieces.start[piece + 1]
        # Beside a crossing the skeleton leans towards the other hair: leave that stretch out and go straight.
        cut = [0, 0]
        for side, at_join in ((0, place > 0), (1, place < len(chain) - 1)):
            near_end = end if side == 0 else end ^ 1
            if at_join and ends.node[near_end] >= 0:
                cut[side] = int(pieces.node_radius[ends.node[near_end]])
        points = pieces.points[low:high]
        points = points if end % 2 == 0 else points[::-1]
        if len(points) > sum(cut) + 2:
            points = points[cut[0] : len(points) - cut[1]]
        runs.append(points)
    width = float(np.average([ends.width[end] for end in chain], weights=[ends.length[end] for end in chain]))
    line = to_native(np.concatenate(runs).astype(np.float64), pieces.factor)
    width_px = max(width, 1.0) * pieces.factor
    line = _smooth(_even(line), max(2.0 * width_px, 10.0) / 2.0)
    line, inside = _to_the_ends(line, width_px, mask)
    length = float(np.linalg.norm(np.diff(line, axis=0), axis=1).sum())
    least = LEAST_LENGTH_SHARE * min(mask.shape)
    if length < max(LEAST_LENGTH_IN_WIDTHS * width_px * (1.0 if all(inside) else 0.6), least):
        return None
    return Strand(_even(line, POINTS).astype(np.float32), length, width_px, inside)


def _even(line: np.ndarray, count: int | None = None) -> np.ndarray:
    """The line sampled anew at `count` even steps (None: one every 2 px), its two ends kept."""
    lengths = np.hypot(*np.diff(line, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(lengths)])
    if count is None:
        count = max(3, int(round(along[-1] / 2.0)) + 1)
    at = np.linspace(0, along[-1], count)
    return np.stack([np.interp(at, along, line[:, 0]), np.interp(at, along, line[:, 1])], axis=1)


def _smooth(line: np.ndarray, window: float) -> np.ndarray:
    """Smooth an even line over `window` points (Gaussian), mirrored through its ends so that they stay."""
    sigma = min(window / 2, len(line) / 4)
    reach = min(int(3 * sigma), len(line) - 1)
    if reach < 1:
        return line
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    head = 2 * line[0] - line[reach:0:-1]
    tail = 2 * line[-1] - line[-2 : -reach - 2 : -1]
    padded = np.concatenate([head, line, tail])
    return np.stack([np.convolve(padded[:, axis], kernel, "valid") for axis in (0, 1)], axis=1)


def _to_the_ends(line: np.ndarray, width_px: float, mask: np.ndarray) -> tuple[np.ndarray, tuple[bool, bool]]:
    """Lengthen both ends straight on to where the mask ends, and say which of them lie inside the picture.

    A skeleton stops about half a width short of a blunt end. An end within `max(2, 0.15 widths)` of the picture's
    border is cut by it.
    """
    height, width = mask.shape
    inside = []
    for tail in (False, True):
        end = line[-1] if tail else line[0]
        back = line[max(len(line) - 1 - max(3, int(width_px)), 0)] if tail else line[min(max(3, int(width_px)), len(line) - 1)]
        heading = (end - back) / max(float(np.linalg.norm(end - back)), 1e-6)
        steps = np.arange(0.5, 1.3 * width_px + 3, 0.5)
        way = end + steps[:, None] * heading
        x, y = np.round(way).astype(int).T
        within = (x >= 0) & (y >= 0) & (x < width) & (y < height)
        hit = np.zeros(len(steps), bool)
        hit[within] = mask[y[within], x[within]] > 0
        stop = len(steps) if hit.all() else int(np.argmin(hit))
        if stop:
            way = way[:stop]
            line = np.concatenate([line, way[-1:]]) if tail else np.concatenate([way[-1:], line])
        end = line[-1] if tail else line[0]
        margin = min(end[0], end[1], width - 1 - end[0], height - 1 - end[1])
        inside.append(bool(margin > max(2.0, 0.15 * width_px)))
    limit = np.array([width - 1, height - 1])
    return np.clip(line, 0, limit), (inside[0], inside[1])
