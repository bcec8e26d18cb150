"""Which end of a skeleton piece continues which other: at crossings and over gaps, the likeliest joints first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from device_app.vision.skeleton import Pieces, to_native

_STRAIGHT_LIMIT = np.deg2rad(38.0)
"""Most that a hair may turn across a crossing."""

_BEND_LIMIT = np.deg2rad(60.0)
"""Most that a hair may bend at once where nothing crosses it."""

_SHALLOW_LIMIT = np.deg2rad(25.0)
"""The same where both hairs of a shallow crossing are seen on both sides."""

_GAP_LIMIT = np.deg2rad(22.0)
"""Most that a hair may turn across a gap."""

_OTHER_COLOUR = 70.0
"""Hairs whose colours lie as many grey levels apart are not one."""

_LONG_GAP_LIMIT = np.deg2rad(11.0)
"""Most that it may turn across a gap many times as long as it is wide."""


@dataclass(frozen=True)
class Ends:
    """The 2P ends of the pieces, end 2p the first and 2p + 1 the last of piece p; shrunk pixels."""

    place: np.ndarray  # (2P, 2) the end itself
    anchor: np.ndarray  # (2P, 2) a point a little way in, past the knot's disturbance
    heading: np.ndarray  # (2P, 2) unit vector out of the piece through its end
    width: np.ndarray  # (2P,) width of the piece
    node: np.ndarray  # (2P,) -1 free
    length: np.ndarray  # (2P,) of the piece, pixels
    colour: np.ndarray  # (2P, 3) of the piece near this end; all alike without a picture


def piece_lengths(pieces: Pieces) -> np.ndarray:
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


def ends_of(pieces: Pieces, image: np.ndarray | None) -> Ends:
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
    shown = np.zeros((len(pieces.points), 3)) if image is None else _colours_at(image, pieces)
    totals = np.cumsum(np.concatenate([pieces.points, shown], axis=1), axis=0, dtype=np.float64)
    totals = np.concatenate([np.zeros((1, 5)), totals])

    def mean_of(first: np.ndarray, size: np.ndarray) -> np.ndarray:
        """Mean of `size` points from the `first`-th point of the piece on, counted from its end."""
        a = edge + sign * first
        b = edge + sign * (first + size - 1)
        low, high = np.minimum(a, b), np.maximum(a, b) + 1
        return (totals[high] - totals[low]) / size[:, None]

    half = np.maximum(reach // 2, 1)
    near = mean_of(skip, half)
    far = mean_of(skip + reach - half, half)
    colour = (near[:, 2:] + far[:, 2:]) / 2
    near, far = near[:, :2], far[:, :2]
    heading = near - far
    norm = np.linalg.norm(heading, axis=1, keepdims=True)
    return Ends(
        place=pieces.points[edge].astype(np.float64),
        anchor=near,
        heading=heading / np.maximum(norm, 1e-6),
        width=np.repeat(width, 2),
        node=node,
        length=np.repeat(piece_lengths(pieces), 2),
        colour=colour,
    )


def _colours_at(image: np.ndarray, pieces: Pieces) -> np.ndarray:
    """(n, 3) the picture's colours at the pieces' points."""
    column, row = np.round(to_native(pieces.points, pieces.factor)).astype(np.intp).T
    return image[np.clip(row, 0, image.shape[0] - 1), np.clip(column, 0, image.shape[1] - 1)]


def _turns(ends: Ends, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """How far a hair would turn that leaves by end i and goes on by end j: the greatest of three angles, radians."""
    across = ends.anchor[j] - ends.anchor[i]
    across = across / np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-6)

    def angle(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.arccos(np.clip(np.sum(a * b, axis=1), -1, 1))

    out, back = ends.heading[i], -ends.heading[j]
    return np.maximum(angle(out, back), np.maximum(angle(out, across), angle(across, back)))


def join_ends(pieces: Pieces, ends: Ends, alive: np.ndarray, cluster: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(2P,): which end each end is joined to, -1 for none: at crossings and over gaps, the likeliest joints first.

    Pieces that turn out to be the shared stretch of two hairs are taken out of `alive`, in place.
    """
    partner = np.full(len(ends.node), -1)
    at = np.where(ends.node >= 0, cluster[ends.node] if len(cluster) else -1, -1)
    at[~np.repeat(alive, 2)] = -1
    _bridge_shallow_crossings(pieces, ends, alive, at, partner)
    open_ends = np.repeat(alive, 2) & (partner < 0)
    joints = [_joints_at_crossings(ends, at, open_ends), _joints_over_gaps(pieces, ends, at, open_ends, mask)]
    cost, i, j = (np.concatenate([joint[part] for joint in joints]) for part in range(3))
    order = np.argsort(cost, kind="stable")
    joined = partner.tolist()
    for a, b in zip(i[order].tolist(), j[order].tolist()):
        if joined[a] < 0 and joined[b] < 0:
            joined[a], joined[b] = b, a
    return np.array(joined)


