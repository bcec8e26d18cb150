"""Points that tell SAM where hair is and where it is not, drawn from the coarse mask M̂: Algorithm 1 of ScalpVision.

The paper's steps (arXiv 2406.17254), each a function here: the skeleton of M̂ (`morphological_skeleton`), a box round
every skeleton pixel and non-maximum suppression of the boxes (`suppress_boxes`), one positive point per box that is
left (`mean_hair_points`), negative points on the scalp (`scalp_points`). The paper's loops are replaced by ways that
give the same points: what is drawn here is compared in the tests with those loops, written out.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))

_DARTS_PER_POINT = 32
"""So many places are tried for each negative point; more find hardly another gap."""

_APART = 0.8
"""Least distance of two negative points, in sides of a square that is one point's share of the scalp: about as far as
points thrown at random can be kept apart while as many of them as were asked for still find a place."""


@dataclass(frozen=True)
class PromptOptions:
    """How prompt points are drawn; lengths in pixels of the mask they are drawn from.

    Attributes:
        box_px: side n of the box round a skeleton pixel (paper and authors: 10).
        overlap: a box is dropped when it shares more than this with a kept one, as intersection over union.
        keep_off_px: negative points keep at least this distance from the nearest hair pixel.
        negatives: at most so many negative points.
        most_points: at most so many points in all.
        seed: of the negative points; the positive ones follow from the mask alone.

    Raises:
        ValueError: a value that no point could be drawn with.
    """

    box_px: int = 10
    overlap: float = 0.1
    keep_off_px: float = 8.0
    negatives: int = 64
    most_points: int = 1024
    seed: int = 0

    def __post_init__(self) -> None:
        if self.box_px < 1 or self.most_points < 1 or self.negatives < 0:
            raise ValueError("A box has at least 1 px, most_points is at least 1, negatives is at least 0.")
        if not 0 <= self.overlap < 1 or not self.keep_off_px >= 0:
            raise ValueError("overlap lies in 0 to 1 (1 itself excluded), keep_off_px is not negative.")


@dataclass(frozen=True)
class PromptPoints:
    """Points for SAM.

    Attributes:
        positive: (P, 2) float32, points (x, y) on hair, pixel centres at .0.
        negative: (N, 2) float32, the same on scalp.
    """

    positive: np.ndarray
    negative: np.ndarray

    @classmethod
    def none(cls) -> PromptPoints:
        """No points at all: SAM is not to be asked."""
        return cls(np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32))

    @property
    def count(self) -> int:
        """Points of both kinds together."""
        return len(self.positive) + len(self.negative)

    def coords_and_labels(self) -> tuple[np.ndarray, np.ndarray]:
        """(P + N, 2) float32 points and (P + N,) float32 labels, 1.0 hair and 0.0 scalp, the positive ones first."""
        labels = np.zeros(self.count, np.float32)
        labels[: len(self.positive)] = 1.0
        return np.concatenate([self.positive, self.negative]), labels

    def scaled(self, x_factor: float, y_factor: float) -> PromptPoints:
        """The same places in the picture enlarged by these factors (below 1: made smaller), as `cv2.resize` does it."""
        factors = np.array([x_factor, y_factor], np.float32)
        # Pixel centres lie at .0, so the picture begins at -0.5.
        half = np.float32(0.5)
        return PromptPoints((self.positive + half) * factors - half, (self.negative + half) * factors - half)

    def moved(self, x_px: float, y_px: float) -> PromptPoints:
        """Every point moved by so many pixels."""
        by = np.array([x_px, y_px], np.float32)
        return PromptPoints(self.positive + by, self.negative + by)

    def within(self, box: tuple[int, int, int, int]) -> PromptPoints:
        """Those points that lie on pixels of a box (left, top, right, bottom), right and bottom excluded."""
        low, high = (np.array(corner, np.float32) - np.float32(0.5) for corner in (box[:2], box[2:]))
        positive, negative = (
            points[((points >= low) & (points < high)).all(axis=1)] for points in (self.positive, self.negative)
        )
        return PromptPoints(positive, negative)

    def joined(self, other: PromptPoints) -> PromptPoints:
        """These points and then those."""
        return PromptPoints(
            np.concatenate([self.positive, other.positive]), np.concatenate([self.negative, other.negative])
        )

    def thinned(self, most: int) -> PromptPoints:
        """At most so many points in all, each region of the picture and each kind losing the same share.

        Of a kind that is there, one point is kept at least, as long as `most` is 2 or more.
        """
        if self.count <= most:
            return self
        positives = round(most * len(self.positive) / self.count)
        if len(self.positive) and len(self.negative) and most >= 2:
            positives = min(max(positives, 1), most - 1)
        return PromptPoints(_thin(self.positive, positives), _thin(self.negative, most - positives))


def draw_prompts(coarse_mask: np.ndarray, options: PromptOptions | None = None) -> PromptPoints:
    """Draw prompt points from the coarse mask M̂: Algorithm 1 of ScalpVision.

    Args:
        coarse_mask: (H, W), uint8 or bool, of any size; what is not 0 is hair.
        options: None for `PromptOptions()`.

    Returns:
        Positive points, box by box in row-major order of the boxes' centres, and negative ones. No hair: no points. A
        mask without a place for negative points (all of it hair) gives positive points only. More than
        `options.most_points` are thinned evenly. The same mask and options give the same points.

    Raises:
        ValueError: the mask has not two axes.
    """
    options = options or PromptOptions()
    if coarse_mask.ndim != 2:
        raise ValueError(f"A mask has the axes (H, W); this one has the shape {coarse_mask.shape}.")
    hair = (coarse_mask != 0).view(np.uint8)
    if not hair.any():
        return PromptPoints.none()
    centres = suppress_boxes(morphological_skeleton(hair), options.box_px, options.overlap)
    positive = mean_hair_points(hair, centres, options.box_px)
    negative = scalp_points(hair, options.keep_off_px, options.negatives, options.seed)
    return PromptPoints(positive, negative).thinned(options.most_points)


def morphological_skeleton(hair: np.ndarray) -> np.ndarray:
    """The skeleton that erosion, opening, subtraction and accumulation with a 3x3 cross give (Algorithm 1).

    That loop keeps, of each erosion, what an opening takes away: the pixels that no pixel beside them (left, right,
    above, below) surpasses in city-block distance to the scalp. The distance is found at once, without the loop.
    Beyond the picture the hair goes on as it does at the border, so a cut hair's skeleton runs out of the picture. A
    mask that is all hair never erodes: every pixel of it is skeleton.

    Args:
        hair: (H, W) uint8, not 0 where hair is.

    Returns:
        (H, W) uint8, 1 on the skeleton, else 0.
    """
    if hair.all():
        return np.ones(hair.shape, np.uint8)
    distance = cv2.distanceTransform(hair, cv2.DIST_L1, 3)
    # Where there is hair the distance is 1 or more, and elsewhere 0.
    ridge = (distance >= cv2.dilate(distance, _CROSS)) & (distance > 0)
    return ridge.view(np.uint8)


def suppress_boxes(skeleton: np.ndarray, box_px: int = 10, overlap: float = 0.1) -> np.ndarray:
    """Which boxes are left of one box round every skeleton pixel: greedy non-maximum suppression (Algorithm 1).

    All boxes have the same score, so the order has to be said: row-major, from the top left pixel on. The box round
    (x, y) covers the pixels x - n // 2 to x - n // 2 + n - 1, likewise in y, n = `box_px`; it is not cut at the
    picture's border, so that all boxes are alike.

    Since all are alike, a kept box rules out the same pattern of pixels after its own wherever it lies. The pattern is
    stamped out of a map of the boxes still waiting, and the next one waiting is the next one kept.

    Args:
        skeleton: (H, W) uint8, not 0 on the skeleton.
        box_px: side of the boxes.
        overlap: boxes whose intersection over union with a kept box is more than this are dropped; below 1.

    Returns:
        (K, 2) int64, pixels (x, y) whose boxes are kept, row-major.
    """
    height, width = skeleton.shape
    reach = box_px - 1
    shared = np.multiply.outer(np.arange(box_px, 0, -1), box_px - np.abs(np.arange(-reach, box_px)))
    spared = (shared / (2 * box_px**2 - shared) <= overlap).view(np.uint8)
    # A margin, so that the pattern fits in at every pixel; as bytes, since these find their next 1 fastest.
    stride = width + 2 * reach
    waiting = bytearray(stride * (height + reach))
    grid = np.frombuffer(waiting, np.uint8).reshape(height + reach, stride)
    grid[:height, reach : reach + width] = skeleton != 0
    kept = []
    at = waiting.find(1)
    while at >= 0:
        kept.append(at)
        row, column = divmod(at, stride)
        grid[row : row + box_px, column - reach : column + box_px] &= spared
        at = waiting.find(1, at + 1)
    places = np.array(kept, np.int64)
    return np.stack([places % stride - reach, places // stride], axis=1)


def mean_hair_points(hair: np.ndarray, centres: np.ndarray, box_px: int = 10) -> np.ndarray:
    """The mean of the hair pixels in each box (Algorithm 1).

    Args:
        hair: (H, W) uint8 or bool, not 0 where hair is.
        centres: (K, 2) int, pixels (x, y) of hair; the boxes round them are those of `suppress_boxes`.
        box_px: side of the boxes.

    Returns:
        (K, 2) float32 points (x, y). One may lie beside the hair where this bends or forks: the mean does.
    """
    before = box_px // 2
    padded = np.pad((hair != 0).view(np.uint8), box_px)
    corners = centres - before
    boxes = np.lib.stride_tricks.sliding_window_view(padded, (box_px, box_px))
    inside = boxes[corners[:, 1] + box_px, corners[:, 0] + box_px]
    by_column, by_row = inside.sum(axis=1, dtype=np.int64), inside.sum(axis=2, dtype=np.int64)
    count = by_row.sum(axis=1)
    steps = np.arange(box_px)
    sums = np.stack([by_column @ steps, by_row @ steps], axis=1) + corners * count[:, None]
    return (sums / count[:, None]).astype(np.float32)


def scalp_points(hair: np.ndarray, keep_off_px: float, most: int, seed: int = 0) -> np.ndarray:
    """Points on the scalp, 1 - M̂, away from hair and spread evenly.

    Places that keep their distance from hair are tried in random order; one is taken when no point taken before is
    near. How near that is follows from the area there is (`_APART`), so that a strip of scalp between hairs and a bare
    picture get their points alike.

    Args:
        hair: (H, W) uint8, not 0 where hair is.
        keep_off_px: least distance to the nearest hair pixel.
        most: at most so many points.
        seed: of the random order.

    Returns:
        (N, 2) float32, pixels (x, y); none where no pixel keeps the distance.
    """
    places = np.flatnonzero(cv2.dilate(hair, _disc(keep_off_px)) == 0)
    if most == 0 or len(places) == 0:
        return np.zeros((0, 2), np.float32)
    random = np.random.default_rng(seed)
    darts = _DARTS_PER_POINT * most
    tried = places[random.integers(len(places), size=darts)] if len(places) > darts else random.permutation(places)
    waiting = np.stack([tried % hair.shape[1], tried // hair.shape[1]]).astype(np.float32)
    apart_squared = _APART**2 * len(places) / most
    taken: list[np.ndarray] = []
    while waiting.shape[1] and len(taken) < most:
        taken.append(waiting[:, 0])
        away = waiting - waiting[:, :1]
        waiting = waiting[:, away[0] ** 2 + away[1] ** 2 >= apart_squared]
    return np.stack(taken)


def _disc(radius_px: float) -> np.ndarray:
    """(2r + 1, 2r + 1) uint8, 1 nearer to the middle than the radius; the middle itself always."""
    reach = max(0, int(np.ceil(radius_px)) - 1)
    squares = np.arange(-reach, reach + 1) ** 2
    disc = (np.add.outer(squares, squares) < radius_px**2).view(np.uint8)
    disc[reach, reach] = 1
    return disc


def _thin(points: np.ndarray, most: int) -> np.ndarray:
    """So many of the points, in their order: each so-and-so-manyth along a curve that visits region after region."""
    if len(points) <= most:
        return points
    along = np.argsort(_z_order(points), kind="stable")
    kept = along[(2 * np.arange(most) + 1) * len(points) // (2 * most)]
    return points[np.sort(kept)]


def _z_order(points: np.ndarray) -> np.ndarray:
    """(n,) uint64, the place of each of (n, 2) points along the Z-order curve: the bits of x and y in turn."""
    whole = np.round(points - points.min(axis=0)).astype(np.uint64)
    code = np.zeros(len(points), np.uint64)
    for bit in range(16):
        for axis in (0, 1):
            code |= ((whole[:, axis] >> np.uint64(bit)) & np.uint64(1)) << np.uint64(2 * bit + axis)
    return code
