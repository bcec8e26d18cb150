"""Algorithm 2 as the paper writes it, and that what is drawn follows from seed and index alone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_app.manifest_parts import Task
from training.classification.sampling import Draw, example_weights, sampling_ratios
from training.data.example_set import Example, ExampleSet

N = None


def _set(*examples: Example, task: Task = Task.CONDITIONS, labels: tuple[str, ...] = ()) -> ExampleSet:
    return ExampleSet(task, "set", examples, (), labels)


def _of_class(label: int | None) -> Example:
    return Example(Path("x.png"), "g", label=label)


def _algorithm_2(counts: list[int]) -> list[float]:
    """The paper's own words: for every class 1 / count, then each over the sum of all."""
    inverses = []
    for count in counts:
        inverses.append(1 / count)
    total = 0.0
    for inverse in inverses:
        total += inverse
    return [inverse / total for inverse in inverses]


@given(counts=st.lists(st.integers(1, 10**5), min_size=1, max_size=8))
def test_the_ratios_are_those_of_algorithm_2(counts: list[int]) -> None:
    assert sampling_ratios(counts) == pytest.approx(_algorithm_2(counts))


@given(counts=st.lists(st.integers(0, 100), max_size=8))
def test_a_class_without_samples_has_no_ratio_and_spoils_no_other(counts: list[int]) -> None:
    ratios = sampling_ratios(counts)
    assert [bool(ratio) for ratio in ratios] == [bool(count) for count in counts]
    filled = [count for count in counts if count]
    assert [ratio for ratio in ratios if ratio] == pytest.approx(_algorithm_2(filled) if filled else [])


def test_every_class_is_drawn_as_often_as_the_others() -> None:
    labels = [0] * 30 + [1] * 5 + [3] * 65  # nobody has class 2
    weights = example_weights(_set(*map(_of_class, labels), task=Task.SCALP_CONDITION, labels=("a", "b", "c", "d")))
    assert weights.sum() == pytest.approx(1)
    draw = Draw(weights, len(labels), seed=4)
    seen = Counter(labels[draw(index)] for index in range(3000))
    assert set(seen) == {0, 1, 3}
    assert min(seen.values()) > 900


def test_with_several_heads_the_mean_over_those_that_are_known_counts() -> None:
    one = Example(Path("1.png"), "1", presence=(1, 0, N), severity=(2, N, N))
    two = Example(Path("2.png"), "2", presence=(0, 1, N), severity=(0, N, N))
    three = Example(Path("3.png"), "3", presence=(0, 0, 1), severity=(0, N, N))
    four = Example(Path("4.png"), "4")
    weights = example_weights(_set(one, two, three, four))
    # Dandruff by severity: 2 once, 0 twice. Sebum by presence: 0 twice, 1 once. Erythema by presence: 1 once.
    rare, common = 1 / 1.5, 0.5 / 1.5
    expected = np.array([(rare + common) / 2, (common + rare) / 2, (common + common + 1) / 3, 0])
    assert weights == pytest.approx(expected / expected.sum())


def test_a_set_without_any_label_is_drawn_evenly() -> None:
    assert example_weights(_set(Example(Path("1.png"), "1"), Example(Path("2.png"), "2"))) == pytest.approx([0.5, 0.5])


@given(seed=st.integers(0, 9), index=st.integers(0, 10**6), count=st.integers(1, 50))
def test_what_is_drawn_follows_from_seed_and_index_alone(seed: int, index: int, count: int) -> None:
    weights = np.full(count, 1 / count)
    for given_weights in (weights, None):
        used = Draw(given_weights, count, seed)
        for earlier in (0, 3, 999):
            used(earlier)
        assert used(index) == Draw(given_weights, count, seed)(index) in range(count)


def test_drawn_evenly_every_example_comes_once_an_epoch() -> None:
    draw = Draw(None, 7, seed=1)
    epochs = [[draw(index) for index in range(start, start + 7)] for start in (0, 7, 14)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert epochs[0] != epochs[1]
