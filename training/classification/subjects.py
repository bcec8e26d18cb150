"""What can be evaluated: a calibrated run, a calibrated file, or the engine of a bundle as the device runs it."""

from __future__ import annotations

from pathlib import Path

import torch

from device_app.bundle import default_bundle_path, load_bundle
from device_app.manifest_classifiers import ClassEntry, ClassifierEntry, ConditionsEntry
from device_app.manifest_parts import Task
from device_app.vision.conditions import Condition
from training.classification.checkpoint import load_calibrated
from training.classification.examine import Subject
from training.classification.judges import EngineJudge, NetworkJudge, hair_finder

TASK_WORDS = {
    Task.CONDITIONS: "scalp conditions",
    Task.SCALP_CONDITION: "the scalp's condition",
    Task.HAIR_LOSS_STAGE: "the stage of hair loss",
}


_USUAL_SHARES = (0.7, 0.2, 0.1)  # a bundle does not say; `split_examples` takes these


def open_checkpoint(path: Path, cpu: bool = False) -> Subject:
    """A calibrated network, on the GPU where there is one.

    Args:
        path: of a ``calibrated.pt``, or of the folder of a run that has one.
        cpu: use the CPU also where there is a GPU.

    Raises:
        ScalpScopeError: there is none, it is damaged, or the network was not calibrated yet.
    """
    network, judgement, recipe = load_calibrated(path)
    device = torch.device("cuda" if torch.cuda.is_available() and not cpu else "cpu")
    judge = NetworkJudge(network.to(device), judgement.unlikeness, hair_finder(network.config.mask))
    config = network.config
    return Subject(
        judge=judge,
        entry=judge.entry,
        calibration=judgement.calibration,
        temperature=judgement.temperature,
        limits=judgement.limits,
        claimed=_named(judgement.claimed),
        labels=config.labels,
        shares=tuple(recipe["data"]["shares"]),
        facts={
            "Model": str(path),
            "Network": f"{config.backbone}, {config.width} x {config.height} pixels, {config.planes} planes",
            "Task": TASK_WORDS[config.task],
            "Trained on": judgement.trained_on,
            "Ran on": f"PyTorch, {device.type}",
        },
    )


def open_bundle(bundle: str, task: Task) -> Subject:
    """A bundle's classifier in the engine that this machine would run.

    Args:
        bundle: folder, or ``default`` for the one that ships.
        task: which of its classifiers.

    Raises:
        ScalpScopeError: the bundle is refused, has no such network, or every engine is refused.
    """
    loaded = load_bundle(default_bundle_path() if bundle == "default" else Path(bundle))
    entry = loaded.model(task)
    assert isinstance(entry, ClassifierEntry)
    judge = EngineJudge(loaded, task, hair_masks=hair_finder(entry.mask))
    width, height = entry.input_size
    return Subject(
        judge=judge,
        entry=entry,
        calibration=entry.calibration if isinstance(entry, ConditionsEntry) else None,
        temperature=entry.temperature if isinstance(entry, ClassEntry) else None,
        limits=entry.limits,
        claimed=_named(entry.claimed if isinstance(entry, ConditionsEntry) else None),
        labels=entry.labels if isinstance(entry, ClassEntry) else (),
        shares=_USUAL_SHARES,
        facts={
            "Model": f"bundle {loaded.name} {loaded.version}",
            "Network": f"{width} x {height} pixels, {entry.input_shape[1]} planes",
            "Task": TASK_WORDS[task],
            "Trained on": entry.trained_on,
            "Ran on": f"{judge.engine.backend} {judge.engine.precision.value}",
            "Engine": "; ".join(judge.reasons),
            "Bundle's maker says": "for demonstration only" if entry.demonstration_only else "",
        },
    )


def _named(claimed: tuple[bool, bool, bool] | None) -> dict[str, bool]:
    return {} if claimed is None else {one.value: own for one, own in zip(Condition, claimed)}
