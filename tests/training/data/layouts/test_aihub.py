"""The AI-Hub set: six findings become three, the official split holds and does not leak, every wrong file is named."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.labelled_sets import write_aihub

from calibration.errors import ScalpScopeError
from device_app.manifest_parts import Task
from training.data.examples import Example, ExampleSet, Split, check_leaks, read_examples, split_examples
from training.data.layouts.aihub import merge

GRADE = st.integers(0, 3)


def sitting(number: int) -> str:
    return f"0013_A2LEBJJDE00060O_16025783{number:05d}"


def read(root: Path) -> ExampleSet:
    return read_examples(root, Task.CONDITIONS)


def reasons(examples: ExampleSet) -> dict[str, str]:
    return {one.path.name: one.reason for one in examples.refused}


def by_name(examples: ExampleSet) -> dict[str, Example]:
    return {one.path.name: one for one in examples.examples}


@given(st.tuples(GRADE, GRADE, GRADE, GRADE, GRADE, GRADE))
def test_the_merge_is_the_papers(values):
    scales, sebum, redness, pustules, dandruff, _ = values
    assert merge(values) == (max(scales, dandruff), sebum, max(redness, pustules))


def test_pictures_get_the_merged_grades_their_split_sitting_and_attributes(tmp_path: Path):
    root = tmp_path / "유형별 두피 이미지"
    write_aihub(root, "Training", f"{sitting(1)}_2_TH", (1, 3, 0, 2, 0, 3), seed=1, findings=(0, 1, 3))
    write_aihub(root, "Validation", f"{sitting(2)}_5_RH", (0, 0, 0, 0, 0, 1), seed=2)
    meta = root / "Meta" / "META_DATA" / f"{sitting(1)}_2_TH_META.json"
    meta.parent.mkdir(parents=True)
    meta.write_text(
        json.dumps({"gender": "여", "age": "40대", "name": "somebody"}, ensure_ascii=False), encoding="utf-8"
    )

    examples = read(root)
    first, second = by_name(examples)[f"{sitting(1)}_2_TH.jpg"], by_name(examples)[f"{sitting(2)}_5_RH.jpg"]
    assert (first.severity, first.presence, first.split) == ((1, 3, 2), (1, 1, 1), Split.TRAIN)
    assert (second.severity, second.presence, second.split) == ((0, 0, 0), (0, 0, 0), Split.TEST)
    assert first.group == sitting(1)
    assert first.attributes == {"place": "TH", "microscope": "A2LEBJJDE00060O", "gender": "여", "age": "40대"}
    assert len(examples) == 2
    assert examples.refused == ()
    assert any(warning.startswith("2 further copies") for warning in examples.warnings)


def test_the_sample_has_other_folders_and_shorter_names(tmp_path: Path):
    for place in ("LH", "RH"):
        write_aihub(tmp_path, "Training", f"8952_5_{place}", (0, 1, 0, 0, 2, 0), seed=len(place))
    assert {one.group for one in read(tmp_path).examples} == {"8952"}


def test_about_thirty_per_cent_of_the_training_sittings_become_validation_and_nothing_leaks(tmp_path: Path):
    seed = 0
    for number in range(20):
        for place in ("2_TH", "4_LH"):
            seed += 1
            values = (number % 4, seed % 4, 0, seed % 2, 0, 0)
            write_aihub(tmp_path, "Training", f"{sitting(number)}_{place}", values, seed)
    for number in range(20, 24):
        write_aihub(tmp_path, "Validation", f"{sitting(number)}_3_TH", (0, 1, 2, 3, 0, 0), seed + number)
    splits = split_examples(read(tmp_path))
    assert len(splits[Split.TEST]) == 4
    assert 8 <= len(splits[Split.VALIDATION]) <= 16
    assert len(splits[Split.TRAIN]) + len(splits[Split.VALIDATION]) == 40
    check_leaks(splits)


def test_what_training_holds_of_the_test_sittings_is_left_out(tmp_path: Path):
    write_aihub(tmp_path, "Training", f"{sitting(1)}_2_TH", (0,) * 6, seed=1)
    write_aihub(tmp_path, "Training", f"{sitting(2)}_2_TH", (0,) * 6, seed=2)  # the same picture is in Validation
    write_aihub(tmp_path, "Training", f"{sitting(2)}_3_TH", (0,) * 6, seed=3)  # another one of that sitting
    write_aihub(tmp_path, "Validation", f"{sitting(2)}_2_TH", (0,) * 6, seed=2)
    examples = read(tmp_path)
    assert [(one.path.name, one.split) for one in examples.examples] == [
        (f"{sitting(1)}_2_TH.jpg", Split.TRAIN),
        (f"{sitting(2)}_2_TH.jpg", Split.TEST),
    ]
    assert set(reasons(examples)) == {f"{sitting(2)}_2_TH.jpg", f"{sitting(2)}_3_TH.jpg"}
    assert all("official test set" in reason for reason in reasons(examples).values())
    assert any("The paper kept them" in warning for warning in examples.warnings)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"value_3": "4"}, "unknown grade: value_3 (erythema between follicles) is '4', not 0 to 3"),
        ({"value_1": True}, "unknown grade: value_1 (fine scales) is True, not 0 to 3"),
        ({"value_5": None}, "unknown grade: value_5 (dandruff) is None, not 0 to 3"),
        ({"image_file_name": 3}, "image_file_name is 3"),
    ],
)
def test_a_label_with_a_wrong_value_is_refused(tmp_path: Path, change: dict[str, object], reason: str):
    write_aihub(tmp_path, "Training", "8952_1_TH", (0,) * 6, seed=1)
    write_aihub(tmp_path, "Training", "8953_1_TH", (0,) * 6, seed=2)
    (path,) = tmp_path.rglob("8953_1_TH.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    examples = read(tmp_path)
    assert reasons(examples) == {"8953_1_TH.json": reason, "8953_1_TH.jpg": "picture without a label"}
    assert len(examples) == 1


def test_other_broken_files_are_refused_each_with_its_reason(tmp_path: Path):
    write_aihub(tmp_path, "Training", "1_1_TH", (0,) * 6, seed=1)
    wrong_keys, no_json, no_picture, no_label, cut = (f"{number}_1_TH" for number in range(2, 7))
    for number, name in enumerate((wrong_keys, no_json, no_picture, no_label, cut)):
        write_aihub(tmp_path, "Training", name, (0,) * 6, seed=10 + number)
    next(tmp_path.rglob(f"{wrong_keys}.json")).write_text('{"image_file_name": "2_1_TH.jpg", "value_1": "0"}')
    next(tmp_path.rglob(f"{no_json}.json")).write_text("{")
    next(tmp_path.rglob(f"{no_picture}.jpg")).unlink()
    next(tmp_path.rglob(f"{no_label}.json")).unlink()
    broken = next(tmp_path.rglob(f"{cut}.jpg"))
    broken.write_bytes(broken.read_bytes()[:-700])
    examples = read(tmp_path)
    assert [one.path.name for one in examples.examples] == ["1_1_TH.jpg"]
    told = reasons(examples)
    assert told[f"{wrong_keys}.json"].startswith("no value_2, value_3, value_4, value_5, value_6; it has image_file")
    assert told[f"{no_json}.json"].startswith("no JSON")
    assert told[f"{no_picture}.json"] == f"label without its picture {no_picture}"
    assert told[f"{no_label}.jpg"] == "picture without a label"
    assert f"{cut}.jpg" in told
    assert len(told) == 7  # and the two pictures whose label was refused


def test_labels_of_one_picture_that_contradict_each_other_are_refused(tmp_path: Path):
    write_aihub(tmp_path, "Training", "1_1_TH", (0,) * 6, seed=1)
    write_aihub(tmp_path, "Training", "2_1_TH", (0, 1, 0, 0, 0, 0), seed=2, findings=(1,))
    write_aihub(tmp_path, "Training", "2_1_TH", (0, 2, 0, 0, 0, 0), seed=2, findings=(1,))
    examples = read(tmp_path)
    assert len(examples) == 1
    assert [one.path.name for one in examples.refused] == ["2_1_TH.jpg"] * 2
    assert "contradict each other" in examples.refused[0].reason


def test_names_unpacked_on_a_mac_find_their_labels(tmp_path: Path):
    write_aihub(tmp_path, "Training", "두피_1_TH", (0, 1, 0, 0, 0, 0), seed=1)
    (picture,) = tmp_path.rglob("*.jpg")
    picture.rename(picture.with_name(unicodedata.normalize("NFD", picture.name)))
    assert len(read(tmp_path)) == 1


def test_hair_loss_there_is_not_the_stage(tmp_path: Path):
    write_aihub(tmp_path, "Training", "1_1_TH", (0,) * 6, seed=1)
    with pytest.raises(ScalpScopeError, match="under a microscope"):
        read_examples(tmp_path, Task.HAIR_LOSS_STAGE)


def test_archives_must_be_unpacked(tmp_path: Path):
    (tmp_path / "Training").mkdir()
    (tmp_path / "Training" / "[원천]탈모_3.중증.zip").write_bytes(b"PK")
    with pytest.raises(ScalpScopeError, match="Unpack them"):
        read(tmp_path)
