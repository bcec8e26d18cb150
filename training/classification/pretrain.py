"""Teaching a backbone by unlabelled frames, where no pretrained weights can be had: SimSiam, arXiv 2011.10566.

Two views of one frame are to have features that foretell each other. Of the self-supervised methods this one needs
neither negatives, nor a large batch, nor a second network that follows, nor tokens, so it teaches any backbone on one
small GPU from hundreds of pictures; the stopped gradient alone keeps all features from becoming one.

How any run goes stands in `training.run`.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn
from torch.utils.data import Dataset

from calibration.errors import ScalpScopeError
from device_app.images import IMAGE_SUFFIXES, read_image
from device_app.manifest_parts import Task
from training import recipes
from training.checkpoint import save_atomically
from training.classification.augment import Layers, Rng, Size, mirror, recolour, resize
from training.classification.inputs import input_entry, to_input
from training.classification.network import ClassifierConfig, feature_map, freeze_unused, make_backbone
from training.classification.pretrained import BACKBONE, check_source, load_pretrained
from training.data.backgrounds import original_name
from training.recipes import Section, TrainingSection
from training.run import open_run, train_steps

log = logging.getLogger(__name__)

SCORES = ("found_again", "spread")
"""Of held-out frames: the share whose one view is nearest, of all frames, to its other view; and how much the features
differ from frame to frame, 0 when they have all become one, about 1 when they point everywhere."""

_TABLE = "pretraining"
_LARGER = 1.5  # than the input are frames kept: a crop of a third of them still has its pixels


class PretrainingSection(Section):
    """Which backbone, and what it is shown."""

    backbone: str = "efficientnet_lite0"
    width: int = Field(448, ge=32)
    height: int = Field(336, ge=32)
    hsv: bool = False
    pretrained: str = ""  # what it starts from; see `pretrained`
    smallest_crop: float = Field(0.3, gt=0, le=1)  # of width and height
    features: int = Field(512, ge=8)  # of the projection; the paper's 2048 is for a thousand times as many pictures
    hidden: int = Field(128, ge=8)  # of the predictor: narrower, as in the paper
    validation_share: float = Field(0.1, ge=0, lt=1)  # of the originals
    memory_mb: int = Field(2048, ge=0)

    def config(self) -> ClassifierConfig:
        """Of a classifier with this backbone: what says its input."""
        return ClassifierConfig(Task.CONDITIONS, self.backbone, self.height, self.width, self.hsv)


class PretrainRecipe(Section):
    """Everything that decides what the backbone learns."""

    pretraining: PretrainingSection = PretrainingSection()
    training: TrainingSection


@dataclass(frozen=True)
class PretrainResult:
    """How a run ended: steps done, whether that is all, and the best share of held-out frames found again."""

    step: int
    finished: bool
    best_found_again: float


class SimSiam(nn.Module):
    """A backbone with SimSiam's projection and predictor.

    Pictures (N, planes, H, W) of two views, one view after the other -> projections z and predictions p, each
    (N, features).
    """

    def __init__(self, section: PretrainingSection) -> None:
        super().__init__()
        config = section.config()
        self.name = section.backbone
        size = section.height, section.width
        self.backbone = make_backbone(section.backbone, config.planes, size)
        freeze_unused(self.backbone, config.planes, size)
        with torch.no_grad():
            channels = feature_map(self.backbone.eval(), torch.zeros(1, config.planes, *size)).shape[1]
        self.backbone.train()
        width = section.features
        self.projection = nn.Sequential(
            *_layer(channels, width), *_layer(width, width), nn.Linear(width, width, bias=False),
            nn.BatchNorm1d(width, affine=False),
        )  # fmt: skip
        self.predictor = nn.Sequential(*_layer(width, section.hidden), nn.Linear(section.hidden, width))

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        # Each view goes through on its own, as in the authors' code: batch statistics mix no view with its twin.
        projected = [self.projection(feature_map(self.backbone, view).mean(dim=(2, 3))) for view in pictures.chunk(2)]
        return torch.cat(projected), torch.cat([self.predictor(one) for one in projected])


def _layer(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True)]


def simsiam_loss(projections: Tensor, predictions: Tensor) -> Tensor:
    """Algorithm 1 of the paper: ``D(p1, z2) / 2 + D(p2, z1) / 2``, D the negative cosine, no gradient through z.

    Args:
        projections, predictions: (2 N, C), the N of one view before the N of the other.

    Returns:
        -1 (every prediction right) to 1.
    """
    one, two = projections.detach().chunk(2)
    return -F.cosine_similarity(predictions, torch.cat([two, one]), dim=1).mean()


class Frames(Dataset["Tensor | ScalpScopeError"]):
    """Two views (2, planes, h, w) of the frame that sample ``index`` shows; of held-out frames always the same two.

    Args:
        paths: of the frames.
        section: sizes, crops.
        seed: of the run; None for held-out frames.

    Raises:
        ScalpScopeError: a frame cannot be read.
    """

    def __init__(self, paths: Sequence[Path], section: PretrainingSection, seed: int | None) -> None:
        self._paths, self._section, self._seed = tuple(paths), section, seed
        config = section.config()
        self._entry, self._size = input_entry(config), (config.width, config.height)
        self._larger = round(_LARGER * config.width), round(_LARGER * config.height)
        fits = len(paths) * 3 * self._larger[0] * self._larger[1] <= section.memory_mb * 2**20
        self._kept = [self._read(path) for path in self._paths] if fits else None

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Tensor | ScalpScopeError:
        epoch, position = divmod(index, len(self._paths))
        if self._seed is not None:
            position = int(np.random.default_rng((self._seed, epoch)).permutation(len(self._paths))[position])
        rng = np.random.default_rng((0, index) if self._seed is None else (self._seed, index, 1))
        try:
            frame = self._read(self._paths[position]) if self._kept is None else self._kept[position]
        except ScalpScopeError as error:
            return error
        views = [view_of(frame, rng, self._size, self._section.smallest_crop) for _ in range(2)]
        return torch.stack([to_input(view, self._entry) for view in views])

    def _read(self, path: Path) -> np.ndarray:
        return resize(Layers(read_image(path)), self._larger).image


def view_of(frame: np.ndarray, rng: Rng, size: Size, smallest_crop: float) -> np.ndarray:
    """A part of a frame, (H, W, 3) uint8 RGB, mirrored, recoloured and often blurred, at ``size`` (width, height).

    What scalps differ in (redness, gloss, flakes) must survive: colours change as other lamps change them, and no more.
    """
    share = float(np.exp(rng.uniform(np.log(smallest_crop), 0)))
    aspect = float(np.exp(rng.uniform(-0.15, 0.15)))
    height, width = frame.shape[:2]
    columns, rows = (
        max(8, min(side, round(side * share * factor))) for side, factor in ((width, aspect), (height, 1 / aspect))
    )
    left, top = int(rng.integers(width - columns + 1)), int(rng.integers(height - rows + 1))
    part = np.ascontiguousarray(frame[top : top + rows, left : left + columns])
    view = mirror(resize(Layers(part), size), rng).image
    view = recolour(view, rng)
    if rng.random() < 0.3:
        view = cv2.GaussianBlur(view, (0, 0), rng.uniform(0.5, 2.0) * size[0] / 448)
    return view


def collate(samples: Sequence[Tensor | ScalpScopeError]) -> Tensor | ScalpScopeError:
    """All first views, then all second ones, (2 N, planes, h, w); the first error if there is one among them."""
    views = []
    for sample in samples:
        if isinstance(sample, ScalpScopeError):
            return sample
        views.append(sample)
    return torch.cat([torch.stack([pair[place] for pair in views]) for place in range(2)])


def load_pretrain_recipe(name_or_path: str | Path) -> PretrainRecipe:
    """Read a recipe by the name of a packaged one (``pretrain``) or by path.

    Raises:
        ScalpScopeError: there is no such recipe, or it has an unknown key or a value out of range.
    """
    values, name = recipes.read_recipe(name_or_path, _TABLE)
    return pretrain_recipe_from_dict(values, name)


def pretrain_recipe_from_dict(values: dict[str, Any], name: str) -> PretrainRecipe:
    """A checked recipe from its sections; ``name`` says in errors where they come from."""
    return recipes.validate_recipe(PretrainRecipe, values, name)


def find_frames(folders: Sequence[Path]) -> list[Path]:
    """Every picture below the folders, one for each original where there are augmented copies, in a fixed order.

    Raises:
        ScalpScopeError: there are fewer than two.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES):
            found.setdefault(f"{folder}/{original_name(path)}", path)
    if len(found) < 2:
        raise ScalpScopeError(
            f"There are too few pictures under {', '.join(map(str, folders))}.", "Give a folder of scalp pictures."
        )
    return list(found.values())


