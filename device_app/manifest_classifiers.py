"""The manifest's entries for classifiers: what they answer, what they must not judge, how sure they are."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Literal

from pydantic import Field, model_validator

from device_app.manifest_parts import (
    CONDITIONS,
    QUALITIES,
    SEVERITIES,
    STAGES,
    LogitGoldens,
    Name,
    PictureEntry,
    Positive,
    Share,
    Side,
    Strict,
    Task,
    TensorSpec,
)


class Limits(Strict):
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


class Calibration(Strict):
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
