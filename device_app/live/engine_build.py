"""Building engines while the app runs: one child process at a time, far back in the queue for the processor.

The worker says with which command lines better engines could be built (`Ready.build_commands`). The builder may take
minutes, all the memory, or itself down; the picture goes on meanwhile.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import IO

from device_app.child_environment import child_environment
from device_app.engines.building import BuildEnd, BuildStep, from_line
from device_app.live import leash
from device_app.live.build_status import NOTHING_BUILT, BuildState

log = logging.getLogger(__name__)
_TICK_S = 0.1
_NICENESS = 19
_QUIET_S = 1800.0
"""A builder that says nothing for so long is ended. One network's kernels may take many minutes on a small board."""
_LAST_WORDS = 5
_LONGEST_LINE = 65536

Command = tuple[str, ...]


class EngineBuild:
    """Runs the command lines that are wanted, each at most once, on a thread that is there once something is.

    Args:
        allowed: False: nothing is ever built.

    Attributes:
        status: how it stands; read by any thread.
        finished: how many command lines came to an end with an engine to use, built or there already.
        pid: of the process that holds the builder; None while nothing is built.
    """

    def __init__(self, allowed: bool = True) -> None:
        self._allowed = allowed
        self.status = NOTHING_BUILT
        self.finished = 0
        self.pid: int | None = None
        self._changed = threading.Condition()
        self._wanted_by: dict[str, tuple[Command, ...]] = {}
        self._tried: set[Command] = set()
        self._running: Command | None = None
        self._stopping = False
        self._thread: threading.Thread | None = None

    def want(self, lane: str, commands: Sequence[Command]) -> None:
        """Have these run for a lane, one after the other: one under way that no lane wants any more is ended.

        One that came to its end is not run again: what failed would fail again, and what was built is there.
        """
        with self._changed:
            self._wanted_by[lane] = tuple(commands) if self._allowed else ()
            if not self._wanted and self.status.state is BuildState.FAILED:
                self.status = self.status.moved(BuildState.NONE)  # what failed is not missed any more
            if self._next() is not None and self._thread is None and not self._stopping:
                self._thread = threading.Thread(target=self._run, name="engine-build", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def stop(self) -> None:
        """End the builder, if there is one, and start none any more. Safe to call twice."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(10.0)

    @property
    def _wanted(self) -> list[Command]:
        return [command for commands in list(self._wanted_by.values()) for command in commands]

    def _next(self) -> Command | None:
        return next((command for command in self._wanted if command not in self._tried), None)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or self._next() is not None)
                command = self._running = self._next()
                if self._stopping or command is None:
                    return
                self.status = self.status.moved(BuildState.BUILDING)
            end: BuildEnd | None = None
            try:
                end = self._build(command)
            except Exception as error:  # such as no process to be had
                log.exception("the builder could not be run")
                end = BuildEnd(failed=(f"The builder could not be run: {type(error).__name__}: {error}.",))
            with self._changed:
                self._running = None
                if end is None:  # it was ended
                    self.status = self.status.moved(BuildState.NONE)
                    continue
                self._tried.add(command)
                came = bool(end.built or end.ready)
                problem = " ".join(end.failed)
                self.status = self.status.moved(BuildState.BUILT if came else BuildState.FAILED, problem, end.built)
                self.finished += came
            if problem:
                log.warning("engines not built: %s", problem)

    def _abandoned(self) -> bool:
        return self._stopping or self._running not in self._wanted

    def _build(self, command: Command) -> BuildEnd | None:
        """Run one command line to its end; None when it was ended because it is not wanted any more."""
        with _Builder(command) as builder:
            self.pid = builder.pid
            try:
                while not self._abandoned():
                    for step in builder.hear(_TICK_S):
                        self.status = self.status.at(step)
                    if builder.over:
                        return builder.end_told()
                    if builder.quiet_s > _QUIET_S:
                        minutes = f"{_QUIET_S / 60:.0f} minutes"
                        return BuildEnd(failed=(f"The builder said nothing for {minutes} and was ended.",))
            finally:
                self.pid = None
        return None


class _Builder:
    """One builder on its leash, and what it says. Used by one thread, within a ``with``, which ends it."""

    def __init__(self, command: Command) -> None:
        self._said: BuildEnd | None = None
        self._last_words: deque[str] = deque(maxlen=_LAST_WORDS)
        self._heard_s = time.monotonic()
        lifeline_theirs, self._lifeline = os.pipe()
        holder = [sys.executable, "-I", "-S", leash.__file__, str(lifeline_theirs), str(_NICENESS), *command]
        try:
            self._process = subprocess.Popen(
                holder,
                env=child_environment(ORT_DISABLE_TELEMETRY="1"),
                pass_fds=(lifeline_theirs,),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except OSError:
            os.close(self._lifeline)
            raise
        finally:
            os.close(lifeline_theirs)
        assert self._process.stdout is not None and self._process.stderr is not None
        self._pipes: dict[str, IO[bytes]] = {"output": self._process.stdout, "errors": self._process.stderr}
        self._rests = dict.fromkeys(self._pipes, b"")
        self._selector = selectors.DefaultSelector()
        for name, pipe in self._pipes.items():
            self._selector.register(pipe, selectors.EVENT_READ, name)

    @property
    def pid(self) -> int:
        """Of the process that holds the builder."""
        return self._process.pid

    @property
    def over(self) -> bool:
        """Whether it has said all that it will say."""
        return not self._selector.get_map() or (self._process.poll() is not None and not self._selector.select(0))

    @property
    def quiet_s(self) -> float:
        """For how long it has said nothing."""
        return time.monotonic() - self._heard_s

    def __enter__(self) -> _Builder:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._lifeline)
        try:
            self._process.wait(leash.GRACE_S + 2.0)
        except subprocess.TimeoutExpired:
            self._process.kill()  # and the kernel the builder, which is told when the leash ends
            self._process.wait()
        self._selector.close()
        for pipe in self._pipes.values():
            pipe.close()

    def hear(self, timeout_s: float) -> list[BuildStep]:
        """The steps that it told of; waits for something so long."""
        steps = []
        for key, _ in self._selector.select(timeout_s):
            name: str = key.data
            data = os.read(key.fd, 65536)
            *lines, rest = (self._rests[name] + data).split(b"\n")
            if data:
                self._heard_s = time.monotonic()
            else:
                self._selector.unregister(key.fileobj)
                lines, rest = [*lines, rest], b""
            self._rests[name] = rest[-_LONGEST_LINE:]
            for line in lines:
                step = self._take(line.decode("utf-8", "replace").strip(), name == "output")
                steps += [] if step is None else [step]
        return steps

    def _take(self, line: str, from_output: bool) -> BuildStep | None:
        message = from_line(line) if from_output else None
        if isinstance(message, BuildEnd):
            self._said = message
        elif message is None and line:
            log.info("builder: %s", line)
            if not from_output:
                self._last_words.append(line)
        return message if isinstance(message, BuildStep) else None

    def end_told(self) -> BuildEnd:
        """How it ended: in its own words, or what is known of one that ended without any."""
        code = self._process.wait()
        if self._said is not None:  # what it has built is there, however it ended after saying so
            nothing = BuildEnd(failed=("The builder has built nothing, and said no reason.",))
            return self._said if any((self._said.built, self._said.ready, self._said.failed)) else nothing
        last = f" Its last words: {' '.join(self._last_words)}" if self._last_words else ""
        if code in (128 + signal.SIGKILL, -signal.SIGKILL):
            why = "was ended by SIGKILL, most likely because the memory ran out. Close other programs and start again."
        elif code > 128 or code < 0:
            name = str(abs(code) - 128 * (code > 0))
            with contextlib.suppress(ValueError):
                name = signal.Signals(int(name)).name
            why = f"crashed ({name})."
        else:
            why = f"ended with code {code} and without a result."
        return BuildEnd(failed=(f"The builder {why}{last}",))
