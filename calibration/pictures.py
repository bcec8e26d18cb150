"""Reading picture files that come from anywhere: one RGB array, or one sentence about what is wrong."""

from __future__ import annotations

import io
import struct
import warnings
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from calibration.errors import ScalpScopeError

# What is wrong with a file is said once, by `read_image`; Pillow would say it before, in its own words.
warnings.filterwarnings("ignore", module=r"PIL\.")

MAX_MEGAPIXELS = 50
"""Larger pictures are refused before they are decoded: no trichoscope makes them, and they can fill all memory."""

MIN_SIDE_PX = 16
"""Smaller pictures are refused: nothing can be found or measured in them."""

_ASK_FOR_ANOTHER = "Export it again as an 8-bit JPEG or PNG and try again."


def read_image(path: Path) -> np.ndarray:
    """Read a picture file, of any common kind, as the frames of this product are.

    Grey, palette and one-bit pictures become RGB; CMYK is converted; 16 bits a channel are scaled from 0..65535 to
    0..255; transparent parts are laid on white; the camera's EXIF rotation is applied. Of a file with several pages the
    first is read. Colour profiles inside the file are not applied.

    Args:
        path: a JPEG, PNG, TIFF, BMP, WebP, PPM, PGM or GIF file; told by its content, not by its name.

    Returns:
        (H, W, 3) uint8, RGB, an array that the caller owns.

    Raises:
        ScalpScopeError: missing, not a file, not readable, empty, not a picture, damaged or cut short, smaller than
            `MIN_SIDE_PX` a side, or larger than `MAX_MEGAPIXELS` (told from the header, before decoding).
    """
    path = Path(path)
    data = _read_bytes(path)
    try:
        with Image.open(io.BytesIO(data)) as picture:
            _check_size(path, *picture.size)
            return _to_rgb(path, picture)
    except UnidentifiedImageError:
        # Pillow has no name for TIFF with 16 bits in each of three channels; OpenCV reads it.
        return _read_deep_tiff(path, data)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(path, "more than a hundred") from error
    except MemoryError as error:
        raise ScalpScopeError(
            f"'{path}' does not fit into this machine's memory.", "Make the picture smaller, or close other programs."
        ) from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error) as error:
        # Pillow's decoders report damage through all of these.
        raise ScalpScopeError(
            f"'{path}' is damaged or was cut short.",
            "Copy it again from where it came from, or take the picture again.",
        ) from error


def _read_bytes(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise ScalpScopeError(f"'{path}' is a folder, not a picture.", "Name a picture file inside it.")
        if not path.exists():
            raise ScalpScopeError(f"'{path}' does not exist.", "Check the name and the folder.")
        if not path.is_file():
            raise ScalpScopeError(f"'{path}' is not a file.", "Name a picture file.")
        data = path.read_bytes()
    except PermissionError as error:
        raise ScalpScopeError(
            f"'{path}' may not be read by you.",
            "Ask its owner for permission to read it, or copy it to your own folder.",
        ) from error
    except (OSError, ValueError) as error:
        raise ScalpScopeError(
            f"'{path}' could not be read: {getattr(error, 'strerror', None) or error}.",
            "Check that the disk it lies on is connected, and try again.",
        ) from error
    if not data:
        raise ScalpScopeError(f"'{path}' is empty (0 bytes).", "Copy it again from where it came from.")
    return data


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > MAX_MEGAPIXELS * 1_000_000:
        raise _too_large(path, f"{width} x {height} = {width * height / 1e6:.0f}")
    if min(width, height) < MIN_SIDE_PX:
        raise ScalpScopeError(
            f"'{path}' is only {width} x {height} pixels; at least {MIN_SIDE_PX} a side are needed.",
            "Use the picture as it came from the microscope, not a thumbnail of it.",
        )


def _too_large(path: Path, megapixels: str) -> ScalpScopeError:
    return ScalpScopeError(
        f"'{path}' has {megapixels} megapixels; the limit is {MAX_MEGAPIXELS}.",
        "Use the microscope's own picture, or cut out the part to be measured (that keeps the scale).",
    )


def _to_rgb(path: Path, picture: Image.Image) -> np.ndarray:
    mode = picture.mode
    if mode == "F":
        raise ScalpScopeError(f"'{path}' holds decimal numbers, not brightness from 0 to 255.", _ASK_FOR_ANOTHER)
    picture.load()
    upright = ImageOps.exif_transpose(picture)
    if mode == "I" or mode.startswith("I;16"):
        return _grey_from_deep(path, np.asarray(upright))
    if upright.has_transparency_data:
        layered = upright.convert("RGBA")
        white = Image.new("RGBA", layered.size, (255, 255, 255, 255))
        upright = Image.alpha_composite(white, layered)
    return np.array(upright.convert("RGB"))


def _grey_from_deep(path: Path, values: np.ndarray) -> np.ndarray:
    if values.size and (values.min() < 0 or values.max() > 65535):
        raise ScalpScopeError(f"'{path}' has more than 16 bits a pixel.", _ASK_FOR_ANOTHER)
    grey = _eight_bits(values)
    return np.repeat(grey[..., None], 3, axis=2)


def _eight_bits(values: np.ndarray) -> np.ndarray:
    """0..65535 to 0..255, rounded."""
    return ((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)


def _read_deep_tiff(path: Path, data: bytes) -> np.ndarray:
    not_a_picture = ScalpScopeError(
        f"'{path}' is not a picture that can be read.", "Use a JPEG, PNG, TIFF, BMP, WebP or PPM file."
    )
    if data[:4] not in (b"II*\0", b"MM\0*"):
        raise not_a_picture
    size = _tiff_size(data)
    if size is None:
        raise not_a_picture
    _check_size(path, *size)
    try:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_ANYDEPTH)
    except cv2.error as error:
        raise not_a_picture from error
    if decoded is None or decoded.dtype not in (np.uint8, np.uint16):
        raise not_a_picture
    return _eight_bits(decoded) if decoded.dtype == np.uint16 else decoded


def _tiff_size(data: bytes) -> tuple[int, int] | None:
    """Width and height from the first directory of a TIFF file, or None where they cannot be read."""
    order = "<" if data[:2] == b"II" else ">"
    try:
        (start,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, start)
        found: dict[int, int] = {}
        for entry in range(count):
            tag, kind = struct.unpack_from(order + "HH", data, start + 2 + 12 * entry)
            if tag in (256, 257):
                (found[tag],) = struct.unpack_from(order + ("H" if kind == 3 else "I"), data, start + 10 + 12 * entry)
        return found[256], found[257]
    except (struct.error, KeyError):
        return None
