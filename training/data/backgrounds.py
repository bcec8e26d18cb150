"""Backgrounds without a single hair, for pseudo-images: patches found by themselves in unlabelled scalp pictures.

The paper cut its hair-free patches by hand (ScalpVision, section 3.1). Here a window counts as hair-free when nothing
in it is darker or brighter than its surroundings at any hair's width, and no soft edge of a blurred hair crosses it.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from calibration.errors import ScalpScopeError
from training.data.procedural_scalp import fractal_noise, render_procedural_scalp

log = logging.getLogger(__name__)

_VERSION = 5  # of the search below: a cache written by another version is searched anew
_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff"}
_WORKING_SIDE = 640  # pictures are searched at this length of their longer side
_WINDOWS = (240, 176, 128, 96)  # sides tried, in working pixels, largest first
_PATCHES_PER_PICTURE = 4
_BRIGHT_SHARE = 0.28  # of bright evidence that counts: flakes may stay in a background, they are never masked


@dataclass(frozen=True)
class Patch:
    """A hair-free square: `pixels` (S, S, 3) uint8 RGB, cut from the original picture called `original`."""

    original: str
    pixels: np.ndarray


def original_name(path: Path) -> str:
    """The name that augmented copies of one original share (the part before ``.rf.`` in Roboflow exports)."""
    return path.name.split(".rf.")[0]


def hair_evidence(image: np.ndarray) -> np.ndarray:
    """How much each pixel looks like part of a hair, or of anything else that must not hide in a background.

    Args:
        image: (H, W, 3) uint8 RGB.

    Returns:
        (H, W) float32 in grey levels: the strongest answer of black-hats and white-hats from thin to thick.
    """
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (0, 0), 1.2)
    evidence = np.zeros(grey.shape, np.float32)
    for size, weight in ((9, 1.0), (21, 1.0), (51, 0.8), (91, 0.55)):
        small = min(1.0, 25 / size)  # large kernels on a smaller picture: same answer, a fraction of the time
        shrunk = cv2.resize(grey, None, fx=small, fy=small, interpolation=cv2.INTER_AREA) if small < 1 else grey
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (max(3, round(size * small) | 1),) * 2)
        dark = cv2.morphologyEx(shrunk, cv2.MORPH_BLACKHAT, kernel).astype(np.float32)
        bright = cv2.morphologyEx(shrunk, cv2.MORPH_TOPHAT, kernel).astype(np.float32)
        both = cv2.resize(np.maximum(dark, _BRIGHT_SHARE * bright), (grey.shape[1], grey.shape[0])) * weight
        np.maximum(evidence, both, out=evidence)
    return evidence


def find_patches(image: np.ndarray, original: str) -> list[Patch]:
    """Hair-free squares of one picture, largest first, not overlapping, at most four.

    Args:
        image: (H, W, 3) uint8 RGB.
        original: name to remember with the patches.
    """
    scale = min(1.0, _WORKING_SIDE / max(image.shape[:2]))
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    evidence = hair_evidence(image)
    scalp_level = np.percentile(grey, 60)
    bad = (evidence > 17) | (grey < 0.62 * scalp_level) | (grey < 30) | (grey > 253)
    # A soft ramp without a hat answer is the flank of a hair far out of focus.
    soft = cv2.GaussianBlur(grey, (0, 0), 6)
    slope = np.hypot(cv2.Sobel(soft, cv2.CV_32F, 1, 0), cv2.Sobel(soft, cv2.CV_32F, 0, 1)) / 8
    bad |= slope > 1.0
    # Padding of the data set: exactly flat areas.
    flat = cv2.blur(np.abs(cv2.Laplacian(grey, cv2.CV_32F)), (15, 15)) < 0.05
    bad |= flat
    count = cv2.integral(bad.astype(np.uint8))
    found: list[Patch] = []
    taken = np.zeros(bad.shape, bool)
    height, width = bad.shape
    for side in _WINDOWS:
        if side > min(height, width):
            continue
        windows = count[side:, side:] - count[:-side, side:] - count[side:, :-side] + count[:-side, :-side]
        windows = windows[::8, ::8]
        for index in np.argsort(windows, axis=None)[:200]:
            row, column = (8 * int(i) for i in np.unravel_index(index, windows.shape))
            if windows[row // 8, column // 8] > 0.004 * side * side or len(found) >= _PATCHES_PER_PICTURE:
                break
            area = slice(row, row + side), slice(column, column + side)
            if not taken[area].any():
                taken[area] = True
                found.append(Patch(original, image[area].copy()))
    return found


class BackgroundPool:
    """Gives backgrounds of any size: real patches, mirrored and stretched, or procedural scalp, or both mixed."""

    def __init__(self, patches: Iterable[Patch] = (), procedural_share: float = 0.3) -> None:
        """
        Args:
            patches: real hair-free patches; with none, every background is procedural.
            procedural_share: share of procedural backgrounds among those made when there are patches.
        """
        self.patches = tuple(patches)
        self.procedural_share = procedural_share if self.patches else 1.0

    def digest(self) -> str:
        """SHA-256 of the patches' pixels: the same for the same pictures."""
        digest = hashlib.sha256()
        for patch in self.patches:
            digest.update(patch.pixels.tobytes())
        return digest.hexdigest()

    def split(self, fraction: float, seed: int = 0) -> tuple[BackgroundPool, BackgroundPool]:
        """Two pools, the second with about `fraction` of the originals; patches of one original stay together."""
        originals = sorted({patch.original for patch in self.patches})
        np.random.default_rng(seed).shuffle(originals)
        held_out = set(originals[: round(len(originals) * fraction)])
        first = [patch for patch in self.patches if patch.original not in held_out]
        second = [patch for patch in self.patches if patch.original in held_out]
        return BackgroundPool(first, self.procedural_share), BackgroundPool(second, self.procedural_share)

    def sample(self, rng: np.random.Generator, height: int, width: int) -> np.ndarray:
        """One background: (height, width, 3) float32 RGB, 0..255."""
        if rng.random() < self.procedural_share:
            return render_procedural_scalp(rng, height, width)
        picture = self.fill(rng, height, width)
        if rng.random() < 0.25:  # the light of one scalp on the texture of another
            other = cv2.GaussianBlur(self.fill(rng, height, width), (0, 0), 12)
            picture = np.clip(picture - cv2.GaussianBlur(picture, (0, 0), 12) + other, 0, 255)
        if rng.random() < 0.3:
            light = fractal_noise(rng, height, width, max(height, width), 2)
            picture = np.clip(picture * (1 + rng.uniform(0.02, 0.1) * light[..., None]), 0, 255)
        return picture

    def fill(self, rng: np.random.Generator, height: int, width: int) -> np.ndarray:
        """One patch, stretched a little, mirrored over its edges until it fills the picture."""
        pixels = self.patches[rng.integers(len(self.patches))].pixels
        stretch = float(np.exp(rng.uniform(np.log(0.7), np.log(2.6))))
        pixels = cv2.resize(pixels, None, fx=stretch, fy=stretch, interpolation=cv2.INTER_CUBIC)
        pixels = np.rot90(pixels, rng.integers(4))[:: rng.choice((1, -1))]
        top, left = rng.integers(0, pixels.shape[0]), rng.integers(0, pixels.shape[1])
        rows = _mirrored(top, height, pixels.shape[0])
        columns = _mirrored(left, width, pixels.shape[1])
        return pixels[rows][:, columns].astype(np.float32)


