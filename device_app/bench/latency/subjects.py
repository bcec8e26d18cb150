"""What is timed: one network with what comes before and after it, or the whole pipeline, on a frame that is in memory.

Each is exactly what the app does: the same functions, in the same order, by the live loop's own `Pipeline` where it is
the pipeline. What a network needs of other networks (the decoder an embedding) is made before the timing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from calibration.errors import ScalpScopeError
from device_app.bench.latency.report import Model, Stage
from device_app.bench.latency.stamps import Row, Stamps, cost_us
from device_app.bench.latency.timed import NETWORK, PARTS, TASKS, Ran, Timed, TimedNetwork, why_absent
from device_app.bundle import Bundle, Task
from device_app.camera.source import Frame
from device_app.engines.engine import Precision
from device_app.engines.golden_files import sigmoid
from device_app.engines.select import SelectedEngine, open_engine
from device_app.live.pipeline import Pipeline
from device_app.live.settings import PipelineSettings
from device_app.live.stage_clock import StageClock
from device_app.vision.conditions import Condition, grade, joint_probabilities, refusal_of
from device_app.vision.masks import hair_mask
from device_app.vision.preprocess import mask_from_input, points_to_input, to_classifier_input, to_network_input
from device_app.vision.prompts import PromptPoints
from device_app.vision.sam import choose_mask, mask_prompt

SCALE_UM_PER_PX = 3.0  # the demo's; figures cost the same on any scale


class TimedHair(TimedNetwork):
    """The hair network: to a mask of the picture's size."""

    model = Model.HAIR

    def __init__(self, bundle: Bundle, engine: SelectedEngine) -> None:
        super().__init__(engine)
        self._entry = bundle.model(Task.HAIR)

    def before(self, prepared: np.ndarray) -> Mapping[str, np.ndarray]:
        return {self._entry.input_name: to_network_input(prepared, self._entry)}

    def after(self, prepared: np.ndarray, outputs: Mapping[str, np.ndarray]) -> np.ndarray:
        size = prepared.shape[1], prepared.shape[0]
        return hair_mask(outputs[self._entry.output_name][0, 0], size, self._entry.threshold)


class TimedEncoder(TimedNetwork):
    """SAM's image encoder, of the whole picture."""

    model = Model.SAM_ENCODER
    no_postprocess = "the features go to the decoder as they are"

    def __init__(self, bundle: Bundle, engine: SelectedEngine) -> None:
        super().__init__(engine)
        self._entry = bundle.model(Task.SAM_ENCODER)

    def before(self, prepared: np.ndarray) -> Mapping[str, np.ndarray]:
        return {self._entry.input_name: to_network_input(prepared, self._entry)}

    def after(self, prepared: np.ndarray, outputs: Mapping[str, np.ndarray]) -> None:
        return None


@dataclass(frozen=True)
class _Asked:
    """A question to the decoder: size of the picture, its embedding, its points, its darkness in the place of M̂."""

    size: tuple[int, int]
    features: Mapping[str, np.ndarray]
    points: PromptPoints
    coarse: np.ndarray


class TimedDecoder(TimedNetwork):
    """SAM's decoder: one picture's embedding, so many points, to a mask of the picture's size.

    Args:
        bundle: a loaded bundle.
        engine: of the decoder.
        encoder: an engine of the encoder, to embed the frames with before the timing; closed with this.
        points: how many prompt points, half on hair and half on scalp. Where they lie is drawn from a seed: the
            decoder's time depends on how many there are.
    """

    model = Model.SAM_DECODER

    def __init__(self, bundle: Bundle, engine: SelectedEngine, encoder: SelectedEngine, points: int) -> None:
        super().__init__(engine)
        self._encoder, self._points = encoder, points
        self._entry, self._pictures = bundle.model(Task.SAM_DECODER), bundle.model(Task.SAM_ENCODER)

    def prepare(self, image: np.ndarray) -> _Asked:
        """See `Timed.prepare`."""
        size = image.shape[1], image.shape[0]
        features = self._encoder.run({self._pictures.input_name: to_network_input(image, self._pictures)})
        drawn = np.random.default_rng(self._points).random((self._points, 2)) * size
        positive = (self._points + 1) // 2
        points = PromptPoints(drawn[:positive].astype(np.float32), drawn[positive:].astype(np.float32))
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        return _Asked(size, features, points, np.float32(1) - grey.astype(np.float32) / np.float32(255))

    def before(self, prepared: _Asked) -> Mapping[str, np.ndarray]:
        coords, labels = prepared.points.coords_and_labels()
        width, height = self._entry.mask_prompt_size
        if self._entry.mask_prompt:
            prompt = mask_prompt(prepared.coarse, prepared.size, self._pictures, (width, height))
        else:
            prompt = np.zeros((1, 1, height, width), np.float32)
        return {
            **prepared.features,
            "point_coords": points_to_input(coords, prepared.size, self._pictures)[None],
            "point_labels": labels[None],
            "mask_input": prompt,
            "has_mask_input": np.array([float(self._entry.mask_prompt)], np.float32),
        }

    def after(self, prepared: _Asked, outputs: Mapping[str, np.ndarray]) -> np.ndarray:
        choice = choose_mask(outputs["iou_predictions"][0])
        seen = mask_from_input(sigmoid(outputs["masks"][0, choice]), prepared.size, self._pictures)
        return hair_mask(seen, prepared.size, self._entry.threshold)

    def close(self) -> None:
        """See `Timed.close`."""
        super().close()
        self._encoder.close()


