"""Writing files so that a name either holds a whole file or nothing: what every result on a device is saved through."""

from __future__ import annotations

import errno
import logging
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

import psutil

from calibration.errors import ScalpScopeError
from calibration.files import explain_write_error, make_folder

_log = logging.getLogger(__name__)
_PREFIX, _SUFFIX = ".scalpscope-", ".partial"


class CannotWrite(ScalpScopeError):
    """A results folder takes no more files: full, read-only, gone. The next file would fail as well."""


def write_file_set(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files that belong together into one folder: all of them, or none.

    Everything is written and flushed beside its final place first and then renamed, the last file of `files` after all
    others. So whoever sees the last file sees a whole set, even if the process is killed at any moment; files of an
    earlier set under the same names are replaced, never mixed.

    Args:
        folder: made if it is not there.
        files: contents by file name (no folders in the names).

    Raises:
        CannotWrite: the folder cannot be made or written, or the disk is full; nothing of this set is left behind.
        ScalpScopeError: a name is too long; nothing is left behind either.
    """
    partial = folder / f"{_PREFIX}{os.getpid()}-{secrets.token_hex(4)}{_SUFFIX}"
    placed: list[Path] = []
    try:
        make_folder(folder)
        partial.mkdir()
        for name, content in files.items():
            _write_flushed(partial / name, content)
        if len(files) > 1:  # the old mark goes first: without it nobody takes an old and a new file for one set
            (folder / list(files)[-1]).unlink(missing_ok=True)
        for name in files:
            (partial / name).replace(folder / name)
            placed.append(folder / name)
        _flush_folder(folder)
    except (OSError, ScalpScopeError) as error:
        for path in placed:
            path.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:  # this set's own fault, not the folder's
            raise explain_write_error(error, folder / list(files)[-1]) from error
        told = error if isinstance(error, ScalpScopeError) else explain_write_error(error, folder / list(files)[-1])
        raise CannotWrite(told.what, told.remedy) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def clear_abandoned(folder: Path) -> None:
    """Remove what killed processes left half-written in a folder; those of living processes stay."""
    for partial in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
        pid = partial.name[len(_PREFIX) :].split("-")[0]
        if pid.isdigit() and not psutil.pid_exists(int(pid)):
            _log.info("removing what an interrupted run left behind: %s", partial)
            shutil.rmtree(partial, ignore_errors=True)


def _write_flushed(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Make the renames last through a power cut; file systems that cannot flush a folder are let be."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)
