"""The bundle: the one thing training and the device share.

A folder with `manifest.json`, the networks' files and their goldens. The manifest is strict (an unknown key is
refused), it names every file with its SHA-256, and nothing in a bundle is used before all of it was checked. DESIGN,
"The bundle".
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from calibration.errors import ScalpScopeError
from device_app.engines.engine import Precision

SCHEMA_VERSION = 1
MANIFEST_NAME = "manifest.json"
_SHIPPED = Path(__file__).parent / "bundles" / "default"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Side = Annotated[int, Field(ge=1, le=8192)]


class Task(str, Enum):
    """What a network of a bundle is for."""

    HAIR = "hair"


class ColourOrder(str, Enum):
    """The order of a network's input channels."""

    RGB = "rgb"
    BGR = "bgr"


class ResizeRule(str, Enum):
    """How a picture is brought to a network's input size."""

    STRETCH = "stretch"  # both sides to the input size, the aspect ratio is not kept


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class BundleFile(_Strict):
    """One file of the bundle: its path relative to the folder, with forward slashes, and the SHA-256 of its bytes."""

    path: str
    sha256: Sha256

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, path: str) -> str:
        parts = PurePosixPath(path).parts
        if not parts or path.startswith("/") or ".." in parts or "\\" in path or ":" in path or "\0" in path:
            raise ValueError(f"{path!r} leads out of the bundle's folder")
        return path


class Tolerance(_Strict):
    """How far an engine's golden outputs may lie from the stored FP32 ones, for every golden picture.

    Attributes:
        max_mean_abs_diff: mean absolute difference of the probabilities, 0..1.
        min_mask_dice: Dice of the two masks at the model's threshold, 0..1.
    """

    max_mean_abs_diff: Annotated[float, Field(ge=0, le=1)]
    min_mask_dice: Annotated[float, Field(ge=0, le=1)]


class Goldens(BundleFile):
    """An npz with `images` (N, H, W, 3) uint8 RGB and `outputs` (N, *output_shape[1:]) float16, by FP32."""

    tolerance: dict[Precision, Tolerance]


class ModelEntry(_Strict):
    """One network of the bundle.

    Attributes:
        task: what it is for.
        input_name, input_shape: the input tensor, float32, (1, 3, height, width), normalised colours.
        output_name, output_shape: the output tensor, float32; for `Task.HAIR` (1, 1, height, width), probabilities.
        dtype: of input and output, whatever the precision inside.
        colour_order, resize, mean, std: preprocessing; mean and std per channel of `colour_order`, on values of 0..1.
        labels: names of the output channels.
        threshold: probability from which a pixel is hair.
        files: the network's file at each precision it was exported in.
        goldens: the proof an engine must pass.
        trained_on, licence, credit: where it comes from.
        quality: measured figures by name.
        demonstration_only: not good enough for use on people; screens and reports say so.
    """

    task: Task
    input_name: Annotated[str, Field(min_length=1)]
    input_shape: tuple[Literal[1], Literal[3], Side, Side]
    output_name: Annotated[str, Field(min_length=1)]
    output_shape: tuple[Literal[1], Side, Side, Side]
    dtype: Literal["float32"] = "float32"
    colour_order: ColourOrder = ColourOrder.RGB
    resize: ResizeRule = ResizeRule.STRETCH
    mean: tuple[float, float, float]
    std: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]
    labels: tuple[str, ...]
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5
    files: Annotated[dict[Precision, BundleFile], Field(min_length=1)]
    goldens: Goldens
    trained_on: str
    licence: str
    credit: str
    quality: dict[str, float] = Field(default_factory=dict)
    demonstration_only: bool

    @property
    def input_size(self) -> tuple[int, int]:
        """(width, height) of the input, in pixels."""
        return self.input_shape[3], self.input_shape[2]

    @model_validator(mode="after")
    def _consistent(self) -> ModelEntry:
        if self.output_shape[1] != len(self.labels):
            raise ValueError(f"{len(self.labels)} labels for {self.output_shape[1]} output channels")
        if self.task is Task.HAIR and self.output_shape[2:] != self.input_shape[2:]:
            raise ValueError(f"output {self.output_shape} is not as large as input {self.input_shape}")
        missing = [precision.value for precision in self.files if precision not in self.goldens.tolerance]
        if missing:
            raise ValueError(f"no golden tolerance for {', '.join(missing)}")
        return self


class Manifest(_Strict):
    """What `manifest.json` says. `schema_version` counts up when a key is added or changes its meaning."""

    schema_version: Literal[1]
    name: Label
    version: Label
    created: str
    models: Annotated[tuple[ModelEntry, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _one_per_task(self) -> Manifest:
        tasks = [model.task for model in self.models]
        if len(set(tasks)) != len(tasks):
            raise ValueError("two models for one task")
        return self


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


def read_goldens(bundle_path: Path, model: ModelEntry) -> tuple[np.ndarray, np.ndarray]:
    """The goldens: `images` (N, H, W, 3) uint8 RGB and `outputs` (N, *output_shape[1:]) float32, N >= 1.

    Raises:
        ScalpScopeError: the file is not such an npz.
    """
    file = bundle_path / model.goldens.path
    try:
        with np.load(file, allow_pickle=False) as arrays:
            images, outputs = arrays["images"], arrays["outputs"]
    except Exception as error:  # np.load raises a dozen kinds for a file that is not an npz
        raise _damaged(bundle_path, f"its goldens {model.goldens.path} cannot be read ({error})") from error
    right = (
        (images.ndim == 4 and images.shape[3] == 3 and images.dtype == np.uint8)
        and (outputs.shape[1:] == model.output_shape[1:] and outputs.dtype == np.float16)
        and len(images) == len(outputs) > 0
    )
    if not right:
        raise _damaged(
            bundle_path,
            f"its goldens have the wrong shapes (images {images.shape} {images.dtype}, outputs {outputs.shape} "
            f"{outputs.dtype}, for a network output of {model.output_shape})",
        )
    return images, outputs.astype(np.float32)


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
        raise _damaged(path, f"its {MANIFEST_NAME} cannot be read ({error})") from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if isinstance(version, int) and not isinstance(version, bool) and version > SCHEMA_VERSION:
        raise ScalpScopeError(
            f"Bundle {path} is written in schema {version}, and this app reads up to schema {SCHEMA_VERSION}.",
            "Update ScalpScope, or use an older bundle.",
        )
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc'])) or 'manifest'}: {fault['msg']}" for fault in error.errors()]
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise _damaged(path, f"its {MANIFEST_NAME} is not valid ({'; '.join(faults[:3])}{more})") from error


def _check_file(folder: Path, entry: BundleFile) -> None:
    file = folder / entry.path
    # A symbolic link may lead outside although the path does not say so.
    if not file.resolve().is_relative_to(folder.resolve()):
        raise _damaged(folder, f"its file {entry.path} leads out of the folder")
    if not file.is_file():
        raise _damaged(folder, f"its file {entry.path} is missing")
    try:
        found = sha256_of(file)
    except OSError as error:
        raise _damaged(folder, f"its file {entry.path} cannot be read ({error.strerror})") from error
    if found != entry.sha256:
        raise _damaged(folder, f"its file {entry.path} was changed (its SHA-256 is not the manifest's)")


def _damaged(folder: Path, fault: str) -> ScalpScopeError:
    return ScalpScopeError(f"Bundle {folder} is damaged: {fault}.", "Copy or export the bundle again.")
