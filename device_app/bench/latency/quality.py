"""The gate beside the speed: what the engine that was timed computes, against FP32.

The bundle's goldens hold what FP32 answered, so no FP32 network is needed. Where there is one, in the bundle or by
``--fp32``, it answers the run's own frames as well. Nothing was tuned on either.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from calibration.errors import ScalpScopeError
from device_app.bench.latency.report import Model, Quality
from device_app.bench.precision import GOAL_DICE_MEDIAN, GOAL_DICE_WORST, GOAL_SHIFT_UM
from device_app.bench.same_hairs import measured_hairs, shifts_of_same_hairs
from device_app.bundle import Bundle, ConditionsEntry, HairEntry, SamDecoderEntry, SamEncoderEntry, Task
from device_app.engines.engine import Engine, Precision
from device_app.engines.golden_files import (
    read_decoder_goldens,
    read_encoder_goldens,
    read_hair_goldens,
    read_logit_goldens,
    sigmoid,
)
from device_app.engines.goldens import check_goldens, mask_dice
from device_app.engines.onnxruntime_engine import OnnxRuntimeEngine
from device_app.vision.conditions import Condition, Grade, Refusal, grade, joint_probabilities, refusal_of
from device_app.vision.masks import hair_mask
from device_app.vision.preprocess import to_classifier_input, to_network_input
from device_app.vision.sam import choose_mask

GOAL_AGREEMENT = 0.98
"""Of the grades, as an export asks it of a conditions network that ships."""

MOST_FRAMES = 8
"""Frames of the run that are looked at, spread over it, beside the goldens."""

_TASKS = {
    Model.HAIR: (Task.HAIR,),
    Model.SAM_ENCODER: (Task.SAM_ENCODER,),
    Model.SAM_DECODER: (Task.SAM_DECODER,),
    Model.CONDITIONS: (Task.CONDITIONS,),
    Model.PIPELINE: (Task.HAIR, Task.CONDITIONS),
}


@dataclass
class _Found:
    """What was found so far, of all networks."""

    pictures: int = 0
    dices: list[float] = field(default_factory=list)
    shifts_px: list[float] = field(default_factory=list)
    hairs: int = 0
    grades: int = 0
    grades_alike: int = 0
    feature_difference: float | None = None
    misses: list[str] = field(default_factory=list)


def measure_quality(
    bundle: Bundle,
    model: Model,
    engines: Engine | Mapping[Task, Engine],
    fp32: Path | None = None,
    frames: Sequence[np.ndarray] = (),
    scale_um_per_px: float = 3.0,
) -> Quality:
    """What engines compute against FP32.

    Args:
        bundle: a loaded bundle.
        model: what was timed. Of the pipeline the hair network, and the conditions network where `engines` has it.
        engines: open, by task; or the one of a model that is one network. They stay open.
        fp32: the FP32 file of the network that was timed (of the hair network, for the pipeline), for a bundle that
            ships without.
        frames: (H, W, 3) uint8 RGB, frames of the run. Looked at where there is an FP32 network to answer them, and the
            network takes pictures.
        scale_um_per_px: on which the house's goal for diameters, in micrometres, is held.

    Returns:
        The figures. A network has passed that reproduces its goldens within the manifest's tolerance, and whose figures
        are within the house's goals: mask Dice 0.99 in the median and 0.97 at worst, diameters within 1 µm in the
        median, 98 % of the grades alike.

    Raises:
        ScalpScopeError: an engine failed, or `fp32` is no FP32 file of this network.
    """
    by_task = engines if isinstance(engines, Mapping) else {_TASKS[model][0]: engines}
    wanted = [task for task in _TASKS[model] if task in by_task]
    if not wanted:
        raise ValueError(f"no engine of {model.value} was given")
    found = _Found()
    for place, task in enumerate(wanted):
        with _reference(bundle, task, fp32 if place == 0 else None) as reference:
            _check_goldens(bundle, task, by_task[task], found)
            spread = _spread(frames, MOST_FRAMES) if reference is not None else []
            _measure(bundle, task, by_task[task], reference, spread, found)
    return _judge(found, scale_um_per_px)


@contextmanager
def _reference(bundle: Bundle, task: Task, fp32: Path | None) -> Iterator[Engine | None]:
    """The FP32 network, proved by the goldens, if there is one."""
    entry = bundle.model(task)
    if fp32 is None and Precision.FP32 not in entry.files:
        yield None
        return
    if Precision.FP32 not in entry.goldens.tolerance:
        raise ScalpScopeError(
            f"The goldens of the network '{task.value}' do not say how near an FP32 file must come, so nothing proves "
            f"that {fp32} is the same network.",
            "Leave --fp32 out: the goldens themselves hold what FP32 answered.",
        )
    engine = OnnxRuntimeEngine(fp32 or bundle.file(entry.files[Precision.FP32]), entry, Precision.FP32)
    try:
        check_goldens(engine, bundle, entry)
        yield engine
    finally:
        engine.close()


def _check_goldens(bundle: Bundle, task: Task, engine: Engine, found: _Found) -> None:
    """Once more after the run: an engine that was right when it was opened must still be."""
    try:
        check_goldens(engine, bundle, bundle.model(task))
    except ScalpScopeError as error:
        found.misses.append(error.what)


def _measure(
    bundle: Bundle, task: Task, engine: Engine, reference: Engine | None, frames: Sequence[np.ndarray], found: _Found
) -> None:
    before = found.pictures
    entry = bundle.model(task)
    if isinstance(entry, HairEntry):
        found.pictures += _hair(bundle, entry, engine, reference, frames, found)
    elif isinstance(entry, SamEncoderEntry):
        found.pictures += _encoder(bundle, entry, engine, reference, frames, found)
    elif isinstance(entry, SamDecoderEntry):
        found.pictures += _decoder(bundle, entry, engine, found)
    elif isinstance(entry, ConditionsEntry):
        found.pictures += _conditions(bundle, entry, engine, reference, frames, found)
    assert found.pictures > before, f"no picture for {task.value}"


def _hair(
    bundle: Bundle,
    entry: HairEntry,
    engine: Engine,
    reference: Engine | None,
    frames: Sequence[np.ndarray],
    found: _Found,
) -> int:
    goldens = read_hair_goldens(bundle.path, entry)

    def probability(network: Engine, image: np.ndarray) -> np.ndarray:
        return network.run({entry.input_name: to_network_input(image, entry)})[entry.output_name][0, 0]

    known = [(image, output[0]) for image, output in zip(goldens.images, goldens.outputs, strict=True)]
    if reference is not None:
        known += [(image, probability(reference, image)) for image in frames]
    for image, by_fp32 in known:
        size = image.shape[1], image.shape[0]
        own, right = (hair_mask(p, size, entry.threshold) for p in (probability(engine, image), by_fp32))
        found.dices.append(mask_dice(own > 0, right > 0))
        hairs = measured_hairs(image, right)
        found.hairs += len(hairs)
        found.shifts_px += shifts_of_same_hairs(measured_hairs(image, own), hairs)
    return len(known)


def _encoder(
    bundle: Bundle,
    entry: SamEncoderEntry,
    engine: Engine,
    reference: Engine | None,
    frames: Sequence[np.ndarray],
    found: _Found,
) -> int:
    goldens = read_encoder_goldens(bundle.path, entry)
    differences = []
    for number, image in enumerate(goldens.images):
        outputs = engine.run({entry.input_name: to_network_input(image, entry)})
        for name, samples in goldens.samples.items():
            own = outputs[name].reshape(-1)[:: goldens.steps[name]]
            differences.append(_relative_difference(own, samples[number]))
    if reference is not None:
        for image in frames:
            tensor = {entry.input_name: to_network_input(image, entry)}
            own_features, right = engine.run(tensor), reference.run(tensor)
            differences += [_relative_difference(own_features[name], right[name]) for name in right]
    found.feature_difference = max(differences)
    allowed = entry.goldens.tolerance[engine.precision].max_relative_diff
    if not found.feature_difference <= allowed:
        found.misses.append(
            f"features differ by {found.feature_difference:.3f} of their size, and the manifest allows {allowed:.3f}"
        )
    return len(goldens.images) + (len(frames) if reference is not None else 0)


def _decoder(bundle: Bundle, entry: SamDecoderEntry, engine: Engine, found: _Found) -> int:
    """The mask that FP32 would choose, at the threshold, at the decoder's own resolution: a golden has no picture."""
    goldens = read_decoder_goldens(bundle.path, entry)
    for golden in goldens:
        chosen = choose_mask(golden.iou_predictions)
        own = sigmoid(engine.run(golden.inputs)["masks"][0, chosen])
        found.dices.append(mask_dice(own >= entry.threshold, golden.probabilities[chosen] >= entry.threshold))
    return len(goldens)