def _doubt(ends: Ends, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """What speaks against joining ends i and j besides the turn, as an angle: unlike widths and colours, and headings
    that are unsteady because a piece is short."""
    width_i, width_j = np.maximum(ends.width[i], 1), np.maximum(ends.width[j], 1)
    steady = np.minimum(ends.length / np.maximum(4 * ends.width, 6), 1)
    unlike = 0.3 * np.abs(np.log(width_i / width_j)) + 0.25 * _colour_change(ends, i, j)
    return unlike + 0.3 * (2 - steady[i] - steady[j])


def _colour_change(ends: Ends, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """How unlike the colours at two ends are: 0 alike, 1 not the same hair."""
    return np.minimum(np.linalg.norm(ends.colour[i] - ends.colour[j], axis=1) / _OTHER_COLOUR, 1)


_Joints = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Costs, and the two ends of each joint."""


def _joints_at_crossings(ends: Ends, at: np.ndarray, open_ends: np.ndarray) -> _Joints:
    """Pairs of branches of one crossing that continue each other."""
    busy = np.flatnonzero((at >= 0) & open_ends)
    busy = busy[np.argsort(at[busy], kind="stable")]
    first, second = _pairs_within(at[busy])
    i, j = busy[first], busy[second]
    turn = _turns(ends, i, j)
    # Where just two branches are left (the third was a spur), nothing was crossed: a bend is a bend.
    members = np.bincount(at[busy], minlength=1)[at[i]] if len(busy) else np.zeros(0)
    allowed = turn < np.where(members == 2, _BEND_LIMIT, _STRAIGHT_LIMIT)
    return (turn + _doubt(ends, i, j))[allowed], i[allowed], j[allowed]


def _joints_over_gaps(pieces: Pieces, ends: Ends, at: np.ndarray, open_ends: np.ndarray, mask: np.ndarray) -> _Joints:
    """Pairs of ends that face each other over a gap: a glint, torn edges, or a knot too short to tell directions."""
    able = np.flatnonzero(open_ends & (ends.length > 2))
    if len(able) < 2:
        return np.zeros(0), np.zeros(0, int), np.zeros(0, int)
    place, width = ends.place[able], np.maximum(ends.width[able], 1)
    x, y = np.ascontiguousarray(place.T)
    span = np.hypot(x[:, None] - x, y[:, None] - y)
    slim = np.minimum(width[:, None], width)
    near = (span < 14 * slim + 10) & (np.maximum(width[:, None], width) < 1.4 * slim + 1)
    first, second = np.nonzero(np.triu(near, 1))
    i, j, span, slim = able[first], able[second], span[first, second], slim[first, second]
    # Two ends at one crossing are `_joints_at_crossings`' to join.
    other = (i // 2 != j // 2) & ((at[i] < 0) | (at[i] != at[j]))
    i, j, span, slim = i[other], j[other], span[other], slim[other]
    turn = _turns(ends, i, j)
    ahead = turn < np.where(span < 6 * slim + 10, _GAP_LIMIT, _LONG_GAP_LIMIT)
    i, j, span, slim, turn = i[ahead], j[ahead], span[ahead], slim[ahead], turn[ahead]
    bare = _bare_length(pieces, ends, mask, i, j, span)
    # A glint is some pixels long, whatever the hair's width; the straighter on and the more alike, the longer.
    most = 0.6 * slim + np.where(turn < _LONG_GAP_LIMIT, 20, 12) / pieces.factor
    allowed = bare < most * (1 - _colour_change(ends, i, j))
    cost = turn + _doubt(ends, i, j) + 0.08 + 0.01 * span / slim + 0.02 * bare / slim
    return cost[allowed], i[allowed], j[allowed]


def _pairs_within(group: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All index pairs (a, b), a < b, of equal value in a sorted array."""
    order = np.arange(len(group))
    first, second = [], []
    # Branches of one crossing stand side by side: compare with the next, the next but one, and so on.
    for apart in range(1, len(group)):
        same = order[:-apart][group[apart:] == group[:-apart]]
        if len(same) == 0:
            break
        first.append(same)
        second.append(same + apart)
    empty = np.zeros(0, int)
    return (np.concatenate(first), np.concatenate(second)) if first else (empty, empty)


def _bridge_shallow_crossings(
    pieces: Pieces, ends: Ends, alive: np.ndarray, at: np.ndarray, partner: np.ndarray
) -> None:
    """Two hairs that cross at a shallow angle share a long bridge between two forks: send each on past it."""
    members: dict[int, list[int]] = {}
    for end, crossing in enumerate(at.tolist()):
        if crossing >= 0:
            members.setdefault(crossing, []).append(end)
    bridges, left, right = [], [], []
    for piece in np.flatnonzero(alive & np.all(pieces.nodes >= 0, axis=1)).tolist():
        a, b = int(at[2 * piece]), int(at[2 * piece + 1])
        # Two forks of three branches each; a branch that joins them a second time makes a loop, not a crossing.
        if a == b or a < 0 or b < 0 or len(members[a]) != 3 or len(members[b]) != 3:
            continue
        here, there = ([end for end in members[fork] if end // 2 != piece] for fork in (a, b))
        if len({end // 2 for end in here + there}) == 4:
            bridges.append(piece)
            left.append(here)
            right.append(there)
    if not bridges:
        return
    i = np.array(left)[:, None, :].repeat(2, axis=1)  # (bridges, 2 ways to pair, 2 pairs)
    j = np.stack([np.array(right), np.array(right)[:, ::-1]], axis=1)
    turn = _turns(ends, i.ravel(), j.ravel()).reshape(i.shape)
    unlike = np.abs(np.log(np.maximum(ends.width[i], 1) / np.maximum(ends.width[j], 1)))
    way = np.argmin((turn + 0.3 * unlike).sum(axis=2), axis=1)
    for number, piece in enumerate(bridges):
        a, b = i[number, way[number]], j[number, way[number]]
        cos = min(abs(float(ends.heading[a[0]] @ ends.heading[a[1]])), 1.0)
        overlap = max(ends.width[[*a, *b]]) / max(np.sqrt(1 - cos**2), 0.12)
        straight = turn[number, way[number]].max() < _SHALLOW_LIMIT
        if straight and ends.length[2 * piece] <= 1.6 * overlap + 2 and np.all(partner[[*a, *b]] < 0):
            partner[a], partner[b] = b, a
            alive[piece] = False
            at[2 * piece : 2 * piece + 2] = -1


def _bare_length(
    pieces: Pieces, ends: Ends, mask: np.ndarray, i: np.ndarray, j: np.ndarray, span: np.ndarray
) -> np.ndarray:
    """How much of the straight way from end i to end j is not mask; shrunk pixels."""
    share = np.linspace(0, 1, 33)[None, :, None]
    way = to_native(ends.place[i, None] * (1 - share) + ends.place[j, None] * share, pieces.factor)
    x = np.clip(np.round(way[..., 0]), 0, mask.shape[1] - 1).astype(int)
    y = np.clip(np.round(way[..., 1]), 0, mask.shape[0] - 1).astype(int)
    return (mask[y, x] == 0).mean(axis=1) * span
