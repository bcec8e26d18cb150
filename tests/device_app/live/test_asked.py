"""The one frame that is wanted whatever newer ones come."""

from __future__ import annotations

from device_app.live.asked import AskedFrame
from tests.support.analyses import make_analysis, make_frame


def test_a_frame_is_asked_for_taken_and_answered() -> None:
    slot, frame = AskedFrame(), make_frame(7)
    assert slot.take() is None
    slot.ask(frame)
    assert slot.take() is frame
    analysis = make_analysis(frame)
    slot.settle(frame, analysis)
    asked = slot.get()
    assert asked is not None
    assert asked.frame is frame
    assert asked.analysis is analysis
    assert slot.take() is None  # answered once is enough


def test_the_newest_wish_wins_and_an_old_answer_is_not_taken_for_it() -> None:
    slot, old, new = AskedFrame(), make_frame(1), make_frame(2)
    slot.ask(old)
    slot.take()
    slot.ask(new)
    slot.settle(old, make_analysis(old))
    asked = slot.get()
    assert asked is not None
    assert asked.frame is new
    assert asked.analysis is None
    assert slot.take() is new


def test_a_wish_taken_back_is_forgotten() -> None:
    slot, frame = AskedFrame(), make_frame(1)
    slot.ask(frame)
    slot.take()
    slot.ask(None)
    slot.settle(frame, make_analysis(frame))
    assert slot.get() is None


def test_a_frame_that_ends_worker_after_worker_is_given_up_with_a_reason() -> None:
    slot, frame = AskedFrame(), make_frame(1)
    slot.ask(frame)
    attempts = 0
    while slot.take() is not None:
        attempts += 1
        assert attempts < 10
    asked = slot.get()
    assert attempts > 1
    assert asked is not None
    assert asked.problem


def test_a_frame_that_cannot_be_analysed_is_not_tried_again() -> None:
    slot, frame = AskedFrame(), make_frame(1)
    slot.ask(frame)
    slot.settle(slot.take() or frame, None, "It could not.")
    asked = slot.get()
    assert asked is not None
    assert asked.problem == "It could not."
    assert slot.take() is None
