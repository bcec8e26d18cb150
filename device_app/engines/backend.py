"""What a back end is: a way to run networks. One file each, known to `device_app.engines.select`.

A back end of somebody else's comes as a package with an entry point in the group ``scalpscope.backends`` that names a
class or function which, called without arguments, gives a `Backend`. It is then known to every process of the app.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from device_app.engines.engine import Engine, Precision
from device_app.manifest_parts import ModelEntry

ENTRY_POINTS = "scalpscope.backends"


@dataclass(frozen=True)
class Unavailable:
    """Why a machine cannot use a back end.

    Attributes:
        reason: half a sentence, such as ``no NVIDIA GPU``.
        missed: the machine has the hardware, so that something better is passed over; False where there is nothing to
            miss.
        remedy: what makes it available; empty when nothing does.
    """

    reason: str
    missed: bool = True
    remedy: str = ""


def is_accelerator(backend: str) -> bool:
    """Whether a back end runs on something else than the processor, by its name."""
    return not (backend.endswith("-cpu") or backend == "cpu")


class Backend(Protocol):
    """A way to run networks. One that runs on the processor has a name that ends with ``-cpu``."""

    name: str

    def why_not(self) -> Unavailable | None:
        """Why this machine cannot use this back end at all, or None when it can. Quick: asked for every network."""

    def preferences(self) -> tuple[tuple[Precision, str], ...]:
        """The precisions worth trying on this machine, best first, each with the reason for its place."""

    def open(self, path: Path, model: ModelEntry, precision: Precision, threads: int) -> Engine:
        """Load a network.

        Raises:
            EngineNotBuilt: it can, once an engine is built (`BuildsEngines`).
            ScalpScopeError: it cannot.
        """


@runtime_checkable
class BuildsEngines(Protocol):
    """A back end whose engines are built on the device, by a process of its own."""

    def build_command(self, bundle: Path) -> Sequence[str]:
        """The command line that builds what a bundle lacks; its standard output is `device_app.engines.building`."""
