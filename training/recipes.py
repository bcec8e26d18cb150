"""Recipes: short commented TOML files in ``configs``, told apart by the table that says what network they train."""

from __future__ import annotations

import sys
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from calibration.errors import ScalpScopeError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

AnyRecipe = TypeVar("AnyRecipe", bound=BaseModel)


class Section(BaseModel):
    """A table of a recipe, or a whole one: every value typed, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TrainingSection(Section):
    """How the weights are found."""

    seed: int = Field(1, ge=0)
    steps: int = Field(ge=1)
    batch_size: int = Field(ge=1)  # per process
    optimizer: Literal["adam", "adamw"] = "adam"
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    schedule: Literal["constant", "cosine", "cosine_restarts"] = "constant"
    warmup_steps: int = Field(0, ge=0)
    restart_steps: int = Field(0, ge=0)  # length of the first cosine of `cosine_restarts`
    restart_factor: int = Field(1, ge=1)  # each is so many times as long as the one before
    clip_norm: float = Field(0.0, ge=0)  # 0: gradients are not clipped
    dice_share: float = Field(0.0, ge=0)  # the hair network's loss alone has it
    ema_decay: float = Field(0.0, ge=0, lt=1)  # 0: the weights themselves are kept, not their running mean
    precision: Literal["fp32", "bf16"] = "fp32"
    workers: int = Field(1, ge=0)  # processes that make samples
    log_every: int = Field(20, ge=1)
    validate_every: int = Field(500, ge=1)
    patience: int = Field(0, ge=0)  # validations in a row without a better score that end the run; 0: none do
    checkpoint_every: int = Field(500, ge=1)
    checkpoint_minutes: float = Field(5.0, gt=0)  # whichever comes first

    @model_validator(mode="after")
    def _restarts_have_a_length(self) -> TrainingSection:
        if self.schedule == "cosine_restarts" and not self.restart_steps:
            raise ValueError("the schedule cosine_restarts needs restart_steps")
        return self


def recipe_names(table: str) -> list[str]:
    """The names of the recipes that come with the package and have this table (``network``, ``student``)."""
    files = [item for item in (resources.files("training") / "configs").iterdir() if item.name.endswith(".toml")]
    return sorted(item.name[:-5] for item in files if table in tomllib.loads(item.read_text(encoding="utf-8")))


def read_recipe(name_or_path: str | Path, table: str) -> tuple[dict[str, Any], str]:
    """The content of a recipe, and where it stands, by the name of a packaged one or by path.

    A recipe may name another as its ``base``: it then says only what is different, key by key.

    Args:
        name_or_path: ``default``, or the path of a .toml file.
        table: see `recipe_names`.

    Raises:
        ScalpScopeError: there is no such recipe, or it is no TOML, or its base has a base itself.
    """
    values, name = _read_one(name_or_path, table)
    if "base" not in values:
        return values, name
    based, base_name = _read_one(str(values.pop("base")), table)
    if "base" in based:
        raise ScalpScopeError(f"{base_name}, the base of {name}, has a base itself.", "Name that one as the base.")
    for key, section in values.items():
        both_are_tables = isinstance(section, dict) and isinstance(based.get(key), dict)
        based[key] = {**based[key], **section} if both_are_tables else section
    return based, name


def _read_one(name_or_path: str | Path, table: str) -> tuple[dict[str, Any], str]:
    path = Path(name_or_path)
    if path.suffix != ".toml":
        known = recipe_names(table)
        if str(name_or_path) not in known:
            raise ScalpScopeError(
                f"There is no recipe named '{name_or_path}'.",
                f"Use one of {', '.join(known)}, or the path of a .toml file.",
            )
        path = Path(str(resources.files("training") / "configs" / f"{name_or_path}.toml"))
    try:
        return tomllib.loads(path.read_text(encoding="utf-8")), str(path)
    except OSError as error:
        raise ScalpScopeError(f"The recipe {path} cannot be read: {error.strerror}.", "Check the path.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ScalpScopeError(f"{path} is no valid TOML: {error}.", "Correct the file.") from error


def validate_recipe(kind: type[AnyRecipe], values: dict[str, Any], name: str) -> AnyRecipe:
    """A recipe of this kind from its tables; ``name`` says in errors where they come from.

    Raises:
        ScalpScopeError: a key is unknown or a value out of range; it names them all.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(str(k) for k in e['loc'])}: {e['msg']}" for e in error.errors())
        raise ScalpScopeError(f"The recipe {name} is wrong: {problems}.", "Correct these keys.") from error
