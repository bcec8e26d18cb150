"""Frames in memory: whatever the source, all of one size, and an error where there are none."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.errors import ScalpScopeError
from device_app.bench.latency.pictures import take_pictures
from device_app.images import write_png_atomically
from tests.support.sources import numbered_picture


def test_the_demo_gives_different_pictures_and_the_same_ones_again():
    pictures = take_pictures("demo", 3)
    assert [picture.shape for picture in pictures] == [(480, 640, 3)] * 3
    assert not np.array_equal(pictures[0], pictures[1])
    assert all(np.array_equal(a, b) for a, b in zip(pictures, take_pictures("demo", 3), strict=True))


def test_a_folder_and_a_picture(hairy_pictures):
    folder = hairy_pictures[0].parent
    assert len(take_pictures(str(folder), 2)) == 2
    assert len(take_pictures(str(folder), 9)) == 3
    (alone,) = take_pictures(str(hairy_pictures[0]), 9)
    assert alone.shape == (240, 320, 3)


def test_a_video_is_read_as_fast_as_it_goes_and_not_in_a_loop(tmp_path: Path):
    file = tmp_path / "scalp.avi"
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"MJPG"), 1.0, (160, 120))
    for number in range(12):
        writer.write(numbered_picture(number))
    writer.release()
    pictures = take_pictures(str(file), 8)
    assert [picture.shape for picture in pictures] == [(120, 160, 3)] * 3
    assert len(take_pictures(str(file), 2)) == 2


def test_pictures_of_several_sizes_do_not_compare(tmp_path: Path):
    for number, width in enumerate((160, 200)):
        write_png_atomically(tmp_path / f"{number}.png", numbered_picture(1, width, 120))
    with pytest.raises(ScalpScopeError, match="160 x 120, 200 x 120"):
        take_pictures(str(tmp_path), 5)


@pytest.mark.parametrize("spec", ["", "/no/such/folder", "."])
def test_no_source_and_no_picture_are_errors(spec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ScalpScopeError):
        take_pictures(spec, 1)
