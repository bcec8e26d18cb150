"""Official checkpoints over HTTP: resumed where a download broke off, and kept only when the hash is the known one."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from calibration.errors import ScalpScopeError
from training.prompting.checkpoints import OfficialCheckpoint

_BLOCK = 1 << 20
_PATIENCE_S = 60.0

Progress = Callable[[int], None]
"""Told how many bytes of the whole there are by now."""


class _Answer(Protocol):
    status: int
    headers: http.client.HTTPMessage

    def read(self, amount: int, /) -> bytes: ...


def download(checkpoint: OfficialCheckpoint, folder: Path, progress: Progress = lambda done: None) -> Path:
    """Fetch a checkpoint into a folder, unless it is there already, and say where it is.

    What has come stands in ``FILE.part`` until all of it is there and has the known SHA-256; only then does the file
    get its name. A download that broke off goes on from there, if the server can send a part of a file.

    Args:
        folder: made if missing.

    Raises:
        ScalpScopeError: the server cannot be reached, breaks off or sends another file; the disk is full; or the
            folder holds another file of that name.
    """
    target = folder / checkpoint.file
    if target.exists():
        if (
            not target.is_file()
            or target.stat().st_size != checkpoint.size_bytes
            or _sha256(target) != checkpoint.sha256
        ):
            raise ScalpScopeError(
                f"{target} is there, but is not the official file.", "Move it away, then fetch again."
            )
        return target
    part = folder / f"{checkpoint.file}.part"
    with _disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        done = part.stat().st_size if part.exists() else 0
        if done > checkpoint.size_bytes:
            part.unlink()
            done = 0
        missing = checkpoint.size_bytes - done
        if shutil.disk_usage(folder).free < missing:
            raise ScalpScopeError(f"{folder} has no room for {missing:,} bytes.", "Make room, or give another folder.")
    if missing:
        _receive(checkpoint, part, done, progress)
    found = _sha256(part)
    if found != checkpoint.sha256:
        part.unlink()
        raise ScalpScopeError(
            f"What {checkpoint.url} sent is not the official file: its SHA-256 is {found}, not {checkpoint.sha256}.",
            "It was deleted. Try again, or from another network.",
        )
    with _disk_errors(folder):
        part.replace(target)
    return target


def _receive(checkpoint: OfficialCheckpoint, part: Path, done: int, progress: Progress) -> None:
    """Bring ``part`` from ``done`` bytes to the whole length."""
    url, whole = checkpoint.url, checkpoint.size_bytes
    if not url.startswith(("http://", "https://")):
        raise ScalpScopeError(f"'{url}' is no web address.", "Give one that begins with https:// or http://.")
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity"})
    if done:
        request.add_header("Range", f"bytes={done}-")
    try:
        answer = urllib.request.urlopen(request, timeout=_PATIENCE_S)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                part.unlink()
                raise ScalpScopeError(
                    f"{url} holds fewer bytes than {part} already has.", "The part was deleted. Fetch again."
                ) from error
            raise ScalpScopeError(
                f"{url} answered {error.code} {error.reason}.", "Check the address, or try again later."
            ) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ScalpScopeError(
            f"{url} cannot be reached: {getattr(error, 'reason', None) or error}.",
            "Check the network, then fetch again.",
        ) from error
    with answer:
        if answer.status != http.client.PARTIAL_CONTENT:
            done = 0  # the server sends files only whole
        elif _first_byte(answer) != done:
            raise ScalpScopeError(
                f"{url} sent another part than the one asked for.", f"Delete {part}, then fetch again."
            )
        length = answer.headers["Content-Length"]
        if length is not None and length.isdigit() and done + int(length) != whole:
            raise ScalpScopeError(
                f"{url} offers {done + int(length):,} bytes, the official file has {whole:,}.",
                "Check the address: that is another file, or a page.",
            )
        with _disk_errors(part.parent), part.open("ab" if done else "wb") as file:
            for block in _blocks(answer):
                done += len(block)
                if done > whole:
                    break
                file.write(block)
                progress(done)
            file.flush()
            os.fsync(file.fileno())
    if done > whole:
        part.unlink()
        raise ScalpScopeError(
            f"{url} sent more than the {whole:,} bytes of the official file.",
            "Check the address: that is another file, or a page.",
        )
    if done < whole:
        raise ScalpScopeError(
            f"{url} broke off after {done:,} of {whole:,} bytes.", "Fetch again: it goes on from there."
        )


def _blocks(answer: _Answer) -> Iterator[bytes]:
    """What comes until the end, or until the connection breaks; the caller counts."""
    while True:
        try:
            block = answer.read(_BLOCK)
        except http.client.IncompleteRead as error:
            block = error.partial
            if block:
                yield block
            return
        except (OSError, http.client.HTTPException):
            return
        if not block:
            return
        yield block


def _first_byte(answer: _Answer) -> int | None:
    found = re.match(r"bytes (\d+)-", answer.headers["Content-Range"] or "")
    return int(found[1]) if found else None


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ScalpScopeError(
            f"{folder} cannot be written to: {error.strerror or error}.", "Make room, or give another folder."
        ) from error


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        raise ScalpScopeError(
            f"{path} cannot be read: {error.strerror or error}.", "Check the disk it is on."
        ) from error
    return digest.hexdigest()
