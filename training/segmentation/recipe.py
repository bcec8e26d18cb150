"""A training recipe: one short TOML file, every value typed, unknown keys refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from calibration.errors import ScalpScopeError
from training import recipes
from training.recipes import Section, TrainingSection
from training.segmentation.pseudo_images import PseudoImageRecipe
from training.segmentation.u2net import WIDTHS, U2NetConfig

_TABLE = "network"


class NetworkSection(Section):
    """Which U²-Net."""

    variant: str = "slim"  # a table of widths: full, lite (the public ones) or slim (ours)
    fold: int = Field(1, ge=1, le=4)  # 2: work at half the resolution, see and answer every pixel

    def config(self) -> U2NetConfig:
        return U2NetConfig.named(self.variant, self.fold)


class DataSection(Section):
    """What happens between a rendered pseudo-image and the network."""

    images: int = Field(0, ge=0)  # size of a fixed set, shuffled every epoch; 0: never the same image twice
    resize: int = Field(0, ge=0)  # stretch to this square before cropping; 0: leave as rendered
    crop: int = Field(0, ge=0)  # side of the random square given to the network; 0: the whole image
    mirror: bool = True  # mirror at random, left-right and up-down
    procedural_share: float = Field(0.3, ge=0, le=1)  # backgrounds drawn from nothing, the rest cut from real pictures
    validation_images: int = Field(64, ge=1)  # always the same, from seeds no training image has
    validation_share: float = Field(0.1, ge=0, lt=1)  # of the real pictures, kept for validation backgrounds only
    thin_hair_weight: float = Field(0.0, ge=0)  # extra weight of hair pixels thinner than thin_hair_px
    thin_hair_px: int = Field(5, ge=1)


class Recipe(Section):
    """Everything that decides what a run learns; ``pseudo_images`` holds the keys of ``PseudoImageRecipe``."""

    network: NetworkSection = NetworkSection()
    data: DataSection = DataSection()
    pseudo_images: dict[str, Any] = Field(default_factory=dict)
    training: TrainingSection

    def image_recipe(self) -> PseudoImageRecipe:
        """The drawing recipe; raises ScalpScopeError naming an unknown key or a bad value."""
        return PseudoImageRecipe.from_dict(self.pseudo_images)


def recipe_names() -> list[str]:
    """The names of the hair network's recipes that come with the package."""
    return recipes.recipe_names(_TABLE)


def load_recipe(name_or_path: str | Path) -> Recipe:
    """Read a recipe by the name of a packaged one (``default``) or by path.

    Raises:
        ScalpScopeError: there is no such recipe, or it has an unknown key or a value out of range.
    """
    values, name = recipes.read_recipe(name_or_path, _TABLE)
    return recipe_from_dict(values, name)


def recipe_from_dict(values: dict[str, Any], name: str) -> Recipe:
    """A checked recipe from its sections; ``name`` says in errors where they come from."""
    recipe = recipes.validate_recipe(Recipe, values, name)
    if recipe.network.variant not in WIDTHS:
        raise ScalpScopeError(
            f"The recipe {name} is wrong: network.variant is '{recipe.network.variant}'.",
            f"Use one of: {', '.join(WIDTHS)}.",
        )
    recipe.image_recipe()
    return recipe
