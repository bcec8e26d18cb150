"""The machine before, while and after something is timed on it: what it is, and whether it was left alone."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from device_app.bench.latency.busy import CpuTime, cpu_time, free_memory_mib, swapped_mib
from device_app.bench.latency.identity import identify
from device_app.bench.latency.nvml import NvmlSensors
from device_app.bench.latency.quiet import Disturbances, problems_of, small_piece_of_work_ms
from device_app.bench.latency.readings import Sensors, merged
from device_app.bench.latency.report import Machine, MachineSample
from device_app.bench.latency.sysfs import SysfsSensors
from device_app.bench.latency.tegrastats import TegrastatsSensors

_log = logging.getLogger(__name__)

REST_S, PERIOD_S = 2.0, 1.0


@dataclass(frozen=True)
class _Moment:
    """A sample whose time is still by the system's clock: the first timed frame is not known yet."""

    at_s: float
    sample: MachineSample


class MachineWatch:
    """Samples the machine once a second: `start`, `begin`, `end`, `finish`, in this order.

    `start` and `finish` each wait for some seconds, to see the machine at rest. Between `begin` and `end` a thread
    looks at it once a second, for about a millisecond.

    Args:
        cores: how many processor cores are used, for the record; None: those that this process may use.
        rest_s: how long to look at the machine at rest.
        period_s: between two samples.
        root: where ``sys``, ``proc`` and ``etc`` are, for tests.
        sensors: asked in this order, for tests; None: those of this machine.
    """

    def __init__(
        self,
        cores: int | None = None,
        rest_s: float = REST_S,
        period_s: float = PERIOD_S,
        root: Path = Path("/"),
        sensors: Sequence[Sensors] | None = None,
    ) -> None:
        self._cores = tuple(sorted(os.sched_getaffinity(0)))
        if cores is not None and cores != len(self._cores):
            _log.warning("%d cores were to be used, and this process may use %d", cores, len(self._cores))
        self._rest_s, self._period_s, self._root = rest_s, period_s, root
        self._given = sensors
        self._sensors: tuple[Sensors, ...] = ()
        self._card: NvmlSensors | None = None
        self._identity: dict[str, str] = {}
        self._absent: dict[str, str] = {}
        self._used: CpuTime | None = None
        self._used_at_s = 0.0
        self._before: _Moment | None = None
        self._during: list[_Moment] = []
        self._began_at_s: float | None = None
        self._used_at_begin: CpuTime | None = None
        self._swapped_mib = 0.0
        self._stolen_cores = 0.0
        self._work_before_ms: float | None = None
        self._gpu_was_busy = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Find out what the machine is, and see it at rest."""
        if self._given is None:
            self._card = NvmlSensors()
            # tegrastats last: its processor clock is that of every core that is on, not of those that are used.
            self._sensors = (SysfsSensors(self._cores, self._root), self._card, TegrastatsSensors())
        else:
            self._sensors = tuple(self._given)
        self._identity = identify(self._cores, {} if self._card is None else self._card.identity, self._root)
        self._look()
        if self._unclocked():
            self._work_before_ms = small_piece_of_work_ms()
        self._stop.wait(self._rest_s)
        self._before = self._look()
        self._gpu_was_busy = self._card is not None and self._card.busy()

    def begin(self) -> None:
        """The timed part begins: this moment is second 0."""
        self._look()
        self._swapped_mib = swapped_mib(self._root / "proc")
        self._used_at_begin, self._began_at_s = self._used, time.monotonic()
        self._thread = threading.Thread(target=self._follow, name="machine", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """The timed part is over. Without `begin` nothing happens."""
        self._stop.set()
        thread, self._thread = self._thread, None
        if thread is None or self._began_at_s is None:
            return
        thread.join()
        # What came after the last whole second counts too, unless it is too short to say anything.
        if not self._during or time.monotonic() - self._used_at_s > self._period_s / 4:
            self._during.append(self._look())
        self._swapped_mib = swapped_mib(self._root / "proc") - self._swapped_mib
        took_s = self._during[-1].at_s - self._began_at_s
        if self._used is not None and self._used_at_begin is not None and took_s > 0:
            self._stolen_cores = (self._used.stolen_s - self._used_at_begin.stolen_s) / took_s

    def finish(self) -> Machine:
        """See the machine at rest again, and say what was found.

        After an error, when the timed part never began, it does not wait.
        """
        try:
            self.end()
            measured = self._began_at_s is not None
            work_after_ms = None
            if measured:
                time.sleep(self._rest_s)
                if self._work_before_ms is not None:
                    work_after_ms = small_piece_of_work_ms()
            after = self._look()
        finally:
            self.close()
        began_at_s = after.at_s if self._began_at_s is None else self._began_at_s
        during = tuple(_since(moment, began_at_s) for moment in self._during)
        found = Disturbances(
            swapped_mib=self._swapped_mib if measured else 0.0,
            stolen_cores=self._stolen_cores,
            work_before_ms=self._work_before_ms,
            work_after_ms=work_after_ms,
            gpu_was_busy=self._gpu_was_busy,
        )
        before = after if self._before is None else self._before
        everything = (before.sample, *during, after.sample)
        return Machine(
            identity=self._identity,
            absent=self._missing(everything),
            before=_since(before, began_at_s),
            during=during,
            after=_since(after, began_at_s),
            problems=problems_of(during, found),
        )

    def close(self) -> None:
        """Give everything back, whatever was reached. Safe to call twice."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        sensors, self._sensors = self._sensors, ()
        for each in sensors:
            self._absent = {**each.absent, **self._absent}
            each.close()

    def __enter__(self) -> MachineWatch:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _follow(self) -> None:
        began = time.monotonic()
        for second in range(1, 10**9):
            if self._stop.wait(max(0.0, began + second * self._period_s - time.monotonic())):
                return
            self._during.append(self._look())

    def _look(self) -> _Moment:
        """What the machine does now; who kept it busy, since the look before."""
        readings = merged(each.read() for each in self._sensors)
        used, now = cpu_time(self._cores, self._root / "proc"), time.monotonic()
        before, since_s = self._used, now - self._used_at_s
        own = other = None
        if used is not None and before is not None and since_s > 0:
            # Both are counted in hundredths of a second, and not at the same moment: a little below 0 is 0.
            own = max(0.0, (used.own_s - before.own_s) / since_s)
            other = max(0.0, (used.all_s - before.all_s) / since_s - own)
        self._used, self._used_at_s = used, now
        sample = MachineSample(
            at_s=0.0,
            cpu_mhz=readings.cpu_mhz,
            gpu_mhz=readings.gpu_mhz,
            memory_mhz=readings.memory_mhz,
            temperatures_c=dict(readings.temperatures_c),
            power_w=dict(readings.power_w),
            throttled=readings.throttled,
            own_cores=own,
            other_cores=other,
            free_memory_mib=free_memory_mib(self._root / "proc"),
        )
        return _Moment(now, sample)

    def _unclocked(self) -> bool:
        return any("cpu_mhz" in each.absent for each in self._sensors)

    def _missing(self, samples: Sequence[MachineSample]) -> dict[str, str]:
        """What no sample has, with the reason that a sensor gives."""
        missing = {}
        for name in ("cpu_mhz", "gpu_mhz", "memory_mhz", "temperatures_c", "power_w", "other_cores", "free_memory_mib"):
            if not any(getattr(sample, name) not in (None, {}) for sample in samples):
                missing[name] = self._absent.get(name, "the machine does not tell it")
        if "throttled" in self._absent and not any(sample.throttled for sample in samples):
            missing["throttled"] = self._absent["throttled"]
        return missing


def _since(moment: _Moment, began_at_s: float) -> MachineSample:
    return moment.sample.model_copy(update={"at_s": round(moment.at_s - began_at_s, 6)})