def _conditions(
    bundle: Bundle,
    entry: ConditionsEntry,
    engine: Engine,
    reference: Engine | None,
    frames: Sequence[np.ndarray],
    found: _Found,
) -> int:
    goldens = read_logit_goldens(bundle.path, entry)

    def answer(network: Engine, image: np.ndarray, mask: np.ndarray | None) -> dict[str, np.ndarray]:
        outputs = network.run({entry.input_name: to_classifier_input(image, entry, mask)})
        return {name: value[0] for name, value in outputs.items()}

    def count(image: np.ndarray, own: Mapping[str, np.ndarray], right: Mapping[str, np.ndarray]) -> None:
        verdicts = [_grades(image, outputs, entry) for outputs in (own, right)]
        found.grades += len(verdicts[0])
        found.grades_alike += sum(mine == theirs for mine, theirs in zip(*verdicts, strict=True))

    for number, image in enumerate(goldens.images):
        mask = None if goldens.hair_masks is None else goldens.hair_masks[number]
        count(image, answer(engine, image, mask), {name: values[number] for name, values in goldens.outputs.items()})
    if reference is None:
        return len(goldens.images)
    for image in frames:
        mask = np.zeros(image.shape[:2], np.uint8) if entry.mask else None
        count(image, answer(engine, image, mask), answer(reference, image, mask))
    return len(goldens.images) + len(frames)


