"""SimSiam's loss against the paper's algorithm, its views, and a run: resumed to the same weights, which then serve."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.errors import ScalpScopeError
from tests.support.tiny_classifier import BACKBONE, HEIGHT, WIDTH, write_class_folders
from training.checkpoint import load_state
from training.classification.network import feature_map, make_backbone
from training.classification.pretrain import (
    Frames,
    PretrainingSection,
    SimSiam,
    collate,
    pretrain,
    pretrain_recipe_from_dict,
    simsiam_loss,
    view_of,
)
from training.classification.pretrained import load_pretrained

SECTION = PretrainingSection(backbone=BACKBONE, width=WIDTH, height=HEIGHT, features=16, hidden=8)
RECIPE = pretrain_recipe_from_dict(
    {
        "pretraining": SECTION.model_dump(),
        "training": {"steps": 4, "batch_size": 4, "workers": 0, "log_every": 1, "validate_every": 2},
    },
    "test",
)


def _negative_cosine(predictions: np.ndarray, projections: np.ndarray) -> float:
    """D of the paper's Algorithm 1."""
    p = predictions / np.linalg.norm(predictions, axis=1, keepdims=True)
    z = projections / np.linalg.norm(projections, axis=1, keepdims=True)
    return float(-(p * z).sum(axis=1).mean())


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6))
def test_the_loss_is_that_of_algorithm_1(seed: int) -> None:
    rng = np.random.default_rng(seed)
    z1, z2, p1, p2 = rng.normal(size=(4, 5, 7))
    expected = _negative_cosine(p1, z2) / 2 + _negative_cosine(p2, z1) / 2
    projections = torch.from_numpy(np.concatenate([z1, z2])).requires_grad_()
    predictions = torch.from_numpy(np.concatenate([p1, p2])).requires_grad_()
    loss = simsiam_loss(projections, predictions)
    assert float(loss.detach()) == pytest.approx(expected)
    loss.backward()
    assert projections.grad is None  # the gradient is stopped
    assert predictions.grad is not None and predictions.grad.any()


def test_each_view_goes_through_on_its_own() -> None:
    torch.manual_seed(0)
    network = SimSiam(SECTION)
    one, two = torch.rand(2, 4, 3, HEIGHT, WIDTH)
    together = network(torch.cat([one, two]))[0][:4]
    assert torch.allclose(together, network(torch.cat([one, 5 * two]))[0][:4], atol=1e-5)


def test_views_are_parts_of_the_frame_and_differ() -> None:
    frame = np.zeros((60, 80, 3), np.uint8)
    frame[..., 0] = np.arange(80) * 3
    views = [view_of(frame, np.random.default_rng(seed), (32, 24), 0.3) for seed in range(20)]
    assert all(view.shape == (24, 32, 3) and view.dtype == np.uint8 for view in views)
    assert len({view.tobytes() for view in views}) == 20


def test_a_resumed_run_ends_with_the_same_weights_which_a_backbone_takes(tmp_path: Path) -> None:
    data = write_class_folders(tmp_path / "data")
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert pretrain(RECIPE, [data], whole, cpu=True).finished
    assert pretrain(RECIPE, [data], stopped, minutes=0, cpu=True).step == 1
    assert pretrain(RECIPE, [data], stopped, resume=True, cpu=True).finished
    one, two = (load_state(run / "checkpoint.pt") for run in (whole, stopped))
    assert all(torch.equal(one.model[name], two.model[name]) for name in one.model)

    backbone = make_backbone(BACKBONE, 3, (HEIGHT, WIDTH)).eval()
    load_pretrained(backbone, BACKBONE, str(whole / "weights.pt"), 3)
    trained = SimSiam(SECTION).eval()
    trained.load_state_dict(one.model)
    picture = torch.rand(1, 3, HEIGHT, WIDTH)
    assert torch.equal(feature_map(backbone, picture), feature_map(trained.backbone, picture))
    with pytest.raises(ScalpScopeError, match="holds a pretrained"):
        load_pretrained(backbone, "resnet18", str(whole / "weights.pt"), 3)


def test_held_out_frames_are_always_seen_alike_and_a_bad_one_is_named(tmp_path: Path) -> None:
    paths = sorted(write_class_folders(tmp_path / "data").rglob("*.png"))
    held, learned = Frames(paths, SECTION, None), Frames(paths, SECTION, 1)
    assert torch.equal(held[3], held[3])
    assert not torch.equal(learned[3], learned[3 + len(paths)])
    views = collate([learned[0], learned[1]])
    assert isinstance(views, torch.Tensor) and views.shape == (4, 3, HEIGHT, WIDTH)
    assert torch.equal(views[::2], learned[0])
    unkept = Frames(paths, SECTION.model_copy(update={"memory_mb": 0}), None)
    paths[0].write_bytes(b"")
    assert isinstance(collate([unkept[0]]), ScalpScopeError)
    with pytest.raises(ScalpScopeError, match="too few pictures"):
        pretrain(RECIPE, [tmp_path / "none"], tmp_path / "run", cpu=True)
