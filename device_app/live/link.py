"""The session's end of one worker process: start it, talk to it, end it."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import send_handle

from device_app.child_environment import child_environment
from device_app.live.messages import EnginesLost, UseRing
from device_app.live.ring import FrameRing

log = logging.getLogger(__name__)

LIVE_NICENESS = 5  # the picture on the screen comes first
REFINE_NICENESS = 19  # then the live analysis, then the refinement

_CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE}


class WorkerLost(Exception):
    """The worker process ended by itself or was killed by somebody else.

    Args:
        what: how it ended.
        crashed: it did so as faulty code in a driver or library does.
    """

    def __init__(self, what: str, crashed: bool = False) -> None:
        super().__init__(what)
        self.crashed = crashed


class EngineGone(WorkerLost):
    """The worker process said that its accelerator failed, and ends.

    Args:
        said: what it said.
    """

    def __init__(self, said: EnginesLost) -> None:
        super().__init__(said.problem)
        self.said = said


class WorkerLink:
    """One worker process and the socket to it. Used by one thread.

    Args:
        niceness: by how much the process stands back from the others of this machine.
    """

    def __init__(self, niceness: int = LIVE_NICENESS) -> None:
        ours, theirs = socket.socketpair()
        lifeline_theirs, self._lifeline = os.pipe()
        # Only the network is worth threads, and it has its own; others would fight it for the same cores.
        environment = child_environment(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", ORT_DISABLE_TELEMETRY="1")
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
            raise self._lost() from error

    def use_ring(self, ring: FrameRing) -> None:
        """Hand a ring over, with its memory, unless the worker has it already. Raises `WorkerLost`."""
        if ring is self._ring:
            return
        self._ring = ring
        self.send(UseRing(ring.pixels, ring.masks))
        try:
            send_handle(self._connection, ring.descriptor, self.pid)
        except OSError as error:
            raise self._lost() from error

    def receive(self, timeout_s: float) -> object | None:
        """The next message, or None when none came in time. Raises `WorkerLost`; `EngineGone` when it says so."""
        try:
            if not wait([self._connection], timeout_s):
                return None
            message = self._connection.recv()
        except (EOFError, OSError) as error:
            raise self._lost() from error
        if isinstance(message, EnginesLost):
            raise EngineGone(message)
        return message

    def check(self) -> None:
        """Raise `WorkerLost` if the process is gone."""
        if self._process.poll() is not None:
            raise self._lost()

    def end(self, kill: bool = False) -> None:
        """Hang up and see the process out; kill it when told to or when it does not go. Safe to call twice."""
        self.hang_up()
        if kill:
            self._process.kill()
        try:
            self._process.wait(2.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def hang_up(self) -> None:
        """Let it go, without waiting for it: it ends by itself. `end` sees it out. Safe to call twice."""
        self._connection.close()
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1

    @property
    def gone(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    def _lost(self) -> WorkerLost:
        """Why it is gone: what it said itself, if that was not heard yet, or how it ended."""
        with contextlib.suppress(EOFError, OSError):
            while wait([self._connection], 0):
                if isinstance(said := self._connection.recv(), EnginesLost):
                    return EngineGone(said)
        what, code = self._obituary(), self._process.returncode
        return WorkerLost(what, code is not None and -code in _CRASHES)

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
