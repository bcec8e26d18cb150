"""SAM on the device: a picture is embedded once, and decoded for as many sets of points as are asked."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from calibration.errors import ScalpScopeError
from device_app.bundle import Bundle, Task
from device_app.engines.engine import Precision
from device_app.engines.golden_files import sigmoid
from device_app.engines.select import open_preferred
from device_app.live.refinement import leave_if, never
from device_app.vision.preprocess import mask_from_input, points_to_input, to_network_input
from device_app.vision.prompts import PromptPoints
from device_app.vision.quarters import Box, join_views, quarter_boxes
from device_app.vision.sam import choose_mask, mask_prompt

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class View:
    """A part of a picture and its embedding.

    Attributes:
        box: the part (left, top, right, bottom).
        features: the encoder's outputs by name, float32.
    """

    box: Box
    features: dict[str, np.ndarray]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the part."""
        return self.box[2] - self.box[0], self.box[3] - self.box[1]


@dataclass(frozen=True)
class Embedded:
    """A picture as SAM's encoder sees it.

    Attributes:
        size: (width, height) of the picture.
        whole: all of it.
        closer: its quarters, when it is much larger than the encoder's input.
    """

    size: tuple[int, int]
    whole: View
    closer: tuple[View, ...] = ()


@dataclass(frozen=True)
class RefinedMask:
    """SAM's answer.

    Attributes:
        probability: (h, w) float32, 0..1, the picture from edge to edge; all 0 when SAM was not asked.
        predicted_iou: SAM's guess of the mask's IoU with the truth; NaN when it was not asked.
        choice: which of its masks this is, 1..3; 0 when it was not asked.
    """

    probability: np.ndarray
    predicted_iou: float
    choice: int


def refinement_missing(bundle: Bundle) -> str | None:
    """Why a bundle cannot refine, in plain words; None when it can."""
    if bundle.has(Task.SAM_ENCODER) and bundle.has(Task.SAM_DECODER):
        return None
    return f"Bundle '{bundle.name} {bundle.version}' has no SAM: it finds hairs, and cannot refine them."


