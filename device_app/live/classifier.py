"""The classifiers on the device: how bad a scalp's conditions are, and which class a photograph is of.

Both judge a whole picture with one engine call, and both may refuse to (`device_app.vision.conditions`).
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from calibration.errors import ScalpScopeError
from device_app.bundle import Bundle, ClassifierEntry, Task
from device_app.engines.engine import EngineLost, Precision
from device_app.engines.select import SelectedEngine, open_preferred
from device_app.live.analysis import ClassJudgement, Conditions
from device_app.live.stage_clock import StageClock
from device_app.vision.conditions import (
    Condition,
    Refusal,
    class_probabilities,
    grade,
    joint_probabilities,
    refusal_of,
)
from device_app.vision.preprocess import mask_from_input, to_classifier_input

ClassTask = Literal[Task.SCALP_CONDITION, Task.HAIR_LOSS_STAGE]

_LACKS = {
    Task.CONDITIONS: "no network that grades dandruff, excess sebum and erythema",
    Task.SCALP_CONDITION: "no network that tells scalp conditions apart",
    Task.HAIR_LOSS_STAGE: "no network that stages hair loss in overview photographs",
}


class _Network:
    """A classifier in an engine proved by its goldens, and what every judgement needs of it."""

    def __init__(
        self, bundle: Bundle, task: Task, threads: int, precision: Precision | None, backend: str | None
    ) -> None:
        entry = bundle.model(task)
        assert isinstance(entry, ClassifierEntry)
        self.entry = entry
        self.engine, self.reasons = open_preferred(bundle, task, precision, threads, backend)
        self.backend = f"{self.engine.backend} {self.engine.precision.value}"
        self.bundle = f"{bundle.name} {bundle.version}"

    def look(
        self, image: np.ndarray, hair_mask: np.ndarray | None, clock: StageClock
    ) -> tuple[dict[str, np.ndarray], np.ndarray, Refusal | None]:
        """The outputs without their batch axis, the heat maps of the picture from edge to edge, and the refusal."""
        tensor = to_classifier_input(image, self.entry, hair_mask)
        clock.done("preprocess")
        outputs = {name: value[0] for name, value in self.engine.run({self.entry.input_name: tensor}).items()}
        clock.done("network")
        size = image.shape[1], image.shape[0]
        maps = np.stack([mask_from_input(own, size, self.entry) for own in outputs["heat_map"]])
        refused = refusal_of(image, outputs["quality"], float(outputs["distance"][0]), self.entry.limits)
        return outputs, maps, refused


class ConditionGrader:
    """Grades dandruff, excess sebum and erythema. ScalpVision, section 3.4. Not for use by two threads at once.

    Args:
        bundle: a loaded bundle.
        threads: CPU threads of an engine that runs on the processor. One is enough for pictures of this size, and
            leaves the others to the live analysis.
        precision: which file to run; a network that has no such file takes its best, and `reasons` says so. None: the
            best for this machine.
        backend: which back end, by its name; None: the best for this machine.

    Attributes:
        engine: as it was opened.
        backend: its back end and precision.
        reasons: why this engine runs and what was passed over.
        fallback: something better was passed over.
        goldens: how near the engine came to them.
        demonstration: its maker says that it is for demonstration only.

    Raises:
        ScalpScopeError: the bundle has no such network, or every engine is refused.
    """

    def __init__(
        self, bundle: Bundle, threads: int = 1, precision: Precision | None = None, backend: str | None = None
    ) -> None:
        self.entry = bundle.model(Task.CONDITIONS)
        self._network = _Network(bundle, Task.CONDITIONS, threads, precision, backend)
        self.engine = self._network.engine
        self._claimed = dict(zip(Condition, self.entry.claimed, strict=True))
        self.backend, self.reasons = self._network.backend, self._network.reasons
        self.fallback, self.goldens = self._network.engine.fallback, self._network.engine.goldens
        self.demonstration = self.entry.demonstration_only

    def grade(self, image: np.ndarray, hair_mask: np.ndarray | None = None, frame_id: int = 0) -> Conditions:
        """Grade one picture.

        Args:
            image: (H, W, 3) uint8 RGB, any size from 1x1; it is not kept.
            hair_mask: (H, W) uint8, its hair mask; for a network that takes one.
            frame_id: `Frame.id` of the picture.

        Raises:
            ScalpScopeError: the engine failed.
            ValueError: the network takes a hair mask, and there is none of the picture's size.
        """
        clock = StageClock()
        outputs, maps, refused = self._network.look(image, hair_mask, clock)
        probabilities = joint_probabilities(outputs["presence"], outputs["severity"], self.entry.calibration)
        grades = grade(probabilities, refused, self._claimed)
        clock.done("grade")
        return Conditions(
            frame_id=frame_id,
            grades=grades,
            probabilities=None if refused else probabilities,
            heat_maps=maps,
            refused=refused,
            timings_ms=clock.total(),
            bundle=self._network.bundle,
            backend=self.backend,
            demonstration=self.demonstration,
        )

    def close(self) -> None:
        """Free the engine. Safe to call twice."""
        self._network.engine.close()


class PhotoJudge:
    """Says which class a picture is of: the scalp's condition in a microscope's picture, the stage of hair loss in an
    overview photograph. Not for use by two threads at once.

    Args:
        bundle: a loaded bundle.
        task: which of the two.
        threads, precision, backend, attributes: see `ConditionGrader`.

    Raises:
        ScalpScopeError: the bundle has no such network, or every engine is refused.
    """

    def __init__(
        self,
        bundle: Bundle,
        task: ClassTask,
        threads: int = 1,
        precision: Precision | None = None,
        backend: str | None = None,
    ) -> None:
        self.entry = bundle.model(task)
        self._network = _Network(bundle, task, threads, precision, backend)
        self.engine = self._network.engine
        self.backend, self.reasons = self._network.backend, self._network.reasons
        self.fallback, self.goldens = self._network.engine.fallback, self._network.engine.goldens
        self.demonstration = self.entry.demonstration_only

    def judge(self, image: np.ndarray, hair_mask: np.ndarray | None = None) -> ClassJudgement:
        """Judge one picture. Arguments and errors: see `ConditionGrader.grade`."""
        clock = StageClock()
        outputs, maps, refused = self._network.look(image, hair_mask, clock)
        probabilities = class_probabilities(outputs["classes"], self.entry.temperature)
        place = int(np.argmax(probabilities))
        by_label = dict(zip(self.entry.labels, map(float, probabilities), strict=True))
        clock.done("judge")
        return ClassJudgement(
            task=self.entry.task,
            label=None if refused else self.entry.labels[place],
            probabilities=None if refused else by_label,
            certainty=None if refused else float(probabilities[place]),
            refused=refused,
            heat_map=None if refused else maps[place],
            timings_ms=clock.total(),
            bundle=self._network.bundle,
            backend=self.backend,
            demonstration=self.demonstration,
        )

    def close(self) -> None:
        """Free the engine. Safe to call twice."""
        self._network.engine.close()


class Classifiers:
    """A bundle's classifiers, each opened when it is first asked. One whose engines are refused is not tried again.

    Args:
        bundle: a loaded bundle.
        precision, backend: see `ConditionGrader`.
    """

    def __init__(self, bundle: Bundle, precision: Precision | None = None, backend: str | None = None) -> None:
        self._bundle = bundle
        self._precision, self._backend = precision, backend
        self._grader: ConditionGrader | None = None
        self._judges: dict[ClassTask, PhotoJudge] = {}
        self._refused: ScalpScopeError | None = None

    def missing(self, task: Task) -> str | None:
        """Why the bundle has no answer to a classifier's task, in plain words; None when it has."""
        if self._bundle.has(task):
            return None
        return f"Bundle '{self._bundle.name} {self._bundle.version}' has {_LACKS[task]}."

    @property
    def conditions_missing(self) -> str | None:
        """Why conditions cannot be graded, in plain words; None when they can. Opens the engine.

        Raises:
            EngineLost: the accelerator failed, and this process cannot use it any more.
        """
        if missing := self.missing(Task.CONDITIONS):
            return missing
        try:
            self.grader()
        except EngineLost:
            raise
        except ScalpScopeError as refused:
            return str(refused)
        return None

    @property
    def conditions_refused(self) -> bool:
        """Whether the bundle has a network for conditions, and no engine that may run it. Known once it was asked."""
        return self._refused is not None

    @property
    def conditions_backend(self) -> str:
        """Back end and precision of the conditions network; empty while it is not open."""
        return "" if self._grader is None else self._grader.backend

    @property
    def reasons(self) -> tuple[tuple[str, ...], bool]:
        """Why the engines that are open run, and whether a better one was passed over."""
        judges = [judge for judge in (self._grader, *self._judges.values()) if judge is not None]
        reasons = tuple(reason for judge in judges for reason in judge.reasons)
        return reasons, any(judge.fallback for judge in judges)

    @property
    def absent(self) -> tuple[str, ...]:
        """One sentence for each back end that the machine has no hardware for, of the engines that are open."""
        return tuple(sentence for engine in self._open_engines() for sentence in engine.absent)

    @property
    def build_commands(self) -> tuple[tuple[str, ...], ...]:
        """Command lines of processes that build better engines than those that are open."""
        return tuple(command for engine in self._open_engines() for command in engine.build_commands)

    def _open_engines(self) -> list[SelectedEngine]:
        return [judge.engine for judge in (self._grader, *self._judges.values()) if judge is not None]

    def grader(self) -> ConditionGrader:
        """The one that grades conditions.

        Raises:
            ScalpScopeError: the bundle has none, or every engine is refused.
        """
        self._check(Task.CONDITIONS)
        if self._refused is not None:
            raise self._refused
        if self._grader is None:
            try:
                self._grader = ConditionGrader(self._bundle, 1, self._precision, self._backend)
            except EngineLost:
                raise
            except ScalpScopeError as refused:
                self._refused = refused
                raise
        return self._grader

    def judge(self, task: ClassTask) -> PhotoJudge:
        """The one for a task with classes. Raises like `grader`."""
        self._check(task)
        if task not in self._judges:
            self._judges[task] = PhotoJudge(self._bundle, task, 1, self._precision, self._backend)
        return self._judges[task]

    def close(self) -> None:
        """Free the engines. Safe to call twice."""
        for judge in (self._grader, *self._judges.values()):
            if judge is not None:
                judge.close()
        self._grader = None
        self._judges.clear()

    def _check(self, task: Task) -> None:
        if missing := self.missing(task):
            raise ScalpScopeError(missing, "Use a bundle that has one.")
