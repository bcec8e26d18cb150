"""Writing files so that a reader sees the old file or the whole new one, never a half."""

from __future__ import annotations

import errno
import os
import secrets
from pathlib import Path

from calibration.errors import ScalpScopeError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


def write_bytes_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``, whole or not at all.

    The bytes go to a hidden temporary file in the same folder, are forced to the disk, and the file is then renamed, so
    that a power cut or a full disk leaves either the old file or the new one. The folder must exist.

    Raises:
        ScalpScopeError: the disk is full, the folder is missing or may not be written to. Nothing is left behind.
    """
    path = Path(path)
    temporary = path.parent / f".{path.name[:80]}.{secrets.token_hex(6)}.part"
    try:
        # Opened by hand, not by tempfile: the file keeps the permissions that the user's umask gives every other file.
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _flush_folder(path.parent)
    except OSError as error:
        raise explain_write_error(error, path) from error


def write_text_atomically(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8 to ``path``, whole or not at all. Raises as `write_bytes_atomically` does."""
    write_bytes_atomically(path, text.encode("utf-8"))


def make_folder(path: Path) -> Path:
    """Make the folder ``path`` and its parents unless they are there, and return it.

    Raises:
        ScalpScopeError: it cannot be made; says why.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise ScalpScopeError(
            f"'{path}' is a file, but a folder is needed there.", "Name another folder, or move that file away."
        ) from error
    except OSError as error:
        raise explain_write_error(error, path) from error
    return path


def _flush_folder(folder: Path) -> None:
    """Force the renaming itself to the disk, on file systems that can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return  # a folder that may be written but not listed; the file itself is already safe
    try:
        os.fsync(descriptor)
    except OSError:
        pass  # some network file systems cannot; the file itself is already safe
    finally:
        os.close(descriptor)


def explain_write_error(error: OSError, path: Path) -> ScalpScopeError:
    """What a failed write is called, and what to do about it, from the error of the system."""
    if error.errno in _FULL:
        return ScalpScopeError(
            f"'{path}' could not be saved: the disk is full.",
            "Free space on that disk, or save to another one, and try again; nothing was half-written.",
        )
    if error.errno in _FORBIDDEN:
        return ScalpScopeError(
            f"'{path}' could not be saved: you may not write to this folder.",
            "Choose a folder of your own, or ask the machine's owner for permission to write there.",
        )
    if error.errno == errno.EISDIR:
        return ScalpScopeError(f"'{path}' could not be saved: a folder has that name.", "Choose another name.")
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return ScalpScopeError(
            f"'{path}' could not be saved: the folder '{path.parent}' does not exist.",
            "Make that folder first, or choose another one.",
        )
    if error.errno == errno.ENAMETOOLONG:
        return ScalpScopeError(f"'{path}' could not be saved: the name is too long.", "Choose a shorter name.")
    return ScalpScopeError(
        f"'{path}' could not be saved: {error.strerror or error}.",
        "Check that the disk is connected and healthy, or save to another one.",
    )
