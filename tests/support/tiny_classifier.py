"""A classifier, its recipes and labelled pictures, small enough to be made and taught in a test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from device_app.images import write_png_atomically
from device_app.manifest_parts import Task
from training.classification.network import Classifier, ClassifierConfig

BACKBONE = "test_efficientnet"  # timm's own for tests
WIDTH, HEIGHT = 64, 32

CONFIG = ClassifierConfig(Task.CONDITIONS, BACKBONE, HEIGHT, WIDTH, pooling="lse", dropout=0.2)

RECIPE = f"""
[classifier]
backbone = "{BACKBONE}"
width = {WIDTH}
height = {HEIGHT}
pooling = "lse"
drop_path = 0.1
[data]
synthetic_share = 0.3
ungradable_share = 0.2
validation_images = 4
[losses]
quality = 1.0
location = 1.0
[training]
steps = 6
batch_size = 4
optimizer = "adamw"
learning_rate = 1e-3
backbone_rate = 0.5
ema_decay = 0.9
log_every = 1
validate_every = 3
checkpoint_every = 2
workers = 1
"""

CLASSES_RECIPE = f"""
[classifier]
task = "scalp_condition"
backbone = "{BACKBONE}"
width = {WIDTH}
height = {HEIGHT}
hsv = true
[data]
ungradable_share = 0.2
validation_images = 4
[losses]
quality = 1.0
[training]
steps = 4
batch_size = 4
log_every = 1
validate_every = 2
workers = 0
"""


def make_classifier(config: ClassifierConfig = CONFIG, seed: int = 0) -> Classifier:
    """One in evaluation mode; the same seed gives the same weights."""
    torch.manual_seed(seed)
    return Classifier(config).eval()


def write_conditions_table(folder: Path, count: int = 20, seed: int = 0) -> Path:
    """A set in the layout csv: pictures of noise, each of its own patient, half of them with dandruff."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["image,patient,dandruff,sebum,erythema"]
    for number in range(count):
        write_png_atomically(folder / f"{number}.png", _noise(rng, number))
        lines.append(f"{number}.png,p{number},{number % 2 * 2},,{number // 2 % 2}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def write_class_folders(folder: Path, classes: tuple[str, ...] = ("alopecia", "healthy"), each: int = 10) -> Path:
    """A set in the layout folders: pictures of noise."""
    rng = np.random.default_rng(1)
    for place, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number in range(each):
            write_png_atomically(folder / name / f"{name}{number}.png", _noise(rng, place))
    return folder


def _noise(rng: np.random.Generator, number: int) -> np.ndarray:
    coarse = rng.integers(0, 256, (6, 8, 3)).astype(np.uint8)
    picture = np.kron(coarse, np.ones((10, 10, 1), np.uint8))
    picture[..., 0] = 200 if number % 2 else 60
    return picture
