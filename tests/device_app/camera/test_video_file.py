"""Videos that are whole, broken, or no videos."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.sources import numbered_picture

from calibration.errors import ScalpScopeError
from device_app.camera.pacing import Pacer
from device_app.camera.source import SourceEnded, SourceLost
from device_app.camera.video_file import VideoFile

REAL = Path(__file__).resolve().parents[4] / "shared" / "data" / "microscope_video" / "bulk-water.mov"


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "five.avi", 5)


def write_video(path: Path, count: int) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 50.0, (160, 120))
    for number in range(count):
        writer.write(np.ascontiguousarray(numbered_picture(number)[..., ::-1]))
    writer.release()
    return path


def stroke_of(picture: np.ndarray) -> float:
    """Where the dark stroke of a numbered picture stands."""
    return float(np.flatnonzero(picture.mean(axis=(0, 2)) < 100).mean())


def read_all(source: VideoFile) -> list[np.ndarray]:
    source.open()
    pictures = []
    with pytest.raises(SourceEnded):
        while True:
            pictures.append(source.read())
    source.close()
    return pictures


def test_every_picture_comes_once_in_order_and_in_rgb(video):
    pictures = read_all(VideoFile(video, loop=False, paced=False))
    assert [stroke_of(picture) for picture in pictures] == [
        pytest.approx(stroke_of(numbered_picture(number)), abs=1) for number in range(5)
    ]
    red, _, blue = pictures[0][60, 80].astype(int)
    assert red - blue > 40  # skin is redder than blue


def test_a_read_tells_uncompressing_from_the_making_of_rgb(video):
    source = VideoFile(video, paced=False)
    source.open()
    for _ in range(7):  # over the end of the file and on
        asked_ns = time.monotonic_ns()
        source.read()
        there_ns = time.monotonic_ns()
        times = source.read_times
        assert asked_ns <= times.began_ns <= times.decode_ns <= there_ns
        assert set(times.until(there_ns)) == {"capture", "decode"}
    source.close()


def test_it_begins_again_at_its_end_when_told_to(video):
    source = VideoFile(video, loop=True, paced=False)
    source.open()
    strokes = [stroke_of(source.read()) for _ in range(12)]
    assert strokes[5:10] == strokes[:5] and strokes[10:] == strokes[:2]
    source.close()


def test_a_closed_video_says_so_and_can_be_opened_again(video):
    source = VideoFile(video, paced=False)
    source.open()
    first = source.read()
    source.close()
    source.close()
    with pytest.raises(SourceLost):
        source.read()
    source.open()
    np.testing.assert_array_equal(source.read(), first)
    source.close()


def test_a_video_that_breaks_off_says_after_how_many_pictures(tmp_path):
    broken = write_video(tmp_path / "broken.avi", 60)
    content = broken.read_bytes()
    broken.write_bytes(content[: int(len(content) * 0.6)])
    source = VideoFile(broken, loop=False, paced=False)
    source.open()
    with pytest.raises(SourceLost, match=r"breaks off after \d+ of 60 pictures"):
        for _ in range(61):
            source.read()
    source.close()


@pytest.mark.parametrize("content", [b"", b"not a video at all", b"RIFF\x00\x00\x00\x00AVI LIST"])
def test_a_file_that_is_no_video_is_refused(tmp_path, content):
    path = tmp_path / "bad.avi"
    path.write_bytes(content)
    with pytest.raises(ScalpScopeError, match=r"bad\.avi"):
        VideoFile(path).open()


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ScalpScopeError, match=r"no file .*gone\.mp4"):
        VideoFile(tmp_path / "gone.mp4").open()


@pytest.mark.skipif(not REAL.exists(), reason="the shared microscope video is not beside this checkout")
def test_a_real_microscope_video_plays():
    source = VideoFile(REAL, paced=False)
    source.open()
    pictures = [source.read() for _ in range(20)]
    source.close()
    assert {picture.shape for picture in pictures} == {pictures[0].shape}
    assert any(np.any(pictures[0] != picture) for picture in pictures[1:])


def test_the_pacer_spreads_pictures_and_wakes_when_closed():
    pacer = Pacer(fps=1e6)
    assert all(pacer.wait() for _ in range(100))
    slow = Pacer(fps=1e-3)
    assert slow.wait()  # the first is due at once
    slow.close()
    assert not slow.wait()
