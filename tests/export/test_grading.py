"""Keeping or refusing a precision by the grades that a device would show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from calibration.errors import ScalpScopeError
from device_app.engines.engine import Precision
from device_app.manifest_classifiers import ClassEntry, ConditionsEntry, Limits
from device_app.manifest_parts import STAGES, Task
from device_app.vision.conditions import Grade, joint_probabilities, refusal_of
from export.grading import LEAST_AGREEMENT, MOST_F1_LOSS, Grader
from tests.support.mobile_classifier import mobile_config
from training.classification.inputs import input_entry
from training.classification.pictures import Picture

PICTURES = 200


def constant_model(task: Task, presence: float = 0.0, tilt: float = 0.0, gain: float = 1.0) -> ModelProto:
    """A classifier whose answers follow the mean of each colour m, -1..1.

    For conditions: presence logits ``20 * gain * m + presence``, severities that all say mild. For stages: logits
    ``-20 * gain * (m0 - centre)^2`` with `tilt` added to the last. The distance is 3 * |m0|.
    """
    values: dict[str, np.ndarray] = {"axes": np.array([2, 3]), "first": np.array([0]), "flat": np.array([1, 1])}
    nodes = [
        helper.make_node("ReduceMean", ["image", "axes"], ["means"], keepdims=0),
        helper.make_node("Gather", ["means", "first"], ["red"], axis=1),
        helper.make_node("Abs", ["red"], ["size"]),
        helper.make_node("Mul", ["size", "three"], ["distance"]),
        helper.make_node("Identity", ["gradable"], ["quality"]),
        helper.make_node("Identity", ["map"], ["heat_map"]),
    ]
    values |= {"three": np.float32(3), "gradable": np.float32([[9, 0, 0]])}
    if task is Task.CONDITIONS:
        nodes += [
            helper.make_node("Mul", ["means", "gain"], ["scaled"]),
            helper.make_node("Add", ["scaled", "shift"], ["presence"]),
            helper.make_node("Identity", ["mild"], ["severity"]),
        ]
        values |= {"gain": np.float32(20 * gain), "shift": np.float32(presence)}
        values |= {"mild": np.float32([[[0, 9, 0, 0]] * 3]), "map": np.zeros((1, 3, 1, 1), np.float32)}
        outputs = {"presence": [1, 3], "severity": [1, 3, 4]}
    else:
        nodes += [
            helper.make_node("Sub", ["red", "centres"], ["away"]),
            helper.make_node("Mul", ["away", "away"], ["square"]),
            helper.make_node("Mul", ["square", "gain"], ["near"]),
            helper.make_node("Add", ["near", "tilts"], ["classes"]),
        ]
        values |= {"centres": np.linspace(-1, 1, 5, dtype=np.float32)[None], "gain": np.float32(-20 * gain)}
        values |= {"tilts": np.float32([[0, 0, 0, 0, tilt]]), "map": np.zeros((1, 5, 1, 1), np.float32)}
        outputs = {"classes": [1, 5]}
    outputs |= {"quality": [1, 3], "distance": [1, 1], "heat_map": list(values["map"].shape)}
    graph = helper.make_graph(
        nodes,
        "by colour",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 64, 96])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def plain_picture(colour: tuple[int, int, int], **known: object) -> Picture:
    return Picture("a", "a", np.full((8, 12, 3), colour, np.uint8), **known)  # type: ignore[arg-type]


@pytest.fixture
def entry() -> ConditionsEntry:
    plain = input_entry(mobile_config())
    assert isinstance(plain, ConditionsEntry)
    limits = Limits(darkest=10, brightest=245, most_out_of_focus=0.9, most_no_scalp=0.9, farthest=2.5, rule="by hand")
    return plain.model_copy(update={"claimed": (True, True, False), "limits": limits, "map_size": (1, 1)})


@pytest.fixture
def pictures() -> list[Picture]:
    """Of all colours; each condition is there when its own colour is beyond the middle."""
    rng = np.random.default_rng(0)
    found = []
    for colour in rng.integers(15, 240, (PICTURES, 3)).tolist():
        there = tuple(int(one > 127) for one in colour)
        found.append(plain_picture(tuple(colour), presence=there, severity=there))
    return found


def test_fp32_agrees_with_itself(entry: ConditionsEntry, pictures: list[Picture]) -> None:
    model = constant_model(Task.CONDITIONS)
    grader = Grader(entry, pictures, model)
    assert grader.macro_f1 > 0.99
    assert grader.loss(model).score == 0
    (row,) = grader.parities({Precision.FP32: model})
    assert (row.macro_f1_loss, row.agreement, row.probability_max, row.speed, row.kept) == (0, 1, 0, 1, True)


def test_a_harmless_change_is_kept_and_a_broken_version_refused(
    entry: ConditionsEntry, pictures: list[Picture]
) -> None:
    versions = {
        Precision.FP32: constant_model(Task.CONDITIONS),
        Precision.FP16: constant_model(Task.CONDITIONS, gain=1.5),  # surer, and never of something else
        Precision.INT8_U8S8: constant_model(Task.CONDITIONS, presence=6),  # sees more than there is
        Precision.INT8_SYMMETRIC: constant_model(Task.CONDITIONS, gain=-1),  # sees the reverse
    }
    rows = {row.precision: row for row in Grader(entry, pictures, versions[Precision.FP32]).parities(versions)}
    assert [row.kept for row in rows.values()] == [True, True, False, False]
    assert rows["fp16"].probability_mae > 0 and rows["fp16"].agreement == 1
    assert rows["int8_u8s8"].macro_f1_loss > MOST_F1_LOSS and rows["int8_u8s8"].agreement < LEAST_AGREEMENT
    assert rows["int8_symmetric"].agreement < 0.1


def test_agreement_alone_is_not_enough_nor_is_accuracy(entry: ConditionsEntry, pictures: list[Picture]) -> None:
    """One version is as good as FP32 but says other things; one says the same but where it counts."""
    fp32 = constant_model(Task.CONDITIONS)
    # Half of the truth is turned round, so that the reverse is as often right.
    turned = [
        replace(one, presence=tuple(1 - p for p in one.presence), severity=tuple(1 - s for s in one.severity))
        if place % 2
        else one
        for place, one in enumerate(pictures)
    ]
    grader = Grader(entry, turned, fp32)
    row = grader.parities({Precision.FP32: fp32, Precision.FP16: constant_model(Task.CONDITIONS, gain=-1)})[1]
    assert row.macro_f1_loss < 0.05 and row.agreement < 0.1 and not row.kept
    # Among five hundred pictures without a label three labelled ones, one of which turns.
    known = [plain_picture((c, 60, 60), presence=(int(c > 127), 0, 0)) for c in (60, 128, 200)]
    unknown = [plain_picture((60, 60, 60))] * 500
    row = Grader(entry, [*known, *unknown], fp32).parities(
        {Precision.FP32: fp32, Precision.FP16: constant_model(Task.CONDITIONS, presence=-0.2)}
    )[1]
    assert row.agreement > LEAST_AGREEMENT and row.macro_f1_loss > MOST_F1_LOSS and not row.kept


def test_what_is_not_claimed_does_not_count(entry: ConditionsEntry, pictures: list[Picture]) -> None:
    """Nobody is shown a grade of it, however it changes."""
    fp32 = constant_model(Task.CONDITIONS)
    blind = ModelProto()
    blind.CopyFrom(fp32)
    (shift,) = (value for value in blind.graph.initializer if value.name == "shift")
    shift.CopyFrom(numpy_helper.from_array(np.float32([[0, 0, -50]]), "shift"))
    versions = {Precision.FP32: fp32, Precision.FP16: blind}
    assert Grader(entry, pictures, fp32).parities(versions)[1].agreement == 1
    everything = entry.model_copy(update={"claimed": (True, True, True)})
    assert not Grader(everything, pictures, fp32).parities(versions)[1].kept


def test_grades_and_refusals_are_the_devices(entry: ConditionsEntry, pictures: list[Picture]) -> None:
    """One agreement counted with the device's own functions, picture by picture."""
    extreme = [plain_picture((250, 20, 20)), plain_picture((2, 2, 2)), plain_picture((252, 252, 252))]
    shown = [*pictures, *extreme]
    models = constant_model(Task.CONDITIONS), constant_model(Task.CONDITIONS, presence=1.5)

    def device(presence_shift: float, picture: Picture) -> list[object]:
        means = (picture.image[0, 0] / 255 - 0.5) / 0.5
        refused = refusal_of(picture.image, np.array([9, 0, 0]), 3 * abs(means[0]), entry.limits)
        joint = joint_probabilities(20 * means + presence_shift, np.array([[0, 9, 0, 0]] * 3), entry.calibration)
        return [refused or Grade.of(row).severity for row in joint[:2]]

    pairs = [(device(0, one), device(1.5, one)) for one in shown]
    assert any(refused is not None and not isinstance(refused, int) for refused in pairs[-1][0])
    wanted = np.mean([a == b for first, second in pairs for a, b in zip(first, second, strict=True)])
    grader = Grader(entry, shown, models[0])
    (_, row) = grader.parities({Precision.FP32: models[0], Precision.FP16: models[1]})
    assert row.agreement == pytest.approx(wanted) and wanted < 1
    assert grader.loss(models[1]).disagreement == pytest.approx(1 - wanted)


