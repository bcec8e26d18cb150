"""What a run leaves on the disk: `checkpoint.pt` to go on from, `weights.pt` and `best.pt` to use."""

from __future__ import annotations

import os
import pickle
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from calibration.errors import ScalpScopeError
from training.segmentation.u2net import WIDTHS, U2Net, U2NetConfig

CHECKPOINT = "checkpoint.pt"
WEIGHTS = "weights.pt"
BEST = "best.pt"


@dataclass(frozen=True)
class RunState:
    """All a resumed run needs to go on as if it had never stopped.

    step: steps done.  best_dice: of the validation so far.  recipe: sections of the recipe, as plain values.
    model, ema, optimizer, scheduler: state dictionaries (ema None where the recipe keeps none).
    rng: torch's own random state.
    backgrounds: digest of the patches it was trained on.
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


def save_atomically(value: Any, path: Path) -> None:
    """``torch.save`` that leaves either the old file or the whole new one, also when killed in between."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        torch.save(value, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def save_state(state: RunState, path: Path) -> None:
    """Write everything a resumed run needs, whole or not at all."""
    save_atomically({name: getattr(state, name) for name in state.__dataclass_fields__}, path)


def load_state(path: Path) -> RunState:
    """Read a ``checkpoint.pt``; raises ScalpScopeError when it is missing, damaged or something else."""
    try:
        return RunState(**_load(path))
    except TypeError as error:
        raise ScalpScopeError(
            f"{path} is no checkpoint of a training run.", f"Give the {CHECKPOINT} of a run folder."
        ) from error


def save_network(network: U2Net, path: Path, recipe: dict[str, Any], step: int) -> None:
    """The weights alone with what is needed to rebuild the network: what `load_network` and the export read."""
    weights = {name: value.detach().cpu() for name, value in network.state_dict().items()}
    save_atomically({"network": asdict(network.config), "weights": weights, "recipe": recipe, "step": step}, path)


def load_network(path: Path) -> U2Net:
    """A network in evaluation mode from any file that holds one.

    Args:
        path: ``weights.pt``, ``best.pt`` or ``checkpoint.pt`` of a run (of the last, the running mean where there is
            one), or a public ``u2net.pth`` / ``u2netp.pth``.

    Raises:
        ScalpScopeError: the file is missing, damaged, or holds no U²-Net.
    """
    content = _load(path)
    if "network" in content:
        config = U2NetConfig(**content["network"])
        weights = content["weights"]
    elif "recipe" in content:
        section = content["recipe"]["network"]
        config = U2NetConfig.named(section["variant"], section["fold"])
        weights = _without_wrapper(content["ema"] or content["model"])
    else:
        config, weights = _public_config(content, path), content
    network = U2Net(config)
    try:
        network.load_state_dict(weights)
    except (RuntimeError, TypeError) as error:
        raise ScalpScopeError(f"{path} does not fit its network: {error}.", "Give another file.") from error
    return network.eval()


def _without_wrapper(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Drop what averaging and data-parallel wrappers put round the names."""
    return {name.removeprefix("module."): value for name, value in weights.items() if name != "n_averaged"}


def _public_config(weights: dict[str, Any], path: Path) -> U2NetConfig:
    """Which public table a bare state dictionary belongs to, told by the width of its first convolution pair."""
    first = weights.get("stage2.rebnconvin.conv_s1.weight")
    for variant in ("full", "lite"):
        if first is not None and first.shape[0] == WIDTHS[variant][0][1][1]:
            return U2NetConfig.named(variant)
    raise ScalpScopeError(f"{path} holds no U²-Net.", "Give weights of a training run, u2net.pth or u2netp.pth.")


def _load(path: Path) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ScalpScopeError(f"There is no file {path}.", "Check the path.") from error
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ScalpScopeError(f"{path} cannot be read as weights: {error}.", "Give another file.") from error
    if not isinstance(content, dict):
        raise ScalpScopeError(f"{path} holds no weights.", "Give another file.")
    return content
