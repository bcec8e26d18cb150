"""One folder per class: names in any case, unknown ones refused, own splits, patients from groups.csv."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.labelled_sets import write_picture

from calibration.errors import ScalpScopeError
from device_app.manifest_parts import Task
from training.data.examples import Split, read_examples


def test_classes_by_folder_and_unknown_ones_refused_with_the_list(tmp_path: Path):
    for seed, place in enumerate(
        ("Normal/1", "alopecia/1", "Psoriasis/deeper/2", "FOLLICULITIS/3", "eczema/1", "loose")
    ):
        write_picture(tmp_path / f"{place}.jpg", seed)
    examples = read_examples(tmp_path, Task.SCALP_CONDITION)
    assert {(one.path.parent.name, one.label) for one in examples.examples} == {
        ("Normal", 0),
        ("alopecia", 1),
        ("deeper", 2),
        ("FOLLICULITIS", 3),
    }
    assert len({one.group for one in examples.examples}) == 4  # 1.jpg twice is two pictures
    assert {one.path.name: one.reason for one in examples.refused} == {
        "1.jpg": "unknown class 'eczema'; the classes are healthy, alopecia, psoriasis, folliculitis",
        "loose.jpg": "in no folder of a class; the classes are healthy, alopecia, psoriasis, folliculitis",
    }


@pytest.mark.parametrize("name", ["{}", "stage_{}", "Stage {}", "stage{}", "LEVEL_{}"])
def test_stages_may_be_called_in_several_ways(tmp_path: Path, name: str):
    for stage in range(5):
        write_picture(tmp_path / name.format(stage) / "x.jpg", stage)
    examples = read_examples(tmp_path, Task.HAIR_LOSS_STAGE)
    assert sorted(one.label for one in examples.examples if one.label is not None) == [0, 1, 2, 3, 4]
    assert examples.labels == ("0", "1", "2", "3", "4")


def test_own_splits(tmp_path: Path):
    for seed, part in enumerate(("train", "valid", "test")):
        write_picture(tmp_path / part / "healthy" / "1.jpg", seed)
    write_picture(tmp_path / "alopecia" / "1.jpg", 9)
    examples = read_examples(tmp_path, Task.SCALP_CONDITION)
    assert [one.split for one in examples.examples] == [Split.TEST, Split.TRAIN, Split.VALIDATION]
    assert [one.reason for one in examples.refused] == ["outside the folders test, train, valid"]


def test_a_held_out_valid_is_the_test_set_where_there_is_no_other(tmp_path: Path):
    for seed, part in enumerate(("train", "valid")):
        write_picture(tmp_path / part / "healthy" / "1.jpg", seed)
    examples = read_examples(tmp_path, Task.SCALP_CONDITION)
    assert {one.split for one in examples.examples} == {Split.TRAIN, Split.TEST}


def test_patients_of_groups_csv(tmp_path: Path):
    for seed, place in enumerate(("healthy/1", "healthy/2", "alopecia/1", "alopecia/9")):
        write_picture(tmp_path / f"{place}.jpg", seed)
    rows = "image,patient\nhealthy/1.jpg,A\nhealthy/2.jpg,A\nalopecia/1.jpg,B\nalopecia/7.jpg,B\n"
    (tmp_path / "groups.csv").write_text(rows)
    examples = read_examples(tmp_path, Task.SCALP_CONDITION)
    assert sorted(one.group for one in examples.examples) == ["A", "A", "B"]
    assert {one.path.name: one.reason for one in examples.refused} == {
        "9.jpg": "picture without a row in groups.csv",
        "7.jpg": "in groups.csv, but there is no such picture",
    }
    assert examples.warnings == ()


def test_a_picture_of_two_patients_is_an_error(tmp_path: Path):
    write_picture(tmp_path / "healthy" / "1.jpg", 1)
    (tmp_path / "groups.csv").write_text("image,patient\nhealthy/1.jpg,A\nhealthy/1.jpg,B\n")
    with pytest.raises(ScalpScopeError, match="line 3"):
        read_examples(tmp_path, Task.SCALP_CONDITION)


def test_only_unknown_folders_is_an_error_that_says_what_is_allowed(tmp_path: Path):
    write_picture(tmp_path / "eczema" / "1.jpg", 1)
    with pytest.raises(ScalpScopeError, match="classes are healthy, alopecia, psoriasis, folliculitis"):
        read_examples(tmp_path, Task.SCALP_CONDITION, "folders")


def test_folders_say_nothing_of_conditions(tmp_path: Path):
    write_picture(tmp_path / "healthy" / "1.jpg", 1)
    with pytest.raises(ScalpScopeError, match="table"):
        read_examples(tmp_path, Task.CONDITIONS)
