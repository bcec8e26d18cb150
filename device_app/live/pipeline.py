"""One frame, stage by stage: preprocess, segment, mask, measure, focus; refined by SAM between mask and measure; and
graded by the classifiers.

DESIGN, "The way of one frame".
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from calibration.errors import ScalpScopeError
from calibration.optics.focus import focus_score
from device_app.bundle import Task, load_bundle
from device_app.camera.source import Frame
from device_app.engines.select import open_engine
from device_app.live.analysis import Analysis, ClassJudgement, Conditions
from device_app.live.classifier import Classifiers
from device_app.live.refinement import (
    Correction,
    Refinement,
    leave_if,
    near_points,
    never,
    points_of,
    reach_px,
    without_contradiction,
)
from device_app.live.refiner import Embedded, Refiner, refinement_missing
from device_app.live.settings import PipelineSettings
from device_app.live.stage_clock import StageClock
from device_app.manifest_parts import Combination
from device_app.vision.corrections import heed
from device_app.vision.masks import combine_masks, drop_small, hair_mask
from device_app.vision.measure import measure_hairs
from device_app.vision.preprocess import to_network_input
from device_app.vision.prompts import PromptOptions, PromptPoints, draw_prompts
from device_app.vision.quarters import join_views, quarter_boxes

MOST_POINTS = 400
"""Points drawn for one picture, at most: as dense as those the student was taught with. More cost the decoder time, and
changed nothing in validation pictures."""


@dataclass(frozen=True)
class _Prepared:
    """A frame as it is before the decoder is asked; kept of the last one, so that a correction starts from here."""

    key: tuple[object, ...]
    coarse_probability: np.ndarray
    coarse_mask: np.ndarray
    points: PromptPoints
    embedded: Embedded


class Pipeline:
    """A verified bundle, an engine proved by its goldens, and what is done with them to a frame.

    Args:
        settings: how to analyse.

    Attributes:
        classifiers: those of the bundle; they are opened when they are first asked.

    Raises:
        ScalpScopeError: the bundle or every engine of the hair network is refused.
    """

    def __init__(self, settings: PipelineSettings) -> None:
        self._settings = settings
        self._refiner: Refiner | None = None
        self._prepared: _Prepared | None = None
        self._parts_ms: dict[str, float] = {}
        self._bundle = bundle = load_bundle(settings.bundle_path)
        self._model = bundle.model(Task.HAIR)
        self._engine = open_engine(bundle, Task.HAIR, settings.precision, settings.threads, settings.backend)
        self.classifiers = Classifiers(bundle, settings.precision, settings.backend)
        self.bundle = f"{bundle.name} {bundle.version}"
        self.demonstration = bundle.demonstration_only
        self.backend = f"{self._engine.backend} {self._engine.precision.value}"
        self.engine_reasons = self._engine.reasons
        self.fallback = self._engine.fallback
        self.absent = self._engine.absent
        self.build_commands = self._engine.build_commands

    @property
    def settings(self) -> PipelineSettings:
        """How this pipeline analyses."""
        return self._settings

    def with_settings(self, settings: PipelineSettings) -> Pipeline:
        """A pipeline for other settings; it takes this one's engine along when that serves. Do not use this one after.

        Raises:
            ScalpScopeError: the new bundle or every engine is refused; this pipeline still works then.
        """
        old = self._settings
        same_engine = (settings.bundle_path, settings.precision, settings.backend, settings.threads) == (
            old.bundle_path,
            old.precision,
            old.backend,
            old.threads,
        )
        if not same_engine:
            other = Pipeline(settings)
            self.close()
            return other
        self._settings = settings
        self._prepared = None
        return self

    @property
    def refinement_missing(self) -> str | None:
        """Why the bundle cannot refine, in plain words; None when it can."""
        return refinement_missing(self._bundle)

    @property
    def refine_backend(self) -> str:
        """Back ends and precisions of SAM's two halves; empty before the first refinement."""
        return "" if self._refiner is None else self._refiner.backend

    def open_refiner(self) -> Refiner:
        """SAM, opened on the first call.

        Raises:
            ScalpScopeError: the bundle has no SAM, or every engine is refused.
        """
        if self._refiner is None:
            self._refiner = Refiner(
                self._bundle, self._settings.threads, self._settings.precision, self._settings.backend
            )
        return self._refiner

    @property
    def conditions_missing(self) -> str | None:
        """Why conditions cannot be graded, in plain words; None when they can. The first time it opens the engine."""
        return self.classifiers.conditions_missing

    @property
    def overview_missing(self) -> str | None:
        """Why the bundle cannot stage hair loss in an overview photograph, in plain words; None when it can."""
        return self.classifiers.missing(Task.HAIR_LOSS_STAGE)

    def classify(self, frame: Frame, hair_mask: np.ndarray) -> Conditions:
        """Grade the conditions of a frame. It may run beside `analyse`, on another thread, and not beside itself.

        Args:
            frame: image (H, W, 3) uint8 RGB; it is not kept.
            hair_mask: (H, W) uint8, the hair mask of that picture.

        Raises:
            ScalpScopeError: the bundle has no such network, every engine is refused, the engine failed, or the
                calibration in use is for pictures of another size.
        """
        return self.classifiers.grader().grade(self._checked(frame), hair_mask, frame.id)

    def judge_scalp(self, frame: Frame, hair_mask: np.ndarray) -> ClassJudgement:
        """The scalp's condition in a frame, one of several. Arguments and errors: see `classify`."""
        return self.classifiers.judge(Task.SCALP_CONDITION).judge(self._checked(frame), hair_mask)

    def judge_overview(self, image: np.ndarray) -> ClassJudgement:
        """The stage of hair loss in an overview photograph, (H, W, 3) uint8 RGB, which no calibration is for.

        Raises:
            ScalpScopeError: the bundle has no such network, every engine is refused, or the engine failed.
        """
        return self.classifiers.judge(Task.HAIR_LOSS_STAGE).judge(image)

    def analyse(self, frame: Frame) -> Analysis:
        """Find and measure the hairs of a frame.

        Args:
            frame: image (H, W, 3) uint8 RGB; it is not kept.

        Returns:
            The analysis, its mask at the frame's own size; `timings_ms` names every stage, and with `time_parts` the
            parts of ``segment``: ``compute`` and, on an accelerator, ``host_to_device`` and ``device_to_host``.

        Raises:
            ScalpScopeError: the scale in use was made for pictures of another size.
        """
        settings = self._settings
        clock = StageClock()
        self._parts_ms = {}
        image = self._checked(frame)
        size = image.shape[1], image.shape[0]
        network_input = to_network_input(image, self._model)
        clock.done("preprocess")
        probability = self._look(image, network_input, settings.closer, never)
        clock.done("segment")
        mask = hair_mask(probability, size, self._model.threshold)
        clock.done("mask")
        return self._measured(frame, image, mask, probability, clock, self.backend)

    def refine(
        self,
        frame: Frame,
        corrections: Sequence[Correction] = (),
        cancelled: Callable[[], bool] = never,
        combination: Combination | None = None,
    ) -> Refinement:
        """Find and measure the hairs of a frame with SAM's help (ScalpVision, section 3.2), large pictures in quarters.

        M̂, small parts out, points drawn from it (Algorithm 1), SAM's mask M_AP, both combined as the bundle says, small
        parts out, measured. Near a correction M_AP alone decides, and where it does not
        follow, the correction is drawn (`vision.corrections`). Of the last frame everything up to the embedding is
        kept: refined again with other corrections, it needs the decoder only.

        Args:
            frame: image (H, W, 3) uint8 RGB; it is not kept.
            corrections: what the clinician says; those outside the picture have no effect.
            cancelled: asked between the stages and between the quarters.
            combination: another than the bundle's, to compare them.

        Raises:
            Cancelled: it was.
            ScalpScopeError: the bundle has no SAM, an engine is refused or failed, or the scale in use was made for
                pictures of another size.
        """
        refiner = self.open_refiner()
        clock = StageClock()
        image = self._checked(frame)
        size = image.shape[1], image.shape[0]
        scale = self._settings.scale_um_per_px
        key = (frame.id, image.shape, zlib.crc32(np.ascontiguousarray(frame.image).data))
        if self._prepared is None or self._prepared.key != key:
            self._prepared = None  # not two large embeddings at a time
            self._prepared = self._prepare(key, image, refiner, clock, cancelled)
        before = self._prepared
        leave_if(cancelled)
        corrected = points_of(corrections, size)
        room = max(0, refiner.decoder.max_points - corrected.count)
        drawn = without_contradiction(before.points, corrected, size)
        points = corrected.joined(drawn.thinned(room)) if room else corrected
        refined = refiner.decode(before.embedded, points, before.coarse_probability, cancelled)
        clock.done("decode")
        leave_if(cancelled)
        how, threshold = combination or refiner.decoder.combination, refiner.decoder.threshold
        coarse_probability = _moved_threshold(before.coarse_probability, self._model.threshold, threshold)
        refined_mask = hair_mask(refined.probability, size, threshold)
        if refined.choice == 0:  # SAM was not asked: nothing is hair, whatever the combination
            mask = np.zeros_like(refined_mask)
        else:
            mask = combine_masks(coarse_probability, refined.probability, how, size, threshold)
            mask = drop_small(mask, self._settings.clean_up.least_after(scale, size))
        probability = _joint_probability(before.coarse_probability, refined.probability, how)
        if corrected.count:
            followed = np.where(near_points(corrected, mask.shape, size), refined_mask, mask)
            mask = heed(followed, image, corrected, reach_px(size))
            near = near_points(corrected, probability.shape, size)
            probability = np.where(near, cv2.resize(refined.probability, probability.shape[::-1]), probability)
            said = cv2.resize(mask, probability.shape[::-1], interpolation=cv2.INTER_NEAREST)
            sams = cv2.resize(followed, probability.shape[::-1], interpolation=cv2.INTER_NEAREST)
            probability = np.where(said != sams, np.float32(said > 0), probability)
        clock.done("combine")
        leave_if(cancelled)
        backend = f"{self.backend}; SAM {refiner.backend}"
        analysis = self._measured(frame, image, mask, probability, clock, backend)
        return Refinement(
            frame_id=frame.id,
            coarse_mask=before.coarse_mask,
            refined_mask=refined_mask,
            mask=mask,
            points=points,
            corrections=tuple(corrections),
            analysis=analysis,
            combination=how,
            predicted_iou=refined.predicted_iou,
            timings_ms=analysis.timings_ms,
        )

    def _prepare(
        self,
        key: tuple[object, ...],
        image: np.ndarray,
        refiner: Refiner,
        clock: StageClock,
        cancelled: Callable[[], bool],
    ) -> _Prepared:
        size = image.shape[1], image.shape[0]
        network_input = to_network_input(image, self._model)
        clock.done("preprocess")
        probability = self._look(image, network_input, True, cancelled)
        clock.done("segment")
        coarse_mask = hair_mask(probability, size, self._model.threshold)
        clock.done("mask")
        leave_if(cancelled)
        large = drop_small(coarse_mask, self._settings.clean_up.least_before(self._settings.scale_um_per_px, size))
        points = draw_prompts(large, PromptOptions(most_points=min(MOST_POINTS, refiner.decoder.max_points)))
        clock.done("prompt")
        leave_if(cancelled)
        embedded = refiner.embed(image, cancelled)
        clock.done("embed")
        return _Prepared(key, probability, coarse_mask, points, embedded)

    def _checked(self, frame: Frame) -> np.ndarray:
        """The frame's picture, its light corrected. Raises `ScalpScopeError` when the scale is not for its size."""
        settings = self._settings
        height, width = frame.image.shape[:2]
        if settings.picture_size is not None and settings.picture_size != (width, height):
            made_for = "{} x {}".format(*settings.picture_size)
            raise ScalpScopeError(
                f"The calibration in use is for pictures of {made_for} pixels; this one has {width} x {height}.",
                "Choose the profile made at this resolution, or calibrate again.",
            )
        return frame.image if settings.flat_field is None else settings.flat_field.correct(frame.image)

    def _look(
        self, image: np.ndarray, network_input: np.ndarray, closer: bool, cancelled: Callable[[], bool]
    ) -> np.ndarray:
        """(h, w) float32 hair probability of a picture, seen in quarters too if it is large and `closer` is wanted."""
        size = image.shape[1], image.shape[0]
        leave_if(cancelled)
        whole = self._segment(network_input)
        if not closer or not (boxes := quarter_boxes(size, self._model.input_size)):
            return whole
        parts = []
        for left, top, right, bottom in boxes:
            leave_if(cancelled)
            parts.append(self._segment(to_network_input(image[top:bottom, left:right], self._model)))
        return join_views(whole, parts, boxes, size)

    def _measured(
        self,
        frame: Frame,
        image: np.ndarray,
        mask: np.ndarray,
        probability: np.ndarray,
        clock: StageClock,
        backend: str,
    ) -> Analysis:
        settings = self._settings
        measurements = measure_hairs(
            image,
            mask,
            settings.scale_um_per_px,
            settings.scale_uncertainty_um_per_px,
            settings.classes,
            probability,
        )
        clock.done("measure")
        focus = focus_score(image)
        clock.done("focus")
        return Analysis(
            frame_id=frame.id,
            mask=mask,
            measurements=measurements,
            focus=focus,
            timings_ms={**self._parts_ms, **clock.total()},
            bundle=self.bundle,
            backend=backend,
            demonstration=self.demonstration,
        )

    def _segment(self, network_input: np.ndarray) -> np.ndarray:
        """(1, 3, h, w) float32 -> (h, w) float32 hair probability."""
        until = time.perf_counter() + self._settings.network_at_least_ms / 1000
        inputs = {self._model.input_name: network_input}
        while True:
            if self._settings.time_parts:
                outputs, parts_ms = self._engine.run_timed(inputs)
                for part, ms in parts_ms.items():
                    self._parts_ms[part] = self._parts_ms.get(part, 0.0) + ms
            else:
                outputs = self._engine.run(inputs)
            probability = outputs[self._model.output_name]
            if time.perf_counter() >= until:
                return probability[0, 0]

    def close(self) -> None:
        """Free the engines. Safe to call twice."""
        self._engine.close()
        self.classifiers.close()
        if self._refiner is not None:
            self._refiner.close()
        self._refiner = self._prepared = None


def _moved_threshold(probability: np.ndarray, own: float, wanted: float) -> np.ndarray:
    """Bend a probability so that what lay at one threshold lies at another: two networks, one cut for both."""
    if own == wanted:
        return probability
    low, high = probability * (wanted / own), 1 - (1 - probability) * ((1 - wanted) / (1 - own))
    return np.where(probability < own, low, high).astype(np.float32)


def _joint_probability(coarse: np.ndarray, refined: np.ndarray, how: Combination) -> np.ndarray:
    """How sure the combined mask is of a pixel, at the coarse probability's resolution, for the measuring."""
    if how is Combination.REFINED:
        return refined
    refined = cv2.resize(refined, coarse.shape[::-1])
    return np.maximum(coarse, refined) if how is Combination.GROWN else (coarse + refined) / 2
