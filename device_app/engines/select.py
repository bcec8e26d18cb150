"""Which back end and which precision run a bundle's network on this machine, and why.

No silent fallback: what was passed over, and for what reason, stands in `SelectedEngine.reasons`, in the log, and from
there on the screen and in every report.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from calibration.errors import ScalpScopeError
from device_app.bundle import Bundle, ModelEntry, Task
from device_app.engines.engine import Engine, Precision
from device_app.engines.goldens import GoldenCheck, check_goldens
from device_app.engines.onnxruntime_engine import OnnxRuntimeBackend

_log = logging.getLogger(__name__)


class Backend(Protocol):
    """A way to run networks, made known with `register_backend`."""

    name: str

    def why_not(self) -> str | None:
        """Why this machine cannot use this back end at all, or None when it can."""

    def preferences(self) -> tuple[tuple[Precision, str], ...]:
        """The precisions worth trying on this machine, best first, each with the reason for its place."""

    def open(self, path: Path, model: ModelEntry, precision: Precision, threads: int) -> Engine:
        """Load a network. Raises `ScalpScopeError`."""


@dataclass(frozen=True)
class SelectedEngine:
    """An engine that reproduced its goldens, and why it is this one. It is itself an `Engine`.

    Attributes:
        engine: the engine of the back end.
        goldens: how near it came to them.
        reasons: one sentence for the choice and one for each better one that was passed over.
        fallback: something better was passed over.
    """

    engine: Engine
    goldens: GoldenCheck
    reasons: tuple[str, ...]
    fallback: bool

    @property
    def backend(self) -> str:
        return self.engine.backend

    @property
    def precision(self) -> Precision:
        return self.engine.precision

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return self.engine.run(inputs)

    def close(self) -> None:
        self.engine.close()


_BACKENDS: list[Backend] = [OnnxRuntimeBackend()]


def register_backend(backend: Backend) -> None:
    """Make a back end known. It is tried before those registered earlier."""
    _BACKENDS.insert(0, backend)


def open_engine(bundle: Bundle, task: Task, precision: Precision | None = None, threads: int = 2) -> SelectedEngine:
    """Open the best engine of this machine for a bundle's network, with its goldens checked.

    Args:
        bundle: a loaded bundle.
        task: which of its networks.
        precision: this one and no other; None lets the back ends' preferences decide.
        threads: threads of an engine that runs on the processor.

    Raises:
        ScalpScopeError: nothing could be opened, or nothing that reproduces the goldens; says why for each.
    """
    model = bundle.model(task)
    passed_over: list[str] = []
    never_made: list[str] = []
    for backend in _BACKENDS:
        if why := backend.why_not():
            passed_over.append(f"{backend.name} not used: {why}")
            continue
        choices = backend.preferences() if precision is None else ((precision, "asked for by name"),)
        for wanted, reason in choices:
            title = f"{backend.name} {wanted.value}"
            if wanted not in model.files:
                missing = f"{title} not used: bundle '{bundle.name} {bundle.version}' has no such file"
                # Only the hair network is expected in the whole set. SAM's halves, and a network without FP32, come by
                # their maker's choice in what they have, and nothing better was passed over.
                expected = precision is not None or (task is Task.HAIR and Precision.FP32 in model.files)
                (passed_over if expected else never_made).append(missing)
                continue
            try:
                engine = backend.open(bundle.file(model.files[wanted]), model, wanted, threads)
                check = check_goldens(engine, bundle, model)
            except ScalpScopeError as error:
                passed_over.append(f"{title} not used: {error.what}")
                continue
            for passed in passed_over:
                _log.warning("%s", passed)
            return SelectedEngine(engine, check, (f"{title}: {reason}", *passed_over), fallback=bool(passed_over))
    raise ScalpScopeError(
        f"No engine for the task '{task.value}' of bundle '{bundle.name} {bundle.version}' can be used here: "
        + "; ".join([*passed_over, *never_made])
        + ".",
        "Use another bundle, or another precision if one was asked for.",
    )


def open_preferred(
    bundle: Bundle, task: Task, precision: Precision | None, threads: int
) -> tuple[SelectedEngine, tuple[str, ...]]:
    """The same for a network beside the hair network, which may have other files: a precision it lacks is passed over.

    Returns:
        The engine, and why it is this one, each sentence with its task.
    """
    lacks = precision is not None and precision not in bundle.model(task).files
    engine = open_engine(bundle, task, None if lacks else precision, threads)
    reasons = [f"{task.value}: {reason}" for reason in engine.reasons]
    if lacks and precision is not None:
        reasons.append(f"{task.value}: {precision.value} was asked for, and the bundle has no such file")
    return engine, tuple(reasons)
