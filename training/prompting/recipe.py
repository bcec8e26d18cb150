"""A recipe for a student: one short TOML file, every value typed, unknown keys refused."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from training import recipes
from training.prompting.losses import LossWeights
from training.prompting.sampling import PromptShares
from training.prompting.student import StudentConfig
from training.recipes import Section, TrainingSection
from training.segmentation.pseudo_images import PseudoImageRecipe

_TABLE = "student"


class StudentSection(Section):
    """Which student; see `StudentConfig`."""

    backbone: str = "resnet18d"
    backbone_options: dict[str, Any] = Field(default_factory=dict)
    width: int = Field(640, ge=64)
    height: int = Field(480, ge=64)
    fine_channels: int = Field(16, ge=0)
    mlp_dim: int = Field(256, ge=16)
    frequencies: float = Field(4.0, gt=0)

    def config(self) -> StudentConfig:
        return StudentConfig(**self.model_dump())


class ExamplesSection(Section):
    """What it is shown."""

    count: int = Field(4000, ge=1)  # pictures drawn once and kept on the disk, 1.5 MB each at 640x480
    validation: int = Field(64, ge=1)
    validation_share: float = Field(0.1, ge=0, lt=1)  # of the real pictures, kept for validation backgrounds only
    procedural_share: float = Field(0.3, ge=0, le=1)
    crop: int = Field(0, ge=0, multiple_of=16)  # side of the square given to the student; 0: the whole picture
    most_points: int = Field(128, ge=1)  # per sample
    thin_hair_weight: float = Field(1.0, ge=0)
    thin_hair_px: int = Field(5, ge=1)


class Recipe(Section):
    """Everything that decides what a run learns."""

    student: StudentSection = StudentSection()
    examples: ExamplesSection = ExamplesSection()
    prompts: PromptShares = PromptShares()
    losses: LossWeights = LossWeights()
    pseudo_images: dict[str, Any] = Field(default_factory=dict)
    training: TrainingSection

    def image_recipe(self) -> PseudoImageRecipe:
        """The drawing recipe, at the size of the student's input."""
        size = {"width": self.student.width, "height": self.student.height}
        return PseudoImageRecipe.from_dict({**size, **self.pseudo_images})


def load_recipe(name_or_path: str) -> Recipe:
    """Read a recipe by the name of a packaged one (``student``) or by path.

    Raises:
        ScalpScopeError: there is no such recipe, or it has an unknown key or a value out of range.
    """
    values, name = recipes.read_recipe(name_or_path, _TABLE)
    return recipe_from_dict(values, name)


def recipe_from_dict(values: dict[str, Any], name: str) -> Recipe:
    """A checked recipe from its sections; ``name`` says in errors where they come from."""
    recipe = recipes.validate_recipe(Recipe, values, name)
    recipe.student.config()
    recipe.image_recipe()
    return recipe
