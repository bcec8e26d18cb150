"""Files of weights, whole or not there at all, and `checkpoint.pt`, which a run goes on from."""

from __future__ import annotations

import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from calibration.errors import ScalpScopeError

CHECKPOINT = "checkpoint.pt"
"""In a run's folder: all it needs to go on."""
WEIGHTS = "weights.pt"
"""In a run's folder: the last weights, to use."""
BEST = "best.pt"
"""In a run's folder: the weights that validation found best."""


@dataclass(frozen=True)
class RunState:
    """All a resumed run needs to go on as if it had never stopped.

    step: steps done.  best_dice: the best validation score so far; of a student another score than Dice.
    recipe: its sections, as plain values.
    model, ema, optimizer, scheduler: state dictionaries (ema None where the recipe keeps none).
    rng: torch's own random state.
    backgrounds: digest of what it is trained on.
    stale: validations in a row without a better score.
    device_rng: random state of the GPU, if it runs on one.
    """

    step: int
    best_dice: float
    recipe: dict[str, Any]
    model: dict[str, Any]
    ema: dict[str, Any] | None
    optimizer: dict[str, Any]
    scheduler: dict[str, Any]
    rng: Tensor
    backgrounds: str
    stale: int = 0
    device_rng: Tensor | None = None


def save_atomically(value: Any, path: Path) -> None:
    """``torch.save`` that leaves either the old file or the whole new one, also when killed in between."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        torch.save(value, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def read_weights(path: Path) -> dict[str, Any]:
    """The content of a file that holds weights, on the CPU; no code in it is run.

    Raises:
        ScalpScopeError: the file is missing, damaged, or holds no dictionary.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ScalpScopeError(f"There is no file {path}.", "Check the path.") from error
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ScalpScopeError(f"{path} cannot be read as weights: {error}.", "Give another file.") from error
    if not isinstance(content, dict):
        raise ScalpScopeError(f"{path} holds no weights.", "Give another file.")
    return content


def save_state(state: RunState, path: Path) -> None:
    """Write everything a resumed run needs, whole or not at all."""
    save_atomically({name: getattr(state, name) for name in state.__dataclass_fields__}, path)


def load_state(path: Path) -> RunState:
    """Read a ``checkpoint.pt``; raises ScalpScopeError when it is missing, damaged or something else."""
    try:
        return RunState(**read_weights(path))
    except TypeError as error:
        raise ScalpScopeError(
            f"{path} is no checkpoint of a training run.", f"Give the {CHECKPOINT} of a run folder."
        ) from error
