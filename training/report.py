"""What a run shows: a progress bar or log lines, curves as CSV and picture, and samples to look at."""

from __future__ import annotations

import csv
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from training.progress import console

log = logging.getLogger(__name__)

COLUMNS = ("step", "seconds", "loss", "learning_rate", "validation_loss")
_LINE_EVERY_S = 30.0


class RunProgress:
    """A bar on a terminal, a line every half minute anywhere else."""

    def __init__(self, first_step: int, last_step: int, shown: bool = True) -> None:
        self._first, self._last, self._shown = first_step, last_step, shown
        self._started = self._last_line = time.monotonic()
        self._bar: Progress | None = None
        if shown and console.is_terminal:
            self._bar = Progress(
                TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
                TextColumn("{task.description}"), console=console,
            )  # fmt: skip
            self._task = self._bar.add_task("", total=last_step, completed=first_step)

    def __enter__(self) -> RunProgress:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def update(self, step: int, loss: float) -> None:
        """So many steps are done, the last of them with this loss."""
        now = time.monotonic()
        if self._bar:
            self._bar.update(self._task, completed=step, description=f"loss {loss:.3f}")
        elif self._shown and (now - self._last_line > _LINE_EVERY_S or step == self._last):
            self._last_line = now
            pace = (now - self._started) / max(1, step - self._first)
            left_min = pace * (self._last - step) / 60
            log.info("step %d of %d, loss %.3f, %.2f s per step, %.0f min left", step, self._last, loss, pace, left_min)


class Curves:
    """``curves.csv`` (one row per logged or validated step) and ``curves.png`` drawn from it.

    Columns are ``COLUMNS`` and the validation's ``scores``. Rows after ``first_step``, left by a run that was killed
    later than its last checkpoint, are dropped: the resumed run writes them again.
    """

    def __init__(self, folder: Path, first_step: int, scores: Sequence[str]) -> None:
        self._scores = tuple(scores)
        self._csv, self._png = folder / "curves.csv", folder / "curves.png"
        self.rows: list[dict[str, float]] = []
        if first_step and self._csv.is_file():
            with self._csv.open(newline="", encoding="utf-8") as file:
                for row in csv.DictReader(file):
                    values = {
                        name: int(value) if name == "step" else float(value) for name, value in row.items() if value
                    }
                    if values.get("step", first_step + 1) <= first_step:
                        self.rows.append(values)
        with self._csv.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(self.rows)

    @property
    def _columns(self) -> tuple[str, ...]:
        return (*COLUMNS, *self._scores)

    @property
    def seconds(self) -> float:
        """Time the run has taken up to its last row, over all its parts."""
        return self.rows[-1]["seconds"] if self.rows else 0.0

    def add(self, **values: float) -> None:
        """One row; its values are named as the columns."""
        self.rows.append(values)
        with self._csv.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self._columns).writerow(values)

    def draw(self) -> None:
        """Losses and validation scores over the steps."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # slow to import, and only drawn when validating
        from matplotlib.figure import Figure

        figure = Figure(figsize=(10, 4), layout="constrained")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2)
        for axes, names in ((left, ("loss", "validation_loss")), (right, self._scores)):
            for name in names:
                points = [(row["step"], row[name]) for row in self.rows if name in row]
                if points:
                    axes.plot(*zip(*points, strict=True), label=name.replace("_", " "))
            axes.set_xlabel("step")
            axes.grid(alpha=0.3)
            if axes.lines:
                axes.legend()
        if all(row["loss"] > 0 for row in self.rows if "loss" in row):  # that of SimSiam is negative
            left.set_yscale("log")
        figure.savefig(self._png, dpi=100)


def write_samples(
    path: Path, images: Sequence[np.ndarray], truths: Sequence[np.ndarray], found: Sequence[np.ndarray]
) -> None:
    """A sheet with one row per picture: picture, truth, prediction.

    Args:
        images: (H, W, 3) uint8 RGB.
        truths, found: (H, W) float32, 0..1.
    """
    rows = []
    for image, truth, probability in zip(images, truths, found, strict=True):
        maps = [cv2.cvtColor(np.uint8(np.clip(m, 0, 1) * 255), cv2.COLOR_GRAY2BGR) for m in (truth, probability)]
        rows.append(np.hstack([image[:, :, ::-1], *maps]))
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.vstack(rows))
