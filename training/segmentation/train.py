"""Training of the hair network on pseudo-images (ScalpVision, section 3.1), from the first step to the last.

One process on a CPU or GPU, or several through ``torchrun``. Whatever happens in step n follows from the recipe and n,
so a run that is killed and resumed ends with the very weights of one that was not (on a CPU; GPU kernels may round
apart).
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from calibration.errors import ScalpScopeError
from training.data.backgrounds import BackgroundPool, load_backgrounds
from training.evaluation.mask_metrics import MaskCounts, count_mask, pooled_scores
from training.segmentation.checkpoint import (
    BEST,
    CHECKPOINT,
    WEIGHTS,
    RunState,
    load_state,
    save_network,
    save_state,
)
from training.segmentation.dataset import MEAN, STD, PseudoImageSet, Sample, StepBatches, collate
from training.segmentation.losses import deep_supervision_loss
from training.segmentation.recipe import Recipe, TrainingSection, recipe_from_dict
from training.segmentation.report import Curves, RunProgress, write_samples
from training.segmentation.u2net import U2Net

log = logging.getLogger(__name__)

_SAMPLE_ROWS = 6


@dataclass(frozen=True)
class TrainResult:
    """How a run ended: steps done, whether that is all, the last and the best validation Dice (NaN: none yet)."""

    step: int
    finished: bool
    dice: float
    best_dice: float


def learning_rate_factor(step: int, section: TrainingSection) -> float:
    """Share of the recipe's learning rate at ``step``: a linear warm-up, then constant or half a cosine down to 1 %."""
    if step < section.warmup_steps:
        return (step + 1) / section.warmup_steps
    if section.schedule == "constant":
        return 1.0
    done = (step - section.warmup_steps) / max(1, section.steps - section.warmup_steps)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def running_mean(model: nn.Module, decay: float) -> AveragedModel:
    """An exponential running mean of all weights and statistics, quicker at first to forget the random start."""

    @torch.no_grad()
    def average(means: list[Tensor], values: list[Tensor], count: Tensor) -> None:
        rate = 1 - min(decay, (1 + int(count)) / (10 + int(count)))
        for mean, value in zip(means, values, strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, rate)
            else:
                mean.copy_(value)

    return AveragedModel(model, multi_avg_fn=average, use_buffers=True)


