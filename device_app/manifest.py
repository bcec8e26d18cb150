"""What a bundle's `manifest.json` may say: the schema, strict, an unknown key is refused. DESIGN, "The bundle".

Schema 1 knows the hair network alone; schema 2 adds the two halves of SAM, schema 3 the classifiers. A manifest of any
is read, the newest is written.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from calibration.errors import ScalpScopeError
from device_app.engines.engine import Precision

SCHEMA_VERSION: Literal[3] = 3
MANIFEST_NAME = "manifest.json"
POINTS: Literal["points"] = "points"
"""The name of the decoder's axis that is as long as there are points."""

CONDITIONS, SEVERITIES, QUALITIES = 3, 4, 3
"""Dandruff, excess sebum, erythema; good, mild, moderate, severe; gradable, out of focus, no scalp."""

STAGES = ("0", "1", "2", "3", "4")
"""Labels of the hair-loss stage."""

MASKS = 4
"""Masks that SAM's decoder answers: one for a single unambiguous object, then three for whole, part and sub-part."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Side = Annotated[int, Field(ge=1, le=8192)]
Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(min_length=1, max_length=64)]
Positive = Annotated[float, Field(gt=0)]


class Task(str, Enum):
    """What a network of a bundle is for."""

    HAIR = "hair"
    SAM_ENCODER = "sam_encoder"
    SAM_DECODER = "sam_decoder"
    CONDITIONS = "conditions"  # presence and severity of dandruff, excess sebum, erythema, in a microscope's picture
    SCALP_CONDITION = "scalp_condition"  # one of several, such as alopecia or psoriasis, in a microscope's picture
    HAIR_LOSS_STAGE = "hair_loss_stage"  # in an overview photograph of a head


class ColourOrder(str, Enum):
    """The order of a network's input channels."""

    RGB = "rgb"
    BGR = "bgr"


class ResizeRule(str, Enum):
    """How a picture is brought to a network's input size."""

    STRETCH = "stretch"  # both sides to the input size, the aspect ratio is not kept
    FIT = "fit"  # as large as fits, the rest, right and below, 0 after normalisation: SAM's own preprocessing


class Combination(str, Enum):
    """How the coarse mask M̂ and the refined mask M_AP become the hair mask M."""

    PRODUCT = "product"  # the paper's: what both call hair, M̂ and M_AP
    REFINED = "refined"  # M_AP alone
    MEAN = "mean"  # the mean of both probabilities, cut at the threshold
    GROWN = "grown"  # the product, and all of M̂ or M_AP that hangs together with it


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TensorSpec(_Strict):
    """One tensor of a network: its name, its shape with an axis of any length named by a word, its type."""

    name: Name
    shape: Annotated[tuple[Side | Literal["points"], ...], Field(min_length=1, max_length=5)]
    dtype: Literal["float32"] = "float32"

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of this shape is such a tensor."""
        pairs = zip(self.shape, shape, strict=False)
        return len(shape) == len(self.shape) and all(isinstance(own, str) or own == side for own, side in pairs)


class BundleFile(_Strict):
    """One file of the bundle: its path relative to the folder, with forward slashes, and the SHA-256 of its bytes."""

    path: str
    sha256: Sha256

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, path: str) -> str:
        parts = PurePosixPath(path).parts
        if not parts or path.startswith("/") or ".." in parts or "\\" in path or ":" in path or "\0" in path:
            raise ValueError(f"{path!r} leads out of the bundle's folder")
        return path


class Tolerance(_Strict):
    """How far an engine's golden outputs may lie from the stored FP32 ones, for every golden picture.

    Attributes:
        max_mean_abs_diff: mean absolute difference of the probabilities, 0..1.
        min_mask_dice: Dice of the two masks at the model's threshold, 0..1.
    """

    max_mean_abs_diff: Share
    min_mask_dice: Share


class FeatureTolerance(_Strict):
    """The same for features, which have no unit.

    Attributes:
        max_relative_diff: mean absolute difference over the mean absolute golden value, of the worst output.
    """

    max_relative_diff: Annotated[float, Field(ge=0)]


class MaskTolerance(Tolerance):
    """The same for the decoder, whose masks come with a predicted IoU each.

    Attributes:
        max_iou_diff: largest difference of a predicted IoU.
    """

    max_iou_diff: Annotated[float, Field(ge=0)]


class Goldens(BundleFile):
    """An npz with `images` (N, H, W, 3) uint8 RGB and `outputs` (N, *output_shape[1:]) float16, by FP32."""

    tolerance: dict[Precision, Tolerance]


class FeatureGoldens(BundleFile):
    """An npz with `images` and samples of every output by FP32; see `device_app.engines.golden_files`."""

    tolerance: dict[Precision, FeatureTolerance]


class MaskGoldens(BundleFile):
    """An npz with the decoder's inputs as codes, and masks and IoUs by FP32; see `device_app.engines.golden_files`."""

    tolerance: dict[Precision, MaskTolerance]


