"""M̂, M_AP and M of a bundle, as the device makes them: `device_app.live.pipeline.Pipeline`, one embedding a picture."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calibration.errors import ScalpScopeError
from device_app.bundle import default_bundle_path
from device_app.camera.source import Frame
from device_app.engines.engine import Precision
from device_app.live.pipeline import Pipeline
from device_app.live.settings import PipelineSettings
from device_app.manifest_parts import Combination
from training.evaluation.finder import Found, Role, Row
from training.evaluation.sam_automatic import automatic_masks

_COARSE_STAGES = ("preprocess", "segment", "mask")
_REFINED_STAGES = (*_COARSE_STAGES, "prompt", "embed", "decode")
_HAIR_STAGES = (*_REFINED_STAGES, "combine")


@dataclass(frozen=True)
class BundleRow:
    """One row of a bundle; `combination` is for `Role.COMBINED` alone."""

    row: Row
    combination: Combination | None = None


class BundleFinder:
    """All rows that one bundle gives.

    Args:
        bundle: folder of the bundle; None: the one that ships.
        precision: which of its files to run; None: the best for this machine.
        rows: what is wanted of it.
        grid: points along each side for SAM's automatic masks.

    Raises:
        ScalpScopeError: the bundle or an engine is refused, or a row needs SAM and the bundle has none.
    """

    def __init__(self, bundle: Path | None, precision: Precision | None, rows: Sequence[BundleRow], grid: int) -> None:
        self._wanted, self._grid = tuple(rows), grid
        self._pipeline = Pipeline(
            PipelineSettings(bundle_path=bundle or default_bundle_path(), precision=precision, closer=True)
        )
        self._frames = 0
        with_sam = [one for one in rows if one.row.role is not Role.COARSE]
        if with_sam:
            if missing := self._pipeline.refinement_missing:
                raise ScalpScopeError(missing, f"Leave out {with_sam[0].row.name}, or use a bundle with SAM.")
            self._pipeline.open_refiner()

    @property
    def rows(self) -> tuple[Row, ...]:
        return tuple(one.row for one in self._wanted)

    def find(self, image: np.ndarray, wanted: Collection[str]) -> Iterator[Found]:
        """M̂ alone without SAM; else all of them from one embedding, and the automatic masks from one more."""
        rows = [one for one in self._wanted if one.row.name in wanted]
        self._frames += 1
        frame = Frame(self._frames, image, time.monotonic_ns())
        refined = [one for one in rows if one.row.role in (Role.REFINED, Role.HAIR, Role.COMBINED)]
        if refined:
            yield from self._refine(frame, rows)
        else:
            for one in rows:
                if one.row.role is Role.COARSE:
                    analysis = self._pipeline.analyse(frame)
                    yield Found(one.row.name, analysis.mask, _seconds(analysis.timings_ms, _COARSE_STAGES))
        for one in rows:
            if one.row.role is Role.ORACLE:
                yield from self._automatic(one.row.name, image)

    def _refine(self, frame: Frame, rows: Sequence[BundleRow]) -> Iterator[Found]:
        own = self._pipeline.refine(frame)
        timings_ms = own.timings_ms
        for one in rows:
            if one.row.role is Role.COARSE:
                yield Found(one.row.name, own.coarse_mask, _seconds(timings_ms, _COARSE_STAGES))
            elif one.row.role is Role.REFINED:
                yield Found(one.row.name, own.refined_mask, _seconds(timings_ms, _REFINED_STAGES))
            elif one.row.role is Role.HAIR:
                yield Found(one.row.name, own.mask, _seconds(timings_ms, _HAIR_STAGES))
            elif one.combination is not None:
                # Of the same frame the pipeline keeps the embedding: this runs the decoder only.
                other = self._pipeline.refine(frame, combination=one.combination)
                yield Found(one.row.name, other.mask, _seconds({**timings_ms, **other.timings_ms}, _HAIR_STAGES))

    def _automatic(self, name: str, image: np.ndarray) -> Iterator[Found]:
        started = time.perf_counter()
        for mask in automatic_masks(self._pipeline.open_refiner(), image, self._grid):
            yield Found(name, mask, time.perf_counter() - started)
            started = time.perf_counter()


def refinement_missing(bundle: Path | None) -> str | None:
    """Why the bundle in a folder (None: the one that ships) cannot refine; None when it can."""
    from device_app.bundle import load_bundle
    from device_app.live.refiner import refinement_missing as missing

    return missing(load_bundle(bundle or default_bundle_path()))


def split_bundle(argument: str) -> tuple[Path | None, Precision | None, Combination | None]:
    """``default`` or ``FOLDER``, then ``@fp32`` and the like, ``@product`` and the like, or both, in any order."""
    precision, combination = None, None
    while True:
        name, _, word = argument.rpartition("@")
        if name and word in {one.value for one in Precision}:
            precision = Precision(word)
        elif name and word in {one.value for one in Combination}:
            combination = Combination(word)
        else:
            return (None if argument == "default" else Path(argument)), precision, combination
        argument = name


def _seconds(timings_ms: dict[str, float], stages: Sequence[str]) -> float:
    return sum(timings_ms.get(stage, 0.0) for stage in stages) / 1000
