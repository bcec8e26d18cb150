"""Who answers about pictures: the network itself, or the engine of a bundle, exactly as the device would run it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from calibration.errors import ScalpScopeError
from device_app.bundle import Bundle, default_bundle_path
from device_app.engines.engine import Precision
from device_app.engines.select import open_preferred
from device_app.manifest_classifiers import ClassifierEntry, ConditionsEntry
from device_app.manifest_parts import SEVERITIES, Task
from device_app.vision.preprocess import mask_from_input, to_classifier_input
from training.classification.inputs import input_entry
from training.classification.network import Classifier, Unlikeness
from training.classification.pictures import Picture
from training.classification.predictions import Answers

HairFinder = Callable[[np.ndarray], np.ndarray]
"""Picture (H, W, 3) uint8 RGB -> hair mask (H, W) uint8, 0 or 255."""


def hair_finder(needed: bool) -> HairFinder | None:
    """The hair network of the bundle that ships, for classifiers that take a hair mask; None where it is not needed."""
    if not needed:
        return None
    from training.prompting.examples import CoarseNetwork

    find_hair = CoarseNetwork(default_bundle_path(), threads=0)
    return lambda image: np.where(find_hair(image) > 127, np.uint8(255), np.uint8(0))


class NetworkJudge:
    """A trained network, put into evaluation mode.

    Args:
        network: on the device that it is to run on.
        unlikeness: its measure of how unlike the training pictures a picture is; None: there is none yet.
        hair_masks: finds hair in pictures whose hair mask is not known, for a network that takes one.
    """

    def __init__(
        self, network: Classifier, unlikeness: Unlikeness | None = None, hair_masks: HairFinder | None = None
    ) -> None:
        self.network = network.eval()
        self.device = next(network.parameters()).device
        self.unlikeness = None if unlikeness is None else unlikeness.to(self.device)
        self.entry, self._hair_masks = input_entry(network.config), hair_masks

    @torch.no_grad()
    def __call__(self, pictures: Sequence[Picture]) -> Answers:
        inputs = np.concatenate([_input(one, self.entry, self._hair_masks) for one in pictures])
        answer = self.network(torch.from_numpy(inputs).to(self.device))
        distance = torch.zeros(len(pictures)) if self.unlikeness is None else self.unlikeness(answer.features)[:, 0]
        conditions = self.network.config.task is Task.CONDITIONS
        maps = torch.sigmoid(answer.maps) if conditions else torch.softmax(answer.maps, dim=1)
        values = (*answer[:4], answer.features, distance, maps)
        return Answers(*(value.float().cpu().numpy() for value in values))


class EngineJudge:
    """The engine of a bundle that this machine would run.

    Args:
        bundle: a loaded one.  task: which of its classifiers.
        precision: which file; None: the best for this machine.
        hair_masks: as in `NetworkJudge`.
        threads: of the processor.

    Raises:
        ScalpScopeError: the bundle has no such network, or every engine is refused.
    """

    def __init__(
        self,
        bundle: Bundle,
        task: Task,
        precision: Precision | None = None,
        hair_masks: HairFinder | None = None,
        threads: int = 2,
    ) -> None:
        entry = bundle.model(task)
        if not isinstance(entry, ClassifierEntry):
            raise ScalpScopeError(f"'{task.value}' is no classifier's task.", "Name one that is.")
        self.entry, self._hair_masks = entry, hair_masks
        self.engine, self.reasons = open_preferred(bundle, task, precision, threads)

    def __call__(self, pictures: Sequence[Picture]) -> Answers:
        rows = []
        for one in pictures:
            tensor = _input(one, self.entry, self._hair_masks)
            rows.append(self.engine.run({self.entry.input_name: tensor}))
        outputs = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
        count, conditions = len(pictures), isinstance(self.entry, ConditionsEntry)
        return Answers(
            presence=outputs["presence"] if conditions else np.zeros((count, 0), np.float32),
            severity=outputs["severity"] if conditions else np.zeros((count, 0, SEVERITIES), np.float32),
            classes=np.zeros((count, 0), np.float32) if conditions else outputs["classes"],
            quality=outputs["quality"],
            features=np.zeros((count, 0), np.float32),
            distance=outputs["distance"][:, 0],
            heat_maps=outputs["heat_map"],
        )


def picture_map(heat_map: np.ndarray, image: np.ndarray, entry: ClassifierEntry) -> np.ndarray:
    """A heat map (h, w) of the input as one of the picture (H, W, 3), from edge to edge: (h', w') float32."""
    return mask_from_input(heat_map, (image.shape[1], image.shape[0]), entry)


def _input(picture: Picture, entry: ClassifierEntry, hair_masks: HairFinder | None) -> np.ndarray:
    """(1, planes, h, w) float32."""
    mask = picture.hair_mask
    if entry.mask and mask is None and hair_masks is not None:
        mask = hair_masks(picture.image)
    return to_classifier_input(picture.image, entry, mask)
