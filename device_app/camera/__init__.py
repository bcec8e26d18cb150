"""Where pictures come from: USB cameras, video files, folders of images and the demo scalp, all behind `FrameSource`.
`open_source` makes one from what the command line says; `Mailbox` is the slot between a source and the worker;
`phantom` draws scalps with known truth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from device_app.camera.mailbox import DropCause, FrameCounts, Mailbox
from device_app.camera.source import Frame, FrameSource, ReadTimes, SourceEnded, SourceLost, TellsReads

if TYPE_CHECKING:
    from device_app.camera.choose import open_source as open_source

__all__ = [
    "DropCause",
    "Frame",
    "FrameCounts",
    "FrameSource",
    "Mailbox",
    "ReadTimes",
    "SourceEnded",
    "SourceLost",
    "TellsReads",
    "open_source",
]


def __getattr__(name: str) -> Any:
    """Import `open_source` when it is first asked for: the worker needs `Frame` and none of the sources."""
    if name == "open_source":
        from device_app.camera.choose import open_source

        return open_source
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
