"""The worker process: takes frames from shared memory, runs the pipeline on them, answers. Grading has its own thread.

Run as ``python -m device_app.live.worker SOCKET_FD LIFELINE_FD NICENESS`` by the session and by nobody else: once for
the live lane, and once more, further back in the queue for the processor, for the refine lane. Started this way and not
through `multiprocessing`, whose children import the parent's main module again: that would bring the screen,
and seconds, into every restart.
"""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from typing import NoReturn

import cv2
import numpy as np

from calibration.errors import ScalpScopeError
from device_app.camera.source import Frame
from device_app.engines.engine import EngineLost
from device_app.live.grading_thread import GradingThread
from device_app.live.lost_engines import accelerators
from device_app.live.messages import (
    REFINED_MASKS,
    Analyse,
    Analysed,
    CancelRefine,
    Classify,
    EnginesLost,
    Failed,
    Ready,
    Refine,
    RefineCancelled,
    Refined,
    RefineFailed,
    Refused,
    UseRing,
    UseSettings,
)
from device_app.live.pipeline import Pipeline
from device_app.live.refinement import Cancelled
from device_app.live.ring import FrameRing

log = logging.getLogger(__name__)
_NO_MASK = np.zeros((0, 0), np.uint8)


def _end_with_parent(lifeline: int) -> None:
    """End this process as soon as the parent's end of the lifeline closes, whatever the main thread is stuck in."""

    def wait() -> None:
        os.read(lifeline, 1)
        os._exit(0)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()


def serve(connection: Connection) -> None:
    """Answer messages until the session hangs up or the settings are refused. A lost accelerator ends the process."""
    pipeline: Pipeline | None = None
    ring: FrameRing | None = None
    speaking = threading.Lock()

    def say(message: object) -> None:
        with speaking:
            connection.send(message)

    def lose(error: EngineLost) -> NoReturn:
        log.error("%s", error)
        say(EnginesLost(str(error), () if pipeline is None else _accelerators(pipeline)))
        _leave()  # from whichever thread, and whatever the other one is stuck in: no engine of this process answers

    grading = GradingThread(say, lose)
    while True:
        message = connection.recv()
        if isinstance(message, UseSettings):
            grading.finish()
            try:
                pipeline = Pipeline(message.settings) if pipeline is None else pipeline.with_settings(message.settings)
                ready = _ready(pipeline)
            except EngineLost as error:
                lose(error)
            except ScalpScopeError as error:
                say(Refused(error.what, error.remedy))
                return
            cv2.setNumThreads(message.settings.threads)
            say(ready)
        elif isinstance(message, UseRing):
            if ring is not None:
                ring.close()
            ring = FrameRing(message.pixels, recv_handle(connection), message.masks)
        elif pipeline is None or ring is None:
            raise RuntimeError("a frame came before settings and ring")
        elif isinstance(message, Analyse):
            say(_analyse(pipeline, ring, message, lose))
        elif isinstance(message, Classify):
            # Copies: the slot is not ours any more when the next message but one is there.
            frame = Frame(message.frame_id, ring.image(message.use).copy(), message.captured_ns)
            grading.grade(pipeline, frame, ring.mask(message.use).copy())
        elif isinstance(message, Refine):
            say(_refine(pipeline, ring, message, _told_to_leave(connection, message.request), lose))


def _ready(pipeline: Pipeline) -> Ready:
    """What runs. A conditions network that is refused takes nothing else down; why it is stands in the answer."""
    classifiers = pipeline.classifiers
    if pipeline.settings.classify_every_s > 0:
        missing = pipeline.conditions_missing or ""
        reasons, fallback = classifiers.reasons
    else:
        missing, reasons, fallback = "Conditions are not graded: that is switched off.", (), False
    return Ready(
        pipeline.backend,
        pipeline.bundle,
        pipeline.demonstration,
        pipeline.engine_reasons + reasons,
        pipeline.fallback or fallback,
        pipeline.refinement_missing or "",
        missing,
        classifiers.conditions_backend,
        classifiers.conditions_refused,
        tuple(dict.fromkeys((*pipeline.absent, *classifiers.absent))),
        tuple(dict.fromkeys((*pipeline.build_commands, *classifiers.build_commands))),
    )


def _accelerators(pipeline: Pipeline) -> tuple[str, ...]:
    return accelerators(pipeline.backend, pipeline.classifiers.conditions_backend, pipeline.refine_backend)


def _analyse(
    pipeline: Pipeline, ring: FrameRing, task: Analyse, lose: Callable[[EngineLost], NoReturn]
) -> Analysed | Failed:
    image = ring.image(task.use)
    image.flags.writeable = False
    try:
        analysis = pipeline.analyse(Frame(task.frame_id, image, task.captured_ns))
    except EngineLost as error:
        lose(error)
    except ScalpScopeError as error:
        return Failed(task.frame_id, str(error))
    except Exception as error:  # one bad frame must not end the loop
        log.exception("frame %d could not be analysed", task.frame_id)
        return Failed(task.frame_id, f"{type(error).__name__}: {error}.")
    ring.mask(task.use)[...] = analysis.mask
    return Analysed(dataclasses.replace(analysis, mask=_NO_MASK))


def _told_to_leave(connection: Connection, request: int) -> Callable[[], bool]:
    """Whether the session has said to leave this request. It says nothing else while it waits for the answer."""
    left = False

    def cancelled() -> bool:
        nonlocal left
        while not left and connection.poll():
            left = connection.recv() == CancelRefine(request)
        return left

    return cancelled


def _refine(
    pipeline: Pipeline,
    ring: FrameRing,
    task: Refine,
    cancelled: Callable[[], bool],
    lose: Callable[[EngineLost], NoReturn],
) -> Refined | RefineFailed | RefineCancelled:
    image = ring.image(task.use)
    image.flags.writeable = False
    try:
        refinement = pipeline.refine(Frame(task.frame_id, image, task.captured_ns), task.corrections, cancelled)
    except Cancelled:
        return RefineCancelled(task.request)
    except (EOFError, ConnectionError):  # the session hung up
        raise
    except EngineLost as error:
        lose(error)
    except ScalpScopeError as error:
        return RefineFailed(task.request, str(error))
    except Exception as error:  # one bad picture must not end the process
        log.exception("frame %d could not be refined", task.frame_id)
        return RefineFailed(task.request, f"{type(error).__name__}: {error}.")
    for place, name in enumerate(REFINED_MASKS):
        ring.mask(task.use, place)[...] = getattr(refinement, name)
    analysis = dataclasses.replace(refinement.analysis, mask=_NO_MASK)
    bare = dataclasses.replace(
        refinement, coarse_mask=_NO_MASK, refined_mask=_NO_MASK, mask=_NO_MASK, analysis=analysis
    )
    return Refined(task.request, bare, pipeline.refine_backend, pipeline.open_refiner().build_commands)


def _leave() -> NoReturn:
    """End this process at once: a picture that is still being graded would trip over the interpreter's own end."""
    sys.stderr.flush()
    os._exit(0)


def main() -> None:
    """Entry of the process."""
    faulthandler.enable()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s worker %(name)s: %(message)s")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the session, which ends the worker in order
    _end_with_parent(int(sys.argv[2]))
    os.nice(int(sys.argv[3]))
    with Connection(int(sys.argv[1])) as connection, contextlib.suppress(EOFError, ConnectionError):
        serve(connection)  # until the session hangs up
    _leave()


if __name__ == "__main__":
    main()