def pretrain(
    recipe: PretrainRecipe,
    data: Sequence[Path],
    folder: Path,
    resume: bool = False,
    minutes: float | None = None,
    cpu: bool = False,
) -> PretrainResult:
    """Teach a backbone by ``recipe``; best.pt and weights.pt in ``folder`` are what `pretrained` of a recipe takes.

    Args:
        data: folders of pictures; nothing about them need be known.
        folder: created where missing. Without ``resume`` it must not hold a run yet.
        resume: go on from the checkpoint in ``folder``.
        minutes: stop with a checkpoint after this long, to be resumed later; the schedule does not change.
        cpu: use the CPU also where there is a GPU.

    Raises:
        ScalpScopeError: the folder already holds a run, there is nothing to resume, recipe or pictures are others, or a
            picture cannot be read.
    """
    section = recipe.pretraining
    if not resume:
        check_source(section.pretrained)
    run = open_run(folder, recipe, pretrain_recipe_from_dict, resume, cpu)
    device = run.accelerator.device
    paths = find_frames(data)
    digest = hashlib.sha256(" ".join(f"{path.name} {path.stat().st_size}" for path in paths).encode()).hexdigest()
    run.check_data(digest, "pictures", "Give the same --data.")
    order = np.random.default_rng(0).permutation(len(paths))
    held = max(2, round(section.validation_share * len(paths))) if section.validation_share else 0
    learned = [paths[place] for place in order[held:]] or paths
    held_out = Frames([paths[place] for place in (order[:held] if held else order)], section, seed=None)

    torch.manual_seed(recipe.training.seed)
    network = SimSiam(section)
    if section.pretrained and run.state is None:
        load_pretrained(network.backbone, section.backbone, section.pretrained, section.config().planes)
    network.to(device, memory_format=torch.channels_last)

    def loss_of(model: nn.Module, batch: Tensor | ScalpScopeError) -> Tensor:
        if isinstance(batch, ScalpScopeError):
            raise batch
        return simsiam_loss(*model(batch.to(device, memory_format=torch.channels_last)))

    ended = train_steps(
        run,
        digest,
        Frames(learned, section, recipe.training.seed),
        collate,
        network,
        loss_of,
        validate=lambda kept, _: validate(kept, held_out, device),
        save=save_backbone,
        scores=SCORES,
        best_by="found_again",
        minutes=minutes,
    )
    return PretrainResult(*ended)