def train(
    recipe: Recipe,
    data: Path | None,
    run: Path,
    resume: bool = False,
    minutes: float | None = None,
    cpu: bool = False,
) -> TrainResult:
    """Train by ``recipe`` and leave checkpoint, weights, curves and samples in the folder ``run``.

    Args:
        data: folder of unlabelled scalp pictures to find backgrounds in; None draws every background.
        run: created where missing. Without ``resume`` it must not hold a checkpoint yet.
        resume: go on from the checkpoint in ``run``; recipe and pictures must be those it was started with.
        minutes: stop with a checkpoint after this long, to be resumed later; the schedule does not change.
        cpu: use the CPU also where there is a GPU.

    Raises:
        ScalpScopeError: the folder already holds a run, there is nothing to resume, or recipe or pictures are others.
    """
    section = recipe.training
    checkpoint_path = run / CHECKPOINT
    state = _state_to_resume(recipe, checkpoint_path) if resume else None
    if not resume and checkpoint_path.exists():
        raise ScalpScopeError(f"{run} already holds a run.", "Add --resume to go on with it, or give another folder.")
    run.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(1)  # images are drawn by worker processes; OpenCV's own threads do not survive the fork

    accelerator = Accelerator(mixed_precision="bf16" if section.precision == "bf16" else "no", cpu=cpu)
    device, main = accelerator.device, accelerator.is_main_process
    first_step = state.step if state else 0

    with accelerator.main_process_first():  # the others then read the patches that the first one found
        pool = load_backgrounds(data, run / "backgrounds.npz" if data else None, recipe.data.procedural_share)
    patches = digest_of(pool)
    if state and state.backgrounds != patches:
        raise ScalpScopeError(f"The pictures for {run} are not those it was started with.", "Give the same --data.")
    training_pool, validation_pool = pool.split(recipe.data.validation_share, seed=0)
    image_recipe = recipe.image_recipe()
    batches = StepBatches(
        first_step, section.steps, section.batch_size, accelerator.process_index, accelerator.num_processes
    )
    loader = DataLoader(
        PseudoImageSet(image_recipe, recipe.data, training_pool, section.seed),
        batch_sampler=batches,  # type: ignore[arg-type]
        num_workers=section.workers,
        collate_fn=collate,
        worker_init_fn=one_thread_each,
        prefetch_factor=4 if section.workers else None,
    )
    validation = PseudoImageSet(image_recipe, recipe.data, validation_pool, section.seed, validation=True)

    torch.manual_seed(section.seed)
    network = U2Net(recipe.network.config()).to(device, memory_format=torch.channels_last)
    optimizer = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[section.optimizer](
        network.parameters(), lr=section.learning_rate, weight_decay=section.weight_decay
    )
    scheduler = LambdaLR(optimizer, lambda step: learning_rate_factor(step, section))
    mean = running_mean(network, section.ema_decay) if section.ema_decay else None
    if state:
        network.load_state_dict(state.model)
        optimizer.load_state_dict(state.optimizer)
        scheduler.load_state_dict(state.scheduler)
        if mean is not None and state.ema is not None:
            mean.load_state_dict(state.ema)
        torch.set_rng_state(state.rng)
    best_dice = state.best_dice if state else -1.0
    # The scheduler stays out of `prepare`: accelerate would step it once per process, but a step is one step for all.
    model, optimizer = accelerator.prepare(network, optimizer)
    kept: U2Net = mean.module if mean is not None else network  # type: ignore[assignment]

    curves = Curves(run, first_step) if main else None
    if main and not state:
        (run / "recipe.json").write_text(json.dumps(recipe.model_dump(), indent=2) + "\n", encoding="utf-8")
    held_out: list[Sample] = []
    scores: dict[str, float] = {}
    earlier_s = curves.seconds if curves else 0.0
    started = last_saved = time.monotonic()
    recent: list[Tensor] = []
    step = first_step

    def save() -> None:
        save_state(
            RunState(
                step, best_dice, recipe.model_dump(), network.state_dict(), mean.state_dict() if mean else None,
                optimizer.state_dict(), scheduler.state_dict(), torch.get_rng_state(), patches,
            ),
            checkpoint_path,
        )  # fmt: skip
        save_network(kept, run / WEIGHTS, recipe.model_dump(), step)

    model.train()
    with RunProgress(first_step, section.steps, shown=main) as progress:
        for batch in loader:
            image = batch.image.to(device, memory_format=torch.channels_last)
            mask, weight = batch.mask.to(device), batch.weight.to(device)
            loss = deep_supervision_loss(model(image), mask, weight, section.dice_share)
            optimizer.zero_grad(set_to_none=True)
            accelerator.backward(loss)
            if section.clip_norm:
                accelerator.clip_grad_norm_(model.parameters(), section.clip_norm)
            optimizer.step()
            scheduler.step()
            if mean is not None:
                mean.update_parameters(network)
            step += 1
            recent.append(loss.detach())

            last = step == section.steps
            validating = step % section.validate_every == 0 or last
            if step % section.log_every == 0 or validating:
                mean_loss = float(torch.stack(recent).mean())
                recent.clear()
                if not math.isfinite(mean_loss):
                    raise ScalpScopeError(
                        f"The loss is no longer a number at step {step}.",
                        "Lower the learning rate or set clip_norm, then resume from the last checkpoint.",
                    )
                row = {"step": step, "seconds": round(earlier_s + time.monotonic() - started, 1), "loss": mean_loss,
                       "learning_rate": scheduler.get_last_lr()[0]}  # fmt: skip
                if validating and main:
                    held_out = held_out or [validation[i] for i in range(recipe.data.validation_images)]
                    scores = validate(kept, held_out, accelerator, run / "samples" / f"step_{step:07d}.png")
                    row |= scores
                    if scores["dice"] > best_dice:
                        best_dice = scores["dice"]
                        save_network(kept, run / BEST, recipe.model_dump(), step)
                    model.train()
                    log.info("step %d: %s", step, ", ".join(f"{k} {v:.4f}" for k, v in scores.items()))
                if curves:
                    curves.add(**row)
                    progress.update(step, mean_loss)
                    if validating:
                        curves.draw()
            now = time.monotonic()
            if minutes is not None and now - started > 60 * minutes:
                accelerator.set_trigger()
            out_of_time = minutes is not None and accelerator.check_trigger()  # all processes stop at the same step
            due = step % section.checkpoint_every == 0 or now - last_saved > 60 * section.checkpoint_minutes
            if main and (due or last or out_of_time):
                save()
                last_saved = time.monotonic()
            if out_of_time:
                break
    accelerator.wait_for_everyone()
    return TrainResult(step, step >= section.steps, scores.get("dice", math.nan), best_dice)


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


def one_thread_each(worker: int) -> None:
    cv2.setNumThreads(1)
    torch.set_num_threads(1)


def digest_of(pool: BackgroundPool) -> str:
    digest = hashlib.sha256()
    for patch in pool.patches:
        digest.update(patch.pixels.tobytes())
    return digest.hexdigest()


def _state_to_resume(recipe: Recipe, path: Path) -> RunState:
    state = load_state(path)
    if recipe_from_dict(state.recipe, str(path)) != recipe:
        raise ScalpScopeError(
            f"{path} was made by another recipe.",
            f"Resume with the one in {path.with_name('recipe.json')}, or start a new run in another folder.",
        )
    return state
