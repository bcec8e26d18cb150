"""Where the pictures of an evaluation come from: files with labels, drawings with known truth, and things to refuse.

Each source is a sequence that makes its pictures when they are asked for, always the same ones, so that a worst mistake
can be looked at again without all pictures being kept.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from device_app.images import read_image
from device_app.vision.conditions import Quality
from training.data.backgrounds import BackgroundPool
from training.data.example_set import UNKNOWN, ExampleSet, Three
from training.data.graded_scalp import render_graded
from training.data.ungradable import HELD_OUT_FAMILIES, blurred, not_scalp

REAL, DRAWN = "real", "drawn"


@dataclass(frozen=True)
class Picture:
    """One picture and all that is known of it.

    Attributes:
        name: for reports.
        group: the patient or the original; a drawing is its own.
        image: (H, W, 3) uint8 RGB.
        presence, severity, label: as in `Example`.
        quality: whether it can be judged at all.
        kind: ``real``, ``drawn``, or which kind of ungradable picture.
        hair_mask: (H, W) uint8 0 or 255; None where nobody knows it.
        attributes: as in `Example`.
    """

    name: str
    group: str
    image: np.ndarray
    presence: Three = UNKNOWN
    severity: Three = UNKNOWN
    label: int | None = None
    quality: Quality = Quality.GRADABLE
    kind: str = REAL
    hair_mask: np.ndarray | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)


class PictureSource(Protocol):
    """A sequence of pictures, made on the spot: the same number gives the same picture."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int, /) -> Picture: ...


class LabelledPictures:
    """The pictures of a set, or of one of its splits.

    Args:
        examples: the set.
        weak_severity: take severities that nobody graded, but that follow from outlined areas.
    """

    def __init__(self, examples: ExampleSet, weak_severity: bool = False) -> None:
        self._examples, self._weak = examples.examples, weak_severity

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, number: int) -> Picture:
        one = self._examples[number]
        return Picture(
            name=one.path.name,
            group=one.group,
            image=read_image(one.path),
            presence=one.presence,
            severity=one.severity if self._weak or one.regions is None else UNKNOWN,
            label=one.label,
            attributes=one.attributes,
        )


class DrawnPictures:
    """Drawings with known grades.

    Args:
        seeds: one picture each; see `training.data.graded_scalp` for which may be used for what.
        size: width and height in pixels.
        backgrounds: as in `render_graded`.
    """

    def __init__(self, seeds: range, size: tuple[int, int], backgrounds: BackgroundPool | None = None) -> None:
        self._seeds, self._size, self._backgrounds = seeds, size, backgrounds

    def __len__(self) -> int:
        return len(self._seeds)

    def __getitem__(self, number: int) -> Picture:
        seed = self._seeds[number]
        drawn = render_graded(seed, self._size, self._backgrounds)
        presence, severity = ((int(a), int(b), int(c)) for a, b, c in (drawn.presence, drawn.severity))
        name = f"drawn, seed {seed}"
        return Picture(name, name, drawn.image, presence, severity, kind=DRAWN, hair_mask=drawn.hair_mask)


class BlurredPictures:
    """Other pictures so far out of focus that nothing in them could be judged."""

    def __init__(self, pictures: PictureSource, seed: int) -> None:
        self._pictures, self._seed = pictures, seed

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, number: int) -> Picture:
        one = self._pictures[number]
        image = blurred(np.random.default_rng((self._seed, number)), one.image)
        return _spoilt(one, image, Quality.OUT_OF_FOCUS, f"{one.kind}, out of focus")


class ExposedPictures:
    """Other pictures in next to no light, or in far too much."""

    def __init__(self, pictures: PictureSource, seed: int) -> None:
        self._pictures, self._seed = pictures, seed

    def __len__(self) -> int:
        return 2 * len(self._pictures)

    def __getitem__(self, number: int) -> Picture:
        one, bright = self._pictures[number // 2], number % 2 == 1
        rng = np.random.default_rng((self._seed, number))
        share, veil = (rng.uniform(0.02, 0.10), 245.0) if bright else (rng.uniform(0, 0.05), 0.0)
        image = np.uint8(np.clip(share * one.image.astype(np.float32) + veil, 0, 255))
        return _spoilt(one, image, Quality.NO_SCALP, f"{one.kind}, too {'bright' if bright else 'dark'}")


class NotScalpPictures:
    """Things that are no scalp, family by family.

    Args:
        each: how many of each family.
        families: of `training.data.ungradable`.
        size: width and height in pixels.
        seed: of the draw.
    """

    def __init__(self, each: int, families: Collection[str], size: tuple[int, int], seed: int) -> None:
        self._each, self._families, self._size, self._seed = each, sorted(families), size, seed

    def __len__(self) -> int:
        return self._each * len(self._families)

    def __getitem__(self, number: int) -> Picture:
        family = self._families[number % len(self._families)]
        image = not_scalp(np.random.default_rng((self._seed, number)), self._size, (family,))
        held_out = " (a family never trained on)" if family in HELD_OUT_FAMILIES else ""
        kind = f"no scalp: {family.replace('_', ' ')}{held_out}"
        name = f"{family}, number {number}"
        return Picture(name, name, image, quality=Quality.NO_SCALP, kind=kind)


class Several:
    """Some pictures of a source, by their numbers; or all of several sources, one after the other."""

    def __init__(self, *sources: PictureSource, numbers: Sequence[int] | None = None) -> None:
        places = [(source, number) for source in sources for number in range(len(source))]
        self._places = places if numbers is None else [places[number] for number in numbers]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, number: int) -> Picture:
        source, place = self._places[number]
        return source[place]


def _spoilt(picture: Picture, image: np.ndarray, quality: Quality, kind: str) -> Picture:
    """What is left of a picture that nobody can judge any more: no label, no hair mask."""
    return Picture(f"{picture.name}, {kind.split(', ')[-1]}", picture.group, image, quality=quality, kind=kind)
