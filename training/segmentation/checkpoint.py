"""The hair network on the disk: written by its runs, read by the export and the evaluation."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from calibration.errors import ScalpScopeError
from training.checkpoint import read_weights, save_atomically
from training.segmentation.u2net import WIDTHS, U2Net, U2NetConfig


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
    content = read_weights(path)
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
