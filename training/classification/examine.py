"""One classifier from all sides: good pictures, drawings, and pictures that it must refuse; then a report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

import numpy as np

from device_app.manifest_classifiers import Calibration, ClassifierEntry, Limits
from device_app.manifest_parts import Task
from device_app.vision.conditions import Condition, Quality, Severity
from training.classification.evaluate import (
    Verdicts,
    judge,
    mistake_sizes,
    score_attributes,
    score_group,
    score_refusals,
)
from training.classification.judges import picture_map
from training.classification.pictures import (
    BlurredPictures,
    ExposedPictures,
    NotScalpPictures,
    PictureSource,
    Several,
)
from training.classification.predictions import Advance, Judge, Predictions, predict_pictures, together
from training.classification.report import Part, Report, Shown
from training.data.ungradable import ALL_FAMILIES

SEED = 1
"""Of what is spoilt and drawn to be refused; calibration takes another."""

MOST_SPOILT = 200
"""Good pictures of a set that are blurred; half as many are given too little and too much light."""

WORST = 12
MOST_SHOWN = 6  # of each kind of wrong refusal


@dataclass(frozen=True)
class Subject:
    """A classifier to be looked at, with all that turns its answers into grades.

    Attributes:
        judge: the network or engine.
        entry: says what its input is.
        calibration, temperature: from logits to probabilities; one of both, by the task.
        limits: beyond which pictures are refused.
        claimed: by condition; empty for a task with classes.
        labels: classes; empty for the conditions.
        shares: of training, validation and test, where its training drew the splits of a set.
        facts: what it is, for people, by heading.
    """

    judge: Judge
    entry: ClassifierEntry
    calibration: Calibration | None
    temperature: float | None
    limits: Limits
    claimed: Mapping[str, bool]
    labels: tuple[str, ...]
    shares: tuple[float, float, float]
    facts: Mapping[str, str]

    @property
    def ordered(self) -> bool:
        """Whether its classes are stages."""
        return self.entry.task is Task.HAIR_LOSS_STAGE

    def verdicts(self, predictions: Predictions) -> Verdicts:
        """What the device would say."""
        return judge(predictions, self.limits, self.calibration, self.temperature)


@dataclass(frozen=True)
class Pictures:
    """What a classifier is looked at with.

    Attributes:
        good: sets of good pictures by their title, at least one.
        ungradable: pictures that should be refused.
    """

    good: Mapping[str, PictureSource]
    ungradable: PictureSource

    def __len__(self) -> int:
        return sum(len(one) for one in self.good.values()) + len(self.ungradable)


def ungradable_pictures(
    good: Sequence[PictureSource],
    each: int,
    size: tuple[int, int],
    families: frozenset[str] = ALL_FAMILIES,
    seed: int = SEED,
    most: int = MOST_SPOILT,
) -> PictureSource:
    """Pictures to refuse: good ones blurred, under- and overexposed, and things that are no scalp.

    Args:
        good: of each set at most `most` pictures, spread evenly, are spoilt.
        each: things of each family.
        size: width and height of those, pixels.
        families: of `training.data.ungradable`.
        seed: of the draws.
        most: see `good`.
    """
    sources: list[PictureSource] = []
    for one in good:
        sources += [BlurredPictures(spread(one, most), seed), ExposedPictures(spread(one, most // 2), seed)]
    return Several(*sources, NotScalpPictures(each, families, size, seed))


def spread(pictures: PictureSource, most: int) -> PictureSource:
    """At most so many pictures of a source, spread evenly over it."""
    if len(pictures) <= most:
        return pictures
    return Several(pictures, numbers=np.linspace(0, len(pictures) - 1, most).round().astype(int).tolist())


def examine(
    subject: Subject,
    pictures: Pictures,
    title: str,
    data: Mapping[str, str],
    command: str = "",
    batch_size: int = 16,
    advance: Advance = lambda count: None,
    paper: bool = False,
) -> tuple[Report, Predictions]:
    """Ask a classifier about pictures and put all that follows into a report.

    Args:
        subject: the classifier.
        pictures: what it is asked about.
        title: of the report.
        data: what the pictures are, for people, by heading.
        command: that made the report.
        batch_size: pictures that are asked about at a time.
        advance: told how many more pictures are done; `len(pictures)` in the end.
        paper: show the paper's rows beside Table 3.

    Returns:
        The report, and the answers about all pictures in the order of `pictures`.

    Raises:
        ScalpScopeError: a file cannot be read, or there is no picture.
    """
    parts, answers = [], []
    mistakes: list[tuple[float, PictureSource, int, int, Predictions, Verdicts]] = []
    wrongly_refused: list[Shown] = []
    for name, source in pictures.good.items():
        found = predict_pictures(subject.judge, source, batch_size, advance)
        verdicts = subject.verdicts(found)
        kept = np.array([one is None for one in verdicts.refused])
        judged = None
        if kept.any():
            judged = score_group(found.only(kept), verdicts.only(kept), subject.labels, subject.ordered)
        parts.append(
            Part(
                title=name,
                kind=found.kinds[0],
                every=score_group(found, verdicts, subject.labels, subject.ordered),
                judged=judged,
                attributes=score_attributes(found, verdicts, subject.labels, subject.ordered),
            )
        )
        mistakes += [(size, source, place, head, found, verdicts) for size, place, head in _worst(found, verdicts)]
        wrongly_refused += _refused(source, found, verdicts)[: MOST_SHOWN - len(wrongly_refused)]
        answers.append(found)
    bad = predict_pictures(subject.judge, pictures.ungradable, batch_size, advance)
    bad_verdicts = subject.verdicts(bad)
    answers.append(bad)
    everything = together(answers)
    mistakes.sort(key=lambda one: -one[0])
    report = Report(
        task=subject.entry.task,
        title=title,
        model=subject.facts,
        data=data,
        made=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        command=command,
        claimed=subject.claimed,
        limits=subject.limits,
        parts=tuple(parts),
        refusals=tuple(score_refusals(everything, subject.verdicts(everything))),
        mistakes=tuple(_mistake(subject, *one[1:]) for one in mistakes[:WORST]),
        wrongly_refused=tuple(wrongly_refused),
        wrongly_judged=tuple(_passed(pictures.ungradable, bad, bad_verdicts)[:MOST_SHOWN]),
        paper=paper,
    )
    return report, everything


def _worst(predictions: Predictions, verdicts: Verdicts) -> list[tuple[float, int, int]]:
    """The worst mistakes of a set: how bad, which picture, which head; one for each group, so that no original fills
    the page."""
    sizes = mistake_sizes(predictions, verdicts)
    found: list[tuple[float, int, int]] = []
    groups = set()
    for place in np.argsort(-sizes, axis=None, kind="stable"):
        picture, head = divmod(int(place), sizes.shape[1])
        if sizes[picture, head] <= 0 or len(found) == WORST:
            break
        if predictions.groups[picture] not in groups:
            groups.add(predictions.groups[picture])
            found.append((float(sizes[picture, head]), picture, head))
    return found


def _mistake(
    subject: Subject, source: PictureSource, place: int, head: int, found: Predictions, verdicts: Verdicts
) -> Shown:
    picture = source[place]
    heat = subject.judge([picture]).heat_maps[0]
    refused = verdicts.refused[place]
    notes = [] if refused is None else [f"refused on the device: {refused.value.replace('_', ' ')}"]
    if subject.labels:
        chances = verdicts.classes[place]
        shown = int(chances.argmax())
        told = f"found {subject.labels[shown]} ({chances[shown]:.2f}), is {subject.labels[int(found.label[place])]}"
        return Shown(
            picture.name, (told, *notes), picture.image, picture_map(heat[shown], picture.image, subject.entry)
        )
    name, chances = list(Condition)[head].value.replace("_", " "), verdicts.conditions[place, head]
    grade, present = int(verdicts.severity[place, head]), found.presence[place, head]
    if found.severity[place, head] >= 0:
        is_so = Severity(int(found.severity[place, head])).word
        told = f"{name}: found {Severity(grade).word} ({chances[grade]:.2f}), is {is_so}"
    else:
        is_so = "present" if present > 0 else "absent"
        told = f"{name}: found {'present' if grade else 'absent'} (present {1 - chances[0]:.2f}), is {is_so}"
    return Shown(picture.name, (told, *notes), picture.image, picture_map(heat[head], picture.image, subject.entry))


def _refused(source: PictureSource, found: Predictions, verdicts: Verdicts) -> list[Shown]:
    return _shown(source, found, verdicts, lambda place: verdicts.refused[place] is not None)


def _passed(source: PictureSource, found: Predictions, verdicts: Verdicts) -> list[Shown]:
    return _shown(
        source, found, verdicts, lambda place: found.quality[place] != Quality.GRADABLE and not verdicts.refused[place]
    )


def _shown(source: PictureSource, found: Predictions, verdicts: Verdicts, wanted: Callable[[int], bool]) -> list[Shown]:
    """The first few pictures that are wanted, with why they were refused and how doubtful they are."""
    shown: list[Shown] = []
    for place in range(len(found)):
        if len(shown) < MOST_SHOWN and wanted(place):
            reason = verdicts.refused[place]
            told = found.kinds[place] if reason is None else f"refused: {reason.value.replace('_', ' ')}"
            measured = f"brightness {found.brightness[place]:.0f}, distance {found.distance[place]:.2f}"
            shown.append(Shown(found.names[place], (told, measured), source[place].image))
    return shown
