"""What a classifier answers about pictures, beside what is true: all that calibration and evaluation look at."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from calibration.errors import ScalpScopeError
from calibration.files import write_bytes_atomically
from device_app.manifest_classifiers import Limits
from device_app.vision.conditions import Refusal, refusal_of
from training.classification.pictures import LabelledPictures, Picture, PictureSource
from training.data.example_set import ExampleSet

if TYPE_CHECKING:
    from training.classification.network import Classifier

Advance = Callable[[int], None]
"""Told how many more pictures are done."""

_THUMBNAIL = (32, 24)
"""(width, height) of what is kept of a picture: what its brightness is judged by."""


@dataclass(frozen=True)
class Answers:
    """What a classifier answers for n pictures, as the ONNX graph names it; float32.

    Attributes:
        presence: (n, 3) logits; (n, 0) for a task with classes.
        severity: (n, 3, 4) logits; (n, 0, 4) for a task with classes.
        classes: (n, K) logits; (n, 0) for the conditions.
        quality: (n, 3) logits.
        features: (n, C); (n, 0) from an engine, which does not say.
        distance: (n,) from the training pictures; 0 where there is no measure of it yet.
        heat_maps: (n, maps, h, w) 0..1.
    """

    presence: np.ndarray
    severity: np.ndarray
    classes: np.ndarray
    quality: np.ndarray
    features: np.ndarray
    distance: np.ndarray
    heat_maps: np.ndarray


Judge = Callable[[Sequence[Picture]], Answers]
"""A network or an engine; see `training.classification.judges`."""


@dataclass(frozen=True)
class Predictions:
    """The truth about N pictures and a classifier's answers.

    Attributes:
        names, groups, kinds: of each picture, as in `Picture`.
        attributes: of each picture.
        presence: (N, 3) int8, 1 present, 0 absent, -1 not known.
        severity: (N, 3) int8, 0..3, -1 not known.
        label: (N,) int16, -1 not known.
        quality: (N,) int8, of `Quality`: what the picture is.
        presence_logits, severity_logits, class_logits, quality_logits, features, distance: as in `Answers`.
        thumbnails: (N, 24, 32, 3) uint8 RGB, of which a picture's brightness is the mean.
    """

    names: tuple[str, ...]
    groups: tuple[str, ...]
    kinds: tuple[str, ...]
    attributes: tuple[Mapping[str, str], ...]
    presence: np.ndarray
    severity: np.ndarray
    label: np.ndarray
    quality: np.ndarray
    presence_logits: np.ndarray
    severity_logits: np.ndarray
    class_logits: np.ndarray
    quality_logits: np.ndarray
    features: np.ndarray
    distance: np.ndarray
    thumbnails: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    @property
    def brightness(self) -> np.ndarray:
        """(N,) float64, mean grey level 0..255."""
        return np.asarray(self.thumbnails.reshape(len(self), -1).mean(axis=1, dtype=np.float64))

    def only(self, chosen: np.ndarray) -> Predictions:
        """The same of the pictures of these indices or this (N,) bool choice."""
        places = np.arange(len(self))[chosen]
        taken: dict[str, Any] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            taken[one.name] = tuple(value[place] for place in places) if isinstance(value, tuple) else value[places]
        return Predictions(**taken)

    def with_distance(self, distance: np.ndarray) -> Predictions:
        """The same with these distances (N,) from the training pictures."""
        return replace(self, distance=np.asarray(distance, np.float32))

    def refusals(self, limits: Limits) -> list[Refusal | None]:
        """Why each picture must not be judged, by the device's own rule; None where it may be."""
        return [
            refusal_of(thumbnail, quality, float(distance), limits)
            for thumbnail, quality, distance in zip(self.thumbnails, self.quality_logits, self.distance)
        ]


def together(parts: Sequence[Predictions]) -> Predictions:
    """Several predictions of one classifier as one; raises ValueError without any."""
    if not parts:
        raise ValueError("no predictions to put together")
    joined: dict[str, Any] = {}
    for one in fields(Predictions):
        values = [getattr(part, one.name) for part in parts]
        joined[one.name] = sum(values, ()) if isinstance(values[0], tuple) else np.concatenate(values)
    return Predictions(**joined)