def _grades(image: np.ndarray, outputs: Mapping[str, np.ndarray], entry: ConditionsEntry) -> list[int | Refusal]:
    """What the device would say of each condition: its severity, or why it says none.

    A condition that the bundle does not claim is graded as well: refusing it on both sides would count as agreement.
    """
    refused = refusal_of(image, outputs["quality"], float(outputs["distance"][0]), entry.limits)
    probabilities = joint_probabilities(outputs["presence"], outputs["severity"], entry.calibration)
    grades = grade(probabilities, refused, dict.fromkeys(Condition, True))
    return [_said(own) for own in grades.values()]


def _said(own: Grade) -> int | Refusal:
    if own.refused is not None:
        return own.refused
    assert own.severity is not None
    return int(own.severity)


def _judge(found: _Found, scale_um_per_px: float) -> Quality:
    misses = list(found.misses)
    median = worst = shift = agreement = None
    if found.dices:
        median, worst = float(np.median(found.dices)), min(found.dices)
        for name, value, goal in (("median", median, GOAL_DICE_MEDIAN), ("worst", worst, GOAL_DICE_WORST)):
            if not value >= goal:
                misses.append(f"{name} mask Dice {value:.4f} is under the house's goal of {goal:g}")
    if found.shifts_px:
        shift = float(np.median(found.shifts_px))
        if not shift * scale_um_per_px <= GOAL_SHIFT_UM:
            misses.append(
                f"diameters moved by {shift:.3f} px in the median, {shift * scale_um_per_px:.2f} µm at "
                f"{scale_um_per_px:g} µm/px: the house's goal is {GOAL_SHIFT_UM:g} µm"
            )
    if 2 * len(found.shifts_px) < found.hairs:
        misses.append(
            f"{len(found.shifts_px)} of the {found.hairs} hairs that FP32 finds were found again, less than half: the "
            "shift of the others says little"
        )
    if found.grades:
        agreement = found.grades_alike / found.grades
        if not agreement >= GOAL_AGREEMENT:
            misses.append(
                f"{found.grades_alike} of {found.grades} grades are FP32's: the house's goal is {GOAL_AGREEMENT:.0%}"
            )
    return Quality(
        pictures=found.pictures,
        mask_dice_median=median,
        mask_dice_worst=worst,
        diameter_shift_px=shift,
        grade_agreement=agreement,
        feature_difference=found.feature_difference,
        passed=not misses,
        misses=tuple(misses),
    )


def _relative_difference(own: np.ndarray, right: np.ndarray) -> float:
    """Mean absolute difference over the mean absolute value of `right`; where that is 0, the difference itself."""
    return float(np.mean(np.abs(own - right))) / (float(np.mean(np.abs(right))) or 1.0)


def _spread(frames: Sequence[np.ndarray], most: int) -> list[np.ndarray]:
    """At most so many, from the first to the last."""
    places = np.linspace(0, len(frames) - 1, min(most, len(frames))).round().astype(int)
    return [frames[place] for place in places]
