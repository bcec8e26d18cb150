"""A table of labels: missing ones are not known, wrong ones are refused with their line."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.labelled_sets import write_picture

from calibration.errors import ScalpScopeError
from device_app.manifest_parts import Task
from training.data.examples import ExampleSet, Split, read_examples


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(1, 5):
        write_picture(tmp_path / "pictures" / f"{number}.jpg", number)
    return tmp_path


def read(folder: Path, table: str, task: Task = Task.CONDITIONS) -> ExampleSet:
    (folder / "labels.csv").write_text(table, encoding="utf-8")
    return read_examples(folder, task)


def reasons(examples: ExampleSet) -> list[str]:
    return [one.reason for one in examples.refused if "without a row" not in one.reason]


def test_severities_presence_patients_splits_and_attributes(folder: Path):
    examples = read(
        folder,
        "Image, Dandruff, sebum, erythema, erythema_present, patient, split, skin_tone\n"
        "pictures/1.jpg, 0, 3, , 1, P1, train, IV\n"
        "pictures/2.jpg, mild, , , , P2, valid,\n"
        "pictures\\3.jpg, , , , 0, P3, test, I\n"
        "pictures/4.jpg, , , Severe, , P3, test, I\n",
    )
    one, two, three, four = examples.examples
    assert (one.severity, one.presence) == ((0, 3, None), (0, 1, 1))
    assert (two.severity, two.presence) == ((1, None, None), (1, None, None))
    assert (three.severity, three.presence) == ((None, None, None), (None, None, 0))
    assert (four.severity, four.presence) == ((None, None, 3), (None, None, 1))
    assert [example.split for example in examples.examples] == [
        Split.TRAIN,
        Split.VALIDATION,
        Split.TEST,
        Split.TEST,
    ]
    assert [example.group for example in examples.examples] == ["P1", "P2", "P3", "P3"]
    assert [dict(example.attributes) for example in (one, two)] == [{"skin_tone": "IV"}, {}]
    assert examples.refused == ()


def test_without_patients_copies_of_one_original_stay_together(folder: Path):
    write_picture(folder / "a_jpg.rf.1.jpg", 8)
    write_picture(folder / "a_jpg.rf.2.jpg", 9)
    table = "image,dandruff\na_jpg.rf.1.jpg,1\na_jpg.rf.2.jpg,1\npictures/1.jpg,0\n"
    assert [one.group for one in read(folder, table).examples] == ["a_jpg", "a_jpg", "pictures/1.jpg"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("pictures/2.jpg,4,,", "line 3: dandruff is '4', not a grade: 0 to 3, or good, mild, moderate, severe"),
        ("pictures/2.jpg,bad,,", "line 3: dandruff is 'bad', not a grade"),
        ("pictures/2.jpg,1,2,", "line 3: dandruff_present is '2', not 0 or 1"),
        ("pictures/2.jpg,0,1,", "line 3: dandruff is graded 0 and stated to be 1"),
        ("pictures/2.jpg,,,train", "line 3: no label at all"),
        ("pictures/2.jpg,1,,later", "line 3: unknown split 'later'"),
        ("pictures/9.jpg,1,,", "line 3: there is no such picture"),
        (",1,,", "line 3: no picture is named"),
        ("pictures/1.jpg,2,,", "lines 2, 3 contradict each other"),
    ],
)
def test_a_wrong_row_is_refused_with_its_line(folder: Path, row: str, reason: str):
    table = f"image,dandruff,dandruff_present,split\npictures/1.jpg,1,,\n{row}\npictures/3.jpg,0,,\n"
    examples = read(folder, table)
    assert len(reasons(examples)) == 1
    assert reason in reasons(examples)[0]
    assert examples.examples[-1].path.name == "3.jpg"


def test_a_row_said_twice_counts_once(folder: Path):
    examples = read(folder, "image,dandruff\npictures/1.jpg,1\npictures/1.jpg,1\n")
    assert len(examples) == 1
    assert reasons(examples) == ["lines 2, 3 name the same picture; it is used once"]


def test_pictures_without_a_row_and_broken_ones_are_refused(folder: Path):
    (folder / "pictures" / "2.jpg").write_bytes(b"no picture")
    examples = read(folder, "image,dandruff\npictures/1.jpg,1\npictures/2.jpg,1\n")
    assert [(one.path.name, one.reason) for one in examples.refused[:2]] == [
        ("3.jpg", "picture without a row in labels.csv"),
        ("4.jpg", "picture without a row in labels.csv"),
    ]
    assert examples.refused[2].path.name == "2.jpg"
    assert len(examples) == 1


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("picture,dandruff", "has no column image; it has picture, dandruff"),
        ("image;dandruff", "seems to be separated by ';'"),
        ("image,dandruff,Dandruff", "has the column dandruff twice"),
        ("image,sebum,excess_sebum", "two columns for excess_sebum"),
        ("image,patient", "has no labels for conditions; its columns are image, patient"),
    ],
)
def test_a_wrong_header_is_an_error(folder: Path, header: str, message: str):
    with pytest.raises(ScalpScopeError, match=message):
        read(folder, f"{header}\npictures/1.jpg,1,1\n")


def test_an_empty_table_is_an_error(folder: Path):
    with pytest.raises(ScalpScopeError, match="No labelled picture"):
        read(folder, "image,dandruff\n")


def test_classes(folder: Path):
    table = "image,label\npictures/1.jpg,Healthy\npictures/2.jpg,psoriasis\npictures/3.jpg,eczema\npictures/4.jpg,\n"
    examples = read(folder, table, Task.SCALP_CONDITION)
    assert [one.label for one in examples.examples] == [0, 2]
    assert examples.labels == ("healthy", "alopecia", "psoriasis", "folliculitis")
    assert reasons(examples) == [
        "labels.csv line 4: unknown class 'eczema'; the classes are healthy, alopecia, psoriasis, folliculitis",
        "labels.csv line 5: no label",
    ]
