"""The pictures of a data set on their way to training: decoded, a little larger than the input, with their masks."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from calibration.errors import ScalpScopeError
from device_app.bundle import default_bundle_path
from device_app.images import read_image, write_png_atomically
from device_app.manifest_parts import CONDITIONS
from training.classification.augment import Layers, Size, resize
from training.data.example_set import Example, Region

log = logging.getLogger(__name__)

HairMaskOf = Callable[[Example], np.ndarray]
"""The hair mask (H, W) uint8 of an example's picture, 255 where hair is."""

_LARGER = 1.25
"""So much larger than the input are pictures kept: room to come nearer without loss."""


class PictureStore:
    """Gives the layers of each example at `size` times 1.25.

    Args:
        examples: whose pictures.
        size: (width, height) of the network's input.
        memory_mb: all pictures are decoded at once and kept if they fit into so much; else each is read every time.
        hair_mask_of: gives the hair masks; None where the network takes none.

    Raises:
        ScalpScopeError: a picture cannot be read; it names the file.
    """

    def __init__(
        self, examples: Sequence[Example], size: Size, memory_mb: int, hair_mask_of: HairMaskOf | None = None
    ) -> None:
        self._examples = tuple(examples)
        self._size = round(_LARGER * size[0]), round(_LARGER * size[1])
        self._hair_mask_of = hair_mask_of
        layers = 4 if hair_mask_of else 3
        fits = len(self._examples) * self._size[0] * self._size[1] * layers <= memory_mb * 2**20
        self._kept = [self._read(one) for one in self._examples] if fits else None

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, position: int) -> Layers:
        example = self._examples[position]
        layers = self._read(example) if self._kept is None else self._kept[position]
        if example.regions is None:
            return layers
        return Layers(layers.image, draw_regions(example.regions, self._size), layers.hair_mask)

    def _read(self, example: Example) -> Layers:
        image = read_image(example.path)
        mask = self._hair_mask_of(example) if self._hair_mask_of else None
        return resize(Layers(image, None, mask), self._size)


def draw_regions(regions: Sequence[Region], size: Size) -> np.ndarray:
    """(3, H, W) uint8, 255 where each condition was outlined, for a picture of ``size`` (width, height)."""
    drawn = np.zeros((CONDITIONS, size[1], size[0]), np.uint8)
    for region in regions:
        corners = np.round(region.outline * np.array(size) - 0.5).astype(np.int32)
        cv2.fillPoly(drawn[region.condition], [corners], 255)
    return drawn


class HairMasks:
    """Hair masks of a data set by the hair network of the bundle that ships, each made once and kept as a file.

    Args:
        folder: of the files; made if missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def prepare(self, examples: Sequence[Example]) -> None:
        """Make the masks that are missing. Here and not while training: the engine does not survive a fork."""
        from training.prompting.examples import CoarseNetwork

        missing = [one for one in examples if not self._path(one).is_file()]
        if not missing:
            return
        log.info("finding hair in %d pictures", len(missing))
        find_hair = CoarseNetwork(default_bundle_path(), threads=0)
        for one in missing:
            mask = cv2.compare(find_hair(read_image(one.path)), 127, cv2.CMP_GT)
            write_png_atomically(self._path(one), mask)

    def __call__(self, example: Example) -> np.ndarray:
        path = self._path(example)
        mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if mask is None:
            raise ScalpScopeError(f"The hair mask {path} of '{example.path}' is missing.", "Start again with --resume.")
        return mask

    def _path(self, example: Example) -> Path:
        name = hashlib.sha256(str(example.path.resolve()).encode()).hexdigest()[:24]
        return self._folder / f"{name}.png"
