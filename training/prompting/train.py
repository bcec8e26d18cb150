"""Training of the student without any teacher, end to end on pseudo-images from sampled points.

One process on a CPU or GPU, or several through ``torchrun``. Whatever happens in step n follows from the recipe and n,
so a run that is killed and resumed ends with the very weights of one that was not (on a CPU; GPU kernels may round
apart).
"""

from __future__ import annotations

import json
import logging
import math
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import cv2
import torch
from accelerate import Accelerator
from rich.progress import track
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from calibration.errors import ScalpScopeError
from training.data.backgrounds import BackgroundPool, load_backgrounds
from training.progress import console
from training.prompting.dataset import PromptedExamples, collate
from training.prompting.examples import CoarseNetwork, ExampleStore
from training.prompting.losses import student_loss
from training.prompting.recipe import Recipe, recipe_from_dict
from training.prompting.student import Prompts, Student, load_student, save_student
from training.prompting.validate import SCORES, validate
from training.segmentation.checkpoint import BEST, CHECKPOINT, WEIGHTS, RunState, load_state, save_state
from training.segmentation.dataset import FIRST_TRAINING_SEED, SEEDS_PER_RUN, StepBatches
from training.segmentation.report import Curves, RunProgress
from training.segmentation.train import digest_of, learning_rate_factor, one_thread_each, running_mean

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainResult:
    """How a run ended: steps done, whether that is all, and the best validation Jaccard of M_AP so far."""

    step: int
    finished: bool
    best_jaccard: float


def train(
    recipe: Recipe,
    data: Path | None,
    coarse_bundle: Path,
    run: Path,
    examples: Path | None = None,
    start_from: Path | None = None,
    resume: bool = False,
    minutes: float | None = None,
    cpu: bool = False,
) -> TrainResult:
    """Train by ``recipe`` and leave checkpoint, weights, curves and samples in the folder ``run``.

    Args:
        data: folder of unlabelled scalp pictures to find backgrounds in; None draws every background.
        coarse_bundle: bundle whose hair network finds the coarse masks.
        run: created where missing. Without ``resume`` it must not hold a checkpoint yet.
        examples: folder of the drawn examples, which several runs may share; None: within ``run``.
        start_from: weights to begin with, of a student of the same make.
        resume: go on from the checkpoint in ``run``.
        minutes: stop with a checkpoint after this long, to be resumed later; the schedule does not change.
        cpu: use the CPU also where there is a GPU.

    Raises:
        ScalpScopeError: the folder already holds a run, there is nothing to resume, or recipe, pictures or coarse
            network are others than those it was started with.
    """
    section = recipe.training
    checkpoint_path = run / CHECKPOINT
    state = _state_to_resume(recipe, checkpoint_path) if resume else None
    if not resume and checkpoint_path.exists():
        raise ScalpScopeError(f"{run} already holds a run.", "Add --resume to go on with it, or give another folder.")
    run.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(1)  # worker processes draw and cut; OpenCV's own threads do not survive the fork
    accelerator = Accelerator(mixed_precision="bf16" if section.precision == "bf16" else "no", cpu=cpu)
    device, main = accelerator.device, accelerator.is_main_process

    with accelerator.main_process_first():  # the others then find what the first one drew
        stores = prepare_examples(recipe, data, coarse_bundle, examples or run / "examples", section.workers)
    digest = stores[0].digest
    if state and state.backgrounds != digest:
        raise ScalpScopeError(
            f"The pictures or the hair network for {run} are not those it was started with.",
            "Give the same --data and --coarse.",
        )
    first_step = state.step if state else 0
    loader = DataLoader(
        PromptedExamples(stores[0], recipe.examples, recipe.prompts, section.seed),
        batch_sampler=StepBatches(  # type: ignore[arg-type]
            first_step, section.steps, section.batch_size, accelerator.process_index, accelerator.num_processes
        ),
        num_workers=section.workers,
        collate_fn=collate,
        worker_init_fn=one_thread_each,
        prefetch_factor=4 if section.workers else None,
    )

    torch.manual_seed(section.seed)
    student = Student(recipe.student.config())
    if start_from is not None and state is None:
        student.load_state_dict(_weights_to_start_from(start_from, recipe))
    student.to(device, memory_format=torch.channels_last)
    optimizer = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[section.optimizer](
        student.parameters(), lr=section.learning_rate, weight_decay=section.weight_decay
    )
    scheduler = LambdaLR(optimizer, lambda step: learning_rate_factor(step, section))
    mean = running_mean(student, section.ema_decay) if section.ema_decay else None
    if state:
        student.load_state_dict(state.model)
        optimizer.load_state_dict(state.optimizer)
        scheduler.load_state_dict(state.scheduler)
        if mean is not None and state.ema is not None:
            mean.load_state_dict(state.ema)
        torch.set_rng_state(state.rng)
    best = state.best_dice if state else -1.0
    # The scheduler stays out of `prepare`: accelerate would step it once per process, but a step is one step for all.
    model, optimizer = accelerator.prepare(student, optimizer)
    kept: Student = mean.module if mean is not None else student  # type: ignore[assignment]

    curves = Curves(run, first_step, SCORES) if main else None
    if main and not state:
        (run / "recipe.json").write_text(json.dumps(recipe.model_dump(), indent=2) + "\n", encoding="utf-8")
    earlier_s = curves.seconds if curves else 0.0
    started = last_saved = time.monotonic()
    recent: list[Tensor] = []
    step = first_step

    def save() -> None:
        save_state(
            RunState(
                step, best, recipe.model_dump(), student.state_dict(), mean.state_dict() if mean else None,
                optimizer.state_dict(), scheduler.state_dict(), torch.get_rng_state(), digest,
            ),
            checkpoint_path,
        )  # fmt: skip
        save_student(kept, run / WEIGHTS, recipe.model_dump(), step)

    model.train()
    with RunProgress(first_step, section.steps, shown=main) as progress:
        for batch in loader:
            prompts = Prompts(*(one.to(device) for one in batch.prompts))
            with accelerator.autocast():
                masks = model(batch.image.to(device, memory_format=torch.channels_last), prompts, batch.corner)
            masks = type(masks)(*(None if one is None else one.float() for one in masks))
            loss = student_loss(masks, batch.coverage.to(device), batch.weight.to(device), recipe.losses)
            optimizer.zero_grad(set_to_none=True)
            accelerator.backward(loss)
            if section.clip_norm:
                accelerator.clip_grad_norm_(model.parameters(), section.clip_norm)
            optimizer.step()
            scheduler.step()
            if mean is not None:
                mean.update_parameters(student)
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
                    held_out = (stores[1].read(i) for i in range(recipe.examples.validation))
                    scores = validate(kept, held_out, device, run / "samples" / f"step_{step:07d}.png")
                    row |= scores
                    if scores["jaccard"] > best:
                        best = scores["jaccard"]
                        save_student(kept, run / BEST, recipe.model_dump(), step)
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
    return TrainResult(step, step >= section.steps, best)


