"""Training of the hair network on pseudo-images (ScalpVision, section 3.1).

How any run goes stands in `training.run`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from training.data.backgrounds import load_backgrounds
from training.evaluation.mask_metrics import MaskCounts, count_mask, pooled_scores
from training.report import write_samples
from training.run import open_run, train_steps
from training.segmentation.checkpoint import save_network
from training.segmentation.dataset import MEAN, STD, PseudoImageSet, Sample, collate
from training.segmentation.losses import deep_supervision_loss
from training.segmentation.recipe import Recipe, recipe_from_dict
from training.segmentation.u2net import U2Net

SCORES = ("pixel_f1", "jaccard", "dice")

_SAMPLE_ROWS = 6


@dataclass(frozen=True)
class TrainResult:
    """How a run ended: steps done, whether that is all, and the best validation Dice so far."""

    step: int
    finished: bool
    best_dice: float


def train(
    recipe: Recipe,
    data: Path | None,
    folder: Path,
    resume: bool = False,
    minutes: float | None = None,
    cpu: bool = False,
) -> TrainResult:
    """Train by ``recipe`` and leave checkpoint, weights, curves and samples in ``folder``.

    Args:
        data: folder of unlabelled scalp pictures to find backgrounds in; None draws every background.
        folder: created where missing. Without ``resume`` it must not hold a run yet.
        resume: go on from the checkpoint in ``folder``; recipe and pictures must be those it was started with.
        minutes: stop with a checkpoint after this long, to be resumed later; the schedule does not change.
        cpu: use the CPU also where there is a GPU.

    Raises:
        ScalpScopeError: the folder already holds a run, there is nothing to resume, or recipe or pictures are others.
    """
    section = recipe.training
    run = open_run(folder, recipe, recipe_from_dict, resume, cpu)
    device = run.accelerator.device

    with run.accelerator.main_process_first():  # the others then read the patches that the first one found
        pool = load_backgrounds(data, folder / "backgrounds.npz" if data else None, recipe.data.procedural_share)
    run.check_data(pool.digest(), "pictures", "Give the same --data.")
    training_pool, validation_pool = pool.split(recipe.data.validation_share, seed=0)
    image_recipe = recipe.image_recipe()
    samples = PseudoImageSet(image_recipe, recipe.data, training_pool, section.seed)
    validation = PseudoImageSet(image_recipe, recipe.data, validation_pool, section.seed, validation=True)

    torch.manual_seed(section.seed)
    network = U2Net(recipe.network.config()).to(device, memory_format=torch.channels_last)

    def loss_of(model: nn.Module, batch: Sample) -> Tensor:
        image = batch.image.to(device, memory_format=torch.channels_last)
        mask, weight = batch.mask.to(device), batch.weight.to(device)
        return deep_supervision_loss(model(image), mask, weight, section.dice_share)

    @cache
    def held_out() -> list[Sample]:
        return [validation[i] for i in range(recipe.data.validation_images)]

    ended = train_steps(
        run,
        pool.digest(),
        samples,
        collate,
        network,
        loss_of,
        validate=lambda kept, sheet: validate(kept, held_out(), run.accelerator, sheet),
        save=save_network,
        scores=SCORES,
        best_by="dice",
        minutes=minutes,
    )
    return TrainResult(*ended)


@torch.no_grad()
def validate(network: U2Net, samples: list[Sample], accelerator: Accelerator, sheet: Path) -> dict[str, float]:
    """Loss, and scores at 0.5 pooled over all pixels, of the held-out samples; the first few are drawn to ``sheet``."""
    network.eval()
    counts = MaskCounts()
    losses, shown = [], []
    for start in range(0, len(samples), 8):
        batch = collate(samples[start : start + 8])
        image = batch.image.to(accelerator.device, memory_format=torch.channels_last)
        with accelerator.autocast():
            logits = network(image)
        logits = [one.float() for one in logits]
        losses.append(float(deep_supervision_loss(logits, batch.mask.to(accelerator.device))) * len(image))
        probability = torch.sigmoid(logits[0]).cpu().numpy()[:, 0]
        truth = batch.mask.numpy()[:, 0]
        for one, true in zip(probability, truth, strict=True):
            counts = counts + count_mask(one >= 0.5, true >= 0.5)
        shown += list(zip(batch.image, truth, probability, strict=True))[: _SAMPLE_ROWS - len(shown)]
    images, truths, found = zip(*shown, strict=True)
    write_samples(sheet, [_as_picture(image) for image in images], truths, found)
    scores = pooled_scores(counts)
    return {
        "validation_loss": sum(losses) / len(samples),
        "pixel_f1": scores.pixel_f1,
        "jaccard": scores.jaccard,
        "dice": scores.dice,
    }


def _as_picture(image: Tensor) -> np.ndarray:
    """Undo ``normalise``: (3, H, W) float -> (H, W, 3) uint8 RGB."""
    picture = image.numpy().transpose(1, 2, 0) * np.float32(STD) + np.float32(MEAN)
    return np.uint8(np.clip(np.round(picture * 255), 0, 255))
