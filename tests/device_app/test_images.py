"""Picture files on the device: written as they were, found where they lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from calibration.errors import ScalpScopeError
from device_app.images import find_images, read_image, write_png_atomically


def test_a_written_picture_reads_back_exactly(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 256, (48, 64, 3)).astype(np.uint8)
    grey = rng.integers(0, 256, (48, 64)).astype(np.uint8)
    write_png_atomically(tmp_path / "colour.png", colour)
    write_png_atomically(tmp_path / "grey.png", grey)
    write_png_atomically(tmp_path / "turned.png", colour.transpose(1, 0, 2)[::-1])
    assert (read_image(tmp_path / "colour.png") == colour).all()
    assert (read_image(tmp_path / "grey.png") == grey[..., None]).all()
    assert (read_image(tmp_path / "turned.png") == colour.transpose(1, 0, 2)[::-1]).all()
    assert len(list(tmp_path.iterdir())) == 3


def test_only_pictures_can_be_written(tmp_path: Path) -> None:
    for wrong in (np.zeros((4, 4), np.float32), np.zeros((4, 4, 4), np.uint8), np.zeros(4, np.uint8)):
        with pytest.raises(ValueError, match="a picture is"):
            write_png_atomically(tmp_path / "a.png", wrong)
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ScalpScopeError, match="none' does not exist"):
        write_png_atomically(tmp_path / "none" / "a.png", np.zeros((16, 16, 3), np.uint8))


def test_folders_stand_for_the_pictures_in_them(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "c.txt", ".hidden.png", "odd.dat"):
        (tmp_path / name).touch()
    (tmp_path / "sub.png").mkdir()
    (tmp_path / "sub.png" / "deep.png").touch()
    assert find_images([tmp_path]) == [tmp_path / "a.png", tmp_path / "b.JPG"]
    # A file named by itself is taken whatever it is called, in the order it was named, and once.
    named = [tmp_path / "odd.dat", tmp_path, tmp_path / "a.png", tmp_path / "odd.dat"]
    assert find_images(named) == [tmp_path / "odd.dat", tmp_path / "a.png", tmp_path / "b.JPG"]


def test_nothing_found_is_said(tmp_path: Path) -> None:
    with pytest.raises(ScalpScopeError, match="holds no pictures"):
        find_images([tmp_path])
    with pytest.raises(ScalpScopeError, match="does not exist"):
        find_images([tmp_path / "none"])
    assert find_images([]) == []
