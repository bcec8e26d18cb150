"""The slot for the one refinement that is wanted: what may follow what, and books that balance."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from device_app.live.refine_requests import (
    ATTEMPTS,
    GIVEN_UP,
    REFINE_TRANSITIONS,
    RefineRequests,
    RefineState,
    RefineStatus,
)
from device_app.live.refinement import Correction, Refinement
from device_app.vision.masks import Combination
from device_app.vision.prompts import PromptPoints
from tests.support.analyses import make_analysis, make_frame


def make_refinement(frame) -> Refinement:
    analysis = make_analysis(frame)
    return Refinement(
        frame_id=frame.id,
        coarse_mask=analysis.mask,
        refined_mask=analysis.mask,
        mask=analysis.mask,
        points=PromptPoints.none(),
        corrections=(),
        analysis=analysis,
        combination=Combination.PRODUCT,
        predicted_iou=0.9,
        timings_ms={"total": 1.0},
    )


FRAME, OTHER = make_frame(1), make_frame(2)
REFINEMENT = make_refinement(FRAME)


def test_every_state_has_its_transitions_and_no_other_move_is_allowed():
    assert set(REFINE_TRANSITIONS) == set(RefineState)
    for state, after in REFINE_TRANSITIONS.items():
        status = RefineStatus(FRAME, state=state)
        assert status.pending == bool(after)
        for to in RefineState:
            if to in after:
                assert status.moved(to, problem="so").state is to
            else:
                with pytest.raises(ValueError, match="cannot become"):
                    status.moved(to)


def test_a_request_is_taken_once_and_its_result_carries_its_frame_and_latency():
    requests = RefineRequests()
    assert requests.take(0) is None and requests.get() is None
    corrections = (Correction(3.0, 4.0, hair=False),)
    requests.ask(FRAME, corrections)
    taken = requests.take(0)
    assert taken.frame is FRAME and taken.corrections == corrections and taken.state is RefineState.WORKING
    assert requests.take(0) is None
    requests.settle(taken.request, REFINEMENT)
    status = requests.get()
    assert status.state is RefineState.DONE and status.result is REFINEMENT and status.frame is FRAME
    assert status.latency_ms >= 0 and requests.latency.spreads()["latency"].count == 1


def test_the_newest_wish_wins_and_the_outcome_of_the_old_one_is_not_taken_for_it():
    requests = RefineRequests()
    requests.ask(FRAME)
    old = requests.take(0).request
    requests.ask(OTHER)
    assert not requests.wanted(old)
    requests.settle(old, REFINEMENT)
    requests.again(old, "Its process died.")
    status = requests.get()
    assert status.frame is OTHER and status.state is RefineState.WAITING and status.problem == ""
    assert requests.counts().cancelled == 1


def test_a_request_that_ends_process_after_process_is_given_up_with_what_went_wrong():
    requests = RefineRequests()
    requests.ask(FRAME)
    taken = 0
    while (status := requests.take(0)) is not None:
        taken += 1
        assert taken <= ATTEMPTS
        requests.again(status.request, "It was ended by SIGKILL.")
    status = requests.get()
    assert taken == ATTEMPTS and status.state is RefineState.FAILED
    assert status.problem.startswith(GIVEN_UP) and "SIGKILL" in status.problem


def test_what_cannot_be_refined_has_failed_at_once():
    requests = RefineRequests()
    assert requests.ask(FRAME, missing="There is no SAM.").state is RefineState.FAILED
    assert requests.take(0) is None and requests.get().problem == "There is no SAM."


def test_a_still_moment_takes_nobodys_result_and_its_own_is_gone_when_the_picture_moves():
    requests = RefineRequests()
    requests.ask(FRAME)
    assert not requests.ask_by_itself(OTHER)
    requests.settle(requests.take(0).request, REFINEMENT)
    assert not requests.free and not requests.ask_by_itself(OTHER)
    requests.drop_still()
    assert requests.get().result is REFINEMENT
    requests.cancel()
    assert requests.get().state is RefineState.DONE  # still there to be looked at
    assert requests.ask_by_itself(OTHER) and requests.get().by_itself
    requests.drop_still()
    assert requests.get() is None
    counts = requests.counts()
    assert (counts.asked, counts.done, counts.cancelled, counts.by_itself) == (2, 1, 1, 1)


class Books(RuleBasedStateMachine):
    """Whatever happens in whatever order, every request is booked once."""

    def __init__(self) -> None:
        super().__init__()
        self.requests = RefineRequests()
        self.taken: RefineStatus | None = None

    @rule(missing=st.sampled_from(["", "", "There is no SAM."]))
    def ask(self, missing):
        self.requests.ask(FRAME, missing=missing)

    @rule()
    def ask_by_itself(self):
        before = self.requests.get()
        if not self.requests.ask_by_itself(OTHER):
            assert self.requests.get() is before

    @rule()
    def cancel(self):
        self.requests.cancel()

    @rule()
    def drop_still(self):
        self.requests.drop_still()

    @rule()
    def take(self):
        self.taken = self.requests.take(0) or self.taken

    @precondition(lambda self: self.taken is not None)
    @rule(how=st.sampled_from(["done", "failed", "again"]))
    def end(self, how):
        wanted = self.requests.wanted(self.taken.request)
        if how == "again":
            self.requests.again(self.taken.request, "It died.")
        else:
            self.requests.settle(self.taken.request, REFINEMENT if how == "done" else None, "It could not.")
            if wanted:
                assert self.requests.get().state is RefineState(how)
        self.taken = None

    @invariant()
    def books_balance(self):
        counts, status = self.requests.counts(), self.requests.get()
        assert counts.asked == counts.done + counts.cancelled + counts.failed + counts.pending
        assert counts.by_itself <= counts.asked
        if status is not None:
            assert (status.result is not None) == (status.state is RefineState.DONE) == (status.latency_ms is not None)
            assert status.problem or status.state not in (RefineState.FAILED, RefineState.CANCELLED)


TestBooks = Books.TestCase
TestBooks.settings = settings(deadline=None)  # they are about books, not about time
