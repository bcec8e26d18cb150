"""What training gives the network is what the device will."""

from __future__ import annotations

import numpy as np
import pytest

from device_app.manifest_parts import STAGES, Task
from device_app.vision.preprocess import to_network_input
from tests.support.tiny_classifier import CONFIG, make_classifier
from training.classification.inputs import input_entry, to_input
from training.classification.network import ClassifierConfig


@pytest.mark.parametrize("hsv", [False, True])
@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("task", [Task.CONDITIONS, Task.SCALP_CONDITION, Task.HAIR_LOSS_STAGE])
def test_every_kind_of_classifier_has_an_entry_and_takes_its_input(task: Task, hsv: bool, mask: bool) -> None:
    mask = mask and task is not Task.HAIR_LOSS_STAGE  # an overview photograph has none
    labels = {Task.CONDITIONS: (), Task.SCALP_CONDITION: ("a", "b"), Task.HAIR_LOSS_STAGE: STAGES}[task]
    config = ClassifierConfig(task, CONFIG.backbone, 32, 64, hsv, mask, labels)
    entry = input_entry(config)
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    tensor = to_input(image, entry, np.zeros((48, 64), np.uint8))
    assert tensor.shape == (3 + 3 * hsv + mask, 32, 64)
    assert tensor.min() >= -1 and tensor.max() <= 1
    assert np.array_equal(tensor[:3], to_network_input(image, entry)[0])
    answer = make_classifier(config)(tensor[None])
    assert answer.maps.shape[1] == entry.maps
    assert answer.classes.shape == (1, len(labels))
