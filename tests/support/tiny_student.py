"""A student that is small enough to be made, run and taught in a test."""

from __future__ import annotations

from pathlib import Path

import torch

from training.prompting.student import PATCH, Prompts, Student, StudentConfig, save_student

WIDTH, HEIGHT = 96, 64

TINY = StudentConfig(
    backbone="resnet18d",
    backbone_options={"channels": [8, 12, 16, 16], "stem_width": 8},
    width=WIDTH,
    height=HEIGHT,
    fine_channels=4,
    mlp_dim=32,
)

RECIPE = """
[student]
backbone = "resnet18d"
backbone_options = { channels = [8, 12, 16, 16], stem_width = 8 }
width = 96
height = 64
fine_channels = 4
mlp_dim = 32
[examples]
count = 4
validation = 2
crop = 48
most_points = 24
[training]
steps = 6
batch_size = 2
optimizer = "adamw"
schedule = "cosine"
warmup_steps = 2
clip_norm = 1.0
ema_decay = 0.9
log_every = 1
validate_every = 3
checkpoint_every = 2
workers = 1
"""


def make_student(config: StudentConfig = TINY, seed: int = 0) -> Student:
    """One in evaluation mode; the same seed gives the same weights."""
    torch.manual_seed(seed)
    return Student(config).eval()


def save_tiny_student(path: Path) -> Path:
    """A file as a run leaves it."""
    save_student(make_student(), path, {}, 0)
    return path


def make_prompts(points: int, height: int = HEIGHT, width: int = WIDTH, count: int = 1, seed: int = 0) -> Prompts:
    """Random prompts of `count` pictures, with a mask prompt."""
    random = torch.Generator().manual_seed(seed)
    return Prompts(
        torch.rand((count, points, 2), generator=random) * torch.tensor([width, height]),
        torch.randint(0, 2, (count, points), generator=random).float(),
        torch.randn((count, 1, 4 * height // PATCH, 4 * width // PATCH), generator=random),
        torch.ones(count),
    )
