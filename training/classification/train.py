"""Training of the classifier (ScalpVision, section 3.4), on labelled pictures, drawn ones, or both.

How any run goes stands in `training.run`.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from calibration.errors import ScalpScopeError
from device_app.images import read_image
from device_app.manifest_parts import Task
from training.classification.checkpoint import save_classifier
from training.classification.dataset import Batch, ClassifierSamples, collate, to_device
from training.classification.losses import classifier_loss
from training.classification.network import Classifier, freeze_unused
from training.classification.picture_store import HairMasks, PictureStore
from training.classification.pretrained import check_source, load_pretrained
from training.classification.recipe import Recipe, check_labels, recipe_from_dict
from training.classification.validate import SCORES, HeldOut, validate
from training.data.backgrounds import BackgroundPool, Patch, find_patches
from training.data.examples import (
    Example,
    ExampleSet,
    Split,
    check_leaks,
    missing_classes,
    read_examples,
    split_examples,
)
from training.run import open_run, train_steps

log = logging.getLogger(__name__)

HAIR_MASKS = "hair_masks"
"""In a run's folder: the hair masks of its pictures, for a classifier that takes them."""

_PROCEDURAL_SHARE = 0.3  # of the skins of drawn pictures, where there are real ones
_REFUSED_SHOWN = 20


@dataclass(frozen=True)
class TrainResult:
    """How a run ended: steps done, whether that is all, and the best validation score so far."""

    step: int
    finished: bool
    best_macro_f1: float


@dataclass(frozen=True)
class TrainingData:
    """What a run learns from and is validated on. ``digest`` is the same for the same pictures and labels."""

    splits: dict[Split, ExampleSet]
    labels: tuple[str, ...]
    digest: str

    def examples(self, split: Split) -> ExampleSet | None:
        """One split; None where there is no example."""
        found = self.splits.get(split)
        return found if found is not None and len(found) else None


def train(
    recipe: Recipe,
    data: Sequence[Path],
    folder: Path,
    layout: str | None = None,
    resume: bool = False,
    minutes: float | None = None,
    cpu: bool = False,
) -> TrainResult:
    """Train by ``recipe`` and leave checkpoint, weights and curves in ``folder``.

    Args:
        data: folders of labelled pictures; none: conditions are learned from drawn pictures alone.
        folder: created where missing. Without ``resume`` it must not hold a run yet.
        layout: of the folders, see `read_examples`; None: found out.
        resume: go on from the checkpoint in ``folder``; recipe and pictures must be those it was started with.
        minutes: stop with a checkpoint after this long, to be resumed later; the schedule does not change.
        cpu: use the CPU also where there is a GPU.

    Raises:
        ScalpScopeError: the folder already holds a run, there is nothing to resume, recipe or pictures are others, the
            data cannot be used, or the pretrained weights are missing or of another backbone.
    """
    section, task = recipe.training, recipe.classifier.task
    if not resume:
        check_source(recipe.classifier.pretrained)
    run = open_run(folder, recipe, recipe_from_dict, resume, cpu)
    device, main = run.accelerator.device, run.accelerator.is_main_process

    try:
        found = read_data(recipe, data, layout, say=main)
    except ScalpScopeError:
        with contextlib.suppress(OSError):
            folder.rmdir()  # a new run's; one that holds anything stays
        raise
    run.check_data(found.digest, "pictures or their labels", "Give the same --data and --layout.")
    config = recipe.classifier.config(found.labels)
    learned, held = found.examples(Split.TRAIN), found.examples(Split.VALIDATION)

    hair_masks = HairMasks(folder / HAIR_MASKS) if config.mask else None
    if hair_masks is not None:
        with run.accelerator.main_process_first():  # the others then find what the first one made
            hair_masks.prepare([one for part in (learned, held) if part for one in part.examples])
    drawn = task is Task.CONDITIONS and (learned is None or recipe.data.synthetic_share > 0)
    backgrounds = bare_skin(learned) if drawn else BackgroundPool()
    store = None
    if learned is not None:
        store = PictureStore(learned.examples, (config.width, config.height), recipe.data.memory_mb, hair_masks)
    samples = ClassifierSamples(
        recipe.data, config, learned, store, backgrounds, section.seed, with_regions=recipe.losses.location > 0
    )

    torch.manual_seed(section.seed)
    network = Classifier(config)
    if recipe.classifier.pretrained and run.state is None:
        load_pretrained(network.backbone, config.backbone, recipe.classifier.pretrained, config.planes)
    freeze_unused(network.backbone, config.planes, (config.height, config.width))
    network.to(device, memory_format=torch.channels_last)

    def loss_of(model: nn.Module, batch: Batch | ScalpScopeError) -> Tensor:
        if isinstance(batch, ScalpScopeError):
            raise batch
        batch = to_device(batch, device)
        return classifier_loss(model(batch.pictures), batch.labels, recipe.losses)

    def groups(model: Classifier) -> list[dict[str, Any]]:
        backbone = [one for one in model.backbone.parameters() if one.requires_grad]
        heads = [one for name, one in model.named_parameters() if not name.startswith("backbone.")]
        return [
            {"params": heads, "lr": section.learning_rate},  # first: it is the one that the curves show
            {"params": backbone, "lr": section.backbone_rate * section.learning_rate},
        ]

    @cache
    def held_out() -> HeldOut:
        examples = held.examples if held else ()
        return HeldOut(recipe.data, config, examples, hair_masks, BackgroundPool(), drawn)

    ended = train_steps(
        run,
        found.digest,
        samples,
        collate,
        network,
        loss_of,
        validate=lambda kept, _: validate(
            kept, held_out(), recipe.losses, section.batch_size, section.workers, run.accelerator
        ),
        save=save_classifier,
        scores=SCORES,
        best_by="macro_f1",
        minutes=minutes,
        groups=groups,
    )
    return TrainResult(*ended)


