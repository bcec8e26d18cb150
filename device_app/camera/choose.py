"""From what the command line says to a source."""

from __future__ import annotations

import re
from pathlib import Path

from calibration.errors import ScalpScopeError
from device_app.camera.demo import DemoScalp
from device_app.camera.images import ImageFiles
from device_app.camera.source import FrameSource
from device_app.camera.uvc import CameraSettings, UsbCamera
from device_app.camera.video_file import VideoFile
from device_app.images import IMAGE_SUFFIXES

VIDEO_SUFFIXES = frozenset(
    {".avi", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".ts", ".webm", ".wmv"}
)


def open_source(spec: str, loop: bool = True, camera: CameraSettings | None = None) -> FrameSource:
    """The source that `spec` names, not opened yet: `FrameSource.open` does that, and `LiveSession` does it for you.

    Args:
        spec: ``demo``; ``camera`` or ``camera:N``; or the path of a video, a picture, or a folder of pictures.
        loop: whether files begin again at their end.
        camera: how a USB camera is to be set; None for its defaults.

    Raises:
        ScalpScopeError: there is nothing at the path, or it is nothing that can be shown.
    """
    if spec == "demo":
        return DemoScalp()
    if match := re.fullmatch(r"camera(?::(\d{1,3}))?", spec):
        return UsbCamera(int(match[1] or 0), camera or CameraSettings())
    path = Path(spec).expanduser()
    if (spec and path.is_dir()) or (path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES):
        return ImageFiles(path, loop=loop)
    if path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES:
        return VideoFile(path, loop=loop)
    if spec and path.exists():
        raise ScalpScopeError(
            f"'{spec}' is no video and no picture.",
            f"Videos end in {', '.join(sorted(VIDEO_SUFFIXES))}; pictures in {', '.join(sorted(IMAGE_SUFFIXES))}.",
        )
    raise ScalpScopeError(
        f"There is no source '{spec}'.", "Use demo, camera, camera:N, or the path of a video, a picture or a folder."
    )
