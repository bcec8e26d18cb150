"""The teacher's embeddings on the disk, and where they land on a student's grid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from segment_anything.modeling import Sam
from support.tiny_teacher import tiny_teacher

from calibration.errors import ScalpScopeError
from device_app.images import write_png_atomically
from training.prompting.embeddings import cache_embeddings, collate, embed, lesson, mirror, to_grid

SIDE = 128  # of the tiny teacher's input: a grid of 8x8


@pytest.fixture(scope="module")
def teacher() -> Sam:
    return tiny_teacher()


def _picture(seed: int, height: int = 96, width: int = 128) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def _ramps(rows: int, columns: int) -> np.ndarray:
    """An "embedding" that says where each cell's centre lies: x, y in cells."""
    y, x = np.mgrid[:rows, :columns] + 0.5
    return np.stack([x, y]).astype(np.float32)


def test_only_cells_of_the_picture_are_kept(teacher: Sam) -> None:
    image = _picture(1)
    with torch.no_grad():
        pixels = torch.from_numpy(image.transpose(2, 0, 1).copy()).float()
        whole = teacher.image_encoder(teacher.preprocess(pixels)[None])[0]
    answer = embed(teacher, image)
    assert answer.shape == (256, 6, 8) and answer.dtype == np.float16
    np.testing.assert_array_equal(answer, whole[:, :6].half().numpy())
    assert embed(teacher, _picture(2, 50, 200)).shape == (256, 2, 8)  # 32 of 128 pixels high
    assert embed(teacher, _picture(2, 200, 51)).shape == (256, 8, 3)  # 33 wide: a third column is begun


@pytest.mark.parametrize(
    ("size", "input_size", "cells"),
    [
        ((640, 480), (640, 480), (40, 30)),
        ((640, 480), (320, 240), (20, 15)),
        ((1280, 960), (640, 480), (40, 30)),
        ((640, 480), (1024, 1024), (64, 48)),
        ((640, 480), (1600, 1200), (100, 75)),  # finer than the teacher's own
        ((480, 640), (640, 480), (22, 30)),  # 360 of 640 pixels wide
    ],
)
def test_a_cell_gets_what_the_teacher_saw_at_its_place(
    size: tuple[int, int], input_size: tuple[int, int], cells: tuple[int, int]
) -> None:
    """The teacher's real geometry: 64 cells along the longer side."""
    theirs = (64, 48) if size[0] > size[1] else (48, 64)
    grid = to_grid(_ramps(theirs[1], theirs[0]), size, 1024, input_size)
    assert grid.shape == (2, cells[1], cells[0])
    scale = min(input_size[0] / size[0], input_size[1] / size[1])
    for axis, along in ((0, 0), (1, 1)):
        centres = (np.arange(cells[along]) + 0.5) * 16 / (size[along] * scale) * theirs[along]
        found = grid[axis].mean(axis=0 if axis == 0 else 1)
        inside = (centres > 1.5) & (centres < theirs[along] - 1.5)  # at the rim the mean is one-sided
        np.testing.assert_allclose(found[inside], centres[inside], atol=1e-4)


def test_a_grid_like_the_teachers_own_is_left_as_it_is() -> None:
    embedding = np.random.default_rng(3).normal(size=(5, 48, 64)).astype(np.float32)
    np.testing.assert_allclose(to_grid(embedding, (640, 480), 1024, (1024, 768)), embedding, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.tuples(st.integers(16, 2000), st.integers(16, 2000)), st.integers(4, 40), st.integers(4, 40))
def test_a_mean_stays_between_what_it_is_made_of(size: tuple[int, int], columns: int, rows: int) -> None:
    scale = 1024 / max(size)
    cells = [int(np.ceil(min(1024, max(1, int(side * scale + 0.5))) / 16)) for side in size]
    embedding = np.random.default_rng(size).uniform(-1, 1, (2, cells[1], cells[0])).astype(np.float32)
    grid = to_grid(embedding, size, 1024, (columns * 16, rows * 16))
    assert 1 <= grid.shape[1] <= rows and 1 <= grid.shape[2] <= columns
    assert grid.min() >= embedding.min() - 1e-6 and grid.max() <= embedding.max() + 1e-6
    assert np.allclose(to_grid(np.ones_like(embedding), size, 1024, (columns * 16, rows * 16)), 1)


