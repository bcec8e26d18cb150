"""The worker process: takes frames from shared memory, runs the pipeline on them, answers.

Run as ``python -m device_app.live.worker SOCKET_FD LIFELINE_FD`` by the supervisor and by nobody else. Started this way
and not through `multiprocessing`, whose children import the parent's main module again: that would bring the screen,
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
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle

import cv2
import numpy as np

from calibration.errors import ScalpScopeError
from device_app.camera.source import Frame
from device_app.live.messages import Analyse, Analysed, Failed, Ready, Refused, UseRing, UseSettings
from device_app.live.pipeline import Pipeline
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
    """Answer messages until the session hangs up or refuses to go on."""
    pipeline: Pipeline | None = None
    ring: FrameRing | None = None
    while True:
        message = connection.recv()
        if isinstance(message, UseSettings):
            try:
                pipeline = Pipeline(message.settings) if pipeline is None else pipeline.with_settings(message.settings)
            except ScalpScopeError as error:
                connection.send(Refused(error.what, error.remedy))
                return
            cv2.setNumThreads(message.settings.threads)
            connection.send(
                Ready(
                    pipeline.backend,
                    pipeline.bundle,
                    pipeline.demonstration,
                    pipeline.engine_reasons,
                    pipeline.fallback,
                )
            )
        elif isinstance(message, UseRing):
            if ring is not None:
                ring.close()
            ring = FrameRing(message.pixels, recv_handle(connection))
        elif isinstance(message, Analyse):
            if pipeline is None or ring is None:
                raise RuntimeError("a frame came before settings and ring")
            connection.send(_analyse(pipeline, ring, message))


def _analyse(pipeline: Pipeline, ring: FrameRing, task: Analyse) -> Analysed | Failed:
    image = ring.image(task.use)
    image.flags.writeable = False
    try:
        analysis = pipeline.analyse(Frame(task.frame_id, image, task.captured_ns))
    except ScalpScopeError as error:
        return Failed(task.frame_id, str(error))
    except Exception as error:  # one bad frame must not end the loop
        log.exception("frame %d could not be analysed", task.frame_id)
        return Failed(task.frame_id, f"{type(error).__name__}: {error}.")
    ring.mask(task.use)[...] = analysis.mask
    return Analysed(dataclasses.replace(analysis, mask=_NO_MASK))


def main() -> None:
    """Entry of the process."""
    faulthandler.enable()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s worker %(name)s: %(message)s")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the session, which ends the worker in order
    _end_with_parent(int(sys.argv[2]))
    os.nice(5)  # the picture on the screen comes first
    with Connection(int(sys.argv[1])) as connection, contextlib.suppress(EOFError, ConnectionError):
        serve(connection)  # until the session hangs up


if __name__ == "__main__":
    main()
