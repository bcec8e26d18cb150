"""The prompts that the student learns from: what the device will really ask it with, and worse.

On the device the points are Algorithm 1's, drawn from a coarse mask that has errors, and now and then a clinician's.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import cv2
import numpy as np

from device_app.vision.masks import clean_mask
from device_app.vision.prompts import PromptOptions, PromptPoints, draw_prompts
from device_app.vision.sam import prompt_logits

HAIR, SCALP, PADDING = 1.0, 0.0, -1.0
"""Labels of points, SAM's own."""


class PromptKind(Enum):
    """Where a sample's points come from."""

    COARSE = "coarse"  # Algorithm 1, from what the hair network found
    DAMAGED = "damaged"  # Algorithm 1, from that mask with parts lost, invented, thinned or thickened
    SAMPLED = "sampled"  # at random from the truth, few or many
    NOISY = "noisy"  # the same with labels that lie


@dataclass(frozen=True)
class PromptShares:
    """How often each kind of prompt is drawn, and what comes with it; all of them probabilities.

    Attributes:
        damaged, sampled, noisy: of those kinds; the rest are `PromptKind.COARSE`.
        mask: the coarse mask itself is given as a mask prompt.
        corrections: one to four points on errors of the coarse mask are added, as a clinician would.
    """

    damaged: float = 0.15
    sampled: float = 0.15
    noisy: float = 0.08
    mask: float = 0.5
    corrections: float = 0.3

    def draw(self, rng: np.random.Generator) -> PromptKind:
        """One kind."""
        rest = 1 - self.damaged - self.sampled - self.noisy
        kinds = (PromptKind.DAMAGED, PromptKind.SAMPLED, PromptKind.NOISY, PromptKind.COARSE)
        return kinds[int(rng.choice(4, p=(self.damaged, self.sampled, self.noisy, rest)))]


def sample_points(
    rng: np.random.Generator, kind: PromptKind, coverage: np.ndarray, coarse: np.ndarray, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """Points for one picture or part of one.

    Args:
        rng: decides everything.
        kind: where they come from.
        coverage: (H, W) uint8, the truth, 0..255.
        coarse: (H, W) uint8, the coarse network's probability, 0..255.
        most: at most so many points.

    Returns:
        coords (P, 2) float32 (x, y), and labels (P,) float32; P may be 0.
    """
    if kind in (PromptKind.COARSE, PromptKind.DAMAGED):
        mask = clean_mask(cv2.compare(coarse, 127, cv2.CMP_GT))
        if kind is PromptKind.DAMAGED:
            mask = damage(rng, coarse)
        # The number of negative points is no constant of nature: the student shall not count on it.
        options = PromptOptions(
            most_points=most, negatives=int(rng.integers(0, most // 3 + 1)), seed=int(rng.integers(1 << 30))
        )
        points = draw_prompts(mask, options)
        return points.coords_and_labels()
    truth = coverage > 127
    count = int(np.exp(rng.uniform(0, np.log(most))))
    hair = _random_points(rng, truth, int(rng.integers(0, count + 1)))
    scalp = _random_points(rng, ~cv2.dilate(truth.view(np.uint8), np.ones((5, 5), np.uint8)).astype(bool), count)
    scalp = scalp[: count - len(hair)]
    coords, labels = PromptPoints(hair, scalp).coords_and_labels()
    if kind is PromptKind.NOISY and len(labels):
        wrong = rng.random(len(labels)) < rng.uniform(0.05, 0.3)
        labels = np.where(wrong, HAIR + SCALP - labels, labels).astype(np.float32)
    return coords, labels


def correction_points(
    rng: np.random.Generator, coverage: np.ndarray, coarse: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Up to `count` points on errors of the coarse mask, each with its true label; arguments as in `sample_points`.

    The errors are opened first: nobody taps on a rim of one pixel.
    """
    truth, found = coverage > 127, coarse > 127
    kernel = np.ones((3, 3), np.uint8)
    wrong = cv2.morphologyEx((truth != found).view(np.uint8), cv2.MORPH_OPEN, kernel)
    coords = _random_points(rng, wrong.astype(bool), count)
    columns, rows = coords.astype(int).T if len(coords) else (np.zeros(0, int), np.zeros(0, int))
    return coords, np.where(truth[rows, columns], HAIR, SCALP).astype(np.float32)


def damage(rng: np.random.Generator, coarse: np.ndarray) -> np.ndarray:
    """A mask worse than the coarse one: (H, W) uint8 probability in, (H, W) uint8 0/255 out."""
    mask = cv2.compare(coarse, float(rng.uniform(20, 235)), cv2.CMP_GT)
    height, width = mask.shape
    size = int(rng.integers(2, 6))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    change = rng.random()
    if change < 0.3:
        mask = cv2.erode(mask, kernel)
    elif change < 0.6:
        mask = cv2.dilate(mask, kernel)
    for _ in range(int(rng.integers(0, 4))):  # parts that are lost
        centre = tuple(int(v) for v in rng.uniform((0, 0), (width, height)))
        cv2.circle(mask, centre, int(rng.uniform(0.04, 0.2) * width), 0, -1)
    for _ in range(int(rng.integers(0, 4))):  # hair that is none: blobs and strokes
        points = rng.uniform((0, 0), (width, height), (2, 2))
        points[1] = points[0] + rng.normal(0, 0.1 * width, 2)
        cv2.line(mask, *(tuple(int(v) for v in p) for p in points), 255, int(rng.integers(2, 16)))
    return clean_mask(mask)


def mask_prompt(coarse: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """The coarse probability as SAM's mask prompt: the device's own function, on bytes.

    Args:
        coarse: (H, W) uint8 probability, 0..255.
        rows, columns: of the result.

    Returns:
        (rows, columns) float32 logits.
    """
    small = cv2.resize(coarse.astype(np.float32) / 255, (columns, rows), interpolation=cv2.INTER_AREA)
    return prompt_logits(small)


def _random_points(rng: np.random.Generator, where: np.ndarray, count: int) -> np.ndarray:
    """Up to `count` points drawn from the true pixels of an (H, W) bool mask: (P, 2) float32 (x, y)."""
    places = np.flatnonzero(where)
    if not len(places) or count <= 0:
        return np.zeros((0, 2), np.float32)
    rows, columns = np.divmod(rng.choice(places, min(count, len(places)), replace=False), where.shape[1])
    return np.stack([columns, rows], 1).astype(np.float32)
