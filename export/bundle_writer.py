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
from device_app.engines.onnxruntime_engine import OnnxRuntimeEngine
from device_app.vision.preprocess import to_network_input

# Stored probabilities are multiples of this: small enough for any tolerance, coarse enough to compress.
_GOLDEN_STEP = 1 / 1024

DEFAULT_TOLERANCES: dict[Precision, Tolerance] = {
    Precision.FP32: Tolerance(max_mean_abs_diff=0.002, min_mask_dice=0.995),
    Precision.FP16: Tolerance(max_mean_abs_diff=0.004, min_mask_dice=0.99),
    # Another processor may round int8 sums otherwise (x86 without VNNI saturates), so int8 gets more room than it needs
    # where it was exported.
    Precision.INT8_U8S8: Tolerance(max_mean_abs_diff=0.02, min_mask_dice=0.94),
    Precision.INT8_SYMMETRIC: Tolerance(max_mean_abs_diff=0.02, min_mask_dice=0.94),
}


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
    tolerances: Mapping[Precision, Tolerance] = DEFAULT_TOLERANCES,
    overwrite: bool = False,
) -> Bundle:
    """Write a bundle with one hair network and load it back. The folder appears whole or not at all.

    Args:
        out: the folder to make.
        name, version: of the bundle.
        facts: what the manifest says of the network.
        files: ONNX file by precision; FP32 among them, it makes the goldens.
        golden_images: (H, W, 3) uint8 RGB, all of one size, at least one.
        tolerances: how far each precision may lie from the goldens.
        overwrite: replace a folder that is there.

    Raises:
        ScalpScopeError: the folder is there, FP32 is missing, or what was written is no valid bundle.
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
        manifest = _manifest(name, version, facts, entries, tolerances)
        goldens = scratch / manifest.models[0].goldens.path
        _write_goldens(goldens, scratch / entries[Precision.FP32].path, manifest.models[0], golden_images)
        manifest = _manifest(name, version, facts, entries, tolerances, goldens_sha256=sha256_of(goldens))
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
    nowhere = BundleFile(path="none.onnx", sha256="0" * 64)
    return _manifest("draft", "0", facts, {Precision.FP32: nowhere}, DEFAULT_TOLERANCES).models[0]


def _manifest(
    name: str,
    version: str,
    facts: NetworkFacts,
    entries: Mapping[Precision, BundleFile],
    tolerances: Mapping[Precision, Tolerance],
    goldens_sha256: str = "0" * 64,
) -> Manifest:
    model = ModelEntry(
        task=Task.HAIR,
        input_name=facts.input_name,
        input_shape=facts.input_shape,
        output_name=facts.output_name,
        output_shape=(1, 1, *facts.input_shape[2:]),
        mean=facts.mean,
        std=facts.std,
        labels=("hair",),
        threshold=facts.threshold,
        files=dict(entries),
        goldens=Goldens(
            path="hair_goldens.npz",
            sha256=goldens_sha256,
            tolerance={precision: tolerances[precision] for precision in entries},
        ),
        trained_on=facts.trained_on,
        licence=facts.licence,
        credit=facts.credit,
        quality=dict(facts.quality),
        demonstration_only=facts.demonstration_only,
    )
    created = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Manifest(schema_version=SCHEMA_VERSION, name=name, version=version, created=created, models=(model,))


def _write_goldens(path: Path, fp32: Path, model: ModelEntry, images: Sequence[np.ndarray]) -> None:
    engine = OnnxRuntimeEngine(fp32, model, Precision.FP32)
    outputs = [engine.run({model.input_name: to_network_input(image, model)})[model.output_name][0] for image in images]
    engine.close()
    coarse = np.round(np.stack(outputs) / _GOLDEN_STEP) * _GOLDEN_STEP
    np.savez_compressed(path, images=np.stack(images), outputs=coarse.astype(np.float16))
