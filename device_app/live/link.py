"""The session's end of one worker process: start it, talk to it, end it."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import send_handle
from pathlib import Path

from device_app.live.messages import UseRing
from device_app.live.ring import FrameRing

log = logging.getLogger(__name__)
_ROOT = Path(__file__).resolve().parents[2]

LIVE_NICENESS = 5  # the picture on the screen comes first
REFINE_NICENESS = 19  # then the live analysis, then the refinement


class WorkerLost(Exception):
    """The worker process ended by itself or was killed by somebody else."""


class WorkerLink:
    """One worker process and the socket to it. Used by one thread.

    Args:
        niceness: by how much the process stands back from the others of this machine.
    """

    def __init__(self, niceness: int = LIVE_NICENESS) -> None:
        ours, theirs = socket.socketpair()
        lifeline_theirs, self._lifeline = os.pipe()
        environment = dict(os.environ)
        environment.update(
            # Only the network is worth threads, and it has its own; others would fight it for the same cores.
            OMP_NUM_THREADS="1",
            OPENBLAS_NUM_THREADS="1",
            ORT_DISABLE_TELEMETRY="1",
            PYTHONPATH=os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH", "")])),
        )
        arguments = (theirs.fileno(), lifeline_theirs, niceness)
        command = [sys.executable, "-m", "device_app.live.worker", *map(str, arguments)]
        try:
            self._process = subprocess.Popen(
                command, env=environment, pass_fds=(theirs.fileno(), lifeline_theirs), stdin=subprocess.DEVNULL
            )
        except OSError:
            os.close(self._lifeline)
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(lifeline_theirs)
        self._connection = Connection(ours.detach())
        self._ring: FrameRing | None = None

    @property
    def pid(self) -> int:
        """Process id of the worker."""
        return self._process.pid

    def send(self, message: object) -> None:
        """Hand a message over.

        Raises:
            WorkerLost: there is nobody to take it.
        """
        try:
            self._connection.send(message)
        except OSError as error:
            raise WorkerLost(self._obituary()) from error

    def use_ring(self, ring: FrameRing) -> None:
        """Hand a ring over, with its memory, unless the worker has it already. Raises `WorkerLost`."""
        if ring is self._ring:
            return
        self._ring = ring
        self.send(UseRing(ring.pixels, ring.masks))
        try:
            send_handle(self._connection, ring.descriptor, self.pid)
        except OSError as error:
            raise WorkerLost(self._obituary()) from error

    def receive(self, timeout_s: float) -> object | None:
        """The next message, or None when none came in time. Raises `WorkerLost`."""
        try:
            if not wait([self._connection], timeout_s):
                return None
            return self._connection.recv()
        except (EOFError, OSError) as error:
            raise WorkerLost(self._obituary()) from error

    def check(self) -> None:
        """Raise `WorkerLost` if the process is gone."""
        if self._process.poll() is not None:
            raise WorkerLost(self._obituary())

    def end(self, kill: bool = False) -> None:
        """Hang up and see the process out; kill it when told to or when it does not go. Safe to call twice."""
        self._connection.close()
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1
        if kill:
            self._process.kill()
        try:
            self._process.wait(2.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _obituary(self) -> str:
        deadline = time.monotonic() + 1.0
        while self._process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)  # the socket closes a moment before the process can be waited for
        code = self._process.returncode
        if code is None:
            return "The analysis process hung up."
        if code < 0:
            return f"The analysis process was ended by {signal.Signals(-code).name}."
        return f"The analysis process ended with code {code}."
