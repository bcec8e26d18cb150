"""The frames an export calibrates and is measured on: real ones from a folder, and pseudo-images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calibration.errors import ScalpScopeError
from calibration.pictures import read_image
from calibration.quantisation import choose_frames, frame_features
from device_app.images import find_images
from training.data.backgrounds import BackgroundPool, original_name
from training.segmentation.pseudo_images import PseudoImageRecipe, render_pseudo_image

_PSEUDO_SEED = 910_000_000  # far from the seeds of training and validation
_LOOKED_AT = 240  # pictures whose features are compared; more would only take longer


@dataclass(frozen=True)
class FrameSet:
    """Frames for one export; every frame (H, W, 3) uint8 RGB. No original lies in both.

    Attributes:
        calibration: for the ranges.
        held_out: for measuring loss.
        calibration_names, held_out_names: the files among them.
    """

    calibration: tuple[np.ndarray, ...]
    held_out: tuple[np.ndarray, ...]
    calibration_names: tuple[str, ...]
    held_out_names: tuple[str, ...]

    @property
    def real_names(self) -> tuple[str, ...]:
        """The files that were used, calibration first."""
        return self.calibration_names + self.held_out_names


def choose_frame_set(
    folder: Path | Sequence[Path] | None,
    width: int,
    height: int,
    calibration: int = 16,
    held_out: int = 12,
    seed: int = 0,
    advance: Callable[[str], None] = lambda _: None,
    with_drawn: bool = True,
) -> FrameSet:
    """Choose real frames as unlike each other as possible and draw a third as many pseudo-images beside them.

    Args:
        folder: real pictures, or their files; None, and all frames are pseudo-images.
        width, height: of the pseudo-images, pixels.
        calibration, held_out: how many real frames of each kind; fewer when the folder has fewer, in the same
            proportion.
        seed: one seed, one choice.
        with_drawn: draw pseudo-images at all; without, a folder is needed.

    Raises:
        ScalpScopeError: the folder has fewer than two originals, or a picture cannot be read.
    """
    real: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    names: tuple[list[str], list[str]] = ([], [])
    if folder is not None:
        files = list({original_name(file): file for file in _files(folder)}.values())
        if len(files) < 2:
            place = folder if isinstance(folder, Path) else "The set"
            raise ScalpScopeError(f"{place} has only {len(files)} picture to calibrate on.", "Give at least two.")
        order = np.random.default_rng(seed).permutation(len(files))[:_LOOKED_AT]
        files = [files[i] for i in order]
        advance("looking at the frames")
        features = np.stack([frame_features(read_image(file)) for file in files])
        total = min(calibration + held_out, len(files))
        first = max(1, min(total - 1, round(total * calibration / (calibration + held_out))))
        chosen = choose_frames(features, total, seed)
        # Every other one is held out as long as both have room: the two sets are then equally wide.
        parts: tuple[list[int], list[int]] = ([], [])
        for place, index in enumerate(chosen):
            to_hold = place % 2 == 1 and len(parts[1]) < total - first
            parts[1 if to_hold or len(parts[0]) >= first else 0].append(index)
        for part, frames, own in zip(parts, real, names, strict=True):
            frames += [read_image(files[i]) for i in part]
            own += [files[i].name for i in part]
    if not with_drawn:
        return FrameSet(tuple(real[0]), tuple(real[1]), tuple(names[0]), tuple(names[1]))
    advance("drawing pseudo-images")
    recipe, pool = PseudoImageRecipe(width=width, height=height), BackgroundPool()
    counts = [
        max(2, round(len(frames) / 3)) if folder else count for frames, count in zip(real, (calibration, held_out))
    ]
    pseudo = [render_pseudo_image(_PSEUDO_SEED + i, recipe, pool).image for i in range(sum(counts))]
    return FrameSet(
        (*real[0], *pseudo[: counts[0]]),
        (*real[1], *pseudo[counts[0] :]),
        tuple(names[0]),
        tuple(names[1]),
    )


def _files(pictures: Path | Sequence[Path]) -> list[Path]:
    return find_images([pictures]) if isinstance(pictures, Path) else list(pictures)


def golden_pictures(width: int, height: int, count: int = 2) -> list[np.ndarray]:
    """Rendered pictures for the goldens, (height, width, 3) uint8 RGB: drawn from nothing, so that no one's scalp is
    in them.

    Values are multiples of 8, which makes the file small and changes nothing about what they prove.
    """
    recipe = PseudoImageRecipe(width=width, height=height, hairless_share=0.0)
    pictures = [render_pseudo_image(_PSEUDO_SEED + 5000 + i, recipe, BackgroundPool()).image for i in range(count)]
    return [((picture // 8) * 8).astype(np.uint8) for picture in pictures]
