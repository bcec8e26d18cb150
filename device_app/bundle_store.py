"""Installing bundles on a device: checked, swapped in at one stroke, and the last good one kept to go back to.

A store is a folder with one sub-folder per bundle and `current.json`, which names the one in use and the one before.
Only the replacement of that small file changes what is in use, so a power cut leaves either the old bundle or the new
one.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from calibration.errors import ScalpScopeError
from calibration.files import make_folder, write_text_atomically
from device_app.bundle import MANIFEST_NAME, Bundle, load_bundle, sha256_of

_CURRENT = "current.json"


def default_store() -> Path:
    """Where this device keeps its bundles: `$XDG_DATA_HOME/scalpscope/bundles`, else in `~/.local/share`."""
    base = os.environ.get("XDG_DATA_HOME", "")
    data = Path(base) if Path(base).is_absolute() else Path.home() / ".local" / "share"
    return data / "scalpscope" / "bundles"


def install_bundle(source: Path, store: Path) -> Bundle:
    """Copy a bundle into a store, check the copy, and make it the one in use. The one before stays for `roll_back`.

    Args:
        source: a bundle's folder.
        store: the store's folder; made if it is not there.

    Raises:
        ScalpScopeError: the bundle is damaged, or the store cannot be written. The one in use stays in use.
    """
    bundle = load_bundle(source)
    make_folder(store)
    folder = f"{bundle.name}-{bundle.version}-{sha256_of(source / MANIFEST_NAME)[:12]}"
    current, previous = _read(store)
    if not _is_good(store / folder):
        try:
            scratch = Path(tempfile.mkdtemp(prefix=".incoming-", dir=store))
            try:
                shutil.copytree(source, scratch / folder, symlinks=True)
                load_bundle(scratch / folder)
                shutil.rmtree(store / folder, ignore_errors=True)  # a damaged copy of an earlier time
                (scratch / folder).replace(store / folder)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
        except (OSError, shutil.Error) as error:
            raise ScalpScopeError(
                f"Bundle '{bundle.name} {bundle.version}' could not be copied into {store}: {error}.",
                "Free some space there, or see that the folder may be written.",
            ) from error
    if folder != current:
        _write(store, folder, current)
        _remove_others(store, {folder, current})
    elif previous is not None:
        _remove_others(store, {folder, previous})
    return load_bundle(store / folder)


def installed_bundle_path(store: Path) -> Path | None:
    """The folder of the bundle in use, or None when none was ever installed.

    Raises:
        ScalpScopeError: `current.json` is damaged.
    """
    current, _ = _read(store)
    return None if current is None else store / current


def roll_back(store: Path) -> Bundle:
    """Make the bundle before the one in use the one in use; calling it again goes forward again.

    Raises:
        ScalpScopeError: there is none before, or it is damaged. The one in use stays in use.
    """
    current, previous = _read(store)
    if previous is None:
        raise ScalpScopeError(f"{store} holds no bundle before the one in use.", "Install the bundle you want instead.")
    bundle = load_bundle(store / previous)
    _write(store, previous, current)
    return bundle


def _is_good(folder: Path) -> bool:
    try:
        load_bundle(folder)
    except ScalpScopeError:
        return False
    return True


def _read(store: Path) -> tuple[str | None, str | None]:
    path = store / _CURRENT
    if not path.exists():
        return None, None
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        current, previous = content["current"], content["previous"]
        if not all(name is None or (isinstance(name, str) and Path(name).name == name) for name in (current, previous)):
            raise ValueError("no folder names")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ScalpScopeError(
            f"{path} is damaged ({error}).", "Delete that file and install the bundle again."
        ) from error
    return current, previous


def _write(store: Path, current: str, previous: str | None) -> None:
    write_text_atomically(store / _CURRENT, json.dumps({"current": current, "previous": previous}, indent=2) + "\n")


def _remove_others(store: Path, keep: set[str | None]) -> None:
    """Drop bundles that are neither in use nor the one before, and what an interrupted installation left."""
    for folder in store.iterdir():
        if folder.is_dir() and folder.name not in keep:
            shutil.rmtree(folder, ignore_errors=True)
