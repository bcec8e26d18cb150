"""What a process that builds engines says on its standard output: one line of JSON for each step, one at the end.

The builder (`export.engines`) writes them, the live session reads them. A line that is none of these is passed over.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class BuildStep:
    """Where the building is.

    Attributes:
        what: what is being done, in words for the screen, such as ``hair, int8_symmetric: trying kernels``.
        fraction: of the whole work, 0 to 1; it does not fall.
    """

    what: str
    fraction: float


@dataclass(frozen=True)
class BuildEnd:
    """The last line.

    Attributes:
        built: engines that were built and reproduced their goldens, such as ``hair int8_symmetric``.
        ready: engines that were there already.
        failed: one sentence for each that could not be built, with what to do.
    """

    built: tuple[str, ...] = ()
    ready: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


_KINDS: dict[str, type[BuildStep] | type[BuildEnd]] = {"step": BuildStep, "end": BuildEnd}


def to_line(message: BuildStep | BuildEnd) -> str:
    """One line of JSON, without the line's end."""
    kind = next(name for name, known in _KINDS.items() if isinstance(message, known))
    return json.dumps({"scalpscope_build": kind, **asdict(message)}, ensure_ascii=False)


def from_line(line: str) -> BuildStep | BuildEnd | None:
    """What `to_line` wrote; None for any other line."""
    try:
        values = json.loads(line)
        kind = _KINDS[values.pop("scalpscope_build")]
        if kind is BuildStep:
            return BuildStep(str(values["what"]), min(1.0, max(0.0, float(values["fraction"]))))
        return BuildEnd(*(tuple(str(item) for item in values[name]) for name in ("built", "ready", "failed")))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
