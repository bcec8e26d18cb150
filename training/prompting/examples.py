"""What the student learns from: pseudo-images, each with the coarse mask that a real hair network finds in it.

The errors of a coarse mask cannot be made up: they are taken from the network that ships, on pseudo-images it has never
seen. Drawing and segmenting a picture takes a third of a second, so a run draws its pictures once and keeps them.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from calibration.errors import ScalpScopeError
from calibration.files import write_bytes_atomically
from device_app.bundle import Task, load_bundle
from device_app.engines.select import open_engine
from device_app.vision.preprocess import to_network_input
from training.data.backgrounds import BackgroundPool
from training.segmentation.pseudo_images import PseudoImageRecipe, render_pseudo_image

log = logging.getLogger(__name__)

_LAYERS = 5  # red, green, blue, coverage, coarse probability


@dataclass(frozen=True)
class Example:
    """A drawn picture, its truth, and what the hair network makes of it.

    image: (H, W, 3) uint8 RGB.  coverage: (H, W) uint8, how much of each pixel is hair, 0..255.
    coarse: (H, W) uint8, the coarse network's probability, 0..255.
    """

    image: np.ndarray
    coverage: np.ndarray
    coarse: np.ndarray


class CoarseNetwork:
    """The hair network of a bundle, run as the device runs it.

    Args:
        bundle: the bundle's folder.
        threads: of the network.

    Attributes:
        digest: SHA-256 of the network's file.

    Raises:
        ScalpScopeError: the bundle or its engine is refused.
    """

    def __init__(self, bundle: Path, threads: int = 1) -> None:
        loaded = load_bundle(bundle)
        self._model = loaded.model(Task.HAIR)
        self._engine = open_engine(loaded, Task.HAIR, threads=threads)
        self.digest = self._model.files[self._engine.precision].sha256

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 RGB -> (H, W) uint8 hair probability, 0..255."""
        tensor = {self._model.input_name: to_network_input(image, self._model)}
        probability = self._engine.run(tensor)[self._model.output_name][0, 0]
        size = (image.shape[1], image.shape[0])
        if probability.shape != size[::-1]:
            probability = cv2.resize(probability, size, interpolation=cv2.INTER_LINEAR)
        return np.round(np.clip(probability, 0, 1) * 255).astype(np.uint8)


def make_example(seed: int, recipe: PseudoImageRecipe, pool: BackgroundPool, coarse: CoarseNetwork) -> Example:
    """One example; the same seed, recipe, backgrounds and network give the same one."""
    drawn = render_pseudo_image(seed, recipe, pool)
    return Example(drawn.image, drawn.mask, coarse(drawn.image))


class ExampleStore:
    """A folder of examples, one file each, made once and read at random. A run that is killed goes on where it was.

    Args:
        folder: made if missing.
        recipe: how the pictures are drawn.
        first_seed: of the first example; the next ones count up.
        count: how many.
        made_from: what else decides them (digests of backgrounds and of the coarse network).

    Raises:
        ScalpScopeError: the folder holds examples that were made otherwise.
    """

    def __init__(
        self, folder: Path, recipe: PseudoImageRecipe, first_seed: int, count: int, made_from: dict[str, str]
    ) -> None:
        self.folder, self.recipe, self.first_seed, self.count = folder, recipe, first_seed, count
        key = json.dumps({"recipe": asdict(recipe), "first_seed": first_seed, **made_from}, sort_keys=True)
        self.digest = hashlib.sha256(key.encode()).hexdigest()
        folder.mkdir(parents=True, exist_ok=True)
        stamp = folder / "made_by.json"
        if not stamp.is_file():
            write_bytes_atomically(stamp, key.encode())
        elif stamp.read_text(encoding="utf-8") != key:
            raise ScalpScopeError(
                f"{folder} holds examples that were made by another recipe, network or set of backgrounds.",
                "Give another --examples folder, or delete that one.",
            )

    def path(self, index: int) -> Path:
        """The file of one example."""
        return self.folder / f"{index:06d}.npy"

    def missing(self) -> Iterator[int]:
        """The examples that are not there yet."""
        return (index for index in range(self.count) if not self.path(index).is_file())

    def make(self, index: int, pool: BackgroundPool, coarse: CoarseNetwork) -> None:
        """Draw one example and keep it, whole or not at all."""
        example = make_example(self.first_seed + index, self.recipe, pool, coarse)
        layers = np.dstack([example.image, example.coverage, example.coarse])
        part = self.path(index).with_suffix(".part")
        with part.open("wb") as file:
            np.save(file, layers)
        part.replace(self.path(index))

    def read(self, index: int, box: tuple[int, int, int, int] | None = None) -> Example:
        """One example, or the part of it in a box (left, top, right, bottom).

        Raises:
            ScalpScopeError: its file is missing or damaged.
        """
        path = self.path(index)
        try:
            layers = np.load(path, mmap_mode="r")
            if layers.ndim != 3 or layers.shape[2] != _LAYERS:
                raise ValueError(f"shape {layers.shape}")
        except (OSError, ValueError, EOFError) as error:
            raise ScalpScopeError(
                f"The example {path} cannot be read: {error}.", "Delete it; the next start of the run makes it again."
            ) from error
        left, top, right, bottom = box or (0, 0, layers.shape[1], layers.shape[0])
        part = np.array(layers[top:bottom, left:right])
        return Example(np.ascontiguousarray(part[..., :3]), part[..., 3].copy(), part[..., 4].copy())
