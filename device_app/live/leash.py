"""A process between the app and a builder: the builder dies with the app, however the app dies.

Run as ``python PATH/leash.py LIFELINE_FD NICENESS COMMAND...`` by `device_app.live.engine_build` and by nobody else, by
its path and not as a module: so it imports nothing of ours and is there in a moment. A builder is anybody's command
line and knows nothing of the app; the leash holds the other end of a pipe that closes when the app ends, and then ends
the builder with all that it has started.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys

GRACE_S = 1.0
"""How long a builder that was asked to end may take to clear up."""

_TICK_S = 0.05
_PR_SET_PDEATHSIG = 1


def _prepare(niceness: int) -> None:
    """In the builder's process, before it becomes the builder."""
    os.setpgid(0, 0)  # a group of its own: all of it can be ended, and Ctrl-C at a terminal does not reach it
    os.nice(niceness)
    # Where memory runs out, the kernel is to take the builder, not the picture. Not everywhere allowed, nor there.
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:  # noqa: PTH123
        file.write("900")
    with contextlib.suppress(Exception):  # the leash itself may be killed: Linux can tell the builder
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _signal_all(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def main() -> int:
    """Run the command until it ends or the lifeline closes; its exit code, 128 + N when signal N ended it."""
    lifeline, niceness, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the app ends this process, by the lifeline

    def prepare() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        _prepare(niceness)

    try:
        builder = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=prepare)
    except OSError as error:
        sys.stderr.write(f"{command[0]} cannot be started: {(error.strerror or str(error)).lower()}\n")
        return 127
    while builder.poll() is None:
        if select.select([lifeline], [], [], _TICK_S)[0]:  # closed: nobody ever writes to it
            _signal_all(builder.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                builder.wait(GRACE_S)
            break
    _signal_all(builder.pid, signal.SIGKILL)  # what it has left behind, if anything
    code = builder.wait()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
