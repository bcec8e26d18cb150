"""SAM on the device: what it is asked, what it answers, and what becomes of a frame. With a tiny SAM that is real."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.errors import ScalpScopeError
from device_app.bundle import Combination, ResizeRule, load_bundle
from device_app.camera.phantom import render_phantom
from device_app.camera.source import Frame
from device_app.engines.engine import Precision
from device_app.live.pipeline import Pipeline
from device_app.live.refinement import CORRECTED_PX, Cancelled, Correction, Refinement
from device_app.live.refiner import Refiner, refinement_missing
from device_app.live.settings import PipelineSettings
from device_app.vision.masks import hair_mask
from device_app.vision.prompts import PromptPoints
from tests.support.tiny_bundle import make_tiny_bundle
from tests.support.tiny_sam import CHOICE, IOUS, make_sam_bundle

SIZE = WIDTH, HEIGHT = 320, 240
SKIN, HAIR, FAINT = (205, 160, 140), (45, 35, 30), (105, 100, 95)
"""FAINT is too light for the hair network and for SAM, unless SAM is told."""

EARLIER_STAGES = {"preprocess", "segment", "mask", "prompt", "embed"}
LATER_STAGES = {"decode", "combine", "measure", "focus", "total"}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sam_bundle(tmp_path_factory.mktemp("sam") / "b", *SIZE)


@pytest.fixture(scope="module")
def refiner(bundle: Path) -> Refiner:
    return Refiner(load_bundle(bundle), threads=1)


@pytest.fixture
def pipeline(bundle: Path) -> Pipeline:
    return Pipeline(PipelineSettings(bundle, threads=1))


def skin(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    return np.full((height, width, 3), SKIN, np.uint8)


def picture(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Skin with one thick dark hair from top to bottom at 30 % of the width, and a faint one at 70 %."""
    image = skin(width, height)
    image[:, round(0.28 * width) : round(0.32 * width)] = HAIR
    image[:, round(0.68 * width) : round(0.72 * width)] = FAINT
    return image


def frame_of(image: np.ndarray, number: int = 1) -> Frame:
    return Frame(number, image, 0)


def points(*positive: tuple[float, float], negative: tuple[tuple[float, float], ...] = ()) -> PromptPoints:
    return PromptPoints(np.array(positive, np.float32).reshape(-1, 2), np.array(negative, np.float32).reshape(-1, 2))


def mask_of(refiner: Refiner, image: np.ndarray, asked: PromptPoints) -> np.ndarray:
    answer = refiner.decode(refiner.embed(image), asked)
    return hair_mask(answer.probability, (image.shape[1], image.shape[0])) > 0


# -- the refiner alone -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(320, 240), (100, 75), (7, 5), (1, 1), (300, 300), (640, 480), (900, 260)])
@pytest.mark.parametrize("resize", list(ResizeRule))
def test_a_point_is_asked_where_it_lies(tmp_path: Path, size: tuple[int, int], resize: ResizeRule) -> None:
    """A positive point reaches where the picture is faint: the answer surrounds it, in pictures of any size."""
    refiner = Refiner(load_bundle(make_sam_bundle(tmp_path / "b", *SIZE, resize=resize)), threads=1)
    width, height = size
    image = np.full((height, width, 3), FAINT, np.uint8)
    at = (round(0.62 * (width - 1)), round(0.4 * (height - 1)))
    found = mask_of(refiner, image, points(at))
    assert found.shape == (height, width)
    assert found[at[1], at[0]]
    if min(size) > 70:
        y, x = np.nonzero(found)
        assert abs(x.mean() - at[0]) < 1.0 * width / 160 and abs(y.mean() - at[1]) < 1.0 * height / 120
        assert found.mean() < 0.1


def test_the_mask_with_the_best_predicted_iou_of_the_last_three_is_taken(refiner: Refiner) -> None:
    image = picture()
    answer = refiner.decode(refiner.embed(image), points((96, 120)))
    assert answer.choice == CHOICE and answer.predicted_iou == pytest.approx(IOUS[CHOICE])
    assert answer.probability.dtype == np.float32
    assert np.array_equal(hair_mask(answer.probability, SIZE)[120] > 0, (image[120] == HAIR).all(axis=1))


def test_without_a_point_on_hair_sam_is_not_asked(refiner: Refiner) -> None:
    embedded = refiner.embed(picture())
    for asked in (PromptPoints.none(), points(negative=((10, 10),)), points((-5, 20)), points((np.nan, 20))):
        answer = refiner.decode(embedded, asked)
        assert not answer.probability.any() and answer.choice == 0 and np.isnan(answer.predicted_iou)


