"""The classifier on the disk: as a run leaves it, and calibrated, as the export and the evaluation take it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from calibration.errors import ScalpScopeError
from device_app.manifest_classifiers import Calibration, Limits
from device_app.manifest_parts import Task
from training.checkpoint import read_weights, save_atomically
from training.classification.network import Classifier, ClassifierConfig, Unlikeness

CALIBRATED = "calibrated.pt"
"""In a run's folder: the best weights, with all that was fitted on validation pictures."""


@dataclass(frozen=True)
class Judgement:
    """What turns a classifier's answer into a judgement; all of it from validation pictures.

    Attributes:
        calibration: of the conditions; None for a task with classes.
        temperature: of a task with classes; None for the conditions.
        limits: beyond which there is no judgement.
        unlikeness: fitted to the features of training pictures.
        claimed: whether each condition may be graded; None for a task with classes.
        quality: measured figures by name.
        trained_on: what it is trained on, in a sentence or two.
    """

    calibration: Calibration | None
    temperature: float | None
    limits: Limits
    unlikeness: Unlikeness
    claimed: tuple[bool, bool, bool] | None
    quality: dict[str, float] = field(default_factory=dict)
    trained_on: str = ""


def save_classifier(network: Classifier, path: Path, recipe: dict[str, Any], step: int) -> None:
    """The weights with what is needed to rebuild the network: what `load_classifier` reads."""
    save_atomically({**_content(network, recipe), "step": step}, path)


def load_classifier(path: Path) -> Classifier:
    """A classifier in evaluation mode.

    Args:
        path: ``weights.pt``, ``best.pt`` or ``calibrated.pt`` of a run.

    Raises:
        ScalpScopeError: the file is missing, damaged, or holds no classifier.
    """
    return _rebuild(read_weights(path), path)


def save_calibrated(network: Classifier, judgement: Judgement, path: Path, recipe: dict[str, Any]) -> None:
    """A classifier and how to judge by it, in one file."""
    calibration = judgement.calibration
    judged = {
        "calibration": None if calibration is None else calibration.model_dump(),
        "temperature": judgement.temperature,
        "limits": judgement.limits.model_dump(),
        "unlikeness": {name: value.detach().cpu() for name, value in judgement.unlikeness.state_dict().items()},
        "claimed": judgement.claimed,
        "quality": dict(judgement.quality),
        "trained_on": judgement.trained_on,
    }
    save_atomically({**_content(network, recipe), "judgement": judged}, path)


def load_calibrated(path: Path) -> tuple[Classifier, Judgement, dict[str, Any]]:
    """The classifier in evaluation mode, how to judge by it, and the recipe it was trained by.

    Args:
        path: a file of `save_calibrated`, or the folder of a run with one in it.

    Raises:
        ScalpScopeError: the file is missing, damaged, or holds no calibrated classifier.
    """
    path = path / CALIBRATED if path.is_dir() else path
    content = read_weights(path)
    network = _rebuild(content, path)
    if "judgement" not in content:
        raise ScalpScopeError(
            f"{path} holds a classifier that was not calibrated.", "Run `scalpscope-train classification calibrate`."
        )
    values = dict(content["judgement"])
    channels, components = values["unlikeness"]["directions"].shape
    unlikeness = Unlikeness(channels, components)
    unlikeness.load_state_dict(values["unlikeness"])
    judgement = Judgement(
        calibration=None if values["calibration"] is None else Calibration(**values["calibration"]),
        temperature=values["temperature"],
        limits=Limits(**values["limits"]),
        unlikeness=unlikeness.eval(),
        claimed=values["claimed"],
        quality=values["quality"],
        trained_on=values["trained_on"],
    )
    return network, judgement, content["recipe"]


def _content(network: Classifier, recipe: dict[str, Any]) -> dict[str, Any]:
    weights = {name: value.detach().cpu() for name, value in network.state_dict().items()}
    config = {**asdict(network.config), "task": network.config.task.value}
    return {"classifier": config, "weights": weights, "recipe": recipe}


def _rebuild(content: dict[str, Any], path: Path) -> Classifier:
    if "classifier" not in content or "weights" not in content:
        raise ScalpScopeError(
            f"{path} holds no classifier.", "Give the best.pt, weights.pt or calibrated.pt of a classifier's run."
        )
    values = content["classifier"]
    config = ClassifierConfig(**{**values, "task": Task(values["task"]), "labels": tuple(values["labels"])})
    network = Classifier(config)
    try:
        network.load_state_dict(content["weights"])
    except (RuntimeError, TypeError) as error:
        raise ScalpScopeError(f"{path} does not fit its network: {error}.", "Give another file.") from error
    return network.eval()