@torch.no_grad()
def validate(network: SimSiam, held_out: Frames, device: torch.device) -> dict[str, float]:
    """`SCORES` of the backbone's pooled features.

    Raises:
        ScalpScopeError: a frame cannot be read.
    """
    network.eval()
    found = []
    for index in range(len(held_out)):
        views = held_out[index]
        if isinstance(views, ScalpScopeError):
            raise views
        views = views.to(device, memory_format=torch.channels_last)
        found.append(feature_map(network.backbone, views).float().mean(dim=(2, 3)))
    features = torch.stack(found)  # (frames, 2, C)
    features = F.normalize(features - features.mean(dim=(0, 1)), dim=2)
    nearest = (features[:, 0] @ features[:, 1].T).argmax(dim=1).cpu()
    plain = F.normalize(torch.stack(found)[:, 0], dim=1)
    return {
        "found_again": float((nearest == torch.arange(len(nearest))).float().mean()),
        "spread": float(1 - plain.mean(dim=0).square().sum()),
    }


def save_backbone(network: SimSiam, path: Path, recipe: dict[str, Any], step: int) -> None:
    """The backbone alone: what `load_pretrained` reads."""
    weights = {name: value.detach().cpu() for name, value in network.backbone.state_dict().items()}
    save_atomically({BACKBONE: network.name, "weights": weights, "recipe": recipe, "step": step}, path)
