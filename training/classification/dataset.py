"""What the classifier is shown: pictures of data sets, drawn ones with stated grades, and ungradable ones.

Everything about one sample follows from its index alone, so a run that is killed and resumed sees the same samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from calibration.errors import ScalpScopeError
from device_app.manifest_parts import CONDITIONS, Task
from device_app.vision.conditions import Condition, Quality
from training.classification.augment import Augmentation, Layers, augment, mirror
from training.classification.inputs import input_entry, to_input
from training.classification.losses import UNKNOWN, Labels
from training.classification.network import ClassifierConfig
from training.classification.picture_store import PictureStore
from training.classification.recipe import DataSection
from training.classification.sampling import Draw, Sampling, example_weights
from training.data.backgrounds import BackgroundPool
from training.data.example_set import Example, ExampleSet
from training.data.graded_scalp import FIRST_TRAINING_SEED, render_graded
from training.data.ungradable import blurred, not_scalp

SEEDS_PER_RUN = 10**10
"""Drawn pictures of two runs with different seeds have no seed in common."""

_ERYTHEMA = list(Condition).index(Condition.ERYTHEMA)


@dataclass(frozen=True)
class Truth:
    """What is known of one picture; `UNKNOWN` where nothing is. As `Labels`, without the first axis."""

    presence: tuple[int, int, int] = (UNKNOWN,) * 3
    severity: tuple[int, int, int] = (UNKNOWN,) * 3
    label: int = UNKNOWN
    quality: int = UNKNOWN


@dataclass(frozen=True)
class Sample:
    """One picture for the network.

    picture: (planes, h, w) float32.  truth: what is known of it.  regions: (3, h, w) uint8, None where nobody knows.
    """

    picture: Tensor
    truth: Truth
    regions: Tensor | None


@dataclass(frozen=True)
class Batch:
    """N samples: `pictures` (N, planes, h, w) float32, and their labels."""

    pictures: Tensor
    labels: Labels


def truth_of(example: Example, weak_severity: bool) -> Truth:
    """The labels of an example. Severities of outlined pictures follow from areas and count only if asked for."""
    weak = example.regions is not None
    severity = example.severity if weak_severity or not weak else (None,) * 3
    return Truth(
        presence=_filled(example.presence),
        severity=_filled(severity),
        label=UNKNOWN if example.label is None else example.label,
        quality=Quality.GRADABLE,
    )


class ClassifierSamples(Dataset["Sample | ScalpScopeError"]):
    """Sample number ``index`` of a run. A picture that cannot be read is given as the error that says so.

    Args:
        data: shares, sampling and augmentation.
        config: of the network.
        examples: to learn from; None: drawn pictures alone.
        store: their pictures; None without examples.
        backgrounds: patches that drawn pictures may lie on.
        seed: of the run.
        with_regions: whether a loss asks for them.
    """

    def __init__(
        self,
        data: DataSection,
        config: ClassifierConfig,
        examples: ExampleSet | None,
        store: PictureStore | None,
        backgrounds: BackgroundPool,
        seed: int,
        with_regions: bool,
    ) -> None:
        self._data, self._config, self._backgrounds, self._seed = data, config, backgrounds, seed
        self._entry, self._size = input_entry(config), (config.width, config.height)
        self._with_regions, self._store = with_regions, store
        self._examples: Sequence[Example] = examples.examples if examples else ()
        self._synthetic_share = data.synthetic_share if self._examples else 1.0 - data.ungradable_share
        if examples and self._examples:
            by_ratio = data.sampling is Sampling.ALGORITHM2
            self._draw = Draw(example_weights(examples) if by_ratio else None, len(examples), seed)

    def __getitem__(self, index: int) -> Sample | ScalpScopeError:
        try:
            return self._sample(index)
        except ScalpScopeError as error:  # a loader's process would lose its words on the way
            return error

    def _sample(self, index: int) -> Sample:
        rng = np.random.default_rng((self._seed, index, 1))
        kind = rng.random()
        if kind < self._data.ungradable_share / 2:
            layers, truth = Layers(not_scalp(rng, self._size)), Truth(quality=Quality.NO_SCALP)
            if self._config.mask:
                layers = replace(layers, hair_mask=np.zeros(layers.image.shape[:2], np.uint8))
        elif kind < self._data.ungradable_share:
            drawn = self._config.task is Task.CONDITIONS and (not self._examples or rng.random() < 0.5)
            layers, _ = self._drawn(index, rng) if drawn else self._real(index, rng)
            layers = Layers(blurred(rng, layers.image), None, layers.hair_mask)
            truth = Truth(quality=Quality.OUT_OF_FOCUS)
        elif kind < self._data.ungradable_share + self._synthetic_share:
            layers, truth = self._drawn(index, rng)
        else:
            layers, truth = self._real(index, rng)
        picture = to_input(layers.image, self._entry, layers.hair_mask)
        known = self._with_regions and layers.regions is not None
        return Sample(picture, truth, torch.from_numpy(np.ascontiguousarray(layers.regions)) if known else None)

    def _drawn(self, index: int, rng: np.random.Generator) -> tuple[Layers, Truth]:
        """Drawn anew each time, so mirrored at most: nearer, shifted or greyed it would no longer have its grades."""
        seed = FIRST_TRAINING_SEED + self._seed * SEEDS_PER_RUN + index
        layers, truth = drawn_layers(seed, self._config, self._backgrounds)
        return (mirror(layers, rng) if self._data.augmentation is Augmentation.USUAL else layers), truth

    def _real(self, index: int, rng: np.random.Generator) -> tuple[Layers, Truth]:
        assert self._store is not None
        position = self._draw(index)
        truth = truth_of(self._examples[position], self._data.weak_severity)
        red = truth.presence[_ERYTHEMA] == 1
        layers = augment(self._store[position], self._data.augmentation, rng, self._size, keep_colour=red)
        return layers, _without_what_left(truth, layers.regions)


def drawn_layers(seed: int, config: ClassifierConfig, backgrounds: BackgroundPool | None) -> tuple[Layers, Truth]:
    """A drawn picture with its truth, at the network's input size."""
    drawn = render_graded(seed, (config.width, config.height), backgrounds)
    layers = Layers(drawn.image, drawn.regions, drawn.hair_mask if config.mask else None)
    presence, severity = (tuple(int(value) for value in values) for values in (drawn.presence, drawn.severity))
    return layers, Truth(presence, severity, quality=Quality.GRADABLE)  # type: ignore[arg-type]


