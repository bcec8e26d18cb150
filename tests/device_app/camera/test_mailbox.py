"""One slot, newest wins, and every frame accounted for at any moment."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_app.camera.mailbox import DropCause, FrameCounts, Mailbox
from device_app.camera.source import Frame

PICTURE = np.zeros((1, 1, 3), np.uint8)


def frame(number: int) -> Frame:
    return Frame(number, PICTURE, 0)


def test_the_newest_frame_wins_and_the_older_is_booked_as_replaced():
    mailbox = Mailbox()
    mailbox.set_worker_ready(True)
    for number in range(3):
        mailbox.put(frame(number))
    taken = mailbox.take(0)
    assert taken is not None and taken.id == 2
    counts = mailbox.counts()
    assert (counts.captured, counts.dropped[DropCause.REPLACED], counts.pending) == (3, 2, 1)


def test_frames_replaced_while_there_is_no_worker_are_booked_under_their_own_cause():
    mailbox = Mailbox()
    mailbox.put(frame(0))
    mailbox.put(frame(1))
    assert mailbox.counts().dropped[DropCause.WORKER_DOWN] == 1


def test_take_waits_for_a_frame_and_gives_up_after_its_time():
    mailbox = Mailbox()
    assert mailbox.take(0.01) is None
    threading.Timer(0.05, mailbox.put, [frame(7)]).start()
    taken = mailbox.take(60)
    assert taken is not None and taken.id == 7


def test_closing_wakes_the_taker_and_books_what_lay_in_the_slot():
    mailbox = Mailbox()
    taken: list[Frame | None] = []
    taker = threading.Thread(target=lambda: taken.append(mailbox.take(60)))
    taker.start()
    mailbox.close()
    taker.join()
    mailbox.put(frame(0))
    assert taken == [None]
    assert mailbox.counts() == FrameCounts(
        1, 0, {cause: int(cause is DropCause.STOPPED) for cause in DropCause}, pending=0
    )


def test_a_taken_frame_must_be_settled_before_the_next_and_only_once():
    mailbox = Mailbox()
    mailbox.put(frame(0))
    mailbox.take(0)
    with pytest.raises(RuntimeError, match="never settled"):
        mailbox.take(0)
    mailbox.analysed()
    with pytest.raises(RuntimeError, match="no frame was taken"):
        mailbox.drop(DropCause.FAILED)


STEPS = st.lists(
    st.one_of(
        st.sampled_from(["put", "garbage", "take", "analysed", "ready", "down", "close"]), st.sampled_from(DropCause)
    ),
    max_size=60,
)


@given(STEPS)
def test_the_book_balances_after_every_step_of_any_history(steps):
    mailbox = Mailbox()
    put = held = analysed = 0
    for step in steps:
        if step == "put":
            mailbox.put(frame(put))
            put += 1
        elif step == "garbage":
            mailbox.put_garbage()
            put += 1
        elif step == "take" and not held:
            held = mailbox.take(0) is not None
        elif step == "analysed" and held:
            mailbox.analysed()
            held, analysed = 0, analysed + 1
        elif isinstance(step, DropCause) and held:
            mailbox.drop(step)
            held = 0
        elif step in ("ready", "down"):
            mailbox.set_worker_ready(step == "ready")
        elif step == "close":
            mailbox.close()
        counts = mailbox.counts()
        assert counts.reconciles
        assert (counts.captured, counts.analysed) == (put, analysed)
        assert 0 <= counts.pending <= 2


def test_the_book_balances_in_every_snapshot_taken_while_threads_put_and_take():
    mailbox = Mailbox()
    mailbox.set_worker_ready(True)
    snapshots: list[FrameCounts] = []
    done = threading.Event()

    def put() -> None:
        for number in range(3000):
            mailbox.put(frame(number))
        done.set()

    def take() -> None:
        while not done.is_set() or mailbox.counts().pending:
            taken = mailbox.take(0.01)
            if taken is None:
                continue
            if taken.id % 3:
                mailbox.analysed()
            else:
                mailbox.drop(DropCause.WORKER_LOST)

    threads = [threading.Thread(target=put), threading.Thread(target=take)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        snapshots.append(mailbox.counts())
    for thread in threads:
        thread.join()
    assert all(counts.reconciles for counts in snapshots)
    assert mailbox.counts().captured == 3000 and mailbox.counts().pending == 0
