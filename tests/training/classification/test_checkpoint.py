"""A classifier comes back from the disk as it went there, calibrated or not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from calibration.errors import ScalpScopeError
from device_app.manifest_classifiers import Calibration, Limits
from device_app.manifest_parts import Task
from tests.support.tiny_classifier import CONFIG, make_classifier
from training.classification.checkpoint import (
    CALIBRATED,
    Judgement,
    load_calibrated,
    load_classifier,
    save_calibrated,
    save_classifier,
)
from training.classification.network import ClassifierConfig, Unlikeness

CLASSES = ClassifierConfig(Task.SCALP_CONDITION, CONFIG.backbone, 32, 64, True, True, ("healthy", "psoriasis"))


def _judgement(conditions: bool) -> Judgement:
    unlikeness = Unlikeness(5, components=2)
    unlikeness.fit(torch.randn(20, 5))
    calibration = Calibration(
        presence_temperature=(1, 2, 3), presence_bias=(0.5, 0, -1), severity_temperature=(0.7, 1, 1)
    )
    limits = Limits(
        darkest=20, brightest=240, most_out_of_focus=0.6, most_no_scalp=0.5, farthest=3.0, rule="one of a test"
    )
    claimed = (True, True, False) if conditions else None
    return Judgement(
        calibration if conditions else None, None if conditions else 1.7, limits, unlikeness, claimed, {"f1": 0.9}, "it"
    )


@pytest.mark.parametrize("config", [CONFIG, CLASSES])
def test_a_classifier_comes_back_as_it_was(config: ClassifierConfig, tmp_path: Path) -> None:
    network = make_classifier(config)
    picture = torch.rand(2, config.planes, 32, 64)
    save_classifier(network, tmp_path / "best.pt", {"a": 1}, 7)
    judgement = _judgement(config is CONFIG)
    save_calibrated(network, judgement, tmp_path / CALIBRATED, {"a": 1})
    again, judged, recipe = load_calibrated(tmp_path)
    assert recipe == {"a": 1}
    for other in (load_classifier(tmp_path / "best.pt"), load_classifier(tmp_path / CALIBRATED), again):
        assert other.config == config and not other.training
        assert all(torch.equal(one, two) for one, two in zip(other(picture), network(picture), strict=True))
    features = torch.randn(3, 5)
    assert torch.equal(judged.unlikeness(features), judgement.unlikeness(features))
    for name in ("calibration", "temperature", "limits", "claimed", "quality", "trained_on"):
        assert getattr(judged, name) == getattr(judgement, name)


def test_other_files_are_refused(tmp_path: Path) -> None:
    save_classifier(make_classifier(), tmp_path / "best.pt", {}, 0)
    with pytest.raises(ScalpScopeError, match="not calibrated"):
        load_calibrated(tmp_path / "best.pt")
    with pytest.raises(ScalpScopeError, match="no file"):
        load_calibrated(tmp_path)
    torch.save({"weights": {}}, tmp_path / "other.pt")
    with pytest.raises(ScalpScopeError, match="holds no classifier"):
        load_classifier(tmp_path / "other.pt")
    content = torch.load(tmp_path / "best.pt")
    content["weights"].popitem()
    torch.save(content, tmp_path / "less.pt")
    with pytest.raises(ScalpScopeError, match="does not fit its network"):
        load_classifier(tmp_path / "less.pt")
