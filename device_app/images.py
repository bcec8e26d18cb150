"""Picture files on the device: read robustly, written whole or not at all, found in folders."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from calibration.errors import ScalpScopeError
from calibration.files import write_bytes_atomically, write_text_atomically
from calibration.pictures import MAX_MEGAPIXELS, MIN_SIDE_PX, read_image

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_MEGAPIXELS",
    "MIN_SIDE_PX",
    "find_images",
    "read_image",
    "write_bytes_atomically",
    "write_png_atomically",
    "write_text_atomically",
]

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".ppm", ".pgm", ".pnm", ".gif"})
"""What `find_images` takes from a folder. A file named by itself is taken whatever it is called."""


def write_png_atomically(path: Path, image: np.ndarray) -> None:
    """Write a picture as PNG, whole or not at all.

    Args:
        path: where to; its folder must exist.
        image: (H, W, 3) RGB or (H, W) grey, uint8.

    Raises:
        ScalpScopeError: the disk is full, or the folder is missing or may not be written to.
    """
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
        raise ValueError(f"a picture is (H, W) or (H, W, 3) uint8, not {image.shape} {image.dtype}")
    ordered = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.ndim == 3 else image
    _, encoded = cv2.imencode(".png", ordered)
    write_bytes_atomically(path, encoded.tobytes())


def find_images(paths: Iterable[Path]) -> list[Path]:
    """The picture files that ``paths`` stand for: files as they are named, folders by the pictures in them.

    A folder gives its own files with a known picture suffix, in the order of their names; its sub-folders and hidden
    files are left alone. A file that is named twice comes once.

    Raises:
        ScalpScopeError: a path does not exist, a folder holds no picture, or may not be listed.
    """
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        if not path.is_dir():
            if not path.exists():
                raise ScalpScopeError(f"'{path}' does not exist.", "Check the name and the folder.")
            found[path] = None
            continue
        try:
            entries = sorted(path.iterdir(), key=lambda entry: entry.name)
        except OSError as error:
            raise ScalpScopeError(
                f"The folder '{path}' may not be listed: {error.strerror}.", "Ask its owner for permission to read it."
            ) from error
        pictures = [
            entry
            for entry in entries
            if entry.suffix.lower() in IMAGE_SUFFIXES and not entry.name.startswith(".") and entry.is_file()
        ]
        if not pictures:
            raise ScalpScopeError(
                f"The folder '{path}' holds no pictures.",
                f"Name a folder with {', '.join(sorted(IMAGE_SUFFIXES))} files in it, or name the files.",
            )
        found.update(dict.fromkeys(pictures))
    return list(found)