def read_data(recipe: Recipe, folders: Sequence[Path], layout: str | None, say: bool = True) -> TrainingData:
    """Read, split and join the data sets of a run, and make sure that no picture is in two splits.

    Args:
        say: log what is refused and what one must know.

    Raises:
        ScalpScopeError: see `read_examples`, `split_examples` and `check_leaks`; or there is none where one is needed,
            or two sets have different classes.
    """
    task = recipe.classifier.task
    if not folders:
        if task is not Task.CONDITIONS:
            raise ScalpScopeError(f"No pictures were given for {task.value}.", "Add --data with their folder.")
        return TrainingData({}, (), hashlib.sha256(b"").hexdigest())
    sets = [read_examples(folder, task, layout) for folder in folders]
    labels = sets[0].labels
    check_labels(task, labels)
    for other in sets[1:]:
        if other.labels != labels:
            raise ScalpScopeError(
                f"{sets[0].name} has the classes {', '.join(labels)}, {other.name} has {', '.join(other.labels)}.",
                "Give sets with the same classes.",
            )
    parts: dict[Split, list[Example]] = {split: [] for split in Split}
    for number, one in enumerate(sets):
        for split, part in split_examples(one, recipe.data.shares).items():
            # Two sets may call two patients by one name.
            parts[split] += [replace(example, group=f"{number}/{example.group}") for example in part.examples]
    splits = {split: sets[0].having(examples) for split, examples in parts.items()}
    check_leaks(splits)
    if say:
        _say(sets, splits)
    if not parts[Split.VALIDATION]:
        raise ScalpScopeError("There are no pictures to validate on.", "Give data with a validation split.")
    seen = sorted({labels[one.label] for one in parts[Split.TRAIN] if one.label is not None})
    if labels and len(seen) < 2:
        raise ScalpScopeError(
            f"The training pictures are all {' '.join(seen) or 'without a class'}: there is nothing to tell apart.",
            f"Add pictures of {', '.join(label for label in labels if label not in seen)}.",
        )
    known = " ".join(f"{split.value} {part.digest()}" for split, part in splits.items())
    return TrainingData(splits, labels, hashlib.sha256(known.encode()).hexdigest())


def bare_skin(examples: ExampleSet | None) -> BackgroundPool:
    """Hair-free patches of training pictures on which no condition was seen, to draw conditions on; one per group."""
    if examples is None:
        return BackgroundPool()
    healthy: dict[str, Example] = {}
    for one in examples.examples:
        if 0 in one.presence and 1 not in one.presence:
            healthy.setdefault(one.group, one)
    patches: list[Patch] = []
    for group, one in healthy.items():
        patches += find_patches(read_image(one.path), group)
    log.info("%d hair-free patches of %d healthy originals to draw on", len(patches), len(healthy))
    return BackgroundPool(patches, _PROCEDURAL_SHARE)


def _say(sets: Sequence[ExampleSet], splits: dict[Split, ExampleSet]) -> None:
    for one in sets:
        for refused in one.refused[:_REFUSED_SHOWN]:
            log.warning("not used: %s: %s", refused.path, refused.reason)
        if len(one.refused) > _REFUSED_SHOWN:
            log.warning("and %d more files of %s are not used", len(one.refused) - _REFUSED_SHOWN, one.name)
        for warning in one.warnings:
            log.warning("%s: %s", one.name, warning)
    for sentence in missing_classes(splits):
        log.warning("%s", sentence)
    counts = {split.value: len(part) for split, part in splits.items()}
    log.info("pictures: %s", ", ".join(f"{name} {count}" for name, count in counts.items()))
