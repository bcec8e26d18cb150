"""A teacher's embeddings: kept on the disk once made, and brought to a student's grid.

The teacher sees a picture as SAM does: its longest side fills the encoder's square, the rest is padding. Only the cells
that the picture reaches into are kept: 64x48 of 64x64 for a picture of 4:3.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from rich.progress import track
from segment_anything.modeling import Sam
from torch import Tensor
from torch.utils.data import Dataset

from calibration.errors import ScalpScopeError
from device_app.images import IMAGE_SUFFIXES, read_image
from device_app.manifest_parts import ResizeRule
from device_app.vision.preprocess import Size, picture_part
from training.progress import console
from training.prompting.checkpoints import digest_of_weights
from training.prompting.student import PATCH
from training.segmentation.dataset import normalise

log = logging.getLogger(__name__)

MIRRORED = ((False, False), (True, False), (False, True), (True, True))
"""The views of a picture: whether it is mirrored left-right and up-down. A teacher does not quite answer them alike."""


@dataclass(frozen=True)
class CachedEmbedding:
    """The teacher's answer to one view (a place in `MIRRORED`) of a picture.

    file: npy, (256, rows, columns) float16, the cells that the picture reaches into.
    """

    picture: Path
    view: int
    file: Path


@dataclass(frozen=True)
class Lesson:
    """One picture and what the teacher makes of it.

    image: (3, H, W) float32, normalised RGB, 0 where the picture leaves the input free (right and below).
    target: (256, H/16, W/16) float32.  valid: (H/16, W/16) float32, 1 where a cell lies whole in the picture.
    """

    image: Tensor
    target: Tensor
    valid: Tensor


def cache_embeddings(
    teacher: Sam, pictures: Sequence[Path], folder: Path, views: int = 1, device: torch.device | str = "cpu"
) -> list[CachedEmbedding]:
    """The teacher's embeddings of all pictures, made where they are not on the disk yet.

    Each is written whole or not at all, under a name made from the teacher's weights, the picture's bytes and the view:
    what was made before is found again after a kill, a renaming, or by another student. A picture that cannot be read
    is left out with a warning, and one that is there twice counts once.

    Args:
        teacher: in float32, whatever the training's precision: small encoders overflow float16.
        pictures: files, or folders that are searched to their depth.
        folder: made if missing; one for any number of teachers.
        views: the first so many of `MIRRORED`.
        device: where the teacher works; it is left there.

    Raises:
        ScalpScopeError: there is no picture, the teacher answers something that is no number, or the disk is full.
    """
    own = folder / digest_of_weights(teacher)[:16]
    own.mkdir(parents=True, exist_ok=True)
    entries: dict[Path, CachedEmbedding] = {}
    for picture in _pictures(pictures):
        try:
            key = hashlib.sha256(picture.read_bytes()).hexdigest()[:32]
        except OSError as error:
            log.warning("%s cannot be read and is left out: %s", picture, error.strerror)
            continue
        for view in range(views):
            file = own / f"{key}_{view}.npy"
            entries.setdefault(file, CachedEmbedding(picture, view, file))
    missing = [entry for entry in entries.values() if not _is_whole(entry.file)]
    if missing:
        log.info("%d of %d embeddings are to be made in %s", len(missing), len(entries), own)
        teacher.to(device).eval()
    unreadable: set[Path] = set()
    for entry in track(missing, "asking the teacher", console=console, disable=not missing):
        if entry.picture in unreadable:
            continue
        try:
            image = read_image(entry.picture)
        except ScalpScopeError as error:
            log.warning("left out: %s", error.what)
            unreadable.add(entry.picture)
            continue
        embedding = embed(teacher, mirror(image, entry.view))
        if not np.isfinite(embedding).all():
            raise ScalpScopeError(
                f"The teacher's embedding of {entry.picture} is no number, or too large for float16.",
                "Use another teacher, or fetch it again.",
            )
        _write_atomically(entry.file, embedding)
    # By content, not by name: so the order, and with it a whole run, survives a renaming.
    kept = sorted((one for one in entries.values() if one.picture not in unreadable), key=lambda one: one.file.name)
    if not kept:
        raise ScalpScopeError("None of the pictures can be read.", "Give a folder of scalp pictures.")
    return kept


@torch.no_grad()
def embed(teacher: Sam, image: np.ndarray) -> np.ndarray:
    """The teacher's embedding of a picture, (256, rows, columns) float16, without the cells of the padding.

    Args:
        teacher: in evaluation mode.
        image: (H, W, 3) uint8 RGB.
    """
    side = teacher.image_encoder.img_size
    width, height = _part((image.shape[1], image.shape[0]), (side, side))
    pixels = torch.from_numpy(_resized(image, (width, height)).transpose(2, 0, 1)).to(teacher.device).float()
    answer = teacher.image_encoder(teacher.preprocess(pixels)[None])[0]
    return answer[:, : math.ceil(height / PATCH), : math.ceil(width / PATCH)].half().cpu().numpy()


def mirror(image: np.ndarray, view: int) -> np.ndarray:
    """The picture (H, W, 3) as this view of it shows it."""
    left_right, up_down = MIRRORED[view]
    return image[:: -1 if up_down else 1, :: -1 if left_right else 1]


def to_grid(embedding: np.ndarray, size: Size, side: int, input_size: Size) -> np.ndarray:
    """The teacher's embedding where the student's cells are.

    Both see the same picture, each fitted into its own input; cells are matched by where their centres lie in it.
    Between the teacher's cells the embedding is taken bilinearly; where the student's grid is the coarser, it is
    averaged over as much as a student's cell is larger than a teacher's, so that no cell is passed over.

    Args:
        embedding: (256, rows, columns), as `embed` gives it.
        size: (width, height) of the picture.
        side: of the teacher's input, pixels.
        input_size: (width, height) of the student's input, multiples of 16.

    Returns:
        (256, rows, columns) float32, for the student's cells that lie whole in the picture.
    """
    ours, theirs = _part(size, input_size), _part(size, (side, side))
    across, down = (
        _weights(max(1, mine // PATCH), cells, other / mine)
        for mine, other, cells in zip(ours, theirs, embedding.shape[:0:-1], strict=True)
    )
    return np.einsum("ri,kij,cj->krc", down, embedding.astype(np.float32), across, optimize=True).astype(np.float32)


class Lessons(Dataset[Lesson]):
    """Lesson number ``index`` of a run: all of them once, in an order of their own, then again in another order."""

    def __init__(self, entries: Sequence[CachedEmbedding], side: int, input_size: Size, seed: int | None) -> None:
        """
        Args:
            entries: what there is to learn from.
            side: of the teacher's input, pixels.
            input_size: (width, height) of the student's input.
            seed: of the order; None: as they come.
        """
        self.entries = tuple(entries)
        self.side = side
        self.input_size = input_size
        self.seed = seed

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Lesson:
        epoch, place = divmod(index, len(self.entries))
        if self.seed is not None:
            place = int(np.random.default_rng((self.seed, epoch)).permutation(len(self.entries))[place])
        entry = self.entries[place]
        return lesson(mirror(read_image(entry.picture), entry.view), np.load(entry.file), self.side, self.input_size)


def lesson(image: np.ndarray, embedding: np.ndarray, side: int, input_size: Size) -> Lesson:
    """A picture (H, W, 3) uint8 RGB and its embedding, as a student of this input size gets them."""
    size = image.shape[1], image.shape[0]
    width, height = _part(size, input_size)
    shown = torch.zeros(3, input_size[1], input_size[0])
    shown[:, :height, :width] = normalise(_resized(image, (width, height)))
    known = torch.from_numpy(to_grid(embedding, size, side, input_size))
    rows, columns = known.shape[1:]
    target = torch.zeros(len(known), input_size[1] // PATCH, input_size[0] // PATCH)
    target[:, :rows, :columns] = known
    valid = torch.zeros(target.shape[1:])
    valid[:rows, :columns] = 1
    return Lesson(shown, target, valid)


def collate(lessons: list[Lesson]) -> Lesson:
    """Lessons stacked into one batch: every field gains a first axis N."""
    return Lesson(
        torch.stack([one.image for one in lessons]),
        torch.stack([one.target for one in lessons]),
        torch.stack([one.valid for one in lessons]),
    )


def _pictures(paths: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
        found += inside if path.is_dir() else [path]
    if not found:
        raise ScalpScopeError(
            f"No picture found under {', '.join(map(str, paths))}.", "Give the folder that holds the scalp pictures."
        )
    return found


def _part(size: Size, input_size: Size) -> Size:
    return picture_part(size, input_size, ResizeRule.FIT)


def _resized(image: np.ndarray, size: Size) -> np.ndarray:
    """As `device_app.vision.preprocess` does it; SAM's own code enlarges bilinearly, too."""
    if (image.shape[1], image.shape[0]) == size:
        return np.ascontiguousarray(image)
    shrinks = image.shape[0] >= size[1] and image.shape[1] >= size[0]
    return cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _weights(count: int, cells: int, step: float) -> np.ndarray:
    """(count, cells) float32, each row adding up to 1: means of ``cells`` round centres that lie ``step`` apart."""
    spread = max(0.0, step - 1)
    places = (np.arange(count)[:, None] + 0.5) * step + spread * ((np.arange(16) + 0.5) / 16 - 0.5)
    distance = np.clip(places, 0.5, cells - 0.5)[..., None] - (np.arange(cells) + 0.5)
    return np.float32(np.maximum(0, 1 - np.abs(distance)).mean(1))


def _is_whole(file: Path) -> bool:
    try:
        stored = np.load(file, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return False
    return stored.ndim == 3 and stored.dtype == np.float16


def _write_atomically(file: Path, embedding: np.ndarray) -> None:
    part = file.with_name(file.name + ".part")
    try:
        with part.open("wb") as stream:
            np.save(stream, embedding)
        part.replace(file)
    except OSError as error:
        raise ScalpScopeError(
            f"{file.parent} cannot be written to: {error.strerror or error}.", "Make room, or give another --cache."
        ) from error
