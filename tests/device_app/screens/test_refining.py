"""What the screen knows about refining, played against the real slot of requests without a refine process."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_app.camera.source import Frame
from device_app.live.refine_requests import RefineRequests, RefineStatus
from device_app.live.refinement import Correction, Refinement
from device_app.screens.choosing import Layer
from device_app.screens.readings import Made
from device_app.screens.refining import Refining
from tests.support.analyses import make_frame, make_refinement

FRAME, OTHER = make_frame(1), make_frame(2)


class Bench:
    """A session's requests, and hands in the place of its refine process."""

    def __init__(self) -> None:
        self.requests = RefineRequests()

    def refine(self, frame: Frame, corrections: Sequence[Correction] = ()) -> None:
        self.requests.ask(frame, tuple(corrections))

    def cancel_refinement(self) -> None:
        self.requests.cancel()

    def refinement(self) -> RefineStatus | None:
        return self.requests.get()

    def work(self, problem: str = "") -> Refinement | None:
        """Answer the request that waits."""
        taken = self.requests.take(0)
        assert taken is not None
        result = None if problem else make_refinement(taken.frame, taken.corrections)
        self.requests.settle(taken.request, result, problem)
        return result


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def refining(bench: Bench) -> Refining:
    """With frame 1 frozen and its refinement under way."""
    made = Refining(bench)
    made.start(FRAME)
    return made


@pytest.fixture
def refined(bench: Bench, refining: Refining) -> Refining:
    """With frame 1 refined."""
    bench.work()
    refining.take()
    return refining


def test_it_works_until_the_result_is_there(bench: Bench, refining: Refining) -> None:
    refining.take()
    assert refining.working
    assert refining.result is None
    status = bench.refinement()
    assert status is not None
    assert refining.facts(status.asked_s + 2.5).seconds == pytest.approx(2.5)
    result = bench.work()
    refining.take()
    assert not refining.working
    assert refining.result is result
    assert refining.latency_ms == bench.refinement().latency_ms
    assert (refining.facts(0.0).seconds, refining.facts(0.0).refined, refining.made) == (None, True, Made.REFINED)


def test_a_bundle_that_cannot_refine_is_never_asked(bench: Bench) -> None:
    refining = Refining(bench)
    refining.missing = "There is no SAM."
    refining.start(FRAME)
    refining.take()
    assert bench.refinement() is None
    assert not refining.working


def test_a_bundle_that_turns_out_not_to_refine_is_no_failure(bench: Bench, refining: Refining) -> None:
    bench.work(problem="There is no SAM.")
    refining.take()
    assert refining.facts(0.0).problem == "There is no SAM."
    refining.missing = "There is no SAM."
    assert refining.facts(0.0).problem == ""


def test_a_cancelled_one_can_be_started_again(bench: Bench, refining: Refining) -> None:
    refining.cancel()
    assert not refining.working
    assert refining.facts(0.0).problem == ""
    refining.start(FRAME)
    assert refining.working
    bench.work()
    refining.take()
    assert refining.result is not None


def test_a_failure_is_told_until_the_next_try(bench: Bench, refining: Refining) -> None:
    bench.work(problem="The engine failed.")
    refining.take()
    assert (refining.problem, refining.working, refining.result) == ("The engine failed.", False, None)
    refining.start(FRAME)
    assert refining.problem == ""


def test_what_belongs_to_another_frame_is_never_taken(bench: Bench, refining: Refining) -> None:
    bench.refine(OTHER)
    bench.work()
    refining.take()
    assert refining.result is None
    assert not refining.working


def test_a_process_that_died_is_told(bench: Bench, refining: Refining) -> None:
    taken = bench.requests.take(0)
    assert taken is not None
    bench.requests.again(taken.request, "It died.")
    bench.requests.take(0)
    refining.take()
    assert refining.facts(0.0).again


def test_a_correction_is_there_at_once_and_the_result_follows(bench: Bench, refined: Refining) -> None:
    before = refined.result
    refined.correct(5, 6, hair=True)
    assert refined.corrections == (), "fingers correct only when they are asked to"
    refined.toggle_correcting()
    refined.correct(5, 6, hair=True)
    assert refined.corrections == (Correction(5.0, 6.0, hair=True),)
    assert refined.result is before
    assert (refined.working, refined.owes_correction, refined.made) == (True, True, Made.REFINED)
    result = bench.work()
    refined.take()
    assert refined.result is result
    assert refined.result.corrections == refined.corrections
    assert (refined.working, refined.owes_correction, refined.made) == (False, False, Made.CORRECTED)
    refined.undo()
    assert (refined.corrections, refined.working) == ((), True)
    bench.work()
    refined.take()
    assert refined.made is Made.REFINED