def prepare_examples(
    recipe: Recipe, data: Path | None, coarse_bundle: Path, folder: Path, workers: int
) -> tuple[ExampleStore, ExampleStore]:
    """The examples for training and for validation, drawn where they are missing; no background is in both.

    Raises:
        ScalpScopeError: the folder holds other examples, or bundle or pictures cannot be used.
    """
    section = recipe.examples
    folder.mkdir(parents=True, exist_ok=True)
    pool = load_backgrounds(data, folder / "backgrounds.npz" if data else None, section.procedural_share)
    pools = pool.split(section.validation_share, seed=0)
    made_from = {"backgrounds": digest_of(pool), "coarse": CoarseNetwork(coarse_bundle).digest}
    image_recipe = recipe.image_recipe()
    first = FIRST_TRAINING_SEED + _EXAMPLES_RUN * SEEDS_PER_RUN
    stores = (
        ExampleStore(folder / "train", image_recipe, first, section.count, made_from),
        ExampleStore(folder / "val", image_recipe, 0, section.validation, made_from),
    )
    for store, backgrounds in zip(stores, pools, strict=True):
        missing = list(store.missing())
        if missing:
            log.info("drawing %d examples into %s", len(missing), store.folder)
        # A new process each and not a fork: the parent may hold threads of a runtime that does not survive one.
        with ProcessPoolExecutor(max(1, workers), get_context("spawn"), _begin_drawing, (coarse_bundle,)) as drawers:
            parts = [missing[start : start + 8] for start in range(0, len(missing), 8)]
            done = drawers.map(_draw, repeat(store), parts, repeat(backgrounds))
            for _ in track(done, "drawing examples", total=len(parts), console=console, disable=not missing):
                pass
    return stores


_EXAMPLES_RUN = 2
"""The examples have seeds of their own: the hair network's errors are to be those on pictures it never saw."""

_coarse: CoarseNetwork | None = None


def _begin_drawing(bundle: Path) -> None:
    global _coarse
    cv2.setNumThreads(1)
    _coarse = CoarseNetwork(bundle)


def _draw(store: ExampleStore, indices: list[int], pool: BackgroundPool) -> None:
    assert _coarse is not None
    for index in indices:
        store.make(index, pool, _coarse)


def _weights_to_start_from(path: Path, recipe: Recipe) -> dict[str, Tensor]:
    other = load_student(path)
    if other.config != recipe.student.config():
        raise ScalpScopeError(
            f"{path} holds another student: {other.config}.",
            "Start from one of the recipe's own make, or from nothing.",
        )
    return other.state_dict()


def _state_to_resume(recipe: Recipe, path: Path) -> RunState:
    state = load_state(path)
    if recipe_from_dict(state.recipe, str(path)) != recipe:
        raise ScalpScopeError(
            f"{path} was made by another recipe.",
            f"Resume with the one in {path.with_name('recipe.json')}, or start a new run in another folder.",
        )
    return state
