"""Where the engines that this device built are kept: a private folder, each plan beside the SHA-256 it was kept with.

A plan carries code that runs as whoever loads it, and holds only for the very device, driver and TensorRT it was built
on. So nothing is handed out that does not match its key and its hash, or that lies where somebody else may write. The
builder (`export.engines`) writes here, `device_app.engines.tensorrt_engine` reads.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from calibration.errors import ScalpScopeError
from calibration.files import explain_write_error
from device_app.engines.engine import EngineNotBuilt, Precision
from device_app.manifest import SamDecoderEntry
from device_app.manifest_parts import ModelEntry

_log = logging.getLogger(__name__)

BUILD = "Build it with 'scalpscope-export engines BUNDLE'; the app does so by itself at its start."
USUAL_POINTS = 300
"""The number of points that the decoder's kernels are chosen for, where it takes so many."""

_VERSION = 1
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH
_LARGEST_NOTE = 1 << 16


@dataclass(frozen=True)
class EngineOptions:
    """What the builder is told, as far as it makes another engine. Builder and engine take it from `options_for`.

    The limit of the builder's memory is none of it: it only says which kernels may be tried.

    Attributes:
        points: least, usual and most points of a network that takes any number of them; None for the others.
        dla_core: the deep-learning accelerator it runs on; None for the GPU.
        optimization_level: how long TensorRT searches for kernels, 0 to 5.
    """

    points: tuple[int, int, int] | None = None
    dla_core: int | None = None
    optimization_level: int = 3


def options_for(model: ModelEntry, dla_core: int | None = None) -> EngineOptions:
    """The options that a network's engine is built with, and looked for with."""
    points = None
    if isinstance(model, SamDecoderEntry):
        points = (1, min(USUAL_POINTS, model.max_points), model.max_points)
    return EngineOptions(points, dla_core)


@dataclass(frozen=True)
class EngineKey:
    """What an engine holds for. Another value of any of them is another engine.

    Attributes:
        task: the network's task, for the file's name.
        model_sha256: of the ONNX file.
        precision: that file's.
        tensorrt: TensorRT's version, such as ``10.3.0``.
        gpu: the GPU's name.
        compute_capability: such as ``8.7``.
        driver: the CUDA version of the driver, such as ``12.6``.
        options: what the builder was told.
    """

    task: str
    model_sha256: str
    precision: Precision
    tensorrt: str
    gpu: str
    compute_capability: str
    driver: str
    options: EngineOptions = EngineOptions()

    @property
    def digest(self) -> str:
        """SHA-256 of all of it, 64 hexadecimal digits."""
        return hashlib.sha256(json.dumps(self.told(), sort_keys=True).encode()).hexdigest()

    def told(self) -> dict[str, Any]:
        """All of it as JSON holds it."""
        told = {**asdict(self), "precision": self.precision.value}
        points = self.options.points
        return {**told, "options": {**told["options"], "points": None if points is None else list(points)}}

    def __str__(self) -> str:
        return f"{self.task} {self.precision.value}"


