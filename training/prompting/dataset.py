"""Examples on their way to the student: cut, mirrored, given prompts, stacked.

Everything about one sample follows from its index alone, so a run that is killed and resumed sees the same samples.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from training.prompting.examples import Example, ExampleStore
from training.prompting.recipe import ExamplesSection
from training.prompting.sampling import (
    PADDING,
    PromptKind,
    PromptShares,
    correction_points,
    mask_prompt,
    sample_points,
)
from training.prompting.student import PATCH, Prompts
from training.segmentation.dataset import normalise, thin_hair_weights

_BRIGHTNESS, _TINT = 0.15, 0.04  # deviations, of the logarithm


class Sample(NamedTuple):
    """One picture or part of one, with its prompts. Stacked, every field has a first axis N.

    image: (3, S, T) float32, normalised RGB.  coverage, weight: (1, S, T) float32.
    prompts: of `Prompts`, without the first axis; coordinates count in the whole picture.
    corner: (2,) int64, (row, column) of the part's first cell in the grid of the whole picture.
    """

    image: Tensor
    coverage: Tensor
    weight: Tensor
    prompts: Prompts
    corner: Tensor


class PromptedExamples(Dataset[Sample]):
    """Sample number ``index`` of a run: every example once an epoch, in an order of its own each time."""

    def __init__(self, store: ExampleStore, section: ExamplesSection, shares: PromptShares, run_seed: int) -> None:
        self.store, self.section, self.shares, self.run_seed = store, section, shares, run_seed

    def __getitem__(self, index: int) -> Sample:
        epoch, position = divmod(index, self.section.count)
        which = int(np.random.default_rng((self.run_seed, epoch)).permutation(self.section.count)[position])
        rng = np.random.default_rng((self.run_seed, index, 1))
        box, corner = self._box(rng)
        example = _turned(self.store.read(which, box), rng)
        example = Example(_recoloured(example.image, rng), example.coverage, example.coarse)
        return prompted(example, self.section, self.shares, rng, corner)

    def _box(self, rng: np.random.Generator) -> tuple[tuple[int, int, int, int], tuple[int, int]]:
        """Where to cut, on the grid of the embedding, and the first cell."""
        width, height = self.store.recipe.width, self.store.recipe.height
        side_x = min(self.section.crop or width, width)
        side_y = min(self.section.crop or height, height)
        row = int(rng.integers((height - side_y) // PATCH + 1))
        column = int(rng.integers((width - side_x) // PATCH + 1))
        left, top = column * PATCH, row * PATCH
        return (left, top, left + side_x, top + side_y), (row, column)


def prompted(
    example: Example,
    section: ExamplesSection,
    shares: PromptShares,
    rng: np.random.Generator,
    corner: tuple[int, int] = (0, 0),
) -> Sample:
    """An example, or a part of one that begins at cell `corner`, with prompts drawn for it."""
    kind = shares.draw(rng)
    with_mask = kind in (PromptKind.COARSE, PromptKind.DAMAGED) and rng.random() < shares.mask
    coords, labels = sample_points(rng, kind, example.coverage, example.coarse, section.most_points)
    if rng.random() < shares.corrections:
        more = correction_points(rng, example.coverage, example.coarse, int(rng.integers(1, 5)))
        room = section.most_points - len(more[0])
        coords, labels = np.concatenate([coords[:room], more[0]]), np.concatenate([labels[:room], more[1]])
    padded = np.zeros((section.most_points, 2), np.float32)
    kinds = np.full(section.most_points, PADDING, np.float32)
    padded[: len(coords)] = coords + np.float32([corner[1] * PATCH, corner[0] * PATCH])
    kinds[: len(labels)] = labels
    height, width = example.coverage.shape
    rows, columns = 4 * height // PATCH, 4 * width // PATCH
    mask = mask_prompt(example.coarse, rows, columns) if with_mask else np.zeros((rows, columns), np.float32)
    weight = thin_hair_weights(example.coverage, section.thin_hair_weight, section.thin_hair_px)
    return Sample(
        normalise(example.image),
        torch.from_numpy(example.coverage[None].astype(np.float32) / 255),
        torch.from_numpy(weight[None]),
        Prompts(
            torch.from_numpy(padded), torch.from_numpy(kinds), torch.from_numpy(mask[None]),
            torch.tensor(float(with_mask)),
        ),
        torch.tensor(corner),
    )  # fmt: skip


def collate(samples: list[Sample]) -> Sample:
    """Samples stacked into one batch; of the points, as many as the sample with most has."""
    most = max(1, *(int((sample.prompts.labels != PADDING).sum()) for sample in samples))

    def stack(name: str) -> Tensor:
        return torch.stack([getattr(sample, name) for sample in samples])

    prompts = Prompts(*(torch.stack([getattr(sample.prompts, name) for sample in samples]) for name in Prompts._fields))
    prompts = prompts._replace(coords=prompts.coords[:, :most], labels=prompts.labels[:, :most])
    return Sample(stack("image"), stack("coverage"), stack("weight"), prompts, stack("corner"))


def _turned(example: Example, rng: np.random.Generator) -> Example:
    """Mirrored at random, left-right and up-down, and a square turned over its diagonal."""
    layers = [example.image, example.coverage, example.coarse]
    if rng.random() < 0.5:
        layers = [layer[:, ::-1] for layer in layers]
    if rng.random() < 0.5:
        layers = [layer[::-1] for layer in layers]
    if example.coverage.shape[0] == example.coverage.shape[1] and rng.random() < 0.5:
        layers = [layer.swapaxes(0, 1) for layer in layers]
    return Example(*(np.ascontiguousarray(layer) for layer in layers))


def _recoloured(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another exposure and white balance: an example is seen more than once, and never the same twice."""
    gain = np.exp(rng.normal(0, _BRIGHTNESS) + rng.normal(0, _TINT, 3)).astype(np.float32)
    return np.clip(image * gain + 0.5, 0, 255).astype(np.uint8)
