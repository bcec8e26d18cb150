"""Making goldens: what the FP32 network answers, packed as `device_app.engines.golden_files` reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from device_app.bundle import ClassifierEntry, HairEntry, ModelEntry, SamDecoderEntry, SamEncoderEntry
from device_app.engines.engine import Engine
from device_app.engines.golden_files import (
    pack_decoder_goldens,
    pack_decoder_inputs,
    pack_encoder_golden,
    pack_logit_goldens,
)
from device_app.vision.preprocess import to_classifier_input, to_network_input

# Stored probabilities are multiples of this: small enough for any tolerance, coarse enough to compress.
_GOLDEN_STEP = 1 / 1024

GoldenMaker: TypeAlias = Callable[[Engine, ModelEntry], dict[str, np.ndarray]]
"""From the FP32 engine and the network's entry to the arrays of the npz."""


def hair_goldens(images: Sequence[np.ndarray]) -> GoldenMaker:
    """Goldens of a hair network on these pictures, (H, W, 3) uint8 RGB, all of one size, at least one."""

    def make(engine: Engine, model: ModelEntry) -> dict[str, np.ndarray]:
        assert isinstance(model, HairEntry)
        outputs = [
            engine.run({model.input_name: to_network_input(image, model)})[model.output_name][0] for image in images
        ]
        coarse = np.round(np.stack(outputs) / _GOLDEN_STEP) * _GOLDEN_STEP
        return {"images": np.stack(images), "outputs": coarse.astype(np.float16)}

    return make


def encoder_goldens(images: Sequence[np.ndarray]) -> GoldenMaker:
    """Goldens of SAM's encoder on these pictures, (H, W, 3) uint8 RGB, all of one size, at least one."""

    def make(engine: Engine, model: ModelEntry) -> dict[str, np.ndarray]:
        assert isinstance(model, SamEncoderEntry)
        outputs = [engine.run({model.input_name: to_network_input(image, model)}) for image in images]
        stacked = {spec.name: np.concatenate([output[spec.name] for output in outputs]) for spec in model.features}
        return pack_encoder_golden(np.stack(images), stacked)

    return make


def decoder_goldens(questions: Sequence[Mapping[str, np.ndarray]]) -> GoldenMaker:
    """Goldens of SAM's decoder.

    Args:
        questions: each with every input of the decoder by its name, float32 in the manifest's shapes, at least one
            point. They are rounded to codes first; FP32 answers what was rounded.
    """

    def make(engine: Engine, model: ModelEntry) -> dict[str, np.ndarray]:
        assert isinstance(model, SamDecoderEntry)
        goldens = []
        for question in questions:
            packed, values = pack_decoder_inputs({spec.name: question[spec.name] for spec in model.inputs})
            goldens.append((packed, engine.run(values)))
        return pack_decoder_goldens(goldens)

    return make


def logit_goldens(images: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> GoldenMaker:
    """Goldens of a classifier.

    Args:
        images: (H, W, 3) uint8 RGB, all of one size, at least one.
        masks: (H, W) uint8, not 0 where there is hair, one for each; kept only if the classifier takes them.
    """

    def make(engine: Engine, model: ModelEntry) -> dict[str, np.ndarray]:
        assert isinstance(model, ClassifierEntry)
        outputs = [
            engine.run({model.input_name: to_classifier_input(image, model, mask)})
            for image, mask in zip(images, masks, strict=True)
        ]
        stacked = {spec.name: np.concatenate([output[spec.name] for output in outputs]) for spec in model.outputs}
        return pack_logit_goldens(np.stack(images), stacked, np.stack(masks) if model.mask else None)

    return make
