"""A student's image encoder taught by a teacher's embeddings, as NanoSAM was from MobileSAM: Huber loss, no labels.

What comes out is a whole student: the taught encoder, and beside it the teacher's own prompt encoder and mask decoder.
As in the other trainings, whatever happens in step n follows from the recipe and n.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from pydantic import BaseModel, ConfigDict, Field
from segment_anything.modeling import Sam
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from calibration.errors import ScalpScopeError
from training import recipes
from training.data.backgrounds import original_name
from training.prompting.embeddings import CachedEmbedding, Lesson, Lessons, cache_embeddings, collate
from training.prompting.recipe import StudentSection
from training.prompting.student import Student, save_student
from training.segmentation.checkpoint import BEST, CHECKPOINT, WEIGHTS, RunState, load_state, save_state
from training.segmentation.dataset import StepBatches
from training.segmentation.recipe import TrainingSection
from training.segmentation.report import Curves, RunProgress
from training.segmentation.train import learning_rate_factor, one_thread_each, running_mean

log = logging.getLogger(__name__)

_TABLE = "distilled"


class TeachingSection(BaseModel):
    """What the student is shown."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    views: Literal[1, 2, 4] = 4  # of each picture: itself, and mirrored
    validation_share: float = Field(0.1, ge=0, lt=1)  # of the pictures


class DistilRecipe(BaseModel):
    """Everything that decides what a student learns from its teacher. Of ``distilled``, `frequencies` plays no part."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    distilled: StudentSection = StudentSection()
    teaching: TeachingSection = TeachingSection()
    training: TrainingSection


@dataclass(frozen=True)
class DistilResult:
    """How a run ended: steps done, whether that is all, and the best validation cosine so far."""

    step: int
    finished: bool
    best_cosine: float


class _Embedder(nn.Module):
    """The part of a student's image encoder that makes the embedding; its modules are the student's own."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.backbone, self.neck = encoder.backbone, encoder.neck

    def forward(self, image: Tensor) -> Tensor:
        return self.neck(self.backbone(image)[-1])


def load_distil_recipe(name_or_path: str | Path) -> DistilRecipe:
    """Read a recipe by the name of a packaged one (``distilled``) or by path.

    Raises:
        ScalpScopeError: there is no such recipe, or it has an unknown key or a value out of range.
    """
    values, name = recipes.read_recipe(name_or_path, _TABLE)
    return distil_recipe_from_dict(values, name)


def distil_recipe_from_dict(values: dict[str, Any], name: str) -> DistilRecipe:
    """A checked recipe from its sections; ``name`` says in errors where they come from."""
    recipe = recipes.validate_recipe(DistilRecipe, values, name)
    recipe.distilled.config()
    return recipe


def adopt_decoder(student: Student, teacher: Sam) -> None:
    """Give a student the teacher's prompt encoder and mask decoder.

    SAM counts positions in a square that a picture of 4:3 fills to three quarters; a student counts them from edge to
    edge of its own input. Its frequencies are therefore lessened along the shorter side: a step of a pixel then means
    to the decoder what it meant, as if the picture lay in the middle of the square.

    The head for masks of the input's resolution, which no teacher has, at first adds nothing to SAM's own masks.

    Raises:
        ScalpScopeError: the decoders are of different make.
    """
    theirs = teacher.mask_decoder.transformer.mlp_dim
    if student.config.mlp_dim != theirs:
        raise ScalpScopeError(
            f"The teacher's decoder has MLPs of {theirs}, the student's of {student.config.mlp_dim}.",
            f"Set mlp_dim = {theirs} in the recipe.",
        )
    student.prompt_encoder.load_state_dict(teacher.prompt_encoder.state_dict())
    longest = max(student.input_size)
    shares = torch.tensor([student.config.width / longest, student.config.height / longest])
    student.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix *= shares[:, None]
    decoder, own = student.mask_decoder.state_dict(), teacher.mask_decoder.state_dict()
    student.mask_decoder.load_state_dict({**decoder, **own})
    if student.config.fine_channels:
        last = student.mask_decoder.fine_hypernetwork[-1]
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)