def predict_pictures(
    judge: Judge, pictures: PictureSource, batch_size: int = 16, advance: Advance = lambda count: None
) -> Predictions:
    """Ask a classifier about pictures, none of which is kept.

    Args:
        judge: answers for a list of pictures.
        pictures: at least one.
        batch_size: how many are asked about at a time.
        advance: told after every batch how many pictures it had.

    Raises:
        ScalpScopeError: there is no picture, or a file cannot be read.
    """
    if not len(pictures):
        raise ScalpScopeError("There is no picture to judge.", "Give a set, or a split of it, that has some.")
    parts = []
    for start in range(0, len(pictures), batch_size):
        batch = [pictures[number] for number in range(start, min(start + batch_size, len(pictures)))]
        parts.append(_predictions(batch, judge(batch)))
        advance(len(batch))
    return together(parts)


def predict(
    network: Classifier, examples: ExampleSet, batch_size: int = 16, advance: Advance = lambda count: None
) -> Predictions:
    """Ask a network, put into evaluation mode, about labelled pictures; arguments and errors as `predict_pictures`."""
    from training.classification.judges import NetworkJudge, hair_finder  # they are written in terms of answers

    judge = NetworkJudge(network, hair_masks=hair_finder(network.config.mask))
    return predict_pictures(judge, LabelledPictures(examples), batch_size, advance)


def save_predictions(predictions: Predictions, path: Path) -> None:
    """Write them as ``.npz``, whole or not at all; raises ScalpScopeError when that cannot be."""
    arrays: dict[str, np.ndarray] = {}
    for one in fields(predictions):
        value = getattr(predictions, one.name)
        arrays[one.name] = np.array(json.dumps([_plain(item) for item in value])) if isinstance(value, tuple) else value
    data = io.BytesIO()
    np.savez_compressed(data, **arrays)  # type: ignore[arg-type]
    write_bytes_atomically(path, data.getvalue())


def load_predictions(path: Path) -> Predictions:
    """Read what `save_predictions` wrote.

    Raises:
        ScalpScopeError: the file is missing, damaged or something else.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            values: dict[str, Any] = {one.name: content[one.name] for one in fields(Predictions)}
        texts = {name: tuple(json.loads(str(value))) for name, value in values.items() if value.dtype.kind == "U"}
        return Predictions(**(values | texts))
    except FileNotFoundError as error:
        raise ScalpScopeError(f"There is no file {path}.", "Check the path.") from error
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ScalpScopeError(f"{path} holds no predictions of a classifier.", "Give another file.") from error


def _plain(value: str | Mapping[str, str]) -> str | dict[str, str]:
    return value if isinstance(value, str) else dict(value)


def _predictions(pictures: Sequence[Picture], answers: Answers) -> Predictions:
    return Predictions(
        names=tuple(one.name for one in pictures),
        groups=tuple(one.group for one in pictures),
        kinds=tuple(one.kind for one in pictures),
        attributes=tuple(one.attributes for one in pictures),
        presence=_labels([one.presence for one in pictures], np.int8),
        severity=_labels([one.severity for one in pictures], np.int8),
        label=_labels([(one.label,) for one in pictures], np.int16)[:, 0],
        quality=np.array([one.quality for one in pictures], np.int8),
        presence_logits=answers.presence,
        severity_logits=answers.severity,
        class_logits=answers.classes,
        quality_logits=answers.quality,
        features=answers.features,
        distance=answers.distance,
        thumbnails=np.stack([cv2.resize(one.image, _THUMBNAIL, interpolation=cv2.INTER_AREA) for one in pictures]),
    )


def _labels(values: Sequence[Sequence[int | None]], dtype: type[np.signedinteger]) -> np.ndarray:
    return np.array([[-1 if one is None else one for one in row] for row in values], dtype)
