"""What a source tells of a read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.sources import BenchSource

from device_app.camera.demo import DemoScalp
from device_app.camera.images import ImageFiles
from device_app.camera.source import ReadTimes, TellsReads
from device_app.camera.uvc import CameraSettings, UsbCamera
from device_app.camera.video_file import VideoFile

moments = st.integers(0, 2**62)


@given(moments, st.none() | moments, moments)
def test_the_times_of_a_read_add_up_or_are_not_told(began_ns, decode_ns, done_ns):
    told = ReadTimes(began_ns, decode_ns).until(done_ns)
    in_order = began_ns <= done_ns and (decode_ns is None or began_ns <= decode_ns <= done_ns)
    assert bool(told) == in_order
    if in_order:
        assert set(told) == ({"capture"} if decode_ns is None else {"capture", "decode"})
        assert sum(told.values()) == pytest.approx((done_ns - began_ns) / 1e6)
        assert all(ms >= 0 for ms in told.values())


def test_every_source_of_ours_tells_and_one_that_does_not_is_a_source_all_the_same(tmp_path):
    ours = (DemoScalp(), ImageFiles(tmp_path), VideoFile(tmp_path), UsbCamera(0, CameraSettings()))
    assert all(isinstance(source, TellsReads) for source in ours)
    assert not isinstance(BenchSource(), TellsReads)
