"""Frames taken before the timing, so that no camera and no file is part of it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from calibration.errors import ScalpScopeError
from device_app.camera.choose import open_source
from device_app.camera.demo import DemoScalp
from device_app.camera.images import ImageFiles
from device_app.camera.source import FrameSource, SourceEnded
from device_app.camera.video_file import VideoFile
from device_app.images import find_images, read_image

_DEMO_STEP = 15  # half a second of the moving scalp from one frame to the next
_VIDEO_STEP = 5


def take_pictures(spec: str, most: int) -> tuple[np.ndarray, ...]:
    """Up to so many pictures of a source, different ones where it has them.

    Args:
        spec: ``demo``; the path of a video, a picture or a folder of pictures; or a camera.
        most: at least 1.

    Returns:
        Pictures (H, W, 3) uint8 RGB, all of one size; at least one.

    Raises:
        ScalpScopeError: there is no such source, nothing can be read from it, or its pictures differ in size.
    """
    source = open_source(spec, loop=False)
    if isinstance(source, DemoScalp):
        return tuple(source.picture_at(number * _DEMO_STEP) for number in range(most))
    if isinstance(source, ImageFiles):
        pictures = tuple(read_image(path) for path in itertools.islice(find_images([Path(spec).expanduser()]), most))
    elif isinstance(source, VideoFile):
        frames = itertools.islice(
            _frames(VideoFile(Path(spec).expanduser(), loop=False, paced=False)), most * _VIDEO_STEP
        )
        pictures = tuple(itertools.islice(frames, 0, None, _VIDEO_STEP))
    else:
        pictures = tuple(itertools.islice(_frames(source), most))
    if not pictures:
        raise ScalpScopeError(f"The source '{spec}' has no picture.", "Name another with --source.")
    sizes = sorted({f"{picture.shape[1]} x {picture.shape[0]}" for picture in pictures})
    if len(sizes) > 1:
        raise ScalpScopeError(
            f"The pictures of '{spec}' differ in size ({', '.join(sizes)}), so that their times do not compare.",
            "Measure those of one size.",
        )
    return pictures


def _frames(source: FrameSource) -> Iterator[np.ndarray]:
    source.open()
    try:
        while True:
            yield source.read()
    except SourceEnded:
        return
    finally:
        source.close()
