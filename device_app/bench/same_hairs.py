"""The same hair in two measurements of one picture: how far its diameter moved. Shared by the benches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial import cKDTree

from device_app.vision.hairs import Hair
from device_app.vision.measure import measure_hairs


def measured_hairs(image: np.ndarray, mask: np.ndarray) -> tuple[Hair, ...]:
    """The hairs of a picture (H, W, 3) uint8 RGB with the mask (H, W) uint8 whose diameter could be measured."""
    return tuple(hair for hair in measure_hairs(image, mask).hairs if np.isfinite(hair.diameter_px))


def shifts_of_same_hairs(hairs: Sequence[Hair], reference: Sequence[Hair]) -> tuple[float, ...]:
    """|difference of the diameters|, in pixels, for each reference hair that runs along one of `hairs` for the most
    part. A reference hair that was not found again is not in it.
    """
    if not hairs:
        return ()
    points = np.concatenate([hair.centre_line for hair in hairs])
    owners = np.concatenate([np.full(len(hair.centre_line), index) for index, hair in enumerate(hairs)])
    tree = cKDTree(points)
    shifts = []
    for hair in reference:
        distance, nearest = tree.query(hair.centre_line)
        near = distance <= max(2.0, hair.diameter_px / 2)
        votes = np.bincount(owners[nearest[near]], minlength=len(hairs))
        if 2 * votes.max() > len(hair.centre_line):
            shifts.append(abs(hairs[int(votes.argmax())].diameter_px - hair.diameter_px))
    return tuple(shifts)
