"""Recipes: the packaged ones, and what is said about wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from calibration.errors import ScalpScopeError
from training.segmentation.pseudo_images import PseudoImageRecipe
from training.segmentation.recipe import load_recipe, recipe_names

MINIMAL = "[training]\nsteps = 3\nbatch_size = 2\n"


def _write(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", recipe_names())
def test_packaged_recipes_load(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.network.config().fold == recipe.network.fold


def test_the_paper_recipe_is_the_papers() -> None:
    recipe = load_recipe("paper_full")
    assert recipe.image_recipe() == PseudoImageRecipe.paper()
    assert (recipe.network.variant, recipe.network.fold) == ("full", 1)
    assert (recipe.data.images, recipe.data.resize, recipe.data.crop) == (3000, 320, 288)
    training = recipe.training
    assert (training.optimizer, training.learning_rate, training.batch_size) == ("adam", 1e-3, 32)
    assert training.schedule == "constant"
    assert training.steps * training.batch_size == 100 * recipe.data.images
    assert (training.ema_decay, training.dice_share, training.clip_norm, recipe.data.thin_hair_weight) == (0, 0, 0, 0)


def test_defaults_fill_what_a_recipe_leaves_out(tmp_path: Path) -> None:
    recipe = load_recipe(_write(tmp_path, MINIMAL))
    assert recipe.training.steps == 3
    assert recipe.image_recipe() == PseudoImageRecipe()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (MINIMAL + "stpes = 4\n", "training.stpes"),
        (MINIMAL + "[network]\nvariant = 'huge'\n", "huge"),
        (MINIMAL + "[data]\ncorp = 4\n", "data.corp"),
        (MINIMAL + "[pseudo_images]\nwidht = 4\n", "widht"),
        (MINIMAL + "[optimiser]\n", "optimiser"),
        ("[training]\nsteps = 0\nbatch_size = 2\n", "training.steps"),
        ("[training]\nsteps = 3\n", "training.batch_size"),
        ("[training\n", "TOML"),
    ],
)
def test_a_wrong_recipe_is_refused_and_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ScalpScopeError, match=said):
        load_recipe(_write(tmp_path, text))


def test_missing_recipes_name_the_packaged_ones(tmp_path: Path) -> None:
    with pytest.raises(ScalpScopeError, match="default"):
        load_recipe("nonesuch")
    with pytest.raises(ScalpScopeError, match="cannot be read"):
        load_recipe(tmp_path / "nonesuch.toml")