def _mirrored(start: int, count: int, size: int) -> np.ndarray:
    """`count` indices from `start` on, bouncing at 0 and `size` - 1."""
    position = np.arange(start, start + count) % (2 * size)
    return np.where(position < size, position, 2 * size - 1 - position)


def load_backgrounds(folder: Path | None, cache: Path | None = None, procedural_share: float = 0.3) -> BackgroundPool:
    """The pool made from all pictures under `folder`; of augmented copies of one original only the first is read.

    Args:
        folder: pictures without labels; None for procedural scalp alone.
        cache: an ``.npz`` file to keep the found patches in; made anew when the folder's file list has changed.
        procedural_share: see `BackgroundPool`.

    Raises:
        ScalpScopeError: the folder has no picture, or no picture has a hair-free place.
    """
    if folder is None:
        return BackgroundPool()
    paths: dict[str, Path] = {}
    for path in sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in _SUFFIXES):
        paths.setdefault(original_name(path), path)
    if not paths:
        raise ScalpScopeError(f"No picture found under {folder}.", "Give the folder that holds the scalp pictures.")
    key = hashlib.sha256(json.dumps([_VERSION, sorted(paths)]).encode()).hexdigest()
    patches = _read_cache(cache, key)
    if patches is None:
        patches = []
        for name, path in paths.items():
            image = cv2.imread(str(path), cv2.IMREAD_COLOR)
            if image is None:
                log.warning("%s cannot be read as a picture and is left out", path)
                continue
            patches += find_patches(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), name)
        if cache is not None:
            cache.parent.mkdir(parents=True, exist_ok=True)
            names = np.array([patch.original for patch in patches])
            arrays = {f"p{i}": patch.pixels for i, patch in enumerate(patches)}
            np.savez(cache, key=np.array(key), names=names, **arrays)  # type: ignore[arg-type]
    if not patches:
        raise ScalpScopeError(
            f"None of the {len(paths)} pictures under {folder} has a hair-free place.",
            "Add pictures that show bare scalp, or train on procedural scalp by leaving the folder out.",
        )
    log.info("%d hair-free patches from %d originals", len(patches), len({p.original for p in patches}))
    return BackgroundPool(patches, procedural_share)


def _read_cache(cache: Path | None, key: str) -> list[Patch] | None:
    if cache is None or not cache.is_file():
        return None
    with np.load(cache) as file:
        if str(file["key"]) != key:
            return None
        return [Patch(str(name), file[f"p{i}"]) for i, name in enumerate(file["names"])]
