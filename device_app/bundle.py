"""The bundle: the one thing training and the device share.

A folder with `manifest.json` (`device_app.manifest`), the networks' files and their goldens. The manifest names every
file with its SHA-256, and nothing in a bundle is used before all of it was checked. DESIGN, "The bundle".
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, overload

from pydantic import ValidationError

from calibration.errors import ScalpScopeError
from device_app.engines.golden_files import read_goldens
from device_app.manifest import (
    MANIFEST_NAME,
    SCHEMA_VERSION,
    HairEntry,
    Manifest,
    SamDecoderEntry,
    SamEncoderEntry,
    damaged,
)
from device_app.manifest_classifiers import Calibration, ClassEntry, ClassifierEntry, ConditionsEntry, Limits
from device_app.manifest_parts import (
    BundleFile,
    ColourOrder,
    Combination,
    FeatureGoldens,
    FeatureTolerance,
    Goldens,
    LogitGoldens,
    LogitTolerance,
    MaskGoldens,
    MaskTolerance,
    ModelEntry,
    PictureEntry,
    ResizeRule,
    Task,
    TensorSpec,
    Tolerance,
)

__all__ = [
    "MANIFEST_NAME",
    "SCHEMA_VERSION",
    "Bundle",
    "BundleFile",
    "Calibration",
    "ClassEntry",
    "ClassifierEntry",
    "ColourOrder",
    "Combination",
    "ConditionsEntry",
    "FeatureGoldens",
    "FeatureTolerance",
    "Goldens",
    "HairEntry",
    "Limits",
    "LogitGoldens",
    "LogitTolerance",
    "Manifest",
    "MaskGoldens",
    "MaskTolerance",
    "ModelEntry",
    "PictureEntry",
    "ResizeRule",
    "SamDecoderEntry",
    "SamEncoderEntry",
    "Task",
    "TensorSpec",
    "Tolerance",
    "default_bundle_path",
    "load_bundle",
    "sha256_of",
]

_SHIPPED = Path(__file__).parent / "bundles" / "default"


@dataclass(frozen=True)
class Bundle:
    """A bundle whose every file was checked."""

    path: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def version(self) -> str:
        return self.manifest.version

    @property
    def demonstration_only(self) -> bool:
        """Whether any of its networks is for demonstration only."""
        return any(model.demonstration_only for model in self.manifest.models)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What it has networks for, in the order of `Task`."""
        return tuple(task for task in Task if self.has(task))

    def has(self, task: Task) -> bool:
        """Whether it has a network for a task."""
        return any(model.task is task for model in self.manifest.models)

    @overload
    def model(self, task: Literal[Task.HAIR]) -> HairEntry: ...
    @overload
    def model(self, task: Literal[Task.SAM_ENCODER]) -> SamEncoderEntry: ...
    @overload
    def model(self, task: Literal[Task.SAM_DECODER]) -> SamDecoderEntry: ...
    @overload
    def model(self, task: Literal[Task.CONDITIONS]) -> ConditionsEntry: ...
    @overload
    def model(self, task: Literal[Task.SCALP_CONDITION, Task.HAIR_LOSS_STAGE]) -> ClassEntry: ...
    @overload
    def model(self, task: Task) -> ModelEntry: ...
    def model(self, task: Task) -> ModelEntry:
        """The network for a task. Raises `ScalpScopeError` when the bundle has none."""
        for model in self.manifest.models:
            if model.task is task:
                return model
        raise ScalpScopeError(
            f"Bundle '{self.name} {self.version}' in {self.path} has no network for the task '{task.value}'.",
            "Use a bundle that has one; the shipped default does.",
        )

    def file(self, entry: BundleFile) -> Path:
        """Where one of its files lies."""
        return self.path / entry.path


def default_bundle_path() -> Path:
    """The bundle to use when none is named: the one installed on this device (`bundle_store`), else the one that ships.

    Raises:
        ScalpScopeError: the store of installed bundles is damaged.
    """
    from device_app.bundle_store import default_store, installed_bundle_path  # the store is written in terms of bundles

    return installed_bundle_path(default_store()) or _SHIPPED


def load_bundle(path: Path) -> Bundle:
    """Read a bundle and check all of it: manifest, presence and SHA-256 of every file, shapes of the goldens.

    Raises:
        ScalpScopeError: the folder, the manifest or one of the files is missing, damaged, newer than this app or not
        what
            the manifest says.
    """
    path = Path(path)
    manifest = _read_manifest(path)
    for model in manifest.models:
        for entry in (*model.files.values(), model.goldens):
            _check_file(path, entry)
        read_goldens(path, model)
    return Bundle(path.resolve(), manifest)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in lower-case hexadecimals."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _read_manifest(path: Path) -> Manifest:
    if not path.is_dir():
        raise ScalpScopeError(f"There is no bundle at {path}.", "Give the folder that holds manifest.json.")
    try:
        content: Any = json.loads((path / MANIFEST_NAME).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ScalpScopeError(
            f"{path} is no bundle: it has no {MANIFEST_NAME}.", "Give the folder that holds manifest.json."
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(path, f"its {MANIFEST_NAME} cannot be read ({error})") from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if isinstance(version, int) and not isinstance(version, bool) and version > SCHEMA_VERSION:
        raise ScalpScopeError(
            f"Bundle {path} is written in schema {version}, and this app reads up to schema {SCHEMA_VERSION}.",
            "Update ScalpScope, or use an older bundle.",
        )
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        faults = [f"{_place(fault['loc'])}: {fault['msg']}" for fault in error.errors()]
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise damaged(path, f"its {MANIFEST_NAME} is not valid ({'; '.join(faults[:3])}{more})") from error


def _place(parts: tuple[int | str, ...]) -> str:
    """Where in the manifest a fault is, without the task that pydantic puts between a model's number and its key."""
    tasks = {task.value for task in Task}
    return ".".join(str(part) for place, part in enumerate(parts) if place != 2 or part not in tasks) or "manifest"


def _check_file(folder: Path, entry: BundleFile) -> None:
    file = folder / entry.path
    # A symbolic link may lead outside although the path does not say so.
    if not file.resolve().is_relative_to(folder.resolve()):
        raise damaged(folder, f"its file {entry.path} leads out of the folder")
    if not file.is_file():
        raise damaged(folder, f"its file {entry.path} is missing")
    try:
        found = sha256_of(file)
    except OSError as error:
        raise damaged(folder, f"its file {entry.path} cannot be read ({error.strerror})") from error
    if found != entry.sha256:
        raise damaged(folder, f"its file {entry.path} was changed (its SHA-256 is not the manifest's)")
