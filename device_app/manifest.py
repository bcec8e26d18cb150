"""What a bundle's `manifest.json` may say: the schema, strict, an unknown key is refused. DESIGN, "The bundle".

Schema 1 knows the hair network alone; schema 2 adds the two halves of SAM, schema 3 the classifiers. A manifest of any
is read, the newest is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, model_validator

from calibration.errors import ScalpScopeError
from device_app.manifest_classifiers import ClassEntry, ClassifierEntry, ConditionsEntry
from device_app.manifest_parts import (
    MASKS,
    POINTS,
    Combination,
    FeatureGoldens,
    Goldens,
    Label,
    MaskGoldens,
    ModelEntry,
    Name,
    PictureEntry,
    ResizeRule,
    Side,
    Strict,
    Task,
    TensorSpec,
)

SCHEMA_VERSION: Literal[3] = 3
MANIFEST_NAME = "manifest.json"


class HairEntry(PictureEntry):
    """The hair network.

    Attributes:
        output_name, output_shape: the output tensor, (1, 1, height, width), probabilities.
        labels: names of the output channels.
        threshold: probability from which a pixel is hair.
    """

    task: Literal[Task.HAIR] = Task.HAIR
    goldens: Goldens
    output_name: Name
    output_shape: tuple[Literal[1], Side, Side, Side]
    labels: tuple[str, ...]
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return (TensorSpec(name=self.output_name, shape=self.output_shape, dtype=self.dtype),)

    @model_validator(mode="after")
    def _consistent(self) -> HairEntry:
        if self.resize is not ResizeRule.STRETCH:
            raise ValueError("the hair network's pictures are stretched (resize)")
        if self.output_shape[1] != len(self.labels):
            raise ValueError(f"{len(self.labels)} labels for {self.output_shape[1]} output channels")
        if self.output_shape[2:] != self.input_shape[2:]:
            raise ValueError(f"output {self.output_shape} is not as large as input {self.input_shape}")
        return self


class SamEncoderEntry(PictureEntry):
    """SAM's image encoder.

    Attributes:
        features: the output tensors, (1, channels, height, width) each; the first is the embedding.
    """

    task: Literal[Task.SAM_ENCODER] = Task.SAM_ENCODER
    goldens: FeatureGoldens
    features: Annotated[tuple[TensorSpec, ...], Field(min_length=1, max_length=8)]

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self.features

    @model_validator(mode="after")
    def _fixed(self) -> SamEncoderEntry:
        _check_features(self.features)
        return self


class SamDecoderEntry(ModelEntry):
    """SAM's prompt encoder and mask decoder in one network, with a dynamic number of points.

    Attributes:
        features: the encoder's output tensors, taken under their names.
        masks_shape: of the output `masks`, (1, 4, height, width), logits.
        max_points: the most points it was made for.
        mask_prompt: whether M̂ is given to it as `mask_input`.
        combination: how its mask and M̂ become the hair mask.
        threshold: probability from which a pixel is hair.
    """

    task: Literal[Task.SAM_DECODER] = Task.SAM_DECODER
    goldens: MaskGoldens
    features: Annotated[tuple[TensorSpec, ...], Field(min_length=1, max_length=8)]
    masks_shape: tuple[Literal[1], Literal[4], Side, Side]
    max_points: Annotated[int, Field(ge=1, le=65536)] = 1024
    mask_prompt: bool = False
    combination: Combination = Combination.PRODUCT
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5

    @property
    def mask_prompt_size(self) -> tuple[int, int]:
        """(width, height) of `mask_input`: four times the embedding's grid."""
        return 4 * int(self.features[0].shape[3]), 4 * int(self.features[0].shape[2])

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        width, height = self.mask_prompt_size
        return (
            *self.features,
            TensorSpec(name="point_coords", shape=(1, POINTS, 2), dtype="float32"),
            TensorSpec(name="point_labels", shape=(1, POINTS), dtype="float32"),
            TensorSpec(name="mask_input", shape=(1, 1, height, width), dtype="float32"),
            TensorSpec(name="has_mask_input", shape=(1,), dtype="float32"),
        )

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return (
            TensorSpec(name="masks", shape=self.masks_shape, dtype="float32"),
            TensorSpec(name="iou_predictions", shape=(1, MASKS), dtype="float32"),
        )

    @model_validator(mode="after")
    def _fixed(self) -> SamDecoderEntry:
        _check_features(self.features)
        names = [spec.name for spec in self.inputs]
        if len(set(names)) != len(names):
            raise ValueError(f"two inputs (features) of one name among {', '.join(names)}")
        return self


AnyEntry: TypeAlias = Annotated[
    HairEntry | SamEncoderEntry | SamDecoderEntry | ConditionsEntry | ClassEntry, Field(discriminator="task")
]


class Manifest(Strict):
    """What `manifest.json` says. `schema_version` counts up when a key is added or changes its meaning."""

    schema_version: Literal[1, 2, 3]
    name: Label
    version: Label
    created: str
    models: Annotated[tuple[AnyEntry, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _belong_together(self) -> Manifest:
        by_task: Mapping[Task, ModelEntry] = {model.task: model for model in self.models}
        if len(by_task) != len(self.models):
            raise ValueError("two models for one task")
        if self.schema_version == 1 and set(by_task) != {Task.HAIR}:
            raise ValueError("schema_version 1 knows the hair network alone")
        if self.schema_version < 3 and any(isinstance(model, ClassifierEntry) for model in self.models):
            raise ValueError("classifiers came with schema_version 3")
        encoder, decoder = by_task.get(Task.SAM_ENCODER), by_task.get(Task.SAM_DECODER)
        if (encoder is None) != (decoder is None):
            raise ValueError("SAM's encoder and decoder come together, and one of them is missing")
        if isinstance(encoder, SamEncoderEntry) and isinstance(decoder, SamDecoderEntry):
            given, taken = ({spec.name: spec for spec in entry.features} for entry in (encoder, decoder))
            if given != taken or encoder.features[0].name != decoder.features[0].name:
                raise ValueError(
                    f"the decoder takes {_said(taken.values())}, the encoder gives {_said(given.values())}"
                )
        return self


def damaged(folder: Path, fault: str) -> ScalpScopeError:
    """The error for a bundle that is not what its manifest says."""
    return ScalpScopeError(f"Bundle {folder} is damaged: {fault}.", "Copy or export the bundle again.")


def _check_features(features: tuple[TensorSpec, ...]) -> None:
    if any(len(spec.shape) != 4 or spec.shape[0] != 1 or POINTS in spec.shape for spec in features):
        raise ValueError(f"features are (1, channels, height, width), not {_said(features)}")
    if len({spec.name for spec in features}) != len(features):
        raise ValueError("two features of one name")


def _said(specs: Any) -> str:
    return ", ".join(f"{spec.name} {spec.shape}" for spec in specs)
