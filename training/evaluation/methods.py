"""The methods that can be evaluated, by the name one types: ``shih``, ``hair:FOLDER``, ``checkpoint:FILE`` ..."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from calibration.errors import ScalpScopeError
from device_app.engines.engine import Precision
from device_app.vision.masks import hair_mask
from training.evaluation.bundle_finder import BundleFinder, BundleRow, split_bundle
from training.evaluation.finder import Finder, Found, Role, Row
from training.evaluation.sam_automatic import GRID, OfficialAutomatic, check_grid
from training.segmentation import baselines

Segmenter = Callable[[np.ndarray], np.ndarray]
"""Picture (H, W, 3) uint8 RGB -> hair mask (H, W) uint8, 0 or 255."""

_NETWORK_SIZE = (640, 480)  # what a checkpoint is run at where its spec names no other size
_OFFICIAL = {".pth", ".pt"}

TABLE_1 = {
    "Shih 2014": "shih",
    "Yue 2021": "yue",
    "Kim 2017": "kim",
    "SAM, automatic, best mask": "sam_automatic",
    "M̂": "coarse",
    "M_AP": "refined",
    "M": "hair",
}
"""The rows of the paper's Table 1, in its order: name and kind of method."""


@dataclass(frozen=True)
class MethodKind:
    """One kind of method: what stands after the colon (empty: nothing), what it is, its role.

    `open` makes a segmenter of the argument; None: a bundle does it, `BundleFinder`.
    """

    argument: str
    description: str
    role: Role = Role.OTHER
    open: Callable[[str], Segmenter] | None = None


class OneMethod:
    """A finder of one row, around a function."""

    def __init__(self, row: Row, segment: Segmenter) -> None:
        self._row, self._segment = row, segment

    @property
    def rows(self) -> tuple[Row, ...]:
        return (self._row,)

    def find(self, image: np.ndarray, wanted: Collection[str]) -> Iterator[Found]:
        """One mask."""
        if self._row.name in wanted:
            started = time.perf_counter()
            mask = self._segment(image)
            yield Found(self._row.name, mask, time.perf_counter() - started)


def _checkpoint(argument: str) -> Segmenter:
    """``FILE``, or ``FILE@320x320`` to give the network that size; threshold 0.5, the device's own post-processing."""
    import torch  # only the methods that need it pay for it

    from training.segmentation.checkpoint import load_network
    from training.segmentation.dataset import normalise

    path, size = _with_size(argument)
    network = load_network(path)

    def segment(image: np.ndarray) -> np.ndarray:
        shrinks = image.shape[1] >= size[0] and image.shape[0] >= size[1]
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        with torch.inference_mode():
            probability = torch.sigmoid(network(normalise(small)[None])[0])[0, 0].numpy()
        return hair_mask(probability, (image.shape[1], image.shape[0]))

    return segment


def _with_size(argument: str) -> tuple[Path, tuple[int, int]]:
    path, _, size = argument.rpartition("@")
    width, _, height = size.partition("x")
    if path and width.isdigit() and height.isdigit():
        return Path(path), (int(width), int(height))
    return Path(argument), _NETWORK_SIZE


def _official(name: str, path: Path, grid: int) -> Finder:
    """SAM's own automatic generator with the checkpoint in a file."""
    from training.prompting.checkpoints import open_checkpoint

    return OfficialAutomatic(name, open_checkpoint(path), grid)


_BUNDLE = "default|FOLDER[@PRECISION]"

METHODS: dict[str, MethodKind] = {
    "shih": MethodKind("", "contrast stretching and threshold (Shih 2014)", Role.CLASSICAL, lambda _: baselines.shih),
    "yue": MethodKind("", "morphology (Yue 2021)", Role.CLASSICAL, lambda _: baselines.yue),
    "kim": MethodKind("", "Otsu's threshold (Kim 2017)", Role.CLASSICAL, lambda _: baselines.kim),
    "black_hat": MethodKind("", "black-hat at three sizes", Role.CLASSICAL, lambda _: baselines.black_hat),
    "checkpoint": MethodKind(
        "FILE[@WIDTHxHEIGHT]", "weights of a run, or u2net.pth / u2netp.pth", Role.OTHER, _checkpoint
    ),
    "sam_automatic": MethodKind(f"{_BUNDLE}|FILE.pth", "SAM asked everywhere, best mask: an oracle", Role.ORACLE),
    "coarse": MethodKind(_BUNDLE, "M̂ of a bundle", Role.COARSE),
    "bundle": MethodKind(_BUNDLE, "the same under its older name", Role.COARSE),
    "refined": MethodKind(_BUNDLE, "M_AP of a bundle", Role.REFINED),
    "hair": MethodKind(_BUNDLE, "M of a bundle, combined as it says", Role.HAIR),
    "combined": MethodKind(
        "default|FOLDER@product|refined|mean|grown", "M of a bundle, combined otherwise", Role.COMBINED
    ),
}
"""Another kind of method is one more entry here."""


def open_methods(specs: Mapping[str, str], grid: int = GRID) -> list[Finder]:
    """Open the methods that are wanted; rows of one bundle at one precision share a finder.

    Args:
        specs: for each row's name ``KIND`` or ``KIND:ARGUMENT``.
        grid: points along each side for SAM's automatic masks.

    Raises:
        ScalpScopeError: there is no such method, its argument is missing or too much, or it cannot be opened.
    """
    check_grid(grid)
    finders: list[Finder] = []
    bundles: dict[tuple[Path | None, Precision | None], list[BundleRow]] = {}
    for name, spec in specs.items():
        kind, argument = _parse(spec)
        if kind.open is not None:
            finders.append(OneMethod(Row(name, kind.role), kind.open(argument)))
        elif kind.role is Role.ORACLE and Path(argument).suffix in _OFFICIAL:
            finders.append(_official(name, Path(argument), grid))
        else:
            folder, precision, combination = split_bundle(argument)
            if (combination is not None) != (kind.role is Role.COMBINED):
                raise _unknown(spec)
            row = Row(name, kind.role, f"{folder or 'default'}@{precision.value if precision else 'best'}")
            bundles.setdefault((folder, precision), []).append(BundleRow(row, combination))
    for (folder, precision), rows in bundles.items():
        finders.append(BundleFinder(folder, precision, rows, grid))
    return finders


def method_forms() -> list[str]:
    """How each method is typed."""
    return [f"{name}:{kind.argument}" if kind.argument else name for name, kind in METHODS.items()]


def _parse(spec: str) -> tuple[MethodKind, str]:
    name, colon, argument = spec.partition(":")
    kind = METHODS.get(name)
    if kind is None or bool(kind.argument) != bool(argument) or (colon and not argument):
        raise _unknown(spec)
    return kind, argument


def _unknown(spec: str) -> ScalpScopeError:
    return ScalpScopeError(f"There is no method '{spec}'.", f"Use {', '.join(method_forms())}.")
