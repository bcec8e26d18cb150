"""Reading pictures: every common kind comes out right, every bad one gives one sentence that names it."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from calibration.errors import ScalpScopeError
from calibration.pictures import MAX_MEGAPIXELS, read_image


def scene(height: int = 48, width: int = 64) -> np.ndarray:
    """(H, W, 3) uint8 RGB with a different colour in each corner and no fine detail, so that JPEG keeps it."""
    y, x = np.mgrid[:height, :width]
    return np.stack([40 + x * 180 // width, 30 + y * 200 // height, 200 - x * 100 // width], axis=-1).astype(np.uint8)


def encode(image: np.ndarray, suffix: str, *flags: int) -> bytes:
    ordered = image[..., ::-1] if image.ndim == 3 and image.shape[2] == 3 else image
    return cv2.imencode(suffix, np.ascontiguousarray(ordered), flags)[1].tobytes()


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff", ".ppm"])
def test_lossless_kinds_come_out_exactly(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(encode(scene(), suffix))
    image = read_image(path)
    assert image.dtype == np.uint8
    assert image.flags.writeable
    assert (image == scene()).all()


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_lossy_kinds_come_out_nearly(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(encode(scene(), suffix))
    assert np.abs(read_image(path).astype(int) - scene()).max() < 12


def test_the_content_tells_the_kind_and_not_the_name(tmp_path: Path) -> None:
    path = tmp_path / "photo"
    path.write_bytes(encode(scene(), ".png"))
    assert (read_image(path) == scene()).all()


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_sixteen_bit_colour_is_scaled(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(encode(scene().astype(np.uint16) * 257, suffix))
    assert np.abs(read_image(path).astype(int) - scene()).max() <= 1


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".pgm"])
def test_sixteen_bit_grey_is_scaled(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    grey = scene()[..., 0]
    path.write_bytes(encode(grey.astype(np.uint16) * 257, suffix))
    assert (read_image(path) == grey[..., None]).all()


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff", ".pgm"])
def test_grey_becomes_three_equal_channels(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(encode(scene()[..., 1], suffix))
    assert (read_image(path) == scene()[..., 1:2]).all()


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    alpha = np.zeros((48, 64), np.uint8)
    alpha[:, 16:32], alpha[:, 32:] = 128, 255
    path = tmp_path / "a.png"
    path.write_bytes(encode(np.dstack([scene()[..., ::-1], alpha]), ".png"))
    image = read_image(path)
    assert (image[:, :16] == 255).all()
    assert (image[:, 32:] == scene()[:, 32:]).all()
    halfway = scene()[:, 16:32] * (128 / 255) + 255 * (127 / 255)
    assert np.abs(image[:, 16:32] - halfway).max() <= 1


def test_palette_pictures_and_their_transparent_colour(tmp_path: Path) -> None:
    indexed = Image.new("P", (64, 48), 1)
    indexed.putpalette([10, 20, 30, 200, 150, 100])
    indexed.paste(0, (0, 0, 32, 48))
    indexed.save(tmp_path / "plain.png")
    indexed.save(tmp_path / "plain.gif")
    indexed.save(tmp_path / "clear.png", transparency=0)
    for name in ("plain.png", "plain.gif"):
        image = read_image(tmp_path / name)
        assert (image[:, :32] == (10, 20, 30)).all()
        assert (image[:, 32:] == (200, 150, 100)).all()
    assert (read_image(tmp_path / "clear.png")[:, :32] == 255).all()


def test_black_and_white_and_grey_with_transparency(tmp_path: Path) -> None:
    bits = np.zeros((48, 64), bool)
    bits[:, 32:] = True
    Image.fromarray(bits).save(tmp_path / "bits.png")
    image = read_image(tmp_path / "bits.png")
    assert (image[:, :32] == 0).all()
    assert (image[:, 32:] == 255).all()
    Image.new("LA", (64, 48), (100, 0)).save(tmp_path / "la.png")
    assert (read_image(tmp_path / "la.png") == 255).all()


def test_cmyk(tmp_path: Path) -> None:
    ink = Image.new("CMYK", (64, 48), (0, 255, 255, 0))  # magenta and yellow make red
    ink.save(tmp_path / "a.jpg", quality=95)
    ink.save(tmp_path / "a.tif")
    for name in ("a.jpg", "a.tif"):
        red, green, blue = read_image(tmp_path / name).reshape(-1, 3).mean(axis=0)
        assert red > 230
        assert green < 40
        assert blue < 40


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (1, lambda a: a),
        (2, np.fliplr),
        (3, lambda a: np.rot90(a, 2)),
        (4, np.flipud),
        (5, lambda a: np.swapaxes(a, 0, 1)),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: np.swapaxes(np.rot90(a, 2), 0, 1)),
        (8, lambda a: np.rot90(a, 1)),
    ],
)
def test_the_cameras_rotation_is_respected(
    tmp_path: Path, orientation: int, expected: Callable[[np.ndarray], np.ndarray]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(scene()).save(tmp_path / "a.jpg", exif=exif, quality=98, subsampling=0)
    image, upright = read_image(tmp_path / "a.jpg"), expected(scene())
    assert image.shape == upright.shape
    assert np.abs(image.astype(int) - upright).max() < 12


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".tiff", ".ppm", ".webp"])
@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.95])
def test_a_truncated_file_is_refused_and_never_half_decoded(tmp_path: Path, suffix: str, part: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3)).astype(np.uint8)
    whole = encode(noise, suffix)
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(ScalpScopeError, match=r"cut\..*(cut short|not a picture)"):
        read_image(path)


def _png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing: what a decompression bomb looks like from outside."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("width", "height"), [(10_000, 10_000), (60_000, 60_000), (16, 40_000_000), (8000, 6500)])
def test_very_large_pictures_are_refused_from_the_header(tmp_path: Path, width: int, height: int) -> None:
    path = tmp_path / "huge.png"
    path.write_bytes(_png_header(width, height))
    with pytest.raises(ScalpScopeError, match=rf"huge\.png.*megapixels; the limit is {MAX_MEGAPIXELS}"):
        read_image(path)


def test_a_real_hundred_megapixel_picture_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    path.write_bytes(encode(np.zeros((10_000, 10_000), np.uint8), ".png", cv2.IMWRITE_PNG_COMPRESSION, 1))
    with pytest.raises(ScalpScopeError, match=r"10000 x 10000 = 100 megapixels"):
        read_image(path)


def test_a_large_deep_tiff_is_refused_from_the_header(tmp_path: Path) -> None:
    whole = bytearray(encode(np.zeros((32, 32, 3), np.uint16), ".tiff"))
    (start,) = struct.unpack_from("<I", whole, 4)
    (count,) = struct.unpack_from("<H", whole, start)
    for entry in range(count):
        at = start + 2 + 12 * entry
        tag, kind = struct.unpack_from("<HH", whole, at)
        if tag in (256, 257):
            struct.pack_into("<H" if kind == 3 else "<I", whole, at + 8, 60_000)
    path = tmp_path / "deep.tiff"
    path.write_bytes(whole)
    with pytest.raises(ScalpScopeError, match="megapixels"):
        read_image(path)


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 15)])
def test_tiny_pictures_are_refused(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "dot.png"
    path.write_bytes(encode(np.zeros((*size, 3), np.uint8), ".png"))
    with pytest.raises(ScalpScopeError, match=rf"dot\.png.*only {size[1]} x {size[0]} pixels"):
        read_image(path)


@pytest.mark.parametrize(
    "content",
    [b"hello, this is no picture\n" * 20, b"\0" * 4096, b"%PDF-1.4 ...", b"II*\0" + b"\xff" * 40, b"II*\0\x08\0\0\0"],
)
def test_what_is_no_picture_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.jpg"
    path.write_bytes(content)
    with pytest.raises(ScalpScopeError, match=r"notes\.jpg.*(not a picture|damaged)"):
        read_image(path)


def test_decimal_pictures_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).random((48, 64)).astype(np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(ScalpScopeError, match=r"f\.tif.*decimal"):
        read_image(tmp_path / "f.tif")


def test_empty_missing_folder_and_pipe(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    os.mkfifo(tmp_path / "pipe.jpg")
    for name, said in (
        ("empty.jpg", "empty"),
        ("missing.jpg", "does not exist"),
        (".", "is a folder"),
        ("pipe.jpg", "not a file"),
        ("empty.jpg/inside.jpg", "does not exist|could not be read"),
        ("x" * 300 + ".jpg", "does not exist|could not be read"),
    ):
        with pytest.raises(ScalpScopeError, match=said):
            read_image(tmp_path / name)


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    """As a user without rights, in a child process where the tests themselves run as root."""
    locked = tmp_path / "locked"
    locked.mkdir()
    path = locked / "a.png"
    path.write_bytes(encode(scene(), ".png"))
    path.chmod(0)
    locked.chmod(0o755)
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                os.setuid(65534)
            read_image(path)
        except ScalpScopeError as error:
            os._exit(0 if "may not be read" in error.what and "a.png" in error.what else 3)
        finally:
            os._exit(4)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    suffix=st.sampled_from([".jpg", ".png", ".bmp", ".tiff", ".ppm", ".webp"]),
    damage=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8),
)
def test_damaged_bytes_give_a_picture_or_one_sentence(
    tmp_path: Path, suffix: str, damage: list[tuple[float, int]]
) -> None:
    content = bytearray(encode(scene(), suffix))
    for place, value in damage:
        content[int(place * len(content))] = value
    path = tmp_path / "bad"
    path.write_bytes(content)
    try:
        image = read_image(path)
    except ScalpScopeError as error:
        assert "bad" in error.what
        assert error.remedy
    else:
        assert image.dtype == np.uint8
        assert image.shape[2] == 3
