"""A student's image encoder taught by a teacher's embeddings, as NanoSAM was from MobileSAM: Huber loss, no labels.

What comes out is a whole student: the taught encoder, and beside it the teacher's own prompt encoder and mask decoder.
How any run goes stands in `training.run`.
"""

from __future__ import annotations

import copy
import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from segment_anything.modeling import Sam
from torch import Tensor, nn

from calibration.errors import ScalpScopeError
from training import recipes
from training.data.backgrounds import original_name
from training.prompting.embeddings import CachedEmbedding, Lesson, Lessons, cache_embeddings, collate
from training.prompting.recipe import StudentSection
from training.prompting.student import Student, save_student
from training.recipes import Section, TrainingSection
from training.run import open_run, train_steps

log = logging.getLogger(__name__)

_TABLE = "distilled"


class TeachingSection(Section):
    """What the student is shown."""

    views: Literal[1, 2, 4] = 4  # of each picture: itself, and mirrored
    validation_share: float = Field(0.1, ge=0, lt=1)  # of the pictures


class DistilRecipe(Section):
    """Everything that decides what a student learns from its teacher. Of ``distilled``, `frequencies` plays no part."""

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
    folder: Path,
    cache: Path | None = None,
    resume: bool = False,
    minutes: float | None = None,
    cpu: bool = False,
) -> DistilResult:
    """Teach a student by ``recipe`` and leave checkpoint, weights and curves in ``folder``.

    Args:
        teacher: any SAM, such as `open_checkpoint` gives.
        data: folder of scalp pictures; nothing about them need be known.
        folder: created where missing. Without ``resume`` it must not hold a run yet.
        cache: folder of the teacher's embeddings, which several runs may share; None: within ``folder``.
        resume: go on from the checkpoint in ``folder``.
        minutes: stop with a checkpoint after this long, to be resumed later; the schedule does not change.
        cpu: use the CPU also where there is a GPU.

    Raises:
        ScalpScopeError: the folder already holds a run, there is nothing to resume, or recipe, pictures or teacher are
            others than those it was started with.
    """
    section = recipe.training
    torch.manual_seed(section.seed)
    student = Student(recipe.distilled.config())
    adopt_decoder(student, teacher)  # before anything is made, as it may not fit
    run = open_run(folder, recipe, distil_recipe_from_dict, resume, cpu)
    device = run.accelerator.device

    with run.accelerator.main_process_first():  # the others then find what the first one made
        entries = cache_embeddings(teacher, [data], cache or folder / "embeddings", recipe.teaching.views, device)
        teacher.cpu()
    digest = hashlib.sha256(" ".join(f"{one.file.parent.name}/{one.file.name}" for one in entries).encode()).hexdigest()
    run.check_data(digest, "pictures or the teacher", "Give the same --data and --teacher.")
    shape = teacher.image_encoder.img_size, (recipe.distilled.width, recipe.distilled.height)
    learned, held_out = split_by_picture(entries, recipe.teaching.validation_share)
    validation = Lessons(held_out, *shape, seed=None)

    student.to(device, memory_format=torch.channels_last)
    taught = copy.deepcopy(student)  # what is saved: it takes over the embedder that is kept

    def loss_of(model: nn.Module, batch: Lesson) -> Tensor:
        with run.accelerator.autocast():
            found = model(batch.image.to(device, memory_format=torch.channels_last))
        return embedding_loss(found.float(), batch.target.to(device), batch.valid.to(device))

    def save(kept: _Embedder, path: Path, values: dict[str, Any], step: int) -> None:
        taught.image_encoder.backbone, taught.image_encoder.neck = kept.backbone, kept.neck
        save_student(taught, path, values, step)

    ended = train_steps(
        run,
        digest,
        Lessons(learned, *shape, seed=section.seed),
        collate,
        _Embedder(student.image_encoder),
        loss_of,
        validate=lambda kept, _: validate(kept, validation, device),
        save=save,
        scores=("cosine",),
        best_by="cosine",
        minutes=minutes,
    )
    return DistilResult(*ended)


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
