"""What is timed is what the app does: the same answers as its own code, on the bundle that ships."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest

from calibration.errors import ScalpScopeError
from device_app.bench.latency.report import Model, Stage
from device_app.bench.latency.run import frame_times
from device_app.bench.latency.subjects import (
    TimedDecoder,
    TimedHair,
    TimedPipeline,
    open_network,
    pipeline_settings,
    stages_of_analysis,
)
from device_app.bench.latency.timed import NETWORK, TASKS, TimedNetwork
from device_app.bundle import Bundle, Task, default_bundle_path, load_bundle
from device_app.camera.demo import DemoScalp
from device_app.camera.source import Frame
from device_app.engines.engine import Precision
from device_app.engines.goldens import GoldenCheck
from device_app.engines.select import SelectedEngine
from device_app.live.classifier import ConditionGrader
from device_app.live.pipeline import Pipeline
from device_app.live.refiner import Refiner
from device_app.vision.masks import hair_mask

NETWORKS = (Model.HAIR, Model.SAM_ENCODER, Model.SAM_DECODER, Model.CONDITIONS)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle(default_bundle_path())


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return DemoScalp().picture_at(100)


@pytest.fixture(scope="module")
def subjects(bundle: Bundle) -> Iterator[dict[Model, TimedNetwork]]:
    opened = {model: open_network(bundle, model, None, 1, None, 40) for model in NETWORKS}
    yield opened  # type: ignore[misc]
    for subject in opened.values():
        subject.close()


def answer_of(subject: TimedNetwork, picture: np.ndarray) -> object:
    prepared = subject.prepare(picture)
    outputs = subject._engine.run(subject.before(prepared))
    return subject.after(prepared, outputs)


@pytest.mark.parametrize("model", NETWORKS)
def test_every_stage_is_there_or_absent_with_a_reason(subjects, picture, model):
    subject = subjects[model]
    assert subject.model is model
    prepared = subject.prepare(picture)
    stamps = subject.stamps(room=1)
    for _ in range(2):
        subject.run(prepared, stamps)
    first, second = frame_times(subject, stamps)
    assert second.at_s >= first.end_to_end_ms / 1000
    present = list(second.stages_ms)
    absent = subject.absent_stages(present)
    assert {*present, *absent} == set(Stage)
    assert not set(present) & set(absent)
    assert all(len(reason) > 10 for reason in absent.values())
    assert {Stage.PREPROCESS, Stage.COMPUTE} <= set(present)
    assert (Stage.POSTPROCESS in present) is (model is not Model.SAM_ENCODER)
    assert second.details_ms[NETWORK] >= second.stages_ms[Stage.COMPUTE] > 0
    enclosed = second.details_ms[NETWORK] + second.stages_ms[Stage.PREPROCESS]
    assert enclosed <= second.end_to_end_ms
    assert subject.ran.backend == "onnxruntime-cpu"
    assert subject.parts_cost(prepared) is None
    assert Precision(subject.ran.precision) in subject_entry(subject, model).files


def subject_entry(subject, model):
    return load_bundle(default_bundle_path()).model(TASKS[model])


def test_the_hair_network_gives_the_pipelines_mask(subjects, bundle, picture):
    pipeline = Pipeline(pipeline_settings(bundle, None, 1, None))
    mask = pipeline.analyse(Frame(1, picture, 0)).mask
    pipeline.close()
    assert np.array_equal(answer_of(subjects[Model.HAIR], picture), mask)


def test_the_conditions_network_gives_the_graders_grades(subjects, bundle, picture):
    grader = ConditionGrader(bundle, 1)
    expected = grader.grade(picture)
    grader.close()
    maps, grades = answer_of(subjects[Model.CONDITIONS], picture)
    assert grades == expected.grades
    assert np.array_equal(maps, expected.heat_maps)


def test_the_decoder_gives_the_refiners_mask_for_as_many_points_as_were_asked(subjects, bundle, picture):
    subject = subjects[Model.SAM_DECODER]
    assert isinstance(subject, TimedDecoder)
    asked = subject.prepare(picture)
    inputs = subject.before(asked)
    assert inputs["point_coords"].shape == (1, 40, 2)
    assert inputs["point_labels"].sum() == 20
    refiner = Refiner(bundle, 1)
    found = refiner.decode(refiner.embed(picture), asked.points, asked.coarse)
    entry = refiner.decoder
    refiner.close()
    expected = hair_mask(found.probability, (picture.shape[1], picture.shape[0]), entry.threshold)
    assert np.array_equal(answer_of(subject, picture), expected)


def test_the_pipeline_is_the_live_loops_own(bundle, picture):
    subject = TimedPipeline(Pipeline(pipeline_settings(bundle, None, 1, None)))
    stamps = subject.stamps()
    subject.run(picture, stamps)
    subject.close()
    (frame,) = frame_times(subject, stamps)
    assert set(frame.stages_ms) == {Stage.PREPROCESS, Stage.COMPUTE, Stage.POSTPROCESS}
    assert set(frame.details_ms) == {NETWORK, "mask", "measure", "focus"}
    post = frame.stages_ms[Stage.POSTPROCESS]
    assert post == pytest.approx(sum(frame.details_ms[name] for name in ("mask", "measure", "focus")))
    inside = frame.stages_ms[Stage.PREPROCESS] + frame.details_ms[NETWORK] + post
    assert inside <= frame.end_to_end_ms  # measured from first to last, and not their sum
    assert subject.mark_us() > 0
    absent = subject.absent_stages(list(frame.stages_ms))
    assert set(absent) == set(Stage) - set(frame.stages_ms)


def test_an_accelerators_parts_are_stages_and_a_copy_that_it_has_no_need_of_is_absent(bundle, picture):
    entry = bundle.model(Task.HAIR)
    answer = {entry.output_name: np.zeros(entry.output_shape, np.float32)}

    class Accelerator:
        backend, precision = "fast-chip", Precision.INT8_U8S8

        def run(self, inputs):
            time.sleep(0.001)
            return answer

        def run_timed(self, inputs):
            time.sleep(0.004)
            return answer, {"host_to_device": 0.25, "compute": 1.5}

        def close(self):
            pass

    subject = TimedHair(bundle, SelectedEngine(Accelerator(), GoldenCheck(0.0), ("fast-chip",), False))
    stamps = subject.stamps()
    subject.run(picture, stamps)
    (frame,) = frame_times(subject, stamps)
    assert frame.stages_ms[Stage.HOST_TO_DEVICE] == 0.25
    assert frame.stages_ms[Stage.COMPUTE] == 1.5
    assert "shares its memory" in subject.absent_stages(list(frame.stages_ms))[Stage.DEVICE_TO_HOST]
    assert subject.parts_cost(picture) > 0.1  # it dawdles when it tells its parts apart


def test_an_analysis_of_the_live_loop_is_told_in_stages():
    timings = {"preprocess": 1, "segment": 10, "compute": 8, "host_to_device": 1, "mask": 2, "measure": 3, "focus": 4}
    stages, details = stages_of_analysis({**timings, "total": 20})
    assert stages == {Stage.PREPROCESS: 1, Stage.HOST_TO_DEVICE: 1, Stage.COMPUTE: 8, Stage.POSTPROCESS: 9}
    assert details == {NETWORK: 10, "mask": 2, "measure": 3, "focus": 4}


@pytest.mark.parametrize("points", [0, 1025])
def test_points_that_the_decoder_does_not_take_are_refused(bundle, points):
    with pytest.raises(ScalpScopeError, match="1 to 1024 points"):
        open_network(bundle, Model.SAM_DECODER, None, 1, None, points)


def test_a_network_that_the_bundle_lacks_is_refused(tiny_bundle):
    with pytest.raises(ScalpScopeError, match="no network for the task 'conditions'"):
        open_network(load_bundle(tiny_bundle), Model.CONDITIONS, None, 1, None, 1)
