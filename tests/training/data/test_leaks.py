"""Leaks: the same patient, file or picture in two splits is found; different and flat pictures are not accused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.labelled_sets import hairy_picture, write_picture, write_pixels

from calibration.errors import ScalpScopeError
from device_app.manifest_parts import Task
from training.data.examples import Example, ExampleSet, Split, check_leaks

Change = Callable[[np.ndarray], np.ndarray]


def part(*paths: Path, group: str = "") -> ExampleSet:
    return ExampleSet(Task.CONDITIONS, "made", tuple(Example(path, group or path.as_posix()) for path in paths))


@pytest.fixture
def train(tmp_path: Path) -> ExampleSet:
    return part(*(write_picture(tmp_path / f"train{seed}.png", seed) for seed in range(30)))


def brighter(image: np.ndarray) -> np.ndarray:
    return cv2.convertScaleAbs(image, alpha=1.2, beta=8)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda image: image, id="as it is"),
        pytest.param(lambda image: image[:, ::-1], id="mirrored"),
        pytest.param(lambda image: image[::-1], id="upside down"),
        pytest.param(lambda image: np.rot90(image), id="turned"),
        pytest.param(lambda image: cv2.resize(image, (320, 240)), id="larger"),
        pytest.param(brighter, id="brighter"),
        pytest.param(lambda image: cv2.GaussianBlur(image, (0, 0), 0.8)[:, ::-1], id="mirrored and blurred"),
    ],
)
def test_a_picture_again_is_found_however_it_is_laid_or_encoded(train: ExampleSet, tmp_path: Path, change: Change):
    copy = write_pixels(tmp_path / "copy.jpg", np.ascontiguousarray(change(hairy_picture(7))), quality=60)
    other = write_picture(tmp_path / "other.jpg", 100)
    with pytest.raises(ScalpScopeError, match=r"^1 pictures.*train7\.png' \(train\) and '.*copy\.jpg' \(test\)"):
        check_leaks({Split.TRAIN: train, Split.TEST: part(other, copy)})


def test_the_same_file_is_found_between_any_two_splits(train: ExampleSet, tmp_path: Path):
    original = train.examples[3].path
    first, second = tmp_path / "a.png", tmp_path / "b.png"
    for path in (first, second):
        path.write_bytes(write_picture(tmp_path / "new.png", 200).read_bytes())
    with pytest.raises(ScalpScopeError, match=r"a\.png' \(validation\) and '.*b\.png' \(test\)"):
        check_leaks({Split.TRAIN: train, Split.VALIDATION: part(first), Split.TEST: part(second)})
    (tmp_path / "c.png").write_bytes(original.read_bytes())
    with pytest.raises(ScalpScopeError, match=r"train3\.png"):
        check_leaks({Split.TRAIN: train, Split.VALIDATION: part(tmp_path / "c.png")})


def test_different_pictures_are_no_leak(train: ExampleSet, tmp_path: Path):
    others = [write_picture(tmp_path / f"{seed}.jpg", seed) for seed in range(100, 160)]
    calls: list[tuple[int, int]] = []
    splits = {Split.TRAIN: train, Split.VALIDATION: part(*others[:30]), Split.TEST: part(*others[30:])}
    check_leaks(splits, lambda done, total: calls.append((done, total)))
    assert calls == [(number, 90) for number in range(1, 91)]


def test_blank_pictures_are_no_leak(tmp_path: Path):
    shapes = {"black": 0, "grey": 128, "white": 255}
    paths = [
        write_pixels(tmp_path / f"{n}{name}.jpg", np.full((96, 128, 3), grey, np.uint8))
        for name, grey in shapes.items()
        for n in range(2)
    ]
    noise = np.random.default_rng(0).normal(128, 6, (2, 96, 128, 3)).clip(0, 255).astype(np.uint8)
    paths += [write_pixels(tmp_path / f"{n}noise.png", noise[n]) for n in range(2)]
    fall = np.linspace(90, 160, 128)[None, :, None] * np.ones((96, 1, 3))
    paths += [write_pixels(tmp_path / f"{n}fall.png", (fall + n).astype(np.uint8)) for n in range(2)]
    check_leaks({Split.TRAIN: part(*paths[::2]), Split.TEST: part(*paths[1::2])})


def test_copies_within_one_split_are_no_leak(train: ExampleSet, tmp_path: Path):
    copy = write_pixels(tmp_path / "copy.png", hairy_picture(3)[:, ::-1])
    more = part(*(one.path for one in train.examples), copy)
    check_leaks({Split.TRAIN: more, Split.TEST: part(write_picture(tmp_path / "x.png", 100))})


def test_a_patient_in_two_splits_is_found_without_being_named(tmp_path: Path):
    first, second = (write_picture(tmp_path / f"{seed}.png", seed) for seed in (1, 2))
    with pytest.raises(ScalpScopeError, match=r"1 patients.*both train and test: '.*1\.png' and '.*2\.png'") as caught:
        check_leaks({Split.TRAIN: part(first, group="Ms Kim"), Split.TEST: part(second, group="Ms Kim")})
    assert "Kim" not in str(caught.value)


def test_many_leaks_are_counted_and_the_first_named(train: ExampleSet, tmp_path: Path):
    copies = [write_picture(tmp_path / f"copy{seed}.png", seed) for seed in range(9)]
    with pytest.raises(ScalpScopeError, match=r"^9 pictures are in two splits.* and 4 more\."):
        check_leaks({Split.TRAIN: train, Split.TEST: part(*copies)})


def test_an_unreadable_picture_is_named(train: ExampleSet, tmp_path: Path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    with pytest.raises(ScalpScopeError, match=r"broken\.jpg"):
        check_leaks({Split.TRAIN: train, Split.TEST: part(tmp_path / "broken.jpg")})