def collate(samples: Sequence[Sample | ScalpScopeError]) -> Batch | ScalpScopeError:
    """Samples as one batch; the first error if there is one among them."""
    good = []
    for sample in samples:
        if isinstance(sample, ScalpScopeError):
            return sample
        good.append(sample)
    truths = [sample.truth for sample in good]
    presence = torch.tensor([truth.presence for truth in truths])
    located = (presence != UNKNOWN) & torch.tensor([[sample.regions is not None] for sample in good])
    regions = None
    if any(sample.regions is not None for sample in good):
        nowhere = torch.zeros(CONDITIONS, *good[0].picture.shape[1:], dtype=torch.uint8)
        regions = torch.stack([nowhere if sample.regions is None else sample.regions for sample in good])
    labels = Labels(
        presence=presence,
        severity=torch.tensor([truth.severity for truth in truths]),
        label=torch.tensor([truth.label for truth in truths]),
        quality=torch.tensor([int(truth.quality) for truth in truths]),
        regions=regions,
        located=located,
    )
    return Batch(torch.stack([sample.picture for sample in good]), labels)


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch on a device, its pictures channels last."""
    labels = batch.labels
    moved = Labels(
        labels.presence.to(device),
        labels.severity.to(device),
        labels.label.to(device),
        labels.quality.to(device),
        None if labels.regions is None else labels.regions.to(device),
        labels.located.to(device),
    )
    return Batch(batch.pictures.to(device, memory_format=torch.channels_last), moved)


def _without_what_left(truth: Truth, regions: np.ndarray | None) -> Truth:
    """A condition whose outlines all left the picture when it was moved is not in it; how bad it is is then 0 too."""
    if regions is None:
        return truth
    presence, severity = list(truth.presence), list(truth.severity)
    for place, region in enumerate(regions):
        if presence[place] == 1 and not region.any():
            presence[place], severity[place] = 0, min(severity[place], 0)
    return replace(truth, presence=_filled(presence), severity=_filled(severity))


def _filled(values: Sequence[int | None]) -> tuple[int, int, int]:
    first, second, third = (UNKNOWN if value is None else value for value in values)
    return first, second, third