class TimedConditions(TimedNetwork):
    """The conditions network: to grades, or to the reason why there are none, with the heat maps."""

    model = Model.CONDITIONS

    def __init__(self, bundle: Bundle, engine: SelectedEngine) -> None:
        super().__init__(engine)
        self._entry = bundle.model(Task.CONDITIONS)
        self._claimed = dict(zip(Condition, self._entry.claimed, strict=True))

    def before(self, prepared: np.ndarray) -> Mapping[str, np.ndarray]:
        mask = np.zeros(prepared.shape[:2], np.uint8) if self._entry.mask else None
        return {self._entry.input_name: to_classifier_input(prepared, self._entry, mask)}

    def after(self, prepared: np.ndarray, outputs: Mapping[str, np.ndarray]) -> object:
        size = prepared.shape[1], prepared.shape[0]
        answer = {name: value[0] for name, value in outputs.items()}
        maps = np.stack([mask_from_input(own, size, self._entry) for own in answer["heat_map"]])
        refused = refusal_of(prepared, answer["quality"], float(answer["distance"][0]), self._entry.limits)
        probabilities = joint_probabilities(answer["presence"], answer["severity"], self._entry.calibration)
        return maps, grade(probabilities, refused, self._claimed)


class TimedPipeline(Timed):
    """The whole live pipeline, in this process: `live.pipeline.Pipeline.analyse`.

    Its stages are stamped by the pipeline's own clock; the frame from beginning to end by ours.
    """

    model = Model.PIPELINE
    marks = 1
    parts = (*PARTS, "preprocess", "segment", "mask", "measure", "focus")

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        backend, _, precision = pipeline.backend.partition(" ")
        self.ran = Ran(
            backend,
            precision,
            pipeline.engine_reasons,
            pipeline.absent,
            pipeline.fallback,
            pipeline.build_commands,
        )
        self._count = 0

    def mark_us(self) -> float:
        """See `Timed.mark_us`: that of the clock that stamps the stages."""
        clock = StageClock()
        return cost_us(lambda: clock.done("mark"))

    def run(self, prepared: np.ndarray, stamps: Stamps) -> None:
        """See `Timed.run`."""
        self._count += 1
        frame = Frame(self._count, prepared, 0)
        stamps.begin()
        analysis = self._pipeline.analyse(frame)
        stamps.mark()
        stamps.end(analysis.timings_ms)

    def times(self, row: Row) -> tuple[dict[Stage, float], dict[str, float]]:
        """See `Timed.times`."""
        return stages_of_analysis(row.parts_ms)

    def absent_stages(self, present: Sequence[Stage]) -> dict[Stage, str]:
        """See `Timed.absent_stages`."""
        why = why_absent(self.ran.backend)
        return {stage: why[stage] for stage in Stage if stage not in present}

    def close(self) -> None:
        """See `Timed.close`."""
        self._pipeline.close()


def stages_of_analysis(timings_ms: Mapping[str, float]) -> tuple[dict[Stage, float], dict[str, float]]:
    """`Analysis.timings_ms`, of a pipeline with `time_parts`, as stages and finer parts.

    Postprocessing is what comes after the network: mask, measuring, focus.
    """
    stages = {Stage.PREPROCESS: timings_ms["preprocess"]}
    for part in PARTS:
        if part in timings_ms:
            stages[Stage(part)] = timings_ms[part]
    finer = {name: timings_ms[name] for name in ("mask", "measure", "focus")}
    stages[Stage.POSTPROCESS] = sum(finer.values())
    return stages, {NETWORK: timings_ms["segment"], **finer}


def open_network(
    bundle: Bundle, model: Model, precision: Precision | None, threads: int, backend: str | None, points: int
) -> Timed:
    """A network of a bundle, ready to be timed.

    Args:
        bundle: a loaded bundle.
        model: which; not the pipeline.
        precision, backend: these and no others; None: the best for this machine.
        threads: of an engine that runs on the processor.
        points: prompt points of the decoder.

    Raises:
        ScalpScopeError: the bundle has no such network, takes fewer points, or no engine that was asked for can be
            used.
    """
    task = TASKS[model]
    if model is Model.SAM_DECODER:
        most = bundle.model(Task.SAM_DECODER).max_points
        if not 1 <= points <= most:
            raise ScalpScopeError(
                f"The decoder of this bundle takes 1 to {most} points, not {points}.", "Change --points."
            )
    engine = open_engine(bundle, task, precision, threads, backend)
    try:
        if model is Model.SAM_DECODER:
            return TimedDecoder(bundle, engine, open_engine(bundle, Task.SAM_ENCODER, threads=threads), points)
        if model is Model.SAM_ENCODER:
            return TimedEncoder(bundle, engine)
        if model is Model.CONDITIONS:
            return TimedConditions(bundle, engine)
        return TimedHair(bundle, engine)
    except BaseException:
        engine.close()
        raise


def pipeline_settings(
    bundle: Bundle, precision: Precision | None, threads: int, backend: str | None
) -> PipelineSettings:
    """How the live loop analyses, with the engine's parts timed."""
    return PipelineSettings(
        bundle.path,
        scale_um_per_px=SCALE_UM_PER_PX,
        precision=precision,
        backend=backend,
        threads=threads,
        time_parts=True,
    )