def default_cache_folder() -> Path:
    """`$XDG_CACHE_HOME/scalpscope/engines`, else in `~/.cache`."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    cache = Path(base) if Path(base).is_absolute() else Path.home() / ".cache"
    return cache / "scalpscope" / "engines"


class EngineCache:
    """The folder of the engines of one user on one device.

    Args:
        folder: None for `default_cache_folder`. It is made when something is written, with access for its owner only.

    Raises:
        ScalpScopeError: the folder is there and may not be used: it is another user's, or others may write into it.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = default_cache_folder() if folder is None else Path(folder)
        with self._opened():
            pass

    def check_writable(self) -> None:
        """Make the folder and write into it, before long work whose result goes there. Raises as `write` does."""
        with self._opened(make=True) as folder:
            assert folder is not None
            self._write_own(folder, ".writable", b"")
            with suppress(OSError):
                os.unlink(".writable", dir_fd=folder)

    def plan_path(self, key: EngineKey) -> Path:
        """Where the engine of a key lies, or would lie."""
        return self.folder / f"{_plan_stem(key)}.plan"

    def timing_cache_path(self, key: EngineKey) -> Path:
        """Where the measured times of kernels lie that the builder takes up again: one file for one device."""
        device = json.dumps([key.tensorrt, key.gpu, key.compute_capability, key.driver, key.options.dla_core])
        return self.folder / f"timing-{hashlib.sha256(device.encode()).hexdigest()[:16]}.cache"

    def read(self, key: EngineKey) -> bytes:
        """The plan of a key, whole and as it was written.

        Raises:
            EngineNotBuilt: there is none, or what is there is damaged, of somebody else, or for another device, driver,
                TensorRT or network; says which.
            ScalpScopeError: the folder may not be used.
        """
        with self._opened() as folder:
            if folder is None:
                raise EngineNotBuilt(f"no engine was built yet for {key}", BUILD)
            try:
                note = _read_note(folder, f"{_plan_stem(key)}.json")
                if note is None:
                    raise EngineNotBuilt(f"no engine was built yet for {key}{self._stale(folder, key)}", BUILD)
                if note.get("key") != key.told():
                    raise _Unfit("its description is another engine's")
                plan = _read_own(folder, f"{_plan_stem(key)}.plan")
                if plan is None:
                    raise _Unfit("its description is there, and the engine is not")
                if hashlib.sha256(plan).hexdigest() != note.get("sha256"):
                    raise _Unfit("it is not what was written")
            except _Unfit as unfit:
                raise EngineNotBuilt(f"the kept engine for {key} is not used: {unfit}", BUILD) from unfit
        return plan

    def write(self, key: EngineKey, plan: bytes, notes: dict[str, str | int | float] | None = None) -> Path:
        """Keep a plan that reproduced its goldens. Engines of earlier drivers or TensorRTs are thrown away.

        Args:
            key: what it holds for.
            plan: as TensorRT serialised it.
            notes: said about it in its description, such as how long it took; not part of the key.

        Returns:
            Where it lies. A reader sees the old engine or the new one: between them, none.

        Raises:
            ScalpScopeError: the folder may not be used or not be written; nothing is left behind.
        """
        with self._opened(make=True) as folder:
            assert folder is not None
            stem = _plan_stem(key)
            told = {"version": _VERSION, "key": key.told(), "sha256": hashlib.sha256(plan).hexdigest(), **(notes or {})}
            self._write_own(folder, f"{stem}.plan", plan)
            self._write_own(folder, f"{stem}.json", json.dumps(told, indent=1).encode())
            for stale in self._of_earlier_times(folder, key):
                _log.info("the engine %s is of an earlier driver or TensorRT: thrown away", stale)
                for suffix in (".json", ".plan"):
                    with suppress(OSError):
                        os.unlink(stale + suffix, dir_fd=folder)
        return self.plan_path(key)

    def read_timing_cache(self, key: EngineKey) -> bytes:
        """What `write_timing_cache` wrote for this device; empty when there is none that is whole and ours.

        Raises:
            ScalpScopeError: the folder may not be used.
        """
        name = self.timing_cache_path(key).name
        with self._opened() as folder:
            if folder is None:
                return b""
            try:
                data = _read_own(folder, name) or b""
            except _Unfit as unfit:
                _log.warning("the kept times of kernels are not used: %s", unfit)
                return b""
        digest, data = data[:32], data[32:]
        if hashlib.sha256(data).digest() != digest:
            if digest:
                _log.warning("the kept times of kernels are damaged, and not used")
            return b""
        return data

    def write_timing_cache(self, key: EngineKey, data: bytes) -> None:
        """Keep the measured times of kernels. Raises as `write` does."""
        with self._opened(make=True) as folder:
            assert folder is not None
            self._write_own(folder, self.timing_cache_path(key).name, hashlib.sha256(data).digest() + data)

    # --- the folder ---

    @contextmanager
    def _opened(self, make: bool = False) -> Iterator[int | None]:
        """The folder's descriptor, once it is known to be ours alone; None when it is not there.

        All files are opened relative to it: who could swap the folder afterwards wins nothing.
        """
        if make:
            try:
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise self._unusable(_reason(error)) from error
        try:
            descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except FileNotFoundError:
            yield None
            return
        except OSError as error:
            raise self._unusable(_reason(error)) from error
        try:
            found = os.fstat(descriptor)
            if found.st_uid != os.geteuid():
                raise self._unusable("it belongs to another user")
            if found.st_mode & _OTHERS_MAY_WRITE:
                raise self._unusable("others may write into it", f"Run 'chmod 700 {self.folder}' and empty it.")
            yield descriptor
        finally:
            os.close(descriptor)

    def _unusable(self, why: str, remedy: str = "") -> ScalpScopeError:
        return ScalpScopeError(
            f"The folder for built engines, {self.folder}, cannot be used: {why}.",
            remedy or "Let XDG_CACHE_HOME (or --cache) name a folder of your own.",
        )

    def _write_own(self, folder: int, name: str, data: bytes) -> None:
        temporary = f".{secrets.token_hex(8)}.part"
        try:
            # By hand, and not by calibration.files: no one else may read it, whatever the umask says.
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            descriptor = os.open(temporary, flags, 0o600, dir_fd=folder)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary, dir_fd=folder)
                raise
            with suppress(OSError):  # some network file systems cannot; the file itself is safe
                os.fsync(folder)
        except OSError as error:
            raise explain_write_error(error, self.folder / name) from error

    # --- engines of other times ---

    def _others(self, folder: int, key: EngineKey) -> Iterator[tuple[str, dict[str, Any]]]:
        """The kept engines of the same network and options for something else: the file's stem and what it is for."""
        own = key.told()
        same = ("model_sha256", "precision", "options")
        for name in sorted(os.listdir(folder)):
            if name.endswith(".json") and name != f"{_plan_stem(key)}.json":
                with suppress(_Unfit):
                    told = (_read_note(folder, name) or {}).get("key")
                    if isinstance(told, dict) and all(told.get(each) == own[each] for each in same):
                        yield name.removesuffix(".json"), told

    def _of_earlier_times(self, folder: int, key: EngineKey) -> list[str]:
        device = ("gpu", "compute_capability")
        own = key.told()
        return [stem for stem, told in self._others(folder, key) if all(told.get(each) == own[each] for each in device)]

    def _stale(self, folder: int, key: EngineKey) -> str:
        """What an engine that is there was built for instead, as the end of a sentence; empty when there is none."""
        own = key.told()
        names = {"tensorrt": "TensorRT", "gpu": "GPU", "compute_capability": "compute capability", "driver": "driver"}
        for _, told in self._others(folder, key):
            return "; the one that is here is for " + ", ".join(
                f"{word} {told.get(name)} and not {own[name]}"
                for name, word in names.items()
                if told.get(name) != own[name]
            )
        return ""