def embedding_loss(found: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Huber loss (delta 1) between two embeddings (N, 256, h, w), the mean over the ``valid`` cells (N, h, w)."""
    return (F.huber_loss(found, target, reduction="none").mean(1) * valid).sum() / valid.sum()


def distil(
    recipe: DistilRecipe,
    teacher: Sam,
    data: Path,
    run: Path,
    cache: Path | None = None,
    resume: bool = False,
    minutes: float | None = None,
    cpu: bool = False,
) -> DistilResult:
    """Teach a student by ``recipe`` and leave checkpoint, weights and curves in the folder ``run``.

    Args:
        teacher: any SAM, such as `open_checkpoint` gives.
        data: folder of scalp pictures; nothing about them need be known.
        run: created where missing. Without ``resume`` it must not hold a checkpoint yet.
        cache: folder of the teacher's embeddings, which several runs may share; None: within ``run``.
        resume: go on from the checkpoint in ``run``.
        minutes: stop with a checkpoint after this long, to be resumed later; the schedule does not change.
        cpu: use the CPU also where there is a GPU.

    Raises:
        ScalpScopeError: the folder already holds a run, there is nothing to resume, or recipe, pictures or teacher are
            others than those it was started with.
    """
    section = recipe.training
    checkpoint_path = run / CHECKPOINT
    state = _state_to_resume(recipe, checkpoint_path) if resume else None
    if not resume and checkpoint_path.exists():
        raise ScalpScopeError(f"{run} already holds a run.", "Add --resume to go on with it, or give another folder.")
    torch.manual_seed(section.seed)
    student = Student(recipe.distilled.config())
    adopt_decoder(student, teacher)  # before the long part, as it may not fit
    run.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(1)  # worker processes read the pictures; OpenCV's own threads do not survive the fork
    accelerator = Accelerator(mixed_precision="bf16" if section.precision == "bf16" else "no", cpu=cpu)
    device, main = accelerator.device, accelerator.is_main_process
    with accelerator.main_process_first():  # the others then find what the first one made
        entries = cache_embeddings(teacher, [data], cache or run / "embeddings", recipe.teaching.views, device)
        teacher.cpu()
    digest = hashlib.sha256(" ".join(f"{one.file.parent.name}/{one.file.name}" for one in entries).encode()).hexdigest()
    if state and state.backgrounds != digest:
        raise ScalpScopeError(
            f"The pictures or the teacher for {run} are not those it was started with.",
            "Give the same --data and --teacher.",
        )
    shape = teacher.image_encoder.img_size, (recipe.distilled.width, recipe.distilled.height)
    learned, held_out = split_by_picture(entries, recipe.teaching.validation_share)
    validation = Lessons(held_out, *shape, seed=None)
    first_step = state.step if state else 0
    loader = DataLoader(
        Lessons(learned, *shape, seed=section.seed),
        batch_sampler=StepBatches(  # type: ignore[arg-type]
            first_step, section.steps, section.batch_size, accelerator.process_index, accelerator.num_processes
        ),
        num_workers=section.workers,
        collate_fn=collate,
        worker_init_fn=one_thread_each,
        prefetch_factor=4 if section.workers else None,
    )

    student.to(device, memory_format=torch.channels_last)
    embedder = _Embedder(student.image_encoder)
    optimizer = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[section.optimizer](
        embedder.parameters(), lr=section.learning_rate, weight_decay=section.weight_decay
    )
    scheduler = LambdaLR(optimizer, lambda step: learning_rate_factor(step, section))
    mean = running_mean(embedder, section.ema_decay) if section.ema_decay else None
    if state:
        embedder.load_state_dict(state.model)
        optimizer.load_state_dict(state.optimizer)
        scheduler.load_state_dict(state.scheduler)
        if mean is not None and state.ema is not None:
            mean.load_state_dict(state.ema)
        torch.set_rng_state(state.rng)
    best = state.best_dice if state else -1.0
    # The scheduler stays out of `prepare`: accelerate would step it once per process, but a step is one step for all.
    model, optimizer = accelerator.prepare(embedder, optimizer)
    kept = embedder if mean is None else mean.module
    taught = student if mean is None else _with_embedder(student, kept)

    curves = Curves(run, first_step, ("cosine",)) if main else None
    if main and not state:
        (run / "recipe.json").write_text(json.dumps(recipe.model_dump(), indent=2) + "\n", encoding="utf-8")
    earlier_s = curves.seconds if curves else 0.0
    started = last_saved = time.monotonic()
    recent: list[Tensor] = []
    step = first_step

    def save() -> None:
        save_state(
            RunState(
                step, best, recipe.model_dump(), embedder.state_dict(), mean.state_dict() if mean else None,
                optimizer.state_dict(), scheduler.state_dict(), torch.get_rng_state(), digest,
            ),
            checkpoint_path,
        )  # fmt: skip
        save_student(taught, run / WEIGHTS, recipe.model_dump(), step)

    model.train()
    with RunProgress(first_step, section.steps, shown=main) as progress:
        for batch in loader:
            with accelerator.autocast():
                found = model(batch.image.to(device, memory_format=torch.channels_last))
            loss = embedding_loss(found.float(), batch.target.to(device), batch.valid.to(device))
            optimizer.zero_grad(set_to_none=True)
            accelerator.backward(loss)
            if section.clip_norm:
                accelerator.clip_grad_norm_(model.parameters(), section.clip_norm)
            optimizer.step()
            scheduler.step()
            if mean is not None:
                mean.update_parameters(embedder)
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
                    scores = validate(kept, validation, device)
                    row |= scores
                    if scores["cosine"] > best:
                        best = scores["cosine"]
                        save_student(taught, run / BEST, recipe.model_dump(), step)
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
    return DistilResult(step, step >= section.steps, best)


@torch.no_grad()
def validate(embedder: nn.Module, lessons: Lessons, device: torch.device) -> dict[str, float]:
    """Loss, and mean cosine between the student's and the teacher's cells, of held-out pictures."""
    embedder.eval()
    losses, cosines, cells = 0.0, 0.0, 0.0
    for index in range(len(lessons)):
        one: Lesson = collate([lessons[index]])
        target, valid = one.target.to(device), one.valid.to(device)
        found = embedder(one.image.to(device, memory_format=torch.channels_last))
        losses += float(embedding_loss(found, target, valid))
        cosines += float((F.cosine_similarity(found, target, dim=1) * valid).sum())
        cells += float(valid.sum())
    return {"validation_loss": losses / len(lessons), "cosine": cosines / cells}


def split_by_picture(
    entries: list[CachedEmbedding], share: float
) -> tuple[list[CachedEmbedding], list[CachedEmbedding]]:
    """What is learned from, and what is held out: about ``share`` of the pictures, with all views and copies of each.

    With too few pictures to hold one out, validation is on what was learned, and the log says so.
    """
    originals = sorted({original_name(entry.picture) for entry in entries})
    np.random.default_rng(0).shuffle(originals)
    chosen = set(originals[: round(len(originals) * share)])
    if not chosen:
        log.warning("no picture is held out: validation is on what was learned")
        return entries, entries
    held_out = [entry for entry in entries if original_name(entry.picture) in chosen]
    return [entry for entry in entries if original_name(entry.picture) not in chosen], held_out


def _with_embedder(student: Student, embedder: nn.Module) -> Student:
    """A copy of the student whose image encoder makes its embedding with these very modules."""
    other = copy.deepcopy(student)
    other.image_encoder.backbone, other.image_encoder.neck = embedder.backbone, embedder.neck
    return other


def _state_to_resume(recipe: DistilRecipe, path: Path) -> RunState:
    state = load_state(path)
    if distil_recipe_from_dict(state.recipe, str(path)) != recipe:
        raise ScalpScopeError(
            f"{path} was made by another recipe.",
            f"Resume with the one in {path.with_name('recipe.json')}, or start a new run in another folder.",
        )
    return state
