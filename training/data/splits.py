"""Which pictures are learnt from, chosen by, and measured on: by patient or original, never by file."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from calibration.errors import ScalpScopeError
from training.data.example_set import Example, ExampleSet, Split, label_counts, labels_of, unlabelled_heads

VALIDATION_OF_TRAIN = 0.3
"""Of a set that has its own test split but no validation split, this share of the training groups becomes validation,
as in the paper: 21,703 of 72,342."""


def split_examples(
    examples: ExampleSet, shares: Sequence[float] = (0.7, 0.2, 0.1), seed: int = 0
) -> dict[Split, ExampleSet]:
    """The training, validation and test examples of a set.

    Where the set itself says for every picture which split it is in, that holds; a validation split that it lacks is
    cut out of its training split (`VALIDATION_OF_TRAIN`), a test split likewise by its share. Else all three are drawn.

    Whole groups are drawn, `shares` of their number, so that every split gets its share of each label, the rarest label
    first, and at least one group with it where there are enough. The same set, shares and seed give the same splits, in
    whatever order the examples are.

    Args:
        examples: of one set.
        shares: of training, validation and test; they add up to 1. A split of share 0 stays empty.
        seed: of the draw.

    Raises:
        ScalpScopeError: fewer patients or originals than splits, a split said of some pictures only, or none in train.
    """
    wanted = dict(zip(Split, shares, strict=True))
    if min(shares) < 0 or abs(sum(shares) - 1) > 1e-6 or wanted[Split.TRAIN] == 0:
        raise ScalpScopeError(
            f"{', '.join(f'{share:g}' for share in shares)} are no shares of training, validation and test.",
            "Give three numbers from 0 to 1 that add up to 1, such as 0.7, 0.2, 0.1.",
        )
    given = [one.split for one in examples.examples]
    if all(split is None for split in given):
        assigned = _draw(examples, {split: share for split, share in wanted.items() if share > 0}, seed)
        return _by_split(examples, [assigned[one.group] for one in examples.examples])
    without = next((one for one in examples.examples if one.split is None), None)
    if without is not None:
        raise ScalpScopeError(
            f"The set {examples.name} says of some pictures which split they are in, but not of '{without.path}'.",
            "Say it of every picture or of none.",
        )
    return _by_split(examples, _complete(examples, wanted, seed))


def missing_classes(splits: Mapping[Split, ExampleSet]) -> list[str]:
    """Labels that a split has no example of, though others have: one sentence each, to be shown; no error.

    Heads without any label anywhere are told once, and not by class.
    """
    found = {split: label_counts(part) for split, part in splits.items() if len(part)}
    if not found:
        return []
    whole = next(iter(splits.values())).having(one for part in splits.values() for one in part.examples)
    missing = [f"No example has a label for the {head}." for head in unlabelled_heads(whole)]
    for head, total in label_counts(whole).items():
        if any(total.values()):
            for label in total:
                lacking = [split.value for split, counts in found.items() if counts[head][label] == 0]
                if lacking:
                    missing.append(f"No example with {head} {label} in {' and '.join(lacking)}.")
    return missing


def _by_split(examples: ExampleSet, assigned: Sequence[Split]) -> dict[Split, ExampleSet]:
    parts: dict[Split, list[Example]] = {split: [] for split in Split}
    for one, split in zip(examples.examples, assigned, strict=True):
        parts[split].append(one)
    return {split: examples.having(part) for split, part in parts.items()}


def _complete(examples: ExampleSet, wanted: Mapping[Split, float], seed: int) -> list[Split]:
    """The set's own splits, with a missing one cut out of the training split."""
    own = [one.split or Split.TRAIN for one in examples.examples]
    if Split.TRAIN not in own:
        raise ScalpScopeError(
            f"The set {examples.name} has no picture in train, only in {', '.join(sorted({s.value for s in own}))}.",
            "Add training pictures, or let the splits be drawn by leaving them out.",
        )
    cut: dict[Split, float] = {}
    if Split.VALIDATION not in own and wanted[Split.VALIDATION] > 0:
        cut[Split.VALIDATION] = VALIDATION_OF_TRAIN
    if Split.TEST not in own and wanted[Split.TEST] > 0:
        cut[Split.TEST] = wanted[Split.TEST]
    if not cut:
        return own
    train = examples.having(one for one, split in zip(examples.examples, own) if split is Split.TRAIN)
    assigned = _draw(train, {Split.TRAIN: 1 - sum(cut.values()), **cut}, seed)
    return [assigned[one.group] if split is Split.TRAIN else split for one, split in zip(examples.examples, own)]


def _draw(examples: ExampleSet, shares: Mapping[Split, float], seed: int) -> dict[str, Split]:
    """Which split each group falls into: iterative stratification (Sechidis and others, 2011), by groups."""
    labels: dict[str, set[str]] = defaultdict(set)
    for one in examples.examples:
        labels[one.group].update(labels_of(one))
    if len(labels) < len(shares):
        raise ScalpScopeError(
            f"All pictures to be split of the set {examples.name} are of {len(labels)} patients or originals, too few "
            f"for {len(shares)} splits; one of them is '{examples.examples[0].path}'.",
            "Add pictures of other patients, or say which patient each picture is of.",
        )
    order = sorted(labels)
    np.random.default_rng(seed).shuffle(order)
    left = Counter(label for group in order for label in labels[group])
    wanted = {label: {split: share * left[label] for split, share in shares.items()} for label in left}
    room = {split: share * len(order) for split, share in shares.items()}
    got: dict[str, Counter[Split]] = {label: Counter() for label in left}
    assigned: dict[str, Split] = {}
    waiting = dict.fromkeys(order)
    while waiting:
        open_labels = [label for label, count in left.items() if count > 0]
        rarest = min(open_labels, key=lambda label: (left[label], label)) if open_labels else None
        for group in [one for one in waiting if rarest is None or rarest in labels[one]]:
            empty = [split for split in shares if split not in assigned.values()] if len(waiting) <= len(shares) else []

            def need(split: Split, rarest: str | None = rarest) -> tuple[bool, float, float]:
                if rarest is None:
                    return False, 0.0, room[split]
                return got[rarest][split] == 0, wanted[rarest][split] - got[rarest][split], room[split]

            chosen = max(empty if len(empty) >= len(waiting) else shares, key=need)
            assigned[group] = chosen
            room[chosen] -= 1
            for label in labels[group]:
                got[label][chosen] += 1
                left[label] -= 1
            del waiting[group]
    return assigned