class LogitTolerance(_Strict):
    """The same for a classifier.

    Attributes:
        max_probability_diff: largest difference of any probability (of a presence, a severity, a class, the picture's
            quality), 0..1.
        max_mean_map_diff: mean absolute difference of the heat maps, 0..1.
        max_relative_distance_diff: largest difference of the distance, over FP32's.
    """

    max_probability_diff: Share
    max_mean_map_diff: Share
    max_relative_distance_diff: Annotated[float, Field(ge=0)]


class LogitGoldens(BundleFile):
    """An npz with `images` and every output by FP32; see `device_app.engines.golden_files`."""

    tolerance: dict[Precision, LogitTolerance]


class ModelEntry(_Strict):
    """One network of the bundle: what all entries share. An engine needs no more than this.

    Attributes:
        task: what it is for.
        files: the network's file at each precision it was exported in.
        goldens: the proof an engine must pass.
        trained_on, licence, credit: where it comes from.
        quality: measured figures by name.
        demonstration_only: not good enough for use on people; screens and reports say so.
    """

    task: Task
    files: Annotated[dict[Precision, BundleFile], Field(min_length=1)]
    goldens: Goldens | FeatureGoldens | MaskGoldens | LogitGoldens
    trained_on: str
    licence: str
    credit: str
    quality: dict[str, float] = Field(default_factory=dict)
    demonstration_only: bool

    @property
    @abstractmethod
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The input tensors."""

    @property
    @abstractmethod
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The output tensors."""

    @model_validator(mode="after")
    def _every_file_has_a_tolerance(self) -> ModelEntry:
        missing = [precision.value for precision in self.files if precision not in self.goldens.tolerance]
        if missing:
            raise ValueError(f"no golden tolerance for {', '.join(missing)}")
        return self


class PictureEntry(ModelEntry):
    """A network that takes a picture.

    Attributes:
        input_name, input_shape: the input tensor, (1, 3, height, width), normalised colours.
        dtype: of input and outputs, whatever the precision inside.
        colour_order, resize, mean, std: preprocessing; mean and std per channel of `colour_order`, on values of 0..1.
    """

    input_name: Name
    input_shape: tuple[Literal[1], Literal[3], Side, Side]
    dtype: Literal["float32"] = "float32"
    colour_order: ColourOrder = ColourOrder.RGB
    resize: ResizeRule = ResizeRule.STRETCH
    mean: tuple[float, float, float]
    std: tuple[Positive, Positive, Positive]

    @property
    def input_size(self) -> tuple[int, int]:
        """(width, height) of the input, in pixels."""
        return self.input_shape[3], self.input_shape[2]

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return (TensorSpec(name=self.input_name, shape=self.input_shape, dtype=self.dtype),)


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


class Limits(_Strict):
    """What a classifier must be shown to judge; beyond any of them a picture is refused. From validation pictures.

    Attributes:
        darkest, brightest: mean of the picture, grey levels 0..255.
        most_out_of_focus, most_no_scalp: probability by the network's own `quality` output.
        farthest: its `distance` output.
        rule: in one sentence, how they were chosen.
    """

    darkest: Annotated[float, Field(ge=0, le=255)]
    brightest: Annotated[float, Field(ge=0, le=255)]
    most_out_of_focus: Share
    most_no_scalp: Share
    farthest: Positive
    rule: Annotated[str, Field(min_length=1)]

    @model_validator(mode="after")
    def _leave_something_to_judge(self) -> Limits:
        if self.darkest >= self.brightest:
            raise ValueError(f"no picture is brighter than {self.darkest} and darker than {self.brightest}")
        return self


class Calibration(_Strict):
    """What turns the logits of the conditions network into probabilities; fitted on validation pictures.

    A presence is the sigmoid of ``logit / temperature + bias``, a severity the softmax of ``logits / temperature``; one
    value for each condition.
    """

    presence_temperature: tuple[Positive, Positive, Positive]
    presence_bias: tuple[float, float, float]
    severity_temperature: tuple[Positive, Positive, Positive]


