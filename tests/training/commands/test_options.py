"""A recipe or ``--resume``, not both."""

from __future__ import annotations

from pathlib import Path

import pytest

from calibration.errors import ScalpScopeError
from training.commands.options import choose_recipe
from training.segmentation.recipe import Recipe, load_recipe, recipe_from_dict

UNCHANGED = {"steps": None, "batch_size": None, "seed": None}


def _choose(resume: bool, config: str | None, changes: dict[str, int | None], **only_new: object) -> Recipe:
    options = {f"--{name.replace('_', '-')}": value for name, value in only_new.items()}
    return choose_recipe(Path("run"), resume, config, "default", changes, load_recipe, recipe_from_dict, options)


def test_what_is_given_takes_the_place_of_the_recipes_own() -> None:
    own, changed = load_recipe("default"), _choose(False, "default", {**UNCHANGED, "steps": 7, "seed": 0})
    assert (changed.training.steps, changed.training.seed) == (7, 0)
    assert changed.training.batch_size == own.training.batch_size
    assert changed.data == own.data


@pytest.mark.parametrize(
    ("config", "changes", "start_from"),
    [("default", UNCHANGED, None), (None, {**UNCHANGED, "seed": 0}, None), (None, UNCHANGED, "other.pt")],
)
def test_a_resumed_run_takes_none_of_it(
    config: str | None, changes: dict[str, int | None], start_from: str | None
) -> None:
    with pytest.raises(ScalpScopeError, match="own recipe") as caught:
        _choose(True, config, changes, start_from=start_from)
    assert "Leave out --config, --start-from, --steps, --batch-size and --seed." in str(caught.value)


def test_a_new_run_needs_a_recipe() -> None:
    with pytest.raises(ScalpScopeError, match="Add --config default, for one"):
        _choose(False, None, UNCHANGED)


def test_a_resumed_run_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ScalpScopeError, match="no file"):
        choose_recipe(tmp_path, True, None, "default", UNCHANGED, load_recipe, recipe_from_dict)