def test_classes_are_compared_by_the_class(entry: ConditionsEntry) -> None:
    plain = input_entry(mobile_config(Task.HAIR_LOSS_STAGE))
    assert isinstance(plain, ClassEntry)
    stages = plain.model_copy(update={"limits": entry.limits.model_copy(update={"farthest": 9.0}), "map_size": (1, 1)})
    levels = [round(255 * (0.1 + 0.2 * stage)) for stage in range(len(STAGES))]
    shown = [
        plain_picture((level + step, 90, 90), label=stage) for stage, level in enumerate(levels) for step in (-4, 0, 4)
    ]
    fp32, tilted = constant_model(Task.HAIR_LOSS_STAGE), constant_model(Task.HAIR_LOSS_STAGE, tilt=200.0)
    grader = Grader(stages, shown, fp32)
    assert grader.macro_f1 == 1
    (same, other) = grader.parities({Precision.FP32: fp32, Precision.FP16: tilted})
    assert same.kept and not other.kept
    assert other.agreement == pytest.approx(0.2) and other.macro_f1_loss > 0.5


def test_without_a_label_nothing_can_be_measured(entry: ConditionsEntry) -> None:
    with pytest.raises(ScalpScopeError, match=r"no picture with a label.*--labelled"):
        Grader(entry, [plain_picture((90, 90, 90))], constant_model(Task.CONDITIONS))
