"""Where pictures come from: USB cameras, video files, folders of images and the demo scalp, all behind `FrameSource`.
`choose.open_source` makes one from what the command line says; `Mailbox` is the slot between a source and the worker;
`phantom` draws scalps with known truth.
"""

from device_app.camera.mailbox import DropCause, FrameCounts, Mailbox
from device_app.camera.source import Frame, FrameSource, SourceEnded, SourceLost

__all__ = ["DropCause", "Frame", "FrameCounts", "FrameSource", "Mailbox", "SourceEnded", "SourceLost"]
