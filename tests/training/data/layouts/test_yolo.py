"""YOLO outlines: presence, area as a weak grade, rare conditions left out, every wrong line named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.labelled_sets import write_picture, write_yolo

from calibration.errors import ScalpScopeError
from device_app.manifest_parts import Task
from device_app.vision.conditions import Severity
from training.data.examples import ExampleSet, Split, read_examples
from training.data.layouts.yolo import covered_share, severity_of_area

SQUARE = "0.1 0.1 0.3 0.1 0.3 0.3 0.1 0.3"  # 4 % of the picture
CORNER = "0 0 0.05 0 0.05 0.1 0 0.1"  # 0.5 %


def rectangle(x: float, y: float, width: float, height: float) -> np.ndarray:
    return np.array([(x, y), (x + width, y), (x + width, y + height), (x, y + height)], np.float32)


def read(root: Path) -> ExampleSet:
    return read_examples(root, Task.CONDITIONS)


def fill(root: Path, lines: str, count: int = 12, part: str = "train") -> None:
    """So many originals with these outlines."""
    for number in range(count):
        write_yolo(root, part, f"{lines[:1]}{number}", lines, 100 + number)


@given(st.floats(0, 0.6), st.floats(0, 0.6), st.floats(0.02, 0.4), st.floats(0.02, 0.4))
def test_the_covered_share_is_the_area_and_overlap_counts_once(x, y, width, height):
    one = rectangle(x, y, width, height)
    assert covered_share([one]) == pytest.approx(width * height, abs=(width + height) / 256)
    assert covered_share([one, one]) == covered_share([one])


def test_two_outlines_cover_their_union():
    assert covered_share([rectangle(0, 0, 0.5, 0.2), rectangle(0.25, 0, 0.5, 0.2)]) == pytest.approx(0.15, abs=0.004)
    assert covered_share([]) == 0
    assert 0 < covered_share([rectangle(0.5, 0.5, 1e-5, 1e-5)]) < 0.001


@pytest.mark.parametrize(
    ("share", "severity"),
    [
        (0, Severity.GOOD),
        (0.001, Severity.MILD),
        (0.0099, Severity.MILD),
        (0.01, Severity.MODERATE),
        (0.05, Severity.MODERATE),
        (0.051, Severity.SEVERE),
        (1, Severity.SEVERE),
    ],
)
def test_the_weak_grades(share: float, severity: Severity):
    assert severity_of_area(share) is severity


def test_presence_weak_grade_and_regions(tmp_path: Path):
    fill(tmp_path, f"0 {SQUARE}\n1 {SQUARE}\n2 {CORNER}\n2 0.5 0.5 0.4 0.4\n")
    write_yolo(tmp_path, "train", "none", "", 1)
    write_yolo(tmp_path, "train", "undefined", f"1 {SQUARE}", 2)
    examples = {one.path.stem: one for one in read(tmp_path).examples}
    both, none, undefined = examples["00"], examples["none"], examples["undefined"]
    assert (both.presence, both.severity) == ((1, 1, None), (2, 3, None))
    assert (none.presence, none.severity, none.regions) == ((0, 0, None), (0, 0, None), ())
    assert (undefined.presence, undefined.regions) == ((0, 0, None), ())
    assert both.regions is not None
    assert [region.condition for region in both.regions] == [0, 1, 1]
    assert both.regions[2].outline == pytest.approx(np.array([(0.3, 0.3), (0.7, 0.3), (0.7, 0.7), (0.3, 0.7)]))


def test_a_rare_condition_is_not_known_and_test_pictures_do_not_make_it_common(tmp_path: Path):
    fill(tmp_path, f"0 {SQUARE}\n")
    for number in range(9):
        write_yolo(tmp_path, "train", f"red_jpg.rf.{number}", f"3 {SQUARE}", number)
    fill(tmp_path, f"3 {SQUARE}\n", part="valid")
    examples = read(tmp_path)
    assert {one.presence[2] for one in examples.examples} == {None}
    assert {one.severity[2] for one in examples.examples} == {None}
    assert not [region for one in examples.examples for region in one.regions or () if region.condition == 2]
    assert "erythema is outlined in 1 originals only" in examples.warnings[1]


def test_valid_is_the_held_out_test_set_and_copies_share_their_original(tmp_path: Path):
    fill(tmp_path, f"0 {SQUARE}\n")
    for copy in "abc":
        write_yolo(tmp_path, "train", f"D_1_jpg.rf.{copy}", f"0 {SQUARE}", ord(copy))
    write_yolo(tmp_path, "valid", "D_2_jpg.rf.a", "", 5)
    examples = read(tmp_path).examples
    assert {(one.group, one.split) for one in examples if one.group.startswith("D")} == {
        ("D_1_jpg", Split.TRAIN),
        ("D_2_jpg", Split.TEST),
    }


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (f"4 {SQUARE}", "line 1: unknown class 4, there are 4"),
        (f"0.5 {SQUARE}", "line 1: unknown class 0.5"),
        (f"0 {SQUARE}\n0 1 2 x", "line 2 is not made of numbers"),
        ("0 0.1 0.1 1.2 0.1 0.3 0.3", "line 1: not every place is a share from 0 to 1"),
        ("0 0.1 0.1 nan 0.1 0.3 0.3", "line 1: not every place is a share from 0 to 1"),
        ("0 0.1 0.1 0.3", "line 1 has 3 numbers after the class: neither a box nor a polygon"),
        ("0", "line 1 has 0 numbers after the class: neither a box nor a polygon"),
    ],
)
def test_a_wrong_label_is_refused_with_its_picture(tmp_path: Path, lines: str, reason: str):
    fill(tmp_path, f"0 {SQUARE}\n")
    write_yolo(tmp_path, "train", "wrong", lines, 1)
    examples = read(tmp_path)
    assert len(examples) == 12
    assert [one.path.name for one in examples.refused] == ["wrong.txt", "wrong.jpg"]
    assert all(reason in one.reason for one in examples.refused)


def test_pictures_and_labels_without_each_other_and_double_names(tmp_path: Path):
    fill(tmp_path, f"0 {SQUARE}\n")
    (tmp_path / "train" / "labels" / "alone.txt").write_text("")
    write_picture(tmp_path / "train" / "images" / "bare.jpg", 1)
    write_yolo(tmp_path, "train", "twice", "", 2)
    write_picture(tmp_path / "train" / "images" / "twice.png", 3)
    write_picture(tmp_path / "test" / "images" / "unlabelled.jpg", 4)
    examples = read(tmp_path)
    assert len(examples) == 12
    assert {one.path.name: one.reason for one in examples.refused} == {
        "alone.txt": "label without its picture",
        "bare.jpg": "picture without a label; an empty text file says nothing was seen",
        "twice.jpg": "several pictures are called twice: one label for all",
        "twice.png": "several pictures are called twice: one label for all",
        "unlabelled.jpg": "in no folder images that has a folder labels beside it",
    }


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("data.yaml", "train: ../train/images\nnc: 2\nnames: ['erythema', 'Dandruff']\n"),
        ("data.yaml", "names:\n- erythema\n- dandruff\nnc: 2\n"),
        ("data.yaml", "nc: 2\nnames:\n  0: erythema\n  1: 'dandruff'\nroboflow:\n  license: CC BY 4.0\n"),
        ("data.yaml", "names: {0: erythema, 1: dandruff}  # two\n"),
        ("classes.txt", "erythema\ndandruff\n"),
    ],
)
def test_the_sets_own_class_names(tmp_path: Path, file: str, text: str):
    fill(tmp_path, f"0 {SQUARE}\n")
    write_yolo(tmp_path, "train", "none", "", 1)
    (tmp_path / file).write_text(text)
    examples = {one.path.stem: one for one in read(tmp_path).examples}
    assert examples["00"].presence == (None, None, 1)  # dandruff too rare, sebum not a class
    assert examples["none"].presence == (None, None, 0)


def test_an_unknown_class_name_is_an_error_that_says_what_to_write(tmp_path: Path):
    fill(tmp_path, f"0 {SQUARE}\n", 2)
    (tmp_path / "data.yaml").write_text("names: [dandruff, wart]\n")
    with pytest.raises(ScalpScopeError, match=r"what wart means is not known.*classes\.txt"):
        read(tmp_path)


def test_the_other_usual_order_of_folders(tmp_path: Path):
    for number in range(10):
        label = tmp_path / "labels" / "train" / f"{number}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text(f"0 {SQUARE}")
        write_picture(tmp_path / "images" / "train" / f"{number}.jpg", number)
    examples = read(tmp_path)
    assert len(examples) == 10
    assert {one.split for one in examples.examples} == {Split.TRAIN}