class Refiner:
    """Both halves of SAM, each in an engine proved by its goldens. Not for use by two threads at once.

    Args:
        bundle: a loaded bundle.
        threads: CPU threads of an engine that runs on the processor.
        precision: which files to run; a half that has no such file takes its best, and `reasons` says so. None: the
            best for this machine.
        backend: which back end, by its name; None: the best for this machine.

    Attributes:
        encoder, decoder: the entries of the manifest.
        backend: back end and precision of both halves.
        reasons: why these engines run and what was passed over.
        fallback: something better was passed over.
        build_commands: command lines of processes that build better engines than these.

    Raises:
        ScalpScopeError: the bundle has no SAM, or every engine is refused.
    """

    def __init__(
        self, bundle: Bundle, threads: int = 2, precision: Precision | None = None, backend: str | None = None
    ) -> None:
        if missing := refinement_missing(bundle):
            raise ScalpScopeError(missing, "Use a bundle with SAM.")
        self.encoder = bundle.model(Task.SAM_ENCODER)
        self.decoder = bundle.model(Task.SAM_DECODER)
        self._encoder, said = open_preferred(bundle, Task.SAM_ENCODER, precision, threads, backend)
        try:
            self._decoder, also_said = open_preferred(bundle, Task.SAM_DECODER, precision, threads, backend)
        except ScalpScopeError:
            self._encoder.close()
            raise
        halves = [f"{engine.backend} {engine.precision.value}" for engine in (self._encoder, self._decoder)]
        self.backend = f"encoder {halves[0]}, decoder {halves[1]}"
        self.reasons = (*said, *also_said)
        self.fallback = self._encoder.fallback or self._decoder.fallback
        self.build_commands = tuple(dict.fromkeys((*self._encoder.build_commands, *self._decoder.build_commands)))

    @property
    def input_size(self) -> tuple[int, int]:
        """(width, height) of the encoder's input."""
        return self.encoder.input_size

    def embed(self, image: np.ndarray, cancelled: Callable[[], bool] = never) -> Embedded:
        """Run the encoder on a picture and, when it is much larger than the input, on its quarters.

        Args:
            image: (H, W, 3) uint8 RGB, any size from 1x1; it is not kept.
            cancelled: asked before every run.

        Raises:
            Cancelled: it was.
            ScalpScopeError: the encoder failed.
        """
        size = image.shape[1], image.shape[0]

        def view(box: Box) -> View:
            leave_if(cancelled)
            left, top, right, bottom = box
            tensor = to_network_input(image[top:bottom, left:right], self.encoder)
            return View(box, self._encoder.run({self.encoder.input_name: tensor}))

        whole = view((0, 0, *size))
        return Embedded(size, whole, tuple(view(box) for box in quarter_boxes(size, self.input_size)))

    def decode(
        self,
        embedded: Embedded,
        points: PromptPoints,
        coarse_probability: np.ndarray | None = None,
        cancelled: Callable[[], bool] = never,
    ) -> RefinedMask:
        """Run the decoder for these points.

        Points outside the picture are dropped, and those beyond `decoder.max_points` thinned evenly. Without a point on
        hair SAM is not asked.

        Args:
            embedded: of `embed`.
            points: in pixels of the picture.
            coarse_probability: (h, w) float32 of the picture from edge to edge, of any resolution: M̂, for a decoder
                that takes a mask prompt.
            cancelled: asked before every run.

        Raises:
            Cancelled: it was.
            ScalpScopeError: the decoder failed, or answered with values that are not numbers.
        """
        usable = points.within((0, 0, *embedded.size))
        if usable.count < points.count:
            log.warning("%d of %d points lie outside the picture", points.count - usable.count, points.count)
        if usable.count > self.decoder.max_points:
            log.warning("%d points are thinned to %d", usable.count, self.decoder.max_points)
            usable = usable.thinned(self.decoder.max_points)
        if len(usable.positive) == 0:
            return self._not_asked()
        whole = self._ask(embedded, embedded.whole, usable, coarse_probability, cancelled)
        if not embedded.closer:
            return whole
        closer = [self._ask(embedded, view, usable, coarse_probability, cancelled) for view in embedded.closer]
        boxes = tuple(view.box for view in embedded.closer)
        joined = join_views(whole.probability, [part.probability for part in closer], boxes, embedded.size)
        return RefinedMask(joined, whole.predicted_iou, whole.choice)

    def close(self) -> None:
        """Free both engines. Safe to call twice."""
        self._encoder.close()
        self._decoder.close()

    def _ask(
        self,
        embedded: Embedded,
        view: View,
        points: PromptPoints,
        coarse_probability: np.ndarray | None,
        cancelled: Callable[[], bool],
    ) -> RefinedMask:
        leave_if(cancelled)
        inside = points.within(view.box).moved(-view.box[0], -view.box[1])
        if len(inside.positive) == 0:
            return self._not_asked()
        coords, labels = inside.coords_and_labels()
        width, height = self.decoder.mask_prompt_size
        prompt = np.zeros((1, 1, height, width), np.float32)
        prompted = self.decoder.mask_prompt and coarse_probability is not None
        if coarse_probability is not None and prompted:
            seen = _part(coarse_probability, view.box, embedded.size)
            prompt = mask_prompt(seen, view.size, self.encoder, (width, height))
        answer = self._decoder.run(
            {
                **{spec.name: view.features[spec.name] for spec in self.decoder.features},
                "point_coords": points_to_input(coords, view.size, self.encoder)[None],
                "point_labels": labels[None],
                "mask_input": prompt,
                "has_mask_input": np.array([float(prompted)], np.float32),
            }
        )
        ious = answer["iou_predictions"][0]
        choice = choose_mask(ious)
        probability = mask_from_input(sigmoid(answer["masks"][0, choice]), view.size, self.encoder)
        return RefinedMask(probability, float(ious[choice]), choice)

    def _not_asked(self) -> RefinedMask:
        return RefinedMask(np.zeros(self.decoder.masks_shape[2:], np.float32), float("nan"), 0)


def _part(probability: np.ndarray, box: Box, size: tuple[int, int]) -> np.ndarray:
    """The part of a probability map that shows a box of the picture."""
    height, width = probability.shape
    left, right = (round(side * width / size[0]) for side in (box[0], box[2]))
    top, bottom = (round(side * height / size[1]) for side in (box[1], box[3]))
    return probability[min(top, height - 1) : max(bottom, top + 1), min(left, width - 1) : max(right, left + 1)]
