"""The processes of the live lane: the worker, the spare, a successor that comes up, and the one that was taken over
from.
"""

from __future__ import annotations

import time

from device_app.live.link import WorkerLink, WorkerLost
from device_app.live.messages import Ready, Refused, UseSettings
from device_app.live.settings import PipelineSettings

_LEAVING_S = 2.0  # how long a worker that was let go may take to end


class SuccessorFailed(Exception):
    """A successor will not take over; the worker goes on."""


class Successor:
    """A worker that comes up beside the present one. Nothing here waits.

    Args:
        link: a process that was told nothing yet.
        settings: what it is to use.
        patience_s: how long it may take.

    Attributes:
        link: as given.
        told: the settings it was told last.
        ready: what it said of them; None before.
    """

    def __init__(self, link: WorkerLink, settings: PipelineSettings, patience_s: float) -> None:
        self.link = link
        self.told = settings
        self.ready: Ready | None = None
        self._patience_s = patience_s
        self._since = time.monotonic()
        link.send(UseSettings(settings))

    def look(self, settings: PipelineSettings) -> Ready | None:
        """What it runs once it is ready to take over; None while it is not.

        Args:
            settings: those of now; where they are others than it was told, it is told again.

        Raises:
            SuccessorFailed: it refused, or takes too long.
            WorkerLost: it died, or its accelerator failed.
        """
        if self.ready is None:
            self._hear()  # first of all: one that refuses says so, and ends
        else:
            self.link.check()
        if self.ready is not None and self.told is not settings:
            self.told, self.ready = settings, None
            self.link.send(UseSettings(settings))
        return self.ready

    def _hear(self) -> None:
        answer = self.link.receive(0)
        if isinstance(answer, Ready):
            self.ready = answer
        elif isinstance(answer, Refused):
            raise SuccessorFailed(f"{answer.what} {answer.remedy}")
        elif answer is not None:
            raise SuccessorFailed(f"The next analysis process said {type(answer).__name__} instead of being ready.")
        elif time.monotonic() - self._since > self._patience_s:
            within = f"within {self._patience_s:g} s"
            raise SuccessorFailed(f"The next analysis process did not get ready {within} and was ended.")


class Workers:
    """Used by the keeper's thread; the attributes are read by any.

    Attributes:
        link: the worker; None while there is none.
        successor: the one that is to take over; None while there is none.
    """

    def __init__(self) -> None:
        self.link: WorkerLink | None = None
        self.successor: Successor | None = None
        self._spare: WorkerLink | None = None
        self._leaving: tuple[WorkerLink, float] | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the worker; None while there is none."""
        link = self.link
        return None if link is None else link.pid

    def start(self) -> tuple[WorkerLink, Successor | None]:
        """Have a worker: a successor, which is on its way already, the spare, or a new process.

        Returns:
            The worker, and what it was told and has said as a successor, if it was one.
        """
        heir, self.successor = self.successor, None
        if heir is not None and _is_there(heir.link):
            self.link = heir.link
            return self.link, heir
        self.link = self._process()
        return self.link, None

    def end(self, kill: bool) -> None:
        """End the worker, killed if it is not to be trusted to."""
        link, self.link = self.link, None
        if link is not None:
            link.end(kill)

    def have_spare(self) -> None:
        """Start a spare, unless there is one or a successor."""
        if self._spare is None and self.successor is None:
            self._spare = WorkerLink()

    def begin_successor(self, settings: PipelineSettings, patience_s: float) -> None:
        """Bring a successor up. One that is under way is ended: it may have begun too soon. Raises `WorkerLost`."""
        self.drop_successor()
        link = self._process()
        try:
            self.successor = Successor(link, settings, patience_s)
        except WorkerLost:
            link.end(kill=True)
            raise

    def drop_successor(self) -> None:
        """End the successor, if there is one."""
        successor, self.successor = self.successor, None
        if successor is not None:
            successor.link.end(kill=True)

    def take_over(self) -> WorkerLink:
        """The successor is the worker from now on. The one before is let go, and nobody waits for it."""
        assert self.link is not None and self.successor is not None
        self._see_out()
        self.link.hang_up()
        self._leaving = self.link, time.monotonic() + _LEAVING_S
        self.link, self.successor = self.successor.link, None
        return self.link

    def tidy(self) -> None:
        """See the worker out that was taken over from, once it has ended or should have. Does not wait."""
        if self._leaving is not None and (self._leaving[0].gone or time.monotonic() > self._leaving[1]):
            self._see_out()

    def close(self) -> None:
        """End all of them."""
        self.end(kill=True)
        self.drop_successor()
        self._see_out()
        if self._spare is not None:
            self._spare.end(kill=True)
            self._spare = None

    def _see_out(self) -> None:
        leaving, self._leaving = self._leaving, None
        if leaving is not None:
            leaving[0].end(kill=True)

    def _process(self) -> WorkerLink:
        """The spare, or a new process where there is none."""
        spare, self._spare = self._spare, None
        return spare if spare is not None and _is_there(spare) else WorkerLink()


def _is_there(link: WorkerLink) -> bool:
    """Whether a process that is not in use lives; one that does not is seen out."""
    try:
        link.check()
    except WorkerLost:
        link.end()
        return False
    return True
