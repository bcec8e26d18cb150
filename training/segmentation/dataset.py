"""Pseudo-images on their way to the network: drawn from a seed, cropped, mirrored, normalised.

Everything about one sample follows from its index alone, so a run that is killed and resumed sees the same samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from training.data.backgrounds import BackgroundPool
from training.segmentation.pseudo_images import PseudoImageRecipe, render_pseudo_image
from training.segmentation.recipe import DataSection

# What ImageNet's pictures average to, on 0..1: the normalisation of the public checkpoints. Every bundle states it.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

FIRST_TRAINING_SEED = 1_000_000  # below lie the seeds of validation images
SEEDS_PER_RUN = 10**10


@dataclass(frozen=True)
class Sample:
    """One picture for the network.

    image: (3, S, T) float32, normalised RGB.  mask: (1, S, T) float32, hair coverage in 0..1.
    weight: (1, S, T) float32, how much each pixel counts.
    """

    image: Tensor
    mask: Tensor
    weight: Tensor


def normalise(image: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 RGB -> (3, H, W) float32, as the network wants it."""
    scaled = (image.astype(np.float32) / 255 - np.float32(MEAN)) / np.float32(STD)
    return torch.from_numpy(np.ascontiguousarray(scaled.transpose(2, 0, 1)))


class PseudoImageSet(Dataset[Sample]):
    """Sample number ``index`` of a run, or of the validation set."""

    def __init__(
        self,
        recipe: PseudoImageRecipe,
        data: DataSection,
        backgrounds: BackgroundPool,
        run_seed: int,
        validation: bool = False,
    ) -> None:
        self.recipe = recipe
        self.data = data
        self.backgrounds = backgrounds
        self.run_seed = run_seed
        self.validation = validation

    def image_seed(self, index: int) -> int:
        """The seed that sample ``index`` is drawn from. Validation seeds are the same for every run."""
        if self.validation:
            return index
        if self.data.images:
            epoch, position = divmod(index, self.data.images)
            index = int(np.random.default_rng((self.run_seed, epoch)).permutation(self.data.images)[position])
        return FIRST_TRAINING_SEED + self.run_seed * SEEDS_PER_RUN + index

    def __getitem__(self, index: int) -> Sample:
        pseudo = render_pseudo_image(self.image_seed(index), self.recipe, self.backgrounds)
        image, mask = pseudo.image, pseudo.mask
        if self.data.resize:
            side = (self.data.resize, self.data.resize)
            image = cv2.resize(image, side, interpolation=cv2.INTER_AREA)
            mask = cv2.resize(mask, side, interpolation=cv2.INTER_AREA)
        # Validation is seeded alike but never mirrored: its pictures stay comparable by eye.
        rng = np.random.default_rng((self.run_seed if not self.validation else 0, index, int(self.validation)))
        if self.data.crop:
            image, mask = _random_crop(image, mask, self.data.crop, rng)
        if self.data.mirror and not self.validation:
            if rng.random() < 0.5:
                image, mask = image[:, ::-1], mask[:, ::-1]
            if rng.random() < 0.5:
                image, mask = image[::-1], mask[::-1]
        weight = thin_hair_weights(mask, self.data.thin_hair_weight, self.data.thin_hair_px)
        coverage = np.ascontiguousarray(mask[None]).astype(np.float32) / 255
        return Sample(normalise(image), torch.from_numpy(coverage), torch.from_numpy(weight[None]))


def _random_crop(
    image: np.ndarray, mask: np.ndarray, side: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The same random square of both; a picture that is smaller than the square is mirrored out to it first."""
    short_rows, short_columns = (max(0, side - length) for length in mask.shape)
    if short_rows or short_columns:
        border = (0, short_rows, 0, short_columns, cv2.BORDER_REFLECT)
        image, mask = cv2.copyMakeBorder(image, *border), cv2.copyMakeBorder(mask, *border)
    top = int(rng.integers(mask.shape[0] - side + 1))
    left = int(rng.integers(mask.shape[1] - side + 1))
    area = slice(top, top + side), slice(left, left + side)
    return image[area], mask[area]


def thin_hair_weights(mask: np.ndarray, extra: float, thin_px: int) -> np.ndarray:
    """1 everywhere, and 1 + ``extra`` on hair thinner than ``thin_px`` pixels and the pixel around it.

    A thin hair has few pixels beside a thick one, so an unweighted loss gains little by finding it.

    Args:
        mask: (H, W) uint8 coverage, 0..255.

    Returns:
        (H, W) float32.
    """
    weight = np.ones(mask.shape, np.float32)
    if extra:
        hair = np.ascontiguousarray(mask > 64).astype(np.uint8)
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (thin_px, thin_px))
        thin = cv2.subtract(hair, cv2.morphologyEx(hair, cv2.MORPH_OPEN, disc))
        weight += extra * cv2.dilate(thin, np.ones((3, 3), np.uint8))
    return weight


def collate(samples: list[Sample]) -> Sample:
    """Samples stacked into one batch: every field gains a first axis N."""
    return Sample(
        torch.stack([sample.image for sample in samples]),
        torch.stack([sample.mask for sample in samples]),
        torch.stack([sample.weight for sample in samples]),
    )
