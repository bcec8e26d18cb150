"""Splits: whole groups, deterministic, shares about met, rare labels in every split, the set's own split holds."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.errors import ScalpScopeError
from device_app.manifest_parts import Task
from training.data.example_set import Three
from training.data.examples import Example, ExampleSet, Split, missing_classes, presence_from, split_examples

LABELS = ("healthy", "alopecia", "psoriasis", "folliculitis")


def picture(number: int, group: str, severity: Three = (0, 0, 0), split: Split | None = None) -> Example:
    return Example(Path(f"{number}.jpg"), group, split, presence_from(severity), severity)


def conditions(examples: list[Example]) -> ExampleSet:
    return ExampleSet(Task.CONDITIONS, "made", tuple(examples))


def groups_of(part: ExampleSet) -> set[str]:
    return {one.group for one in part.examples}


GRADE = st.one_of(st.none(), st.integers(0, 3))
SETS = st.lists(
    st.tuples(st.integers(0, 39), GRADE, GRADE, GRADE), min_size=3, max_size=120, unique_by=lambda row: (row[0], row[1])
).filter(lambda rows: len({row[0] for row in rows}) >= 3)


@settings(max_examples=60, deadline=None)
@given(SETS, st.integers(0, 5))
def test_every_picture_is_in_one_split_with_its_whole_group_and_no_split_is_empty(rows, seed):
    whole = conditions([picture(n, f"g{group}", (a, b, c)) for n, (group, a, b, c) in enumerate(rows)])
    splits = split_examples(whole, seed=seed)
    paths = Counter(one.path for part in splits.values() for one in part.examples)
    assert paths == Counter(one.path for one in whole.examples)
    groups = [groups_of(splits[split]) for split in Split]
    assert sum(map(len, groups)) == len(set.union(*groups))
    assert all(groups)


@settings(max_examples=30, deadline=None)
@given(SETS, st.integers(0, 5), st.randoms())
def test_the_same_set_is_split_the_same_whatever_the_order(rows, seed, random):
    examples = [picture(n, f"g{group}", (a, b, c)) for n, (group, a, b, c) in enumerate(rows)]
    first = split_examples(conditions(examples), seed=seed)
    random.shuffle(examples)
    second = split_examples(conditions(examples), seed=seed)
    assert {split: groups_of(part) for split, part in first.items()} == {s: groups_of(p) for s, p in second.items()}


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(GRADE, GRADE, GRADE), min_size=30, max_size=150),
    st.sampled_from([(0.7, 0.2, 0.1), (0.5, 0.25, 0.25), (0.8, 0.2, 0.0)]),
)
def test_the_shares_are_about_met(labels, shares):
    whole = conditions([picture(n, f"g{n}", severity) for n, severity in enumerate(labels)])
    splits = split_examples(whole, shares)
    for split, share in zip(Split, shares):
        assert len(splits[split]) == pytest.approx(share * len(labels), abs=7 + 0.06 * len(labels))
    if shares[2] == 0:
        assert len(splits[Split.TEST]) == 0


@settings(max_examples=40, deadline=None)
@given(st.integers(3, 8), st.integers(20, 60), st.integers(0, 100))
def test_a_rare_label_reaches_every_split_where_there_are_enough(rare, common, seed):
    severe: Three = (3, 0, 0)
    examples = [picture(n, f"s{n}", severe) for n in range(rare)] + [picture(n + 99, f"g{n}") for n in range(common)]
    splits = split_examples(conditions(examples), seed=seed)
    assert all(any(one.severity[0] == 3 for one in splits[split].examples) for split in Split)
    assert missing_classes(splits) != []  # of mild and moderate nobody has any


def test_other_seeds_give_other_splits():
    whole = conditions([picture(n, f"g{n}") for n in range(60)])
    assert len({frozenset(groups_of(split_examples(whole, seed=seed)[Split.TEST])) for seed in range(5)}) > 1


def test_the_sets_own_split_holds():
    own = [Split.TRAIN, Split.TRAIN, Split.VALIDATION, Split.TEST]
    whole = conditions([picture(n, f"g{n}", split=split) for n, split in enumerate(own)])
    assert {s: [one.path.stem for one in part.examples] for s, part in split_examples(whole).items()} == {
        Split.TRAIN: ["0", "1"],
        Split.VALIDATION: ["2"],
        Split.TEST: ["3"],
    }


@pytest.mark.parametrize(
    ("held_out", "cut", "expected"),
    [(Split.TEST, Split.VALIDATION, 30), (Split.VALIDATION, Split.TEST, 10)],
)
def test_a_split_that_the_set_lacks_is_cut_out_of_train_by_group(held_out: Split, cut: Split, expected: int):
    train = [picture(n, f"g{n // 2}", split=Split.TRAIN) for n in range(200)]
    out = [picture(n + 200, f"h{n}", split=held_out) for n in range(7)]
    splits = split_examples(conditions(train + out))
    assert len(splits[held_out]) == 7
    assert len(groups_of(splits[cut])) == expected
    assert not groups_of(splits[Split.TRAIN]) & groups_of(splits[cut])
    assert len(splits[Split.TRAIN]) + len(splits[cut]) == 200


def test_a_set_of_one_patient_is_an_error_that_names_it():
    whole = conditions([picture(n, "the only one") for n in range(9)])
    with pytest.raises(ScalpScopeError, match=r"set made are of 1 patients.*too few for 3 splits.*'0\.jpg'"):
        split_examples(whole)


def test_one_patient_in_train_cannot_give_a_validation_split():
    whole = conditions([picture(1, "a", split=Split.TRAIN), picture(2, "b", split=Split.TEST)])
    with pytest.raises(ScalpScopeError, match="too few for 2 splits"):
        split_examples(whole)


def test_a_split_said_of_some_pictures_only_is_an_error_that_names_one():
    whole = conditions([picture(1, "a", split=Split.TRAIN), picture(2, "b")])
    with pytest.raises(ScalpScopeError, match=r"'2\.jpg'"):
        split_examples(whole)


def test_a_set_without_training_pictures_is_an_error():
    with pytest.raises(ScalpScopeError, match="no picture in train, only in test"):
        split_examples(conditions([picture(1, "a", split=Split.TEST)]))


@pytest.mark.parametrize("shares", [(0.7, 0.2, 0.2), (1.2, -0.1, -0.1), (0.0, 0.5, 0.5)])
def test_shares_that_are_none(shares: tuple[float, float, float]):
    with pytest.raises(ScalpScopeError, match="no shares"):
        split_examples(conditions([picture(n, f"g{n}") for n in range(9)]), shares)


def test_what_a_split_lacks_is_told_by_class():
    labels = [0, 0, 0, 1, 1, 1, 2]
    examples = [Example(Path(f"{n}.jpg"), f"g{n}", label=label) for n, label in enumerate(labels)]
    whole = ExampleSet(Task.SCALP_CONDITION, "made", tuple(examples), labels=LABELS)
    told = missing_classes(split_examples(whole))
    assert told == [
        "No example with class psoriasis in validation and test.",
        "No example with class folliculitis in train and validation and test.",
    ]


def test_a_head_without_any_label_is_told_once():
    examples = [picture(n, f"g{n}", (n % 4, n % 4, None)) for n in range(24)]
    told = missing_classes(split_examples(conditions(examples)))
    assert told == [
        "No example has a label for the presence of erythema.",
        "No example has a label for the severity of erythema.",
    ]


def test_a_split_keeps_task_name_and_labels():
    whole = replace(conditions([picture(n, f"g{n}") for n in range(9)]), warnings=("beware",))
    part = split_examples(whole)[Split.TRAIN]
    assert (part.task, part.name, part.labels, part.warnings) == (Task.CONDITIONS, "made", (), ())
