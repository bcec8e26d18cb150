"""Stopping work that gives Python no turn."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# The main thread takes no signal, as if it never came back from a library; another thread gets them.
DEAF = """
import signal, sys, threading
from export.stop_signals import StopSignals

def work():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    threading.Event().wait()

with StopSignals(patience_s=PATIENCE) as stop:
    threading.Thread(target=lambda: threading.Event().wait(), daemon=True).start()
    print("ready", flush=True)
    work()
"""

POLITE = """
import signal, time
from export.stop_signals import StopSignals

before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
with StopSignals(patience_s=60) as stop:
    print("ready", flush=True)
    while not stop.is_set():
        time.sleep(0.01)
assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
assert signal.set_wakeup_fd(-1) == -1
print(stop.number, flush=True)
"""


def start(code: str) -> subprocess.Popen[str]:
    child = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdout.readline() == "ready\n"
    return child


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_work_is_asked_to_stop_and_the_handlers_are_as_before(number: signal.Signals) -> None:
    child = start(POLITE)

    child.send_signal(number)

    assert child.communicate(timeout=30)[0] == f"{int(number)}\n"
    assert child.returncode == 0


def test_work_that_does_not_stop_is_ended_after_a_while() -> None:
    child = start(DEAF.replace("PATIENCE", "0.2"))

    child.send_signal(signal.SIGTERM)

    assert child.wait(timeout=30) == 128 + signal.SIGTERM


def test_a_second_signal_ends_it_at_once() -> None:
    child = start(DEAF.replace("PATIENCE", "3600"))

    child.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(timeout=0.5)
    child.send_signal(signal.SIGINT)

    assert child.wait(timeout=30) == 128 + signal.SIGINT
