"""One frame, stage by stage: preprocess, segment, mask, measure, focus. DESIGN, "The way of one frame"."""

from __future__ import annotations

import time

import numpy as np

from calibration.errors import ScalpScopeError
from calibration.optics.focus import focus_score
from device_app.bundle import Task, load_bundle
from device_app.camera.source import Frame
from device_app.engines.select import open_engine
from device_app.live.analysis import Analysis
from device_app.live.settings import PipelineSettings
from device_app.vision.masks import hair_mask
from device_app.vision.measure import measure_hairs
from device_app.vision.preprocess import to_network_input
from device_app.vision.quarters import join_views, quarter_boxes


class StageClock:
    """Wall time of consecutive stages, in milliseconds."""

    def __init__(self) -> None:
        self._start = self._last = time.perf_counter()
        self.timings_ms: dict[str, float] = {}

    def done(self, stage: str) -> None:
        """The stage that ran since the last call has this name."""
        now = time.perf_counter()
        self.timings_ms[stage] = (now - self._last) * 1000
        self._last = now

    def total(self) -> dict[str, float]:
        """The timings, with ``total``."""
        return {**self.timings_ms, "total": (self._last - self._start) * 1000}


class Pipeline:
    """A verified bundle, an engine proved by its goldens, and what is done with them to a frame.

    Args:
        settings: how to analyse.

    Raises:
        ScalpScopeError: the bundle or every engine is refused.
    """

    def __init__(self, settings: PipelineSettings) -> None:
        self._settings = settings
        bundle = load_bundle(settings.bundle_path)
        self._model = bundle.model(Task.HAIR)
        self._engine = open_engine(bundle, Task.HAIR, settings.precision, settings.threads)
        self.bundle = f"{bundle.name} {bundle.version}"
        self.demonstration = bundle.demonstration_only
        self.backend = f"{self._engine.backend} {self._engine.precision.value}"
        self.engine_reasons = self._engine.reasons
        self.fallback = self._engine.fallback

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
        same_engine = (settings.bundle_path, settings.precision, settings.threads) == (
            old.bundle_path,
            old.precision,
            old.threads,
        )
        if not same_engine:
            other = Pipeline(settings)
            self.close()
            return other
        self._settings = settings
        return self

    def analyse(self, frame: Frame) -> Analysis:
        """Find and measure the hairs of a frame.

        Args:
            frame: image (H, W, 3) uint8 RGB; it is not kept.

        Returns:
            The analysis, its mask at the frame's own size; `timings_ms` names every stage.

        Raises:
            ScalpScopeError: the scale in use was made for pictures of another size.
        """
        settings = self._settings
        height, width = frame.image.shape[:2]
        if settings.picture_size is not None and settings.picture_size != (width, height):
            made_for = "{} x {}".format(*settings.picture_size)
            raise ScalpScopeError(
                f"The calibration in use is for pictures of {made_for} pixels; this one has {width} x {height}.",
                "Choose the profile made at this resolution, or calibrate again.",
            )
        clock = StageClock()
        image = frame.image if settings.flat_field is None else settings.flat_field.correct(frame.image)
        network_input = to_network_input(image, self._model)
        clock.done("preprocess")
        probability = self._segment(network_input)
        if settings.closer and (boxes := quarter_boxes((width, height), self._model.input_size)):
            parts = [image[top:bottom, left:right] for left, top, right, bottom in boxes]
            closer = [self._segment(to_network_input(part, self._model)) for part in parts]
            probability = join_views(probability, closer, boxes, (width, height))
        clock.done("segment")
        mask = hair_mask(probability, (width, height), self._model.threshold)
        clock.done("mask")
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
            timings_ms=clock.total(),
            bundle=self.bundle,
            backend=self.backend,
            demonstration=self.demonstration,
        )

    def _segment(self, network_input: np.ndarray) -> np.ndarray:
        """(1, 3, h, w) float32 -> (h, w) float32 hair probability."""
        until = time.perf_counter() + self._settings.network_at_least_ms / 1000
        while True:
            probability = self._engine.run({self._model.input_name: network_input})[self._model.output_name]
            if time.perf_counter() >= until:
                return probability[0, 0]

    def close(self) -> None:
        """Free the engine. Safe to call twice."""
        self._engine.close()
