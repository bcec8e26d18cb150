"""How good the weights of a run are while it goes on: on held-out pictures of the data sets, and on drawn ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, Dataset

from calibration.errors import ScalpScopeError
from device_app.images import read_image
from device_app.manifest_classifiers import Calibration
from device_app.manifest_parts import CONDITIONS, QUALITIES, SEVERITIES, Task
from device_app.vision.conditions import Quality, joint_probabilities, median_severity, present_probability
from training.classification import scores
from training.classification.augment import Layers
from training.classification.dataset import Batch, Sample, Truth, collate, drawn_layers, truth_of
from training.classification.inputs import input_entry, to_input
from training.classification.losses import UNKNOWN, Labels, LossWeights, classifier_loss
from training.classification.network import Answer, Classifier, ClassifierConfig
from training.classification.picture_store import HairMaskOf
from training.classification.recipe import DataSection
from training.data.backgrounds import BackgroundPool
from training.data.example_set import Example
from training.data.graded_scalp import VALIDATION_SEEDS
from training.data.ungradable import blurred, not_scalp

SCORES = ("macro_f1", "auroc", "real_macro_f1", "drawn_macro_f1", "quality_f1")
"""Of the curves. `macro_f1`, the best of which is kept, is the mean of those of the three parts there are."""

_UNCALIBRATED = Calibration(presence_temperature=(1, 1, 1), presence_bias=(0, 0, 0), severity_temperature=(1, 1, 1))


class HeldOut(Dataset["Sample | ScalpScopeError"]):
    """The pictures of validation: those of data sets, as the device would see them, then drawn ones, then ungradable.

    Args:
        data: how many are drawn, and whether there are ungradable ones.
        config: of the network.
        examples: of the validation split.
        hair_mask_of: gives their hair masks; None where the network takes none.
        backgrounds: patches that drawn pictures may lie on.
        drawn: whether there are drawn pictures.
    """

    def __init__(
        self,
        data: DataSection,
        config: ClassifierConfig,
        examples: Sequence[Example],
        hair_mask_of: HairMaskOf | None,
        backgrounds: BackgroundPool,
        drawn: bool,
    ) -> None:
        self._data, self._config, self._examples = data, config, tuple(examples)
        self._entry, self._hair_mask_of = input_entry(config), hair_mask_of
        self.real = len(self._examples)
        seeds = VALIDATION_SEEDS[: data.validation_images] if drawn else ()
        self._made = [drawn_layers(seed, config, backgrounds) for seed in seeds]
        if data.ungradable_share:
            self._made += self._ungradable()

    def __len__(self) -> int:
        return self.real + len(self._made)

    def __getitem__(self, index: int) -> Sample | ScalpScopeError:
        if index >= self.real:
            layers, truth = self._made[index - self.real]
            return Sample(to_input(layers.image, self._entry, layers.hair_mask), truth, None)
        example = self._examples[index]
        try:
            mask = self._hair_mask_of(example) if self._hair_mask_of else None
            picture = to_input(read_image(example.path), self._entry, mask)
        except ScalpScopeError as error:
            return error
        return Sample(picture, truth_of(example, self._data.weak_severity), None)

    def _ungradable(self) -> list[tuple[Layers, Truth]]:
        """A quarter as many as are drawn, of either kind."""
        made, size = [], (self._config.width, self._config.height)
        nothing = np.zeros(size[::-1], np.uint8) if self._config.mask else None
        for number in range(max(1, self._data.validation_images // 4)):
            rng = np.random.default_rng((0, number))
            if self._made and self._config.task is Task.CONDITIONS:
                source = self._made[number % min(len(self._made), self._data.validation_images)][0]
                made.append((Layers(blurred(rng, source.image), None, source.hair_mask), Quality.OUT_OF_FOCUS))
            elif self._examples:
                image = read_image(self._examples[number % self.real].path)
                mask = None if nothing is None else np.zeros(image.shape[:2], np.uint8)
                made.append((Layers(blurred(rng, image), None, mask), Quality.OUT_OF_FOCUS))
            made.append((Layers(not_scalp(rng, size), None, nothing), Quality.NO_SCALP))
        return [(layers, Truth(quality=quality)) for layers, quality in made]


@dataclass(frozen=True)
class Answers:
    """Truth and logits of N pictures, as numpy: as `Truth` and `Answer`, with a first axis."""

    truth_presence: np.ndarray
    truth_severity: np.ndarray
    truth_label: np.ndarray
    truth_quality: np.ndarray
    presence: np.ndarray
    severity: np.ndarray
    classes: np.ndarray
    quality: np.ndarray

    def part(self, which: slice) -> Answers:
        """Some of the pictures."""
        return Answers(*(getattr(self, name)[which] for name in self.__dataclass_fields__))


@torch.no_grad()
def validate(
    network: Classifier,
    held_out: HeldOut,
    weights: LossWeights,
    batch_size: int,
    workers: int,
    accelerator: Accelerator,
) -> dict[str, float]:
    """Loss (without that of places) and `SCORES`; a score that is not defined is left out, but `macro_f1` is then 0.

    Raises:
        ScalpScopeError: a picture cannot be read.
    """
    network.eval()
    loader: DataLoader[Batch | ScalpScopeError] = DataLoader(
        held_out, batch_size, num_workers=workers, collate_fn=collate, generator=torch.Generator()
    )
    labels, answers = [], []
    for batch in loader:
        if isinstance(batch, ScalpScopeError):
            raise batch
        with accelerator.autocast():
            answer = network(batch.pictures.to(accelerator.device, memory_format=torch.channels_last))
        labels.append(batch.labels)
        answers.append([one.float().cpu() for one in answer])
    # The loss of all at once: a mean of batches would weigh the few that know a label as much as those that do not.
    answer = Answer(*(torch.cat(column) for column in zip(*answers, strict=True)))
    known = Labels(
        *(torch.cat([getattr(one, name) for one in labels]) for name in ("presence", "severity", "label", "quality")),
        regions=None,
        located=torch.zeros(len(held_out), CONDITIONS, dtype=torch.bool),
    )
    truths = (known.presence, known.severity, known.label, known.quality)
    logits = (answer.presence, answer.severity, answer.classes, answer.quality)
    judged = Answers(*(one.numpy() for one in (*truths, *logits)))
    loss = float(classifier_loss(answer, known, weights))
    return {"validation_loss": loss, **scores_of(judged, held_out.real, weights.quality > 0)}


def scores_of(answers: Answers, real: int, with_quality: bool) -> dict[str, float]:
    """`SCORES` of answers, the first ``real`` of which are of pictures of data sets."""
    parts = {
        "real_macro_f1": mean_macro_f1(answers.part(slice(0, real))),
        "drawn_macro_f1": mean_macro_f1(answers.part(slice(real, None))),
    }
    if with_quality:
        taken_for = answers.quality.argmax(axis=1)
        parts["quality_f1"] = _macro_f1(answers.truth_quality, taken_for, QUALITIES)
    found = {name: value for name, value in parts.items() if np.isfinite(value)}
    found = {"macro_f1": float(np.mean(list(found.values()))) if found else 0.0, **found}
    for part in (answers.part(slice(0, real)), answers):
        areas = [
            float(scores.auroc(part.truth_presence[:, index], part.presence[:, index]))
            for index in range(part.presence.shape[1])
        ]
        areas = [area for area in areas if np.isfinite(area)]
        if areas:
            found["auroc"] = float(np.mean(areas))
            break
    return found


def mean_macro_f1(answers: Answers) -> float:
    """The mean over heads of the macro-F1 over the classes that occur; NaN where no head has two.

    A condition is one head: its severities by the device's rule where any is known, else its presence. For a set with
    all severities and twelve columns this is the paper's macro-F1.
    """
    if not len(answers.truth_label):
        return float("nan")
    if answers.classes.shape[1]:
        return _macro_f1(answers.truth_label, answers.classes.argmax(axis=1), answers.classes.shape[1])
    found = median_severity(joint_probabilities(answers.presence, answers.severity, _UNCALIBRATED))
    heads = []
    for index in range(CONDITIONS):
        if (answers.truth_severity[:, index] != UNKNOWN).any():
            heads.append(_macro_f1(answers.truth_severity[:, index], found[:, index], SEVERITIES))
        else:
            present = present_probability(answers.presence[:, index], 1.0, 0.0) > 0.5
            heads.append(_macro_f1(answers.truth_presence[:, index], present.astype(np.int64), 2))
    heads = [head for head in heads if np.isfinite(head)]
    return float(np.mean(heads)) if heads else float("nan")


def _macro_f1(truth: np.ndarray, found: np.ndarray, classes: int) -> float:
    known = truth[truth != UNKNOWN]
    if len(np.unique(known)) < 2:
        return float("nan")
    return float(scores.macro(scores.f1(scores.confusion(truth, found, classes))))
