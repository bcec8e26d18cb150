"""What every entry of a bundle's manifest is made of: tasks, tensors, files, goldens with their tolerances."""

from __future__ import annotations

from abc import abstractmethod
from enum import Enum
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from device_app.engines.engine import Precision

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


class Strict(BaseModel):
    """Frozen; unknown keys and numbers that are none are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TensorSpec(Strict):
    """One tensor of a network: its name, its shape with an axis of any length named by a word, its type."""

    name: Name
    shape: Annotated[tuple[Side | Literal["points"], ...], Field(min_length=1, max_length=5)]
    dtype: Literal["float32"] = "float32"

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of this shape is such a tensor."""
        pairs = zip(self.shape, shape, strict=False)
        return len(shape) == len(self.shape) and all(isinstance(own, str) or own == side for own, side in pairs)


class BundleFile(Strict):
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


class Tolerance(Strict):
    """How far an engine's golden outputs may lie from the stored FP32 ones, for every golden picture.

    Attributes:
        max_mean_abs_diff: mean absolute difference of the probabilities, 0..1.
        min_mask_dice: Dice of the two masks at the model's threshold, 0..1.
    """

    max_mean_abs_diff: Share
    min_mask_dice: Share


class FeatureTolerance(Strict):
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


class LogitTolerance(Strict):
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


class ModelEntry(Strict):
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
