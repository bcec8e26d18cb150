"""Writing a bundle: files copied, hashed and proved by the device's own loader before the folder appears."""

from __future__ import annotations

import datetime
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from calibration.errors import ScalpScopeError
from device_app.bundle import (
    MANIFEST_NAME,
    SCHEMA_VERSION,
    Bundle,
    BundleFile,
    Goldens,
    Manifest,
    ModelEntry,
    Task,
    Tolerance,
    load_bundle,
    sha256_of,
)
from device_app.engines.engine import Precision
from device_app.engines.goldens import compare_with_goldens
from device_app.engines.onnxruntime_engine import OnnxRuntimeEngine
from device_app.vision.preprocess import to_network_input

# Stored probabilities are multiples of this: small enough for any tolerance, coarse enough to compress.
_GOLDEN_STEP = 1 / 1024
_GOLDENS = "hair_goldens.npz"

LEAST_DICE = 0.9  # of the masks on the goldens: a network further from its FP32 is not worth shipping


@dataclass(frozen=True)
class NetworkFacts:
    """What the manifest says of a network beyond its files. See `device_app.bundle.ModelEntry` for the meanings."""

    input_shape: tuple[int, int, int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    trained_on: str
    licence: str
    credit: str
    demonstration_only: bool
    threshold: float = 0.5
    input_name: str = "image"
    output_name: str = "hair_probability"
    quality: Mapping[str, float] = field(default_factory=dict)


def write_bundle(
    out: Path,
    name: str,
    version: str,
    facts: NetworkFacts,
    files: Mapping[Precision, Path],
    golden_images: Sequence[np.ndarray],
    least_dice: float = LEAST_DICE,
    overwrite: bool = False,
) -> Bundle:
    """Write a bundle with one hair network and load it back. The folder appears whole or not at all.

    Every precision is run on the goldens here; what it differs by, with room for another processor's rounding, becomes
    its tolerance. Any machine on which it differs by more refuses it.

    Args:
        out: the folder to make.
        name, version: of the bundle.
        facts: what the manifest says of the network.
        files: ONNX file by precision; FP32 among them, it makes the goldens.
        golden_images: (H, W, 3) uint8 RGB, all of one size, at least one.
        least_dice: of each precision's masks with FP32's on the goldens.
        overwrite: replace a folder that is there.

    Raises:
        ScalpScopeError: the folder is there, FP32 is missing, a network differs too much from FP32, or what was written
            is no valid bundle.
    """
    if out.exists() and not overwrite:
        raise ScalpScopeError(f"{out} is already there.", "Give another folder, or --overwrite.")
    if Precision.FP32 not in files:
        raise ScalpScopeError("A bundle needs the FP32 network: its goldens are made with it.", "Export it first.")
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        scratch.chmod(0o755)
        entries = {}
        for precision, source in files.items():
            target = f"hair_{precision.value}.onnx"
            shutil.copyfile(source, scratch / target)
            entries[precision] = BundleFile(path=target, sha256=sha256_of(scratch / target))
        entry = _entry(facts, entries)
        goldens = scratch / entry.goldens.path
        _write_goldens(goldens, scratch / entries[Precision.FP32].path, entry, golden_images)
        tolerances = {precision: _measure_tolerance(scratch, entry, precision, least_dice) for precision in entries}
        proof = Goldens(path=entry.goldens.path, sha256=sha256_of(goldens), tolerance=tolerances)
        manifest = _manifest(name, version, _entry(facts, entries, proof))
        (scratch / MANIFEST_NAME).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
        load_bundle(scratch)
        if out.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{out.name}-old-", dir=out.parent))
            os.replace(out, old / out.name)
            os.replace(scratch, out)
            shutil.rmtree(old)
        else:
            os.replace(scratch, out)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return load_bundle(out)


def preprocessing_of(facts: NetworkFacts) -> ModelEntry:
    """An entry that says how pictures become inputs, before there is a bundle. Its file does not exist."""
    return _entry(facts, {Precision.FP32: BundleFile(path="none.onnx", sha256="0" * 64)})


def _entry(facts: NetworkFacts, files: Mapping[Precision, BundleFile], goldens: Goldens | None = None) -> ModelEntry:
    """The manifest's entry. Without goldens, with the widest tolerances there are: enough to run the network."""
    if goldens is None:
        anything = Tolerance(max_mean_abs_diff=1, min_mask_dice=0)
        goldens = Goldens(path=_GOLDENS, sha256="0" * 64, tolerance=dict.fromkeys(files, anything))
    return ModelEntry(
        task=Task.HAIR,
        input_name=facts.input_name,
        input_shape=facts.input_shape,
        output_name=facts.output_name,
        output_shape=(1, 1, *facts.input_shape[2:]),
        mean=facts.mean,
        std=facts.std,
        labels=("hair",),
        threshold=facts.threshold,
        files=dict(files),
        goldens=goldens,
        trained_on=facts.trained_on,
        licence=facts.licence,
        credit=facts.credit,
        quality=dict(facts.quality),
        demonstration_only=facts.demonstration_only,
    )


def _manifest(name: str, version: str, model: ModelEntry) -> Manifest:
    created = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    try:
        return Manifest(schema_version=SCHEMA_VERSION, name=name, version=version, created=created, models=(model,))
    except ValidationError as error:
        raise ScalpScopeError(
            f"'{name}' and '{version}' are no name and version for a bundle.", "Use letters, digits, '.', '_' and '-'."
        ) from error


def _measure_tolerance(folder: Path, entry: ModelEntry, precision: Precision, least_dice: float) -> Tolerance:
    engine = OnnxRuntimeEngine(folder / entry.files[precision].path, entry, precision)
    found = compare_with_goldens(engine, folder, entry)
    engine.close()
    if found.mask_dice < least_dice:
        raise ScalpScopeError(
            f"The {precision.value} network is too far from FP32: mask Dice {found.mask_dice:.3f} on the golden "
            f"pictures, at least {least_dice} is wanted.",
            "Calibrate on more and other frames, or train the network further.",
        )
    return Tolerance(
        max_mean_abs_diff=min(1.0, round(1.5 * found.mean_abs_diff + 0.002, 5)),
        min_mask_dice=max(0.0, round(found.mask_dice - 0.5 * (1 - found.mask_dice) - 0.01, 5)),
    )


def _write_goldens(path: Path, fp32: Path, model: ModelEntry, images: Sequence[np.ndarray]) -> None:
    engine = OnnxRuntimeEngine(fp32, model, Precision.FP32)
    outputs = [engine.run({model.input_name: to_network_input(image, model)})[model.output_name][0] for image in images]
    engine.close()
    coarse = np.round(np.stack(outputs) / _GOLDEN_STEP) * _GOLDEN_STEP
    np.savez_compressed(path, images=np.stack(images), outputs=coarse.astype(np.float16))