def test_a_lesson_shows_the_picture_at_its_place_and_says_what_is_known() -> None:
    image = np.full((96, 64, 3), 255, np.uint8)
    embedding = np.ones((256, 8, 6), np.float16)
    one = lesson(image, embedding, SIDE, (128, 96))
    assert one.image.shape == (3, 96, 128) and one.target.shape == (256, 6, 8) and one.valid.shape == (6, 8)
    assert (one.image[:, :, :64] > 2).all() and (one.image[:, :, 64:] == 0).all()
    assert (one.valid[:, :4] == 1).all() and (one.valid[:, 4:] == 0).all()
    assert torch.allclose(one.target[:, :, :4], torch.ones(1)) and (one.target[:, :, 4:] == 0).all()
    batch = collate([one, one])
    assert batch.image.shape == (2, 3, 96, 128) and batch.valid.shape == (2, 6, 8)


def test_views_mirror_the_picture() -> None:
    image = _picture(4)
    views = [mirror(image, view) for view in range(4)]
    assert len({view.tobytes() for view in views}) == 4
    np.testing.assert_array_equal(views[3], image[::-1, ::-1])
    np.testing.assert_array_equal(mirror(views[1], 1), image)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "deeper").mkdir(parents=True)
    write_png_atomically(folder / "a.png", _picture(10))
    write_png_atomically(folder / "deeper" / "b.png", _picture(11, 100, 80))
    return folder


def test_a_cache_is_filled_once(teacher: Sam, folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    entries = cache_embeddings(teacher, [folder], cache, views=2)
    assert len(entries) == 4
    assert {entry.picture.name for entry in entries} == {"a.png", "b.png"}
    for entry in entries:
        image = _picture(10) if entry.picture.name == "a.png" else _picture(11, 100, 80)
        np.testing.assert_array_equal(np.load(entry.file), embed(teacher, mirror(image, entry.view)))
    before = {entry.file: entry.file.stat().st_mtime_ns for entry in entries}
    assert cache_embeddings(teacher, [folder], cache, views=2) == entries
    assert before == {entry.file: entry.file.stat().st_mtime_ns for entry in entries}
    assert not list(cache.rglob("*.part"))


def test_a_cache_goes_by_content_and_teacher(teacher: Sam, folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    files = [entry.file for entry in cache_embeddings(teacher, [folder], cache)]
    (folder / "a.png").rename(folder / "z.png")
    (folder / "copy.png").write_bytes((folder / "z.png").read_bytes())
    assert [entry.file for entry in cache_embeddings(teacher, [folder], cache)] == files
    others = [entry.file for entry in cache_embeddings(tiny_teacher(seed=2), [folder], cache)]
    assert not set(others) & set(files)
    assert [file.name for file in others] == [file.name for file in files]


def test_a_damaged_or_missing_entry_is_made_again(teacher: Sam, folder: Path, tmp_path: Path) -> None:
    one, other = cache_embeddings(teacher, [folder], tmp_path / "cache")
    content = [one.file.read_bytes(), other.file.read_bytes()]
    one.file.write_bytes(content[0][:-100])
    other.file.unlink()
    cache_embeddings(teacher, [folder], tmp_path / "cache")
    assert [one.file.read_bytes(), other.file.read_bytes()] == content


def test_pictures_that_cannot_be_read_are_left_out(
    teacher: Sam, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "a.png").write_bytes(b"no picture")
    entries = cache_embeddings(teacher, [folder], tmp_path / "cache", views=4)
    assert [entry.picture.name for entry in entries] == ["b.png"] * 4
    assert caplog.text.count("left out") == 1
    with pytest.raises(ScalpScopeError, match="None of the pictures can be read"):
        cache_embeddings(teacher, [folder / "a.png"], tmp_path / "cache")


def test_no_pictures(teacher: Sam, tmp_path: Path) -> None:
    with pytest.raises(ScalpScopeError, match="No picture found under"):
        cache_embeddings(teacher, [tmp_path], tmp_path / "cache")


def test_a_teacher_that_answers_no_numbers(folder: Path, tmp_path: Path) -> None:
    broken = tiny_teacher()
    with torch.no_grad():
        broken.image_encoder.neck[0].weight[0, 0] = float("nan")
    with pytest.raises(ScalpScopeError, match="is no number"):
        cache_embeddings(broken, [folder], tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
