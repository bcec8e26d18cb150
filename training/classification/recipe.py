"""A recipe for a classifier: one short TOML file, every value typed, unknown keys refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from calibration.errors import ScalpScopeError
from device_app.manifest_parts import STAGES, Task
from training import recipes
from training.classification.augment import Augmentation
from training.classification.losses import LossWeights
from training.classification.network import ClassifierConfig
from training.classification.sampling import Sampling
from training.recipes import Section, TrainingSection

TABLE = "classifier"


class ClassifierSection(Section):
    """Which classifier; see `ClassifierConfig`."""

    task: Literal[Task.CONDITIONS, Task.SCALP_CONDITION, Task.HAIR_LOSS_STAGE] = Task.CONDITIONS
    backbone: str = "efficientnet_lite0"
    width: int = Field(224, ge=32)
    height: int = Field(224, ge=32)
    hsv: bool = False
    mask: bool = False
    pooling: Literal["mean", "lse"] = "mean"
    dropout: float = Field(0.2, ge=0, lt=1)
    drop_path: float = Field(0.0, ge=0, lt=1)
    pretrained: str = ""  # a package or a file of weights, see `pretrained`; "": the backbone starts from nothing

    def config(self, labels: tuple[str, ...]) -> ClassifierConfig:
        """The network for a set with these classes (() for the conditions)."""
        return ClassifierConfig(labels=labels, **self.model_dump(exclude={"pretrained"}))


class DataSection(Section):
    """What it is shown. What remains beside drawn and ungradable pictures are pictures of the data sets."""

    synthetic_share: float = Field(0.0, ge=0, le=1)  # drawn scalps with stated grades; without a data set all are
    ungradable_share: float = Field(0.0, ge=0, lt=1)  # half out of focus, half no scalp at all
    weak_severity: bool = False  # learn severities that nobody graded, but that follow from outlined areas
    sampling: Sampling = Sampling.ALGORITHM2
    augmentation: Augmentation = Augmentation.USUAL
    shares: tuple[float, float, float] = (0.7, 0.2, 0.1)  # training, validation, test, of a set without splits
    validation_images: int = Field(96, ge=1, le=2000)  # drawn ones, where there are any in training
    memory_mb: int = Field(1024, ge=0)  # pictures are kept decoded if they all fit; else each is read when it comes

    @field_validator("shares")
    @classmethod
    def _make_a_whole(cls, shares: tuple[float, float, float]) -> tuple[float, float, float]:
        if min(shares) < 0 or abs(sum(shares) - 1) > 1e-6 or not shares[0] or not shares[1]:
            raise ValueError("shares of training, validation and test are not negative, the first two not 0, sum 1")
        return shares


class ClassifierTraining(TrainingSection):
    """How its weights are found."""

    backbone_rate: float = Field(1.0, gt=0)  # the backbone learns at so much of the learning rate, the heads at all


class Recipe(Section):
    """Everything that decides what a run learns."""

    classifier: ClassifierSection = ClassifierSection()
    data: DataSection = DataSection()
    losses: LossWeights = LossWeights()
    training: ClassifierTraining


def recipe_names() -> list[str]:
    """The names of the classifiers' recipes that come with the package."""
    return recipes.recipe_names(TABLE)


def load_recipe(name_or_path: str | Path) -> Recipe:
    """Read a recipe by the name of a packaged one (``conditions``) or by path.

    Raises:
        ScalpScopeError: there is no such recipe, or it has an unknown key or a value out of range.
    """
    values, name = recipes.read_recipe(name_or_path, TABLE)
    return recipe_from_dict(values, name)


def recipe_from_dict(values: dict[str, Any], name: str) -> Recipe:
    """A checked recipe from its sections; ``name`` says in errors where they come from."""
    recipe = recipes.validate_recipe(Recipe, values, name)
    task, data = recipe.classifier.task, recipe.data
    if task is not Task.CONDITIONS and (data.synthetic_share or recipe.losses.location):
        raise ScalpScopeError(
            f"The recipe {name} is wrong: only conditions are drawn, and have places.",
            f"Leave out data.synthetic_share and losses.location for {task.value}.",
        )
    if task is Task.HAIR_LOSS_STAGE and recipe.classifier.mask:
        raise ScalpScopeError(
            f"The recipe {name} is wrong: an overview photograph has no hair mask.",
            f"Leave out classifier.mask for {task.value}.",
        )
    if data.synthetic_share + data.ungradable_share > 1:
        raise ScalpScopeError(
            f"The recipe {name} is wrong: data.synthetic_share and data.ungradable_share add up to more than 1.",
            "Lower one of them.",
        )
    return recipe


def check_labels(task: Task, labels: tuple[str, ...]) -> None:
    """Raise ScalpScopeError when a data set's classes are not what the task needs."""
    if task is Task.HAIR_LOSS_STAGE and labels != STAGES:
        raise ScalpScopeError(
            f"The stages of hair loss are {', '.join(STAGES)}, but the set has {', '.join(labels)}.",
            "Name the classes by their stage.",
        )
