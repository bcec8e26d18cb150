"""The camera's side of a live session: unplugged, stalled, sending garbage, changing its size."""

from __future__ import annotations

import numpy as np
from support.sources import NOTHING, BenchSource
from support.waiting import wait_until

from device_app.camera.mailbox import DropCause
from device_app.live.health import HealthMessage, SourceState
from device_app.live.settings import Patience
from device_app.live.supervisor import LiveSession


def more_frames(session: LiveSession) -> None:
    target = session.health().captured + 3
    wait_until(lambda: session.health().captured >= target, "more frames")


def test_an_unplugged_source_is_said_and_found_again(start_session):
    source = BenchSource()
    session = start_session(source)
    more_frames(session)
    for losses in (1, 2):
        source.unplug()
        wait_until(lambda: session.health().source is SourceState.LOST, "the loss")
        health = session.health()
        assert health.message is HealthMessage.SOURCE_LOST and "unplugged" in health.detail
        source.plug()
        wait_until(lambda: session.health().source is SourceState.LIVE, "the source to be back")
        more_frames(session)
        assert session.health().source_losses == losses
        assert session.source_losses()[-1].back_after_s > 0
    session.stop()
    counts = session.health().counts
    assert counts.reconciles and counts.pending == 0
    assert counts.captured == session.latest_frame().id + 1  # ids go on across reconnections


def test_a_source_that_is_not_there_yet_is_waited_for(start_session):
    source = BenchSource()
    source.unplug()
    session = start_session(source)
    wait_until(lambda: source.opened > 2, "some attempts")
    assert session.health().source is SourceState.LOST
    assert session.latest_frame() is None and session.sharpest_recent() is None
    source.plug()
    more_frames(session)
    assert session.health().source_losses == 0  # it was never there to be lost


def test_a_stalled_source_is_given_up_and_opened_anew(start_session):
    source = BenchSource()
    session = start_session(source, patience=Patience(stall_s=0.3, retry_s=0.1))
    more_frames(session)
    opened = source.opened
    source.stall()
    wait_until(lambda: session.health().source is SourceState.LOST, "the stall to be seen")
    assert "has not answered" in session.health().detail
    wait_until(lambda: source.opened > opened, "another attempt")
    source.flow()
    wait_until(lambda: session.health().source is SourceState.LIVE, "the source to be back")
    more_frames(session)
    session.stop()
    counts = session.health().counts
    assert counts.reconciles and counts.captured == session.latest_frame().id + 1


def test_garbage_is_booked_and_never_shown(start_session):
    grey, real = np.zeros((120, 160), np.uint8), np.zeros((120, 160, 3), np.float32)
    source = BenchSource()
    session = start_session(source)
    more_frames(session)
    for count, garbage in enumerate([NOTHING, grey, real, np.zeros((0, 0, 3), np.uint8), b"x"], start=1):
        source.next_delivery = garbage
        wait_until(lambda: session.health().dropped[DropCause.GARBAGE] == count, "the garbage to be booked")  # noqa: B023
        more_frames(session)
        assert session.latest_frame().image.shape == (120, 160, 3)
        assert session.health().source is SourceState.LIVE and session.health().counts.reconciles


def test_a_source_that_sends_nothing_but_garbage_is_lost(start_session):
    source = BenchSource(fps=500.0)
    source.always_deliver = NOTHING
    session = start_session(source)
    wait_until(lambda: session.health().source is SourceState.LOST, "the source to be called lost")
    assert "no picture" in session.health().detail
    source.always_deliver = None
    wait_until(lambda: session.health().source is SourceState.LIVE, "the source to be back")


def test_a_source_that_raises_anything_does_not_end_the_session(start_session):
    class Broken(BenchSource):
        def read(self) -> np.ndarray:
            if self._count == 3:
                self._count += 1
                raise ZeroDivisionError("driver bug")
            return super().read()

    session = start_session(Broken())
    wait_until(lambda: session.health().source_losses == 1, "the failure")
    more_frames(session)
    assert "ZeroDivisionError" in session.source_losses()[0].problem


def test_pictures_may_change_their_size_at_any_time(start_session):
    source = BenchSource()
    session = start_session(source)
    for size in ((160, 120), (320, 240), (64, 48), (640, 480), (240, 320)):
        source.size = size

        def is_analysed(size: tuple[int, int] = size) -> bool:
            result = session.latest_result()
            return result is not None and result[1].mask.shape == size[::-1] == result[0].image.shape[:2]

        wait_until(is_analysed, f"an analysis of a picture of {size}")
    assert session.health().worker_restarts == 0 and session.health().source_losses == 0


def test_the_end_of_a_file_is_an_end_and_no_loss(start_session):
    session = start_session(BenchSource(ends_after=5))
    wait_until(lambda: session.health().source is SourceState.ENDED, "the end")
    wait_until(lambda: session.health().counts.pending == 0 and session.health().analysed > 0, "the last analysis")
    health = session.health()
    assert health.captured == 5 and health.source_losses == 0 and health.counts.reconciles
    assert health.message is HealthMessage.SOURCE_ENDED


def test_freezing_takes_the_sharpest_of_the_last_frames(start_session):
    class Shaky(BenchSource):
        sharp_id = -1

        def read(self) -> np.ndarray:
            import cv2

            image = super().read()
            # Every eighth picture is sharp, the others are shaken.
            return image if self._count % 8 == 0 else cv2.GaussianBlur(image, (0, 0), 4.0)

    session = start_session(Shaky())
    wait_until(lambda: session.health().captured > 30, "frames to choose from")
    frame = session.sharpest_recent()
    assert (frame.id + 1) % 8 == 0


def test_two_sessions_do_not_disturb_each_other(start_session):
    sessions = [start_session(BenchSource()), start_session(BenchSource(size=(200, 100)))]
    for session in sessions:
        wait_until(lambda: session.health().analysed > 2, "analyses")  # noqa: B023
    assert [session.latest_result()[1].mask.shape for session in sessions] == [(120, 160), (100, 200)]
