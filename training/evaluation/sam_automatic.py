"""SAM without Algorithm 1, asked all over the picture: the row "SAM, automatic, best mask" of Table 1.

The best is chosen by comparing with the truth: an oracle, which no program can have and which favours SAM.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

import numpy as np

from calibration.errors import ScalpScopeError
from device_app.live.refiner import Refiner
from device_app.vision.masks import hair_mask
from device_app.vision.prompts import PromptPoints
from training.evaluation.finder import Found, Role, Row

if TYPE_CHECKING:
    from segment_anything.modeling import Sam

GRID = 32
"""Points along each side of the picture, as in SAM's own automatic generator."""


def grid_points(size: tuple[int, int], per_side: int = GRID) -> np.ndarray:
    """(n * n, 2) float32 points (x, y): the middles of n by n equal cells of a picture of (width, height) pixels."""
    middles = (np.arange(per_side, dtype=np.float32) + 0.5) / per_side
    columns, rows = np.meshgrid(middles * size[0] - 0.5, middles * size[1] - 0.5)
    return np.stack([columns.ravel(), rows.ravel()], axis=1)


def automatic_masks(refiner: Refiner, image: np.ndarray, per_side: int = GRID) -> Iterator[np.ndarray]:
    """What a bundle's SAM answers to one positive point per cell of a grid, one point at a time.

    Args:
        refiner: of the bundle, as the device opens it.
        image: (H, W, 3) uint8 RGB.
        per_side: points along each side.

    Yields:
        (H, W) uint8 0/255, each mask once: many points get the very same.
    """
    size = image.shape[1], image.shape[0]
    embedded = refiner.embed(image)
    seen: set[bytes] = set()
    nowhere = np.zeros((0, 2), np.float32)
    for point in grid_points(size, per_side):
        answer = refiner.decode(embedded, PromptPoints(point[None], nowhere))
        mask = hair_mask(answer.probability, size, refiner.decoder.threshold)
        key = np.packbits(mask > 0).tobytes()
        if key not in seen:
            seen.add(key)
            yield mask


class OfficialAutomatic:
    """SAM's own automatic generator with an official checkpoint, at its own settings.

    That generator drops masks that SAM itself thinks poor or unstable, and those that repeat another's box.

    Args:
        name: of the row.
        sam: as `training.prompting.checkpoints.open_checkpoint` gives it.
        per_side: points along each side.
    """

    def __init__(self, name: str, sam: Sam, per_side: int = GRID) -> None:
        from segment_anything import SamAutomaticMaskGenerator  # torch: only the methods that need it pay for it

        self._row = Row(name, Role.ORACLE)
        self._generator = SamAutomaticMaskGenerator(sam, points_per_side=per_side)

    @property
    def rows(self) -> tuple[Row, ...]:
        return (self._row,)

    def find(self, image: np.ndarray, wanted: Collection[str]) -> Iterator[Found]:
        """All masks it is sure of, for the oracle to choose from."""
        if self._row.name not in wanted:
            return
        started = time.perf_counter()
        masks = [record["segmentation"] for record in self._generator.generate(image)]
        share = (time.perf_counter() - started) / max(1, len(masks))
        yield from (Found(self._row.name, mask, share) for mask in masks)


def check_grid(per_side: int) -> None:
    """Raises ScalpScopeError when a grid has no point."""
    if per_side < 1:
        raise ScalpScopeError(f"A grid of {per_side} points a side has no points.", "Use 1 or more.")
