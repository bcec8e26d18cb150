"""Training of the student without any teacher, end to end on pseudo-images from sampled points.

How any run goes stands in `training.run`.
"""

from __future__ import annotations

import logging
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import cv2
import torch
from rich.progress import track
from torch import Tensor, nn

from calibration.errors import ScalpScopeError
from training.data.backgrounds import BackgroundPool, load_backgrounds
from training.progress import console
from training.prompting.dataset import PromptedExamples, Sample, collate
from training.prompting.examples import CoarseNetwork, ExampleStore
from training.prompting.losses import student_loss
from training.prompting.recipe import Recipe, recipe_from_dict
from training.prompting.student import Prompts, Student, load_student, save_student
from training.prompting.validate import SCORES, validate
from training.run import open_run, train_steps
from training.segmentation.dataset import FIRST_TRAINING_SEED, SEEDS_PER_RUN

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
    folder: Path,
    examples: Path | None = None,
    start_from: Path | None = None,
    resume: bool = False,
    minutes: float | None = None,
    cpu: bool = False,
) -> TrainResult:
    """Train by ``recipe`` and leave checkpoint, weights, curves and samples in ``folder``.

    Args:
        data: folder of unlabelled scalp pictures to find backgrounds in; None draws every background.
        coarse_bundle: bundle whose hair network finds the coarse masks.
        folder: created where missing. Without ``resume`` it must not hold a run yet.
        examples: folder of the drawn examples, which several runs may share; None: within ``folder``.
        start_from: weights to begin with, of a student of the same make.
        resume: go on from the checkpoint in ``folder``.
        minutes: stop with a checkpoint after this long, to be resumed later; the schedule does not change.
        cpu: use the CPU also where there is a GPU.

    Raises:
        ScalpScopeError: the folder already holds a run, there is nothing to resume, or recipe, pictures or coarse
            network are others than those it was started with.
    """
    section = recipe.training
    run = open_run(folder, recipe, recipe_from_dict, resume, cpu)
    device = run.accelerator.device

    with run.accelerator.main_process_first():  # the others then find what the first one drew
        drawn, held_out = prepare_examples(
            recipe, data, coarse_bundle, examples or folder / "examples", section.workers
        )
    run.check_data(drawn.digest, "pictures or the hair network", "Give the same --data and --coarse.")

    torch.manual_seed(section.seed)
    student = Student(recipe.student.config())
    if start_from is not None and run.state is None:
        student.load_state_dict(_weights_to_start_from(start_from, recipe))
    student.to(device, memory_format=torch.channels_last)

    def loss_of(model: nn.Module, batch: Sample) -> Tensor:
        prompts = Prompts(*(one.to(device) for one in batch.prompts))
        with run.accelerator.autocast():
            masks = model(batch.image.to(device, memory_format=torch.channels_last), prompts, batch.corner)
        masks = type(masks)(*(None if one is None else one.float() for one in masks))
        return student_loss(masks, batch.coverage.to(device), batch.weight.to(device), recipe.losses)

    def scores_of(kept: Student, sheet: Path) -> dict[str, float]:
        return validate(kept, (held_out.read(i) for i in range(recipe.examples.validation)), device, sheet)

    ended = train_steps(
        run,
        drawn.digest,
        PromptedExamples(drawn, recipe.examples, recipe.prompts, section.seed),
        collate,
        student,
        loss_of,
        validate=scores_of,
        save=save_student,
        scores=SCORES,
        best_by="jaccard",
        minutes=minutes,
    )
    return TrainResult(*ended)


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
    made_from = {"backgrounds": pool.digest(), "coarse": CoarseNetwork(coarse_bundle).digest}
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
