"""Folders of pictures, good and bad, and single pictures."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest
from support.sources import numbered_picture

from calibration.errors import ScalpScopeError
from device_app.camera.choose import open_source
from device_app.camera.demo import DemoScalp
from device_app.camera.images import ImageFiles
from device_app.camera.source import SourceEnded
from device_app.camera.uvc import UsbCamera
from device_app.camera.video_file import VideoFile


@pytest.fixture()
def folder(tmp_path):
    for number in range(3):
        size = (160 + 20 * number, 120)
        cv2.imwrite(str(tmp_path / f"{number}.png"), numbered_picture(number, *size)[..., ::-1])
    return tmp_path


def test_each_picture_is_shown_for_its_time_then_the_next(folder):
    source = ImageFiles(folder, seconds_each=0.02, loop=False, fps=100.0)
    source.open()
    pictures = [source.read() for _ in range(6)]
    with pytest.raises(SourceEnded):
        source.read()
    assert [picture.shape[1] for picture in pictures] == [160, 160, 180, 180, 200, 200]
    np.testing.assert_array_equal(pictures[2], numbered_picture(1, 180, 120))
    pictures[2][...] = 0
    np.testing.assert_array_equal(pictures[3], numbered_picture(1, 180, 120))  # every read is the caller's own


def test_a_read_tells_what_it_took_without_the_wait_until_the_picture_was_due(folder):
    source = ImageFiles(folder, seconds_each=0.25, fps=4.0)
    source.open()
    source.read()
    asked_ns = time.monotonic_ns()
    source.read()
    there_ns = time.monotonic_ns()
    source.close()
    assert asked_ns + 50_000_000 < source.read_times.began_ns < there_ns
    assert set(source.read_times.until(there_ns)) == {"capture"}


def test_it_begins_again_after_the_last(folder):
    source = ImageFiles(folder, seconds_each=0.01, loop=True, fps=100.0)
    source.open()
    assert [source.read().shape[1] for _ in range(7)] == [160, 180, 200, 160, 180, 200, 160]


def test_a_picture_that_cannot_be_read_is_passed_over_and_named_in_the_log(folder, caplog):
    (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:60])
    source = ImageFiles(folder, seconds_each=0.01, loop=False, fps=100.0)
    source.open()
    assert [source.read().shape[1] for _ in range(2)] == [160, 200]
    assert "1.png" in caplog.text


def test_a_folder_without_one_good_picture_is_refused(folder):
    for path in folder.iterdir():
        path.write_bytes(b"")
    with pytest.raises(ScalpScopeError, match="None of the 3 pictures"):
        ImageFiles(folder).open()


def test_a_single_picture_stays(folder):
    source = ImageFiles(folder / "2.png", seconds_each=0.01, fps=100.0)
    source.open()
    assert {source.read().shape for _ in range(4)} == {(120, 200, 3)}


def test_the_command_line_s_words_choose_the_source(folder, tmp_path):
    video = tmp_path / "clip.MP4"
    video.write_bytes(b"")
    assert isinstance(open_source("demo"), DemoScalp)
    assert open_source("camera").name == "camera:0"
    assert open_source("camera:2").name == "camera:2" and isinstance(open_source("camera:2"), UsbCamera)
    assert isinstance(open_source(str(video)), VideoFile)
    assert isinstance(open_source(str(folder)), ImageFiles)
    assert isinstance(open_source(str(folder / "0.png")), ImageFiles)


@pytest.mark.parametrize("spec", ["", "camera:", "camera:x", "camera:-1", "no/such/path", "webcam"])
def test_a_word_that_names_no_source_is_refused_with_what_there_is(spec):
    with pytest.raises(ScalpScopeError, match="Use demo, camera, camera:N"):
        open_source(spec)


def test_a_file_that_is_neither_video_nor_picture_is_refused(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("hello")
    with pytest.raises(ScalpScopeError, match="no video and no picture"):
        open_source(str(path))