@pytest.mark.parametrize("how", ["fails", "is cancelled"])
def test_a_correction_that_comes_to_nothing_is_not_drawn_any_more(bench: Bench, refined: Refining, how: str) -> None:
    refined.toggle_correcting()
    refined.correct(5, 6, hair=True)
    bench.work()
    refined.take()
    kept = refined.corrections
    refined.correct(7, 8, hair=False)
    if how == "fails":
        bench.work(problem="No memory.")
        refined.take()
    else:
        refined.cancel()
    assert refined.corrections == kept == refined.result.corrections
    assert not refined.owes_correction
    assert refined.problem == ("No memory." if how == "fails" else "")


STEPS = st.sampled_from(["correct", "undo", "work", "fail", "cancel", "look"])


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=25))
def test_whatever_fingers_do_the_marks_are_at_last_those_of_the_mask(steps: list[str]) -> None:
    bench = Bench()
    refining = Refining(bench)
    refining.start(FRAME)
    bench.work()
    refining.take()
    refining.toggle_correcting()
    for number, step in enumerate([*steps, "work"]):
        waits = bench.refinement().pending
        if step == "correct":
            refining.correct(number, number, hair=number % 2 == 0)
        elif step == "undo":
            refining.undo()
        elif step == "cancel":
            refining.cancel()
        elif step in ("work", "fail") and waits:
            bench.work("It failed." if step == "fail" else "")
        refining.take()
        assert refining.working == (refining.corrections != refining.result.corrections)
    assert not refining.working
    assert refining.corrections == refining.result.corrections


def test_layers_do_not_mix_with_corrections_of_what_they_do_not_show(refined: Refining) -> None:
    refined.choose(Layer.COARSE)
    assert refined.facts(0.0).other_mask
    refined.toggle_correcting()
    assert (refined.layer, refined.correcting) == (Layer.HAIR, True)
    refined.choose(Layer.SAM)
    assert refined.correcting
    refined.choose(Layer.COARSE)
    assert not refined.correcting


def test_nothing_of_one_picture_is_left_for_the_next(bench: Bench, refined: Refining) -> None:
    refined.toggle_correcting()
    refined.toggle_points()
    refined.correct(5, 6, hair=True)
    refined.choose(Layer.SAM)
    refined.leave()
    refined.take()
    assert not bench.refinement().pending
    assert dataclasses.astuple(refined.facts(0.0)) == dataclasses.astuple(Refining(Bench()).facts(0.0))
    assert (refined.result, refined.corrections, refined.layer, refined.points) == (None, (), Layer.HAIR, False)


def test_a_still_moment_is_offered_and_taken_whole(bench: Bench) -> None:
    refining = Refining(bench)
    assert bench.requests.ask_by_itself(FRAME)
    assert refining.ready() is None
    result = bench.work()
    ready = refining.ready()
    assert ready is not None
    assert refining.facts(0.0).ready
    refining.adopt(ready)
    refining.take()
    assert (refining.result, refining.working, refining.latency_ms) == (result, False, ready.latency_ms)
    bench.requests.drop_still()
    bench.work()  # the same again, without corrections: it is at hand for them
    refining.take()
    assert refining.result is result
    assert not refining.facts(0.0).ready


def test_a_still_moment_that_passed_is_not_offered(bench: Bench) -> None:
    refining = Refining(bench)
    bench.requests.ask_by_itself(FRAME)
    bench.work()
    bench.requests.drop_still()
    assert refining.ready() is None


def test_a_still_moment_measured_with_another_scale_is_not_offered(bench: Bench) -> None:
    refining = Refining(bench)
    bench.requests.ask_by_itself(FRAME)
    refining.forget_still()
    bench.work()
    assert refining.ready() is None
    bench.requests.drop_still()
    bench.requests.ask_by_itself(OTHER)
    bench.work()
    assert refining.ready() is not None


def test_somebody_elses_request_is_no_still_moment(bench: Bench) -> None:
    bench.refine(FRAME)
    bench.work()
    assert Refining(bench).ready() is None
