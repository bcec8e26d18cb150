"""From a picture to a network's input, exactly as the bundle's manifest says. Training uses this same function."""

from __future__ import annotations

import cv2
import numpy as np

from device_app.bundle import ColourOrder, ModelEntry


def to_network_input(image: np.ndarray, model: ModelEntry) -> np.ndarray:
    """Resize (`ResizeRule.STRETCH`) and normalise a picture.

    Args:
        image: (H, W, 3) uint8 RGB, any size from 1x1.
        model: says the input size, colour order, mean and std (on values of 0..1).

    Returns:
        (1, 3, height, width) float32, C-contiguous, channels in the model's colour order.
    """
    width, height = model.input_size
    if image.shape[:2] != (height, width):
        # Area averaging where the picture shrinks, so that thin hairs fade instead of breaking up.
        shrinks = image.shape[0] >= height and image.shape[1] >= width
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    channels = (0, 1, 2) if model.colour_order is ColourOrder.RGB else (2, 1, 0)
    tensor = np.empty((1, 3, height, width), np.float32)
    for place, channel in enumerate(channels):
        scale = 1.0 / (255.0 * model.std[place])
        # One pass per plane: bytes in, normalised floats out, nothing in between.
        table = (np.arange(256, dtype=np.float32) * np.float32(scale)) - np.float32(
            model.mean[place] / model.std[place]
        )
        cv2.LUT(cv2.extractChannel(image, channel), table, dst=tensor[0, place])
    return tensor
