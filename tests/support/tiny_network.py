"""A real U²-Net with a few channels, trained for a moment to call dark pixels hair: for tests of the export."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from tests.support.tiny_bundle import golden_picture
from training.data.backgrounds import BackgroundPool
from training.segmentation.checkpoint import save_network
from training.segmentation.dataset import normalise
from training.segmentation.pseudo_images import PseudoImageRecipe, render_pseudo_image
from training.segmentation.u2net import U2Net, U2NetConfig

WIDTH, HEIGHT = 128, 96
CONFIG = U2NetConfig(encoder=((8, 8),) * 6, decoder=((8, 8),) * 5, fold=2)


def tiny_picture(seed: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Skin with dark strokes, (height, width, 3) uint8 RGB."""
    return cv2.resize(golden_picture(seed), (width, height), interpolation=cv2.INTER_AREA)


def train_tiny_network(steps: int = 90) -> U2Net:
    """In evaluation mode; always the same weights on one machine."""
    torch.manual_seed(0)
    network = U2Net(CONFIG).train()
    # Pseudo-images as well: the goldens of an export are such.
    recipe, pool = PseudoImageRecipe(width=WIDTH, height=HEIGHT, hairless_share=0.0), BackgroundPool()
    drawn = [render_pseudo_image(seed, recipe, pool).image for seed in range(3)]
    pictures = [tiny_picture(seed) for seed in range(3)] + drawn
    images = torch.stack([normalise(picture) for picture in pictures])
    masks = torch.stack([torch.from_numpy((picture.mean(2) < 110).astype(np.float32))[None] for picture in pictures])
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    for _ in range(steps):
        loss = sum(torch.nn.functional.binary_cross_entropy_with_logits(m, masks) for m in network(images))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


def save_tiny_checkpoint(network: U2Net, path: Path) -> Path:
    save_network(network, path, {}, 60)
    return path
