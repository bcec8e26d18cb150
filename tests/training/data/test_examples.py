"""Reading any set: the layout is found by looking, what cannot be used is said, counts and digest are the set's."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.labelled_sets import write_aihub, write_picture, write_yolo

from calibration.errors import ScalpScopeError
from device_app.manifest_parts import Task
from training.data.examples import label_counts, read_examples, unlabelled_heads


def make_csv(root: Path) -> None:
    write_picture(root / "1.jpg", 1)
    (root / "labels.csv").write_text("image,dandruff\n1.jpg,2\n")


def make_folders(root: Path) -> None:
    write_picture(root / "train" / "alopecia" / "1.jpg", 1)


@pytest.mark.parametrize(
    ("make", "task"),
    [
        (lambda root: write_aihub(root, "Training", "1_1_TH", (0,) * 6, 1), Task.CONDITIONS),
        (lambda root: write_aihub(root / "data" / "216", "validation", "1_1_TH", (0,) * 6, 1), Task.CONDITIONS),
        (make_csv, Task.CONDITIONS),
        (make_folders, Task.SCALP_CONDITION),
        (lambda root: [write_yolo(root, "train", str(n), "0 0.5 0.5 0.1 0.1", n) for n in range(10)], Task.CONDITIONS),
    ],
)
def test_the_layout_is_found_by_looking(tmp_path: Path, make, task: Task):
    make(tmp_path)
    assert len(read_examples(tmp_path, task)) >= 1


def test_no_layout_or_several_is_an_error_that_says_what_to_do(tmp_path: Path):
    write_picture(tmp_path / "1.jpg", 1)
    with pytest.raises(ScalpScopeError, match=r"no layout that is known.*--layout aihub\|csv\|folders\|yolo"):
        read_examples(tmp_path, Task.CONDITIONS)
    make_csv(tmp_path)
    make_folders(tmp_path)
    with pytest.raises(ScalpScopeError, match="several: csv, folders"):
        read_examples(tmp_path, Task.CONDITIONS)
    assert len(read_examples(tmp_path, Task.CONDITIONS, "csv")) == 1


def test_an_unknown_layout_or_folder_is_an_error(tmp_path: Path):
    make_csv(tmp_path)
    with pytest.raises(ScalpScopeError, match="no layout 'coco'"):
        read_examples(tmp_path, Task.CONDITIONS, "coco")
    with pytest.raises(ScalpScopeError, match="is no folder"):
        read_examples(tmp_path / "elsewhere", Task.CONDITIONS)


def test_a_cut_picture_is_refused_unless_nobody_asks(tmp_path: Path):
    make_csv(tmp_path)
    cut = write_picture(tmp_path / "2.jpg", 2)
    cut.write_bytes(cut.read_bytes()[:-600])
    (tmp_path / "labels.csv").write_text("image,dandruff\n1.jpg,2\n2.jpg,0\n")
    calls: list[tuple[int, int]] = []
    examples = read_examples(tmp_path, Task.CONDITIONS, progress=lambda done, total: calls.append((done, total)))
    assert [one.path.name for one in examples.refused] == ["2.jpg"]
    assert calls == [(1, 2), (2, 2)]
    assert len(read_examples(tmp_path, Task.CONDITIONS, verify=False)) == 2


def test_only_broken_pictures_is_an_error_that_names_one(tmp_path: Path):
    make_csv(tmp_path)
    (tmp_path / "1.jpg").write_bytes(b"no picture")
    with pytest.raises(ScalpScopeError, match=r"1 files were refused, the first: '.*1\.jpg'"):
        read_examples(tmp_path, Task.CONDITIONS)


def test_all_labels_missing_is_an_error(tmp_path: Path):
    for number in range(3):  # dandruff in fewer than ten originals is left out, and there is nothing else
        write_yolo(tmp_path, "train", str(number), "0 0.5 0.5 0.1 0.1", number)
    (tmp_path / "classes.txt").write_text("dandruff\n")
    with pytest.raises(ScalpScopeError, match=r"None of the 3 pictures .* has a label for conditions"):
        read_examples(tmp_path, Task.CONDITIONS)


def test_heads_without_a_label_are_named(tmp_path: Path):
    make_csv(tmp_path)
    examples = read_examples(tmp_path, Task.CONDITIONS)
    assert label_counts(examples)["severity of dandruff"] == {"good": 0, "mild": 0, "moderate": 1, "severe": 0}
    assert label_counts(examples)["presence of dandruff"] == {"absent": 0, "present": 1}
    assert unlabelled_heads(examples) == [
        "presence of excess_sebum",
        "severity of excess_sebum",
        "presence of erythema",
        "severity of erythema",
    ]


def test_the_digest_is_the_sets_wherever_it_lies_and_changes_with_a_label(tmp_path: Path):
    for place in ("a", "b/c"):
        (tmp_path / place).mkdir(parents=True)
        make_csv(tmp_path / place)
    first, second = (read_examples(tmp_path / place, Task.CONDITIONS).digest() for place in ("a", "b/c"))
    (tmp_path / "a" / "labels.csv").write_text("image,dandruff\n1.jpg,1\n")
    assert first == second != read_examples(tmp_path / "a", Task.CONDITIONS).digest()
