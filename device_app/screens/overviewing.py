"""Overview photographs and their hair-loss stage: found, shown small and judged on a thread, never on the screen's.

The engine is opened with the first photograph. Nothing is kept: neither photograph nor judgement outlives the visit.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from calibration.errors import ScalpScopeError
from device_app.bundle import Task, load_bundle
from device_app.camera.source import Frame
from device_app.engines.engine import Precision
from device_app.images import IMAGE_SUFFIXES, read_image
from device_app.live.analysis import ClassJudgement
from device_app.live.classifier import Classifiers
from device_app.live.lost_engines import PROCESSOR
from device_app.screens.choosing import LookedAt, Shown

log = logging.getLogger(__name__)
MOST_PHOTOGRAPHS = 60
THUMBNAIL_PX = (320, 240)
_LONGEST_SIDE_PX = 1920  # a photograph larger than any screen is made smaller at once


@dataclass(frozen=True)
class Judged:
    """A photograph, and what came of it: a judgement or the reason why there is none."""

    frame: Frame
    judgement: ClassJudgement | None
    problem: str = ""


class Overview:
    """The visit to the overview screen. Used by the screen's thread only; no method but `close` blocks.

    Args:
        bundle_path: of the bundle in use.
        precision: which of its files to run; None: the best for this machine.
        folder: where the photographs are.

    Attributes:
        folder: as given.
        photographs: found in it, newest first; None: not looked yet.
        thumbnails: (h, w, 3) uint8 RGB by photograph, as many as are made so far.
        judged: the photograph that was chosen, once it is judged.
        problem: why a folder or a photograph could not be read; empty otherwise.
        map_wanted: whether the heat map is drawn.
    """

    def __init__(self, bundle_path: Path, precision: Precision | None, folder: Path) -> None:
        self.folder = folder
        self._classifiers: Classifiers | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="overview")
        self._closing = threading.Event()
        self._opening = self._pool.submit(_open, bundle_path, precision)
        self._next_id = 0
        self._waiting: list[tuple[Future[Any], Callable[[Any], None]]] = []
        self._begin()

    def _begin(self) -> None:
        self.photographs: tuple[Path, ...] | None = None
        self.thumbnails: dict[Path, np.ndarray] = {}
        self.judged: Judged | None = None
        self.problem = ""
        self.map_wanted = False
        self._judging: tuple[Path, float] | None = None
        for future, _ in self._waiting:
            future.cancel()
        self._waiting = []

    @property
    def possible(self) -> bool:
        """Whether the bundle can stage hair loss; False before that is known."""
        if self._classifiers is None and self._opening.done():
            self._classifiers = self._opening.result()
        return self._classifiers is not None

    def look(self) -> None:
        """Begin a visit: find the photographs anew."""
        self._begin()
        self._submit(self._take_found, _find, self.folder)

    def leave(self) -> None:
        """End it, and forget everything."""
        self._begin()

    def choose(self, photograph: Path) -> None:
        """Have this one judged."""
        if self._classifiers is None or self._judging is not None:
            return
        self.judged, self.problem, self.map_wanted = None, "", False
        self._judging = photograph, time.monotonic()
        self._next_id += 1
        # What is left of the thumbnails waits.
        later = [(future, take) for future, take in self._waiting if not future.cancel()]
        self._waiting = later
        self._submit(self._take_judged, _judge, self._classifiers, photograph, self._next_id)

    def again(self) -> None:
        """Not this one: back to the others."""
        self.judged, self.problem, self.map_wanted = None, "", False
        self._make_thumbnails()

    @property
    def judging_s(self) -> float | None:
        """For how long a photograph has been judged; None: none is."""
        return None if self._judging is None else time.monotonic() - self._judging[1]

    def shown(self) -> Shown | None:
        """The judged photograph, with its heat map where that is wanted and there."""
        if self.judged is None:
            return None
        judgement = self.judged.judgement
        looked = None
        if self.map_wanted and judgement is not None and judgement.heat_map is not None:
            looked = LookedAt(self.judged.frame.id, "overview_title", judgement.heat_map)
        return Shown(self.judged.frame, looked=looked)

    def poll(self) -> bool:
        """Take in what came meanwhile; True when something did."""
        done = [(future, take) for future, take in self._waiting if future.done()]
        self._waiting = [(future, take) for future, take in self._waiting if not future.done()]
        for future, take in done:
            take(future.result())
        return bool(done)

    def close(self) -> None:
        """Free the engine; a judgement under way is waited for."""
        self._begin()
        self._pool.shutdown()
        if self.possible and self._classifiers is not None:
            self._classifiers.close()

    # On the screen's thread, with what the other thread made.
    def _take_found(self, found: tuple[Path, ...] | ScalpScopeError) -> None:
        if isinstance(found, ScalpScopeError):
            self.photographs, self.problem = (), str(found)
            return
        self.photographs = found
        self._make_thumbnails()

    def _make_thumbnails(self) -> None:
        for photograph in self.photographs or ():
            if photograph not in self.thumbnails:
                self._submit(self._take_thumbnail, _thumbnail, photograph)

    def _take_thumbnail(self, made: tuple[Path, np.ndarray | None]) -> None:
        photograph, picture = made
        if picture is not None:
            self.thumbnails[photograph] = picture
        elif self.photographs is not None:  # no picture, whatever its name says
            self.photographs = tuple(other for other in self.photographs if other != photograph)

    def _take_judged(self, judged: Judged | ScalpScopeError) -> None:
        self._judging = None
        if isinstance(judged, ScalpScopeError):
            self.problem = str(judged)
            self._make_thumbnails()
        else:
            self.judged, self.problem = judged, judged.problem

    def _submit(self, take: Callable[[Any], None], work: Callable[..., Any], *arguments: Any) -> None:
        self._waiting.append((self._pool.submit(work, *arguments), take))


# On the other thread. Nothing here raises: a fault is told, and the screen lives.
def _open(bundle_path: Path, precision: Precision | None) -> Classifiers | None:
    try:
        bundle = load_bundle(bundle_path)
    except ScalpScopeError:  # the live loop says why
        return None
    # On the processor, whatever the live loop runs on: an accelerator that fails takes its whole process down, and this
    # one draws the screen. It is one photograph at a time.
    return Classifiers(bundle, precision, PROCESSOR) if bundle.has(Task.HAIR_LOSS_STAGE) else None


def _find(folder: Path) -> tuple[Path, ...] | ScalpScopeError:
    try:
        entries = [
            (entry.stat().st_mtime, entry)
            for entry in folder.iterdir()
            if entry.suffix.lower() in IMAGE_SUFFIXES and not entry.name.startswith(".") and entry.is_file()
        ]
    except FileNotFoundError:
        return ()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        return ScalpScopeError(f"The folder {folder} cannot be read: {reason}.", "Check the setting overview_folder.")
    entries.sort(key=lambda entry: (-entry[0], entry[1].name))
    return tuple(path for _, path in entries[:MOST_PHOTOGRAPHS])


def _thumbnail(photograph: Path) -> tuple[Path, np.ndarray | None]:
    try:
        image = read_image(photograph)
    except ScalpScopeError:
        return photograph, None
    width, height = THUMBNAIL_PX
    rows, columns = image.shape[:2]
    # The middle of it, in the thumbnail's shape.
    factor = max(width / columns, height / rows)
    size = max(width, round(columns * factor)), max(height, round(rows * factor))
    fitted = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    top, left = (fitted.shape[0] - height) // 2, (fitted.shape[1] - width) // 2
    return photograph, np.ascontiguousarray(fitted[top : top + height, left : left + width])


def _judge(classifiers: Classifiers, photograph: Path, number: int) -> Judged | ScalpScopeError:
    try:
        image = read_image(photograph)
    except ScalpScopeError as error:
        return error
    longest = max(image.shape[:2])
    if longest > _LONGEST_SIDE_PX:
        factor = _LONGEST_SIDE_PX / longest
        image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    frame = Frame(number, image, time.monotonic_ns())
    try:
        return Judged(frame, classifiers.judge(Task.HAIR_LOSS_STAGE).judge(image))
    except ScalpScopeError as error:
        return Judged(frame, None, str(error))
    except Exception as error:  # a fault of ours
        log.exception("an overview photograph could not be judged")
        return Judged(frame, None, f"{type(error).__name__}: {error}.")