class ClassifierEntry(PictureEntry):
    """A network that judges a whole picture, and says where it looked and whether it should judge it at all.

    The input's planes are red, green and blue, then with `hsv` hue, saturation and value, then with `mask` the hair
    mask M, all on 0..1, before `mean` and `std`; one of those for each plane.

    Attributes:
        hsv, mask: which planes there are beside red, green and blue.
        map_size: (height, width) of a heat map.
        limits: beyond which there is no judgement.
    """

    input_shape: tuple[Literal[1], Annotated[int, Field(ge=3, le=7)], Side, Side]  # type: ignore[assignment]
    mean: Annotated[tuple[float, ...], Field(min_length=3, max_length=7)]  # type: ignore[assignment]
    std: Annotated[tuple[Positive, ...], Field(min_length=3, max_length=7)]  # type: ignore[assignment]
    goldens: LogitGoldens
    hsv: bool = False
    mask: bool = False
    map_size: tuple[Side, Side]
    limits: Limits

    @property
    @abstractmethod
    def maps(self) -> int:
        """How many heat maps there are."""

    @property
    @abstractmethod
    def judgements(self) -> tuple[TensorSpec, ...]:
        """The outputs of its own task, logits."""

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return (
            *self.judgements,
            TensorSpec(name="quality", shape=(1, QUALITIES)),
            TensorSpec(name="distance", shape=(1, 1)),
            TensorSpec(name="heat_map", shape=(1, self.maps, *self.map_size)),
        )

    @model_validator(mode="after")
    def _every_plane_is_known(self) -> ClassifierEntry:
        planes = 3 + 3 * self.hsv + self.mask
        if self.input_shape[1] != planes or len(self.mean) != planes or len(self.std) != planes:
            raise ValueError(f"hsv {self.hsv} and mask {self.mask} make {planes} planes, with a mean and std each")
        return self


class ConditionsEntry(ClassifierEntry):
    """Presence and severity of dandruff, excess sebum and erythema. ScalpVision, section 3.4.

    Attributes:
        calibration: from logits to probabilities.
        claimed: whether its maker claims that it can grade each condition; one that is not claimed is never graded.
    """

    task: Literal[Task.CONDITIONS] = Task.CONDITIONS
    calibration: Calibration
    claimed: tuple[bool, bool, bool]

    @property
    def maps(self) -> int:
        return CONDITIONS

    @property
    def judgements(self) -> tuple[TensorSpec, ...]:
        return (
            TensorSpec(name="presence", shape=(1, CONDITIONS)),
            TensorSpec(name="severity", shape=(1, CONDITIONS, SEVERITIES)),
        )


class ClassEntry(ClassifierEntry):
    """One class of several: the scalp's condition, or the stage of hair loss.

    Attributes:
        labels: names of the classes; of the hair-loss stage `STAGES`.
        ordered: whether they are stages, one worse than the other; those of hair loss are.
        temperature: from logits to probabilities: the softmax of ``logits / temperature``.
    """

    task: Literal[Task.SCALP_CONDITION, Task.HAIR_LOSS_STAGE]
    labels: Annotated[tuple[Name, ...], Field(min_length=2, max_length=64)]
    ordered: bool
    temperature: Positive

    @property
    def maps(self) -> int:
        return len(self.labels)

    @property
    def judgements(self) -> tuple[TensorSpec, ...]:
        return (TensorSpec(name="classes", shape=(1, len(self.labels))),)

    @model_validator(mode="after")
    def _labels_are_the_tasks(self) -> ClassEntry:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError(f"two classes of one name among {', '.join(self.labels)}")
        if self.task is Task.HAIR_LOSS_STAGE and not (self.labels == STAGES and self.ordered):
            raise ValueError(f"the stages of hair loss are {', '.join(STAGES)}, ordered, not {', '.join(self.labels)}")
        if self.task is Task.HAIR_LOSS_STAGE and self.mask:
            raise ValueError("the hair-loss stage is judged in an overview photograph, which has no hair mask")
        return self


AnyEntry: TypeAlias = Annotated[
    HairEntry | SamEncoderEntry | SamDecoderEntry | ConditionsEntry | ClassEntry, Field(discriminator="task")
]


class Manifest(_Strict):
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
