"""Predictions of a network that was never there: logits of a wanted quality beside a truth that is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from device_app.vision.conditions import Quality
from training.classification.predictions import Predictions


def made_up_predictions(
    count: int,
    seed: int = 0,
    skill: float = 2.0,
    copies: int = 1,
    kind: str = "real",
    quality: Quality = Quality.GRADABLE,
    doubt: float = -4.0,
    distance: float = 1.0,
    attributes: Sequence[Mapping[str, str]] | None = None,
) -> Predictions:
    """Of the conditions.

    Args:
        count: of originals.
        seed: of the draw.
        skill: how far the logits of right answers lie above the others; 0: the network guesses.
        copies: of each original, all with the same truth and the same answers.
        kind, quality: what the pictures are.
        doubt: logit of "out of focus" and "no scalp" over "gradable", about.
        distance: about, from the training pictures.
        attributes: of each original.
    """
    rng = np.random.default_rng(seed)
    severity = rng.integers(0, 4, (count, 3))
    presence = (severity > 0).astype(np.int8)
    presence_logits = skill * (2.0 * presence - 1) + rng.normal(0, 1, (count, 3))
    severity_logits = skill * np.eye(4)[severity] + rng.normal(0, 1, (count, 3, 4))
    quality_logits = np.concatenate([np.zeros((count, 1)), doubt + rng.normal(0, 1, (count, 2))], axis=1)
    names = [f"{kind} {number}" for number in range(count)]
    repeated = np.repeat(np.arange(count), copies)
    return Predictions(
        names=tuple(f"{names[place]}.{copy % copies}" for copy, place in enumerate(repeated)),
        groups=tuple(names[place] for place in repeated),
        kinds=(kind,) * len(repeated),
        attributes=tuple((attributes or [{}] * count)[place] for place in repeated),
        presence=presence[repeated],
        severity=severity[repeated].astype(np.int8),
        label=np.full(len(repeated), -1, np.int16),
        quality=np.full(len(repeated), quality, np.int8),
        presence_logits=presence_logits[repeated].astype(np.float32),
        severity_logits=severity_logits[repeated].astype(np.float32),
        class_logits=np.zeros((len(repeated), 0), np.float32),
        quality_logits=quality_logits[repeated].astype(np.float32),
        features=rng.normal(0, 1, (count, 8))[repeated].astype(np.float32),
        distance=(distance + rng.normal(0, 0.05, count))[repeated].astype(np.float32),
        thumbnails=rng.integers(90, 160, (count, 24, 32, 3))[repeated].astype(np.uint8),
    )
