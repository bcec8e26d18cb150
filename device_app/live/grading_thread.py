"""The worker's side of the classify lane: grading on a thread of its own, beside the analysis."""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Callable

import numpy as np

from calibration.errors import ScalpScopeError
from device_app.camera.source import Frame
from device_app.engines.engine import EngineLost
from device_app.live.messages import Classified, ClassifyFailed
from device_app.live.pipeline import Pipeline

log = logging.getLogger(__name__)
_FURTHER_BACK = 5
"""By how much the thread stands back from the analysis: with a network that is slow for the machine, grades come less
often, and the picture keeps its pace."""


class GradingThread:
    """Grades one picture at a time and says what came of it. The thread is there once something is to be graded.

    Args:
        say: hands `Classified` or `ClassifyFailed` to the session; called from the thread.
        lose: ends the process in order; called from the thread when the accelerator is lost.
    """

    def __init__(self, say: Callable[[object], None], lose: Callable[[EngineLost], object]) -> None:
        self._say = say
        self._lose = lose
        self._tasks: queue.Queue[tuple[Pipeline, Frame, np.ndarray]] = queue.Queue()
        self._thread: threading.Thread | None = None

    def grade(self, pipeline: Pipeline, frame: Frame, mask: np.ndarray) -> None:
        """Grade a frame by its (H, W) uint8 mask; returns at once. Both arrays must stay as they are."""
        self._tasks.put((pipeline, frame, mask))
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="grading", daemon=True)
            self._thread.start()

    def finish(self) -> None:
        """Wait until nothing is being graded: the pipeline may be closed then."""
        self._tasks.join()

    def _work(self) -> None:
        os.setpriority(  # on Linux a thread has a priority of its own
            os.PRIO_PROCESS, threading.get_native_id(), os.getpriority(os.PRIO_PROCESS, 0) + _FURTHER_BACK
        )
        while True:
            pipeline, frame, mask = self._tasks.get()
            try:
                self._say(_grade(pipeline, frame, mask))
            except EngineLost as error:
                self._lose(error)
            except OSError:  # the session hung up; the main thread sees it too
                return
            finally:
                self._tasks.task_done()


def _grade(pipeline: Pipeline, frame: Frame, mask: np.ndarray) -> Classified | ClassifyFailed:
    try:
        return Classified(pipeline.classify(frame, mask))
    except EngineLost:
        raise
    except ScalpScopeError as error:
        return ClassifyFailed(frame.id, str(error))
    except Exception as error:  # one bad frame must not end the lane
        log.exception("frame %d could not be graded", frame.id)
        return ClassifyFailed(frame.id, f"{type(error).__name__}: {error}.")