def test_points_outside_the_picture_are_dropped(refiner: Refiner, caplog: pytest.LogCaptureFixture) -> None:
    embedded = refiner.embed(picture())
    inside = points((96, 120), negative=((200, 30),))
    outside = points((-1, 5), (5, -1), (WIDTH, 5), (5, HEIGHT), (1e9, np.inf), negative=((-700, 0),))
    with caplog.at_level(logging.WARNING):
        answer = refiner.decode(embedded, inside.joined(outside))
    assert "6 of 8 points lie outside" in caplog.text
    np.testing.assert_array_equal(answer.probability, refiner.decode(embedded, inside).probability)


def test_five_thousand_points_are_thinned(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The decoder fails from 1,025 points on, and is not given so many."""
    path = make_sam_bundle(tmp_path / "b", *SIZE, fails_from=1025)
    refiner = Refiner(load_bundle(path), threads=1)
    rng = np.random.default_rng(0)
    places = rng.uniform(0, (WIDTH - 1, HEIGHT - 1), (5000, 2)).astype(np.float32)
    with caplog.at_level(logging.WARNING):
        answer = refiner.decode(refiner.embed(picture()), PromptPoints(places[:4000], places[4000:]))
    assert "5000 points are thinned to 1024" in caplog.text
    assert np.isfinite(answer.probability).all() and answer.choice == CHOICE


def test_a_decoder_that_answers_no_numbers_is_an_error(tmp_path: Path) -> None:
    path = make_sam_bundle(tmp_path / "b", *SIZE, fails_from=20)
    refiner = Refiner(load_bundle(path), threads=1)
    embedded = refiner.embed(picture())
    few, many = (points(*((90 + 0.5 * step, 120) for step in range(count))) for count in (19, 20))
    assert refiner.decode(embedded, few).choice == CHOICE
    with pytest.raises(ScalpScopeError, match=r"sam_decoder.*not numbers"):
        refiner.decode(embedded, many)
    pipeline = Pipeline(PipelineSettings(path, threads=1))
    with pytest.raises(ScalpScopeError, match=r"sam_decoder.*not numbers"):
        pipeline.refine(frame_of(picture()))
    assert pipeline.analyse(frame_of(picture())).measurements.hair_count == 1  # and the pipeline goes on


def test_a_mask_prompt_arrives_where_it_belongs_and_only_where_it_is_wanted(tmp_path: Path) -> None:
    image = np.full((HEIGHT, WIDTH, 3), (95, 90, 87), np.uint8)  # a shade too light, everywhere
    coarse = np.zeros((HEIGHT // 2, WIDTH // 2), np.float32)
    coarse[20:60, 100:140] = 1
    for wanted in (True, False):
        path = make_sam_bundle(tmp_path / str(wanted), *SIZE, mask_prompt=wanted)
        refiner = Refiner(load_bundle(path), threads=1)
        answer = refiner.decode(refiner.embed(image), points((5, 230)), coarse)
        found = hair_mask(answer.probability, SIZE) > 0
        assert found[50:110, 210:270].all() == wanted
        assert not found[120:200].any()
        without = refiner.decode(refiner.embed(image), points((5, 230)))
        assert not hair_mask(without.probability, SIZE)[50:110, 210:270].any()


def test_a_large_picture_is_looked_at_closer(refiner: Refiner) -> None:
    """Two hairs, 6 px apart in 1280 x 960: in 320 x 240 they are one, in quarters they are two."""
    image = skin(1280, 960)
    image[:, 300:305] = HAIR
    image[:, 311:316] = HAIR
    embedded = refiner.embed(image)
    assert len(embedded.closer) == 4
    answer = refiner.decode(embedded, points((302, 200), (302, 700), (313, 200), (313, 700)))
    probability = cv2.resize(answer.probability, (1280, 960))
    assert probability[300, 302] > probability[300, 308] < probability[300, 313]
    assert probability[300, 900] < 0.01
    assert refiner.embed(picture()).closer == ()


def test_a_quarter_without_hair_points_has_no_hair(refiner: Refiner) -> None:
    image = skin(640, 480)
    image[:, 100:112] = HAIR
    image[:, 500:512] = HAIR
    answer = refiner.decode(refiner.embed(image), points((105, 240)))
    probability = cv2.resize(answer.probability, (640, 480))
    assert probability[240, 105] > 0.9
    # The whole view sees the other hair, the quarters round it were not asked: the mean of both is no hair.
    assert probability[240, 505] <= 0.5


def test_what_a_bundle_without_sam_says(tmp_path: Path) -> None:
    bundle = load_bundle(make_tiny_bundle(tmp_path / "b", 64, 48))
    assert "has no SAM" in (refinement_missing(bundle) or "")
    with pytest.raises(ScalpScopeError, match="has no SAM"):
        Refiner(bundle)
    pipeline = Pipeline(PipelineSettings(bundle.path, threads=1))
    assert pipeline.refinement_missing == refinement_missing(bundle)
    with pytest.raises(ScalpScopeError, match="has no SAM"):
        pipeline.refine(frame_of(picture()))
    assert pipeline.refine_backend == ""


def test_the_engines_are_said_and_a_single_precision_is_no_fallback(refiner: Refiner) -> None:
    assert refiner.backend == "encoder onnxruntime-cpu fp32, decoder onnxruntime-cpu fp16"
    assert refiner.input_size == SIZE
    decoder = [reason for reason in refiner.reasons if reason.startswith("sam_decoder")]
    assert len(decoder) == 1 and "fp16" in decoder[0]


def test_a_precision_that_one_half_has_not_is_said(bundle: Path) -> None:
    refiner = Refiner(load_bundle(bundle), threads=1, precision=Precision.FP32)
    assert refiner.backend.startswith("encoder onnxruntime-cpu fp32")
    assert any("sam_decoder" in reason and "fp32 was asked for" in reason for reason in refiner.reasons)
    assert not any("sam_encoder: fp32 was asked" in reason for reason in refiner.reasons)


# -- a frame -----------------------------------------------------------------------------------------------------------


def test_a_phantom_is_refined_and_measured(bundle: Path) -> None:
    pipeline = Pipeline(PipelineSettings(bundle, scale_um_per_px=4.0, threads=1))
    phantom = render_phantom(1, *SIZE, 4.0, 8)
    refinement = pipeline.refine(frame_of(phantom.image, 7))
    analysis = refinement.analysis
    assert refinement.frame_id == analysis.frame_id == 7
    for mask in (refinement.coarse_mask, refinement.refined_mask, refinement.mask):
        assert mask.shape == (HEIGHT, WIDTH) and mask.dtype == np.uint8 and set(np.unique(mask)) == {0, 255}
    assert refinement.combination is Combination.PRODUCT
    assert not (refinement.mask & ~(refinement.coarse_mask & refinement.refined_mask)).any()
    assert np.array_equal(analysis.mask, refinement.mask)
    assert analysis.measurements.hair_count > 3 and analysis.measurements.mean_diameter_um.value > 20
    assert refinement.predicted_iou == pytest.approx(IOUS[CHOICE])
    assert refinement.points.count > 20
    assert refinement.timings_ms == analysis.timings_ms
    assert refinement.timings_ms.keys() == EARLIER_STAGES | LATER_STAGES
    assert "SAM encoder" in analysis.backend and pipeline.refine_backend in analysis.backend
    assert np.array_equal(refinement.coarse_mask, pipeline.analyse(frame_of(phantom.image)).mask)


def test_bare_skin_has_no_points_and_no_hair(pipeline: Pipeline) -> None:
    refinement = pipeline.refine(frame_of(skin()))
    assert refinement.points.count == 0 and np.isnan(refinement.predicted_iou)
    assert not refinement.mask.any() and not refinement.refined_mask.any()
    assert refinement.analysis.measurements.hair_count == 0


@pytest.mark.parametrize("combination", list(Combination))
def test_bare_skin_is_empty_whatever_the_combination(tmp_path: Path, combination: Combination) -> None:
    path = make_sam_bundle(tmp_path / "b", *SIZE, combination=combination)
    refinement = Pipeline(PipelineSettings(path, threads=1)).refine(frame_of(skin()))
    assert refinement.combination is combination and not refinement.mask.any()


def test_a_picture_that_is_all_hair(pipeline: Pipeline) -> None:
    refinement = pipeline.refine(frame_of(np.full((HEIGHT, WIDTH, 3), HAIR, np.uint8)))
    assert (refinement.mask == 255).all()
    assert 0 < len(refinement.points.positive) <= 1024 and len(refinement.points.negative) == 0


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (40, 30), (160, 120), (1000, 37), (700, 500)])
def test_pictures_of_any_size(pipeline: Pipeline, size: tuple[int, int]) -> None:
    refinement = pipeline.refine(frame_of(picture(*size)))
    assert refinement.mask.shape == size[::-1] == refinement.coarse_mask.shape == refinement.refined_mask.shape


def test_a_small_picture_is_refined_as_a_large_one_is(pipeline: Pipeline) -> None:
    small = pipeline.refine(frame_of(picture(160, 120)))
    hair = (picture(160, 120) == HAIR).all(axis=2)
    assert np.count_nonzero((small.mask > 0) ^ hair) < 0.2 * np.count_nonzero(hair)


def test_a_small_part_of_the_coarse_mask_is_not_prompted(bundle: Path) -> None:
    image = picture()
    image[52:57, 201:211] = HAIR  # 50 px, above a speck, below the least size
    pipeline = Pipeline(PipelineSettings(bundle, scale_um_per_px=4.0, threads=1))
    refinement = pipeline.refine(frame_of(image))
    assert refinement.coarse_mask[54, 206]
    assert not len(refinement.points.within((190, 40, 222, 68)).positive)
    assert not refinement.mask[54, 206]
    closer = pipeline.with_settings(replace(pipeline.settings, scale_um_per_px=10.0)).refine(frame_of(image))
    assert len(closer.points.within((190, 40, 222, 68)).positive)  # 9,600 µm² are a hair
    assert closer.mask[54, 206]


def test_the_points_are_as_many_as_the_decoder_takes(tmp_path: Path) -> None:
    path = make_sam_bundle(tmp_path / "b", *SIZE, max_points=12, fails_from=13)
    pipeline = Pipeline(PipelineSettings(path, threads=1))
    many = tuple(Correction(96, 10.0 * step, True) for step in range(1, 6))
    for corrections in ((), many, many * 4):
        refinement = pipeline.refine(frame_of(picture()), corrections)
        assert refinement.refined_mask.any()
        for correction in corrections[:5]:  # what the clinician says is not what is thinned out
            assert [correction.x, correction.y] in refinement.points.positive.tolist()


# -- corrections -------------------------------------------------------------------------------------------------------


def test_a_tap_brings_a_missed_hair_and_a_long_press_removes_a_speck(pipeline: Pipeline) -> None:
    image = picture()
    cv2.circle(image, (160, 60), 6, HAIR, cv2.FILLED)
    frame = frame_of(image)
    before = pipeline.refine(frame)
    assert before.mask[60, 160] and not before.mask[120, 224]
    corrections = (Correction(224, 120, True), Correction(160, 60, False))
    after = pipeline.refine(frame, corrections)
    assert after.corrections == corrections
    assert after.mask[120, 224] and not after.mask[60, 160]
    assert [224, 120] in after.points.positive.tolist() and [160, 60] in after.points.negative.tolist()
    assert np.array_equal(after.coarse_mask, before.coarse_mask), "the hair network's word stays as it was"
    reach = CORRECTED_PX * (WIDTH * HEIGHT / (640 * 480)) ** 0.5
    y, x = np.nonzero(before.mask != after.mask)
    distance = np.min([np.hypot(x - said.x, y - said.y) for said in corrections], axis=0)
    assert distance.max() <= reach + 1
    assert after.analysis.measurements.coverage_fraction != before.analysis.measurements.coverage_fraction


def test_near_a_correction_the_refined_mask_alone_decides(pipeline: Pipeline) -> None:
    refinement = pipeline.refine(frame_of(picture()), (Correction(224, 120, True),))
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    near = np.hypot(x - 224, y - 120) < 10
    assert np.array_equal(refinement.mask[near], refinement.refined_mask[near])
    assert refinement.refined_mask[near].any()


def test_drawn_points_that_contradict_a_correction_give_way_and_no_others(pipeline: Pipeline) -> None:
    frame = frame_of(picture())
    drawn = pipeline.refine(frame).points
    x, y = drawn.negative[0]
    asked = pipeline.refine(frame, (Correction(float(x), float(y), True),)).points
    assert [x, y] in asked.positive.tolist() and [x, y] not in asked.negative.tolist()
    gone = {tuple(point) for point in drawn.negative.tolist()} - {tuple(point) for point in asked.negative.tolist()}
    assert all(np.hypot(px - x, py - y) <= 6 for px, py in gone)
    assert len(asked.positive) == len(drawn.positive) + 1


def test_undone_corrections_leave_no_trace(pipeline: Pipeline) -> None:
    frame = frame_of(picture())
    before = pipeline.refine(frame)
    pipeline.refine(frame, (Correction(224, 120, True),))
    again = pipeline.refine(frame)
    assert np.array_equal(before.mask, again.mask) and before.points.count == again.points.count


def test_a_tap_on_bare_skin_is_asked_of_sam(pipeline: Pipeline) -> None:
    image = np.full((HEIGHT, WIDTH, 3), FAINT, np.uint8)
    refinement = pipeline.refine(frame_of(image), (Correction(160, 120, True),))
    assert refinement.mask[120, 160] and not refinement.mask[20, 20]
    nothing = pipeline.refine(frame_of(image), (Correction(160, 120, False),))
    assert not nothing.mask.any()


@pytest.mark.parametrize("place", [(-50, 10), (WIDTH, 10), (10, 1e12), (float("nan"), 3), (3, float("inf"))])
def test_a_correction_outside_the_picture_has_no_effect(pipeline: Pipeline, place: tuple[float, float]) -> None:
    frame = frame_of(picture())
    before = pipeline.refine(frame)
    after = pipeline.refine(frame, (Correction(*place, True), Correction(*place, False)))
    assert np.array_equal(before.mask, after.mask) and after.points.count == before.points.count


def test_a_correction_runs_the_decoder_only(pipeline: Pipeline) -> None:
    frame = frame_of(picture(), 3)
    assert EARLIER_STAGES <= pipeline.refine(frame).timings_ms.keys()
    kept = pipeline.refine(frame_of(frame.image.copy(), 3), (Correction(224, 120, True),))
    assert kept.timings_ms.keys() == LATER_STAGES
    assert kept.mask[120, 224]


def test_another_picture_is_embedded_anew(pipeline: Pipeline) -> None:
    """Whether it comes under another number or, from another source, under the same."""
    first = pipeline.refine(frame_of(picture(), 3))
    other = picture()[:, ::-1].copy()
    for frame in (frame_of(other, 3), frame_of(other, 4)):
        pipeline.refine(frame_of(picture(), 3))
        refinement = pipeline.refine(frame)
        assert EARLIER_STAGES <= refinement.timings_ms.keys()
        assert not np.array_equal(refinement.mask, first.mask)


def test_other_settings_forget_the_last_picture(pipeline: Pipeline) -> None:
    frame = frame_of(picture())
    without = pipeline.refine(frame)
    scaled = pipeline.with_settings(replace(pipeline.settings, scale_um_per_px=4.0))
    again = scaled.refine(frame)
    assert EARLIER_STAGES <= again.timings_ms.keys()
    assert without.analysis.measurements.scale_um_per_px is None
    assert again.analysis.measurements.scale_um_per_px == 4.0


def test_a_picture_the_scale_is_not_for_is_refused(bundle: Path) -> None:
    settings = PipelineSettings(bundle, scale_um_per_px=4.0, threads=1, picture_size=SIZE)
    with pytest.raises(ScalpScopeError, match="calibration in use"):
        Pipeline(settings).refine(frame_of(picture(100, 80)))


# -- cancelling --------------------------------------------------------------------------------------------------------


def cancelled_after(calls: int) -> tuple[Callable[[], bool], list[bool]]:
    asked: list[bool] = []

    def cancelled() -> bool:
        asked.append(len(asked) >= calls)
        return asked[-1]

    return cancelled, asked


@pytest.mark.parametrize("size", [SIZE, (640, 480)])
def test_it_can_be_cancelled_wherever_it_asks_and_works_afterwards(pipeline: Pipeline, size: tuple[int, int]) -> None:
    image = picture(*size)
    image[: size[1]] = np.where((image == FAINT).all(axis=2, keepdims=True), HAIR, image)  # hair in every quarter
    never, asked = cancelled_after(1000)
    whole = pipeline.refine(frame_of(image), cancelled=never)
    assert len(asked) >= (8 if size == SIZE else 17)  # between the stages, and between the five views of each network
    for calls in range(len(asked)):
        cancelled, _ = cancelled_after(calls)
        fresh = frame_of(image, 100 + calls)
        with pytest.raises(Cancelled):
            pipeline.refine(fresh, cancelled=cancelled)
    again: Refinement = pipeline.refine(frame_of(image, 99))
    assert np.array_equal(again.mask, whole.mask)