class _Unfit(Exception):
    """Why a file of the cache is not used."""


def _plan_stem(key: EngineKey) -> str:
    return f"{key.task}-{key.precision.value}-{key.digest[:16]}"


def _reason(error: OSError) -> str:
    if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.EEXIST):
        return "it is a link or a file, and no folder"
    return (error.strerror or str(error)).lower()


def _read_own(folder: int, name: str) -> bytes | None:
    """A file of the folder; None when it is not there.

    Raises:
        _Unfit: it is a link, no file, of somebody else, writable by others, or cannot be read.
    """
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _Unfit("it is a link" if error.errno == errno.ELOOP else (error.strerror or str(error))) from error
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise _Unfit("it is no file")
        if found.st_uid != os.geteuid():
            raise _Unfit("it belongs to another user")
        if found.st_mode & _OTHERS_MAY_WRITE:
            raise _Unfit("others may write it")
        try:
            return file.read()
        except OSError as error:
            raise _Unfit(error.strerror or str(error)) from error


def _read_note(folder: int, name: str) -> dict[str, Any] | None:
    """An engine's description; None when it is not there."""
    data = _read_own(folder, name)
    if data is None:
        return None
    try:
        note = json.loads(data) if len(data) <= _LARGEST_NOTE else None
    except ValueError:
        note = None
    if not isinstance(note, dict) or note.get("version") != _VERSION:
        raise _Unfit("its description is damaged")
    return note
