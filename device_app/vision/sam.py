"""What SAM is asked and what is taken of its answer, where that is the same on the device and in training."""

from __future__ import annotations

import numpy as np

from device_app.manifest_parts import MASKS, PictureEntry
from device_app.vision.preprocess import Size, mask_to_input

MOST_LOGIT = 8.0
"""M̂ as a mask prompt: its logits are cut here, at a probability of 0.9997, beyond which a network's say little."""


def choose_mask(iou_predictions: np.ndarray) -> int:
    """Which of SAM's four masks to take: 1, 2 or 3, the one with the highest predicted IoU (ScalpVision, section 3.2).

    Args:
        iou_predictions: (4,) float32, finite. Mask 0 is for a single prompt and is never taken.
    """
    return 1 + int(np.argmax(iou_predictions[1:MASKS]))


def mask_prompt(probability: np.ndarray, size: Size, encoder: PictureEntry, out: Size) -> np.ndarray:
    """The coarse mask M̂ as SAM's `mask_input`.

    Args:
        probability: (h, w) float32 hair probability of the picture, from edge to edge, of any resolution; what is not
            finite counts as no hair.
        size: (width, height) of the picture.
        encoder: says how the picture lies in the encoder's input.
        out: (width, height) of `mask_input`.

    Returns:
        (1, 1, out height, out width) float32 logits, of no hair where the picture leaves the input free.
    """
    seen = mask_to_input(np.nan_to_num(probability, nan=0.0, posinf=0.0, neginf=0.0), size, encoder, out, 0.0)
    return prompt_logits(seen)[None, None]


def prompt_logits(probability: np.ndarray) -> np.ndarray:
    """Probabilities as the logits of a mask prompt, cut at `MOST_LOGIT`: float32 of any shape, in and out."""
    least = 1 / (1 + np.exp(MOST_LOGIT))
    seen = np.clip(probability, least, 1 - least)
    return np.asarray(np.log(seen / (1 - seen)), np.float32)
