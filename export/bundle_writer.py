"""Writing a bundle: files copied, hashed and proved by the device's own loader before the folder appears."""

from __future__ import annotations

import datetime
import os
import shutil
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import ValidationError

from calibration.errors import ScalpScopeError
from device_app.bundle import (
    MANIFEST_NAME,
    SCHEMA_VERSION,
    Bundle,
    BundleFile,
    ClassEntry,
    ClassifierEntry,
    ConditionsEntry,
    HairEntry,
    Manifest,
    ModelEntry,
    SamDecoderEntry,
    SamEncoderEntry,
    Task,
    load_bundle,
    sha256_of,
)
from device_app.engines.engine import Precision
from device_app.engines.goldens import compare_with_goldens
from device_app.engines.onnxruntime_engine import OnnxRuntimeEngine
from export.golden_writer import GoldenMaker, hair_goldens

LEAST_DICE = 0.9  # of the masks on the goldens: a network further from its FP32 is not worth shipping
MOST_RELATIVE_DIFF = 0.3  # of an encoder's features on the goldens, for the same reason
MOST_PROBABILITY_DIFF = 0.5  # of a classifier's, likewise; what it is worth is measured on many pictures, not on these

_FOR_TENSORRT = frozenset({Precision.FP16, Precision.INT8_SYMMETRIC})

_ANYTHING = {"max_mean_abs_diff": 1, "min_mask_dice": 0}
_ANY_LOGITS = {"max_probability_diff": 1, "max_mean_map_diff": 1, "max_relative_distance_diff": 1e9}
_WIDEST: Mapping[type[ModelEntry], Mapping[str, float]] = {
    HairEntry: _ANYTHING,
    SamEncoderEntry: {"max_relative_diff": 1e9},
    SamDecoderEntry: {**_ANYTHING, "max_iou_diff": 1e9},
    ConditionsEntry: _ANY_LOGITS,
    ClassEntry: _ANY_LOGITS,
}
"""Tolerances by kind of entry that refuse nothing: for an entry before its goldens are made."""

E = TypeVar("E", bound=ModelEntry)


@dataclass(frozen=True)
class NetworkFacts:
    """What the manifest says of a hair network beyond its files. See `device_app.bundle.HairEntry` for the meanings."""

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


@dataclass(frozen=True)
class NetworkFiles:
    """One network of a bundle to be.

    Attributes:
        entry: what the manifest will say, of `entry_template`; its files and goldens are replaced.
        files: ONNX file by precision: those that ship.
        make_goldens: of `export.golden_writer`.
        reference: the FP32 ONNX file that makes the goldens; None: the one in `files`.
        least_dice: of each precision's masks with FP32's on the goldens.
        most_relative_diff: of each precision's features (an encoder's) from FP32's on the goldens.
        most_probability_diff: of each precision's probabilities (a classifier's) from FP32's on the goldens.
    """

    entry: ModelEntry
    files: Mapping[Precision, Path]
    make_goldens: GoldenMaker
    reference: Path | None = None
    least_dice: float = LEAST_DICE
    most_relative_diff: float = MOST_RELATIVE_DIFF
    most_probability_diff: float = MOST_PROBABILITY_DIFF


@dataclass(frozen=True)
class CarriedNetwork:
    """A network of another bundle that is taken over byte for byte, with its goldens and their tolerances.

    Attributes:
        entry: what the new manifest will say; its files are those that are taken.
        folder: the other bundle's.
    """

    entry: ModelEntry
    folder: Path


def carried_networks(
    bundle: Bundle, written: Collection[Task], leave_out: Collection[str] = ()
) -> list[CarriedNetwork]:
    """The networks of a bundle that go into the next one as they are.

    A file that is left out keeps its tolerance: whoever has it can still prove by the goldens that it is this network.

    Args:
        bundle: a loaded one.
        written: the tasks that the next bundle gets anew.
        leave_out: files that are not taken over, such as ``hair_fp32``.

    Raises:
        ScalpScopeError: there is no such file to leave out, or a network would have none left.
    """
    carried, left_out = [], set()
    for model in bundle.manifest.models:
        if model.task in written:
            continue
        names = {precision: f"{model.task.value}_{precision.value}" for precision in model.files}
        kept = {precision: file for precision, file in model.files.items() if names[precision] not in leave_out}
        if not kept:
            raise ScalpScopeError(
                f"With {', '.join(sorted(names.values()))} left out the bundle would have no network for "
                f"'{model.task.value}'.",
                "Leave one of them in.",
            )
        left_out |= set(names.values()).intersection(leave_out)
        carried.append(CarriedNetwork(model.model_copy(update={"files": kept}), bundle.path))
    if unknown := sorted(set(leave_out) - left_out):
        raise ScalpScopeError(
            f"{bundle.path} has no file '{unknown[0]}' that would be taken over.",
            "Name task and precision, such as hair_fp32.",
        )
    return carried


def entry_template(kind: type[E], precisions: Iterable[Precision] = (Precision.FP32,), **facts: Any) -> E:
    """An entry whose files and goldens are not there yet; it says already how pictures become inputs.

    Args:
        kind: one of the entries of `device_app.manifest.AnyEntry`.
        precisions: of the files it stands for.
        facts: everything else that the entry says, by key; `task` too where the kind stands for several.

    Raises:
        ScalpScopeError: a fact is missing, unknown or wrong.
    """
    precisions = tuple(precisions)
    task = Task(facts.get("task", kind.model_fields["task"].default)).value
    nowhere = "0" * 64
    try:
        return kind.model_validate(
            {
                **facts,
                "task": task,
                "files": {
                    precision: {"path": _file_name(task, precision), "sha256": nowhere} for precision in precisions
                },
                "goldens": {
                    "path": _goldens_name(task),
                    "sha256": nowhere,
                    "tolerance": dict.fromkeys(precisions, _WIDEST[kind]),
                },
            }
        )
    except ValidationError as error:
        fault = error.errors()[0]
        raise ScalpScopeError(
            f"The manifest's entry for '{task}' is not valid: {'.'.join(map(str, fault['loc']))}: {fault['msg']}.",
            "Mend what is given for it.",
        ) from error


def hair_network(
    facts: NetworkFacts,
    files: Mapping[Precision, Path],
    golden_images: Sequence[np.ndarray],
    least_dice: float = LEAST_DICE,
) -> NetworkFiles:
    """A hair network to write.

    Args:
        facts: what the manifest says of the network.
        files: ONNX file by precision; FP32 among them, it makes the goldens.
        golden_images: (H, W, 3) uint8 RGB, all of one size, at least one.
        least_dice: of each precision's masks with FP32's on the goldens.
    """
    return NetworkFiles(preprocessing_of(facts), files, hair_goldens(golden_images), least_dice=least_dice)


def preprocessing_of(facts: NetworkFacts) -> HairEntry:
    """An entry that says how pictures become inputs, before there is a bundle. Its file does not exist."""
    return entry_template(
        HairEntry,
        input_name=facts.input_name,
        input_shape=facts.input_shape,
        output_name=facts.output_name,
        output_shape=(1, 1, *facts.input_shape[2:]),
        mean=facts.mean,
        std=facts.std,
        labels=("hair",),
        threshold=facts.threshold,
        trained_on=facts.trained_on,
        licence=facts.licence,
        credit=facts.credit,
        quality=dict(facts.quality),
        demonstration_only=facts.demonstration_only,
    )


def write_bundle(
    out: Path, name: str, version: str, networks: Sequence[NetworkFiles | CarriedNetwork], overwrite: bool = False
) -> Bundle:
    """Write a bundle and load it back. The folder appears whole or not at all.

    Every precision of a new network is run on the goldens here; what it differs by, with room for another processor's
    rounding, becomes its tolerance. Any machine on which it differs by more refuses it.

    Args:
        out: the folder to make.
        name, version: of the bundle.
        networks: at least one, one for each task.
        overwrite: replace a folder that is there.

    Raises:
        ScalpScopeError: the folder is there, FP32 is missing, a network differs too much from FP32, or what was written
            is no valid bundle.
    """
    if out.exists() and not overwrite:
        raise ScalpScopeError(f"{out} is already there.", "Give another folder, or --overwrite.")
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        scratch.chmod(0o755)
        models = [
            _carry_network(scratch, network)
            if isinstance(network, CarriedNetwork)
            else _write_network(scratch, network)
            for network in networks
        ]
        manifest = _manifest(name, version, sorted(models, key=lambda model: list(Task).index(model.task)))
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


def _write_network(folder: Path, network: NetworkFiles) -> ModelEntry:
    """Copy a network's files, make its goldens, and measure what each precision may differ by."""
    kind, task = type(network.entry), network.entry.task.value
    reference = network.reference or network.files.get(Precision.FP32)
    if reference is None:
        raise ScalpScopeError(
            f"A bundle needs the FP32 network ('{task}'): its goldens are made with it.", "Export it first."
        )
    files = {}
    for precision, source in network.files.items():
        target = _file_name(task, precision)
        shutil.copyfile(source, folder / target)
        files[precision] = BundleFile(path=target, sha256=sha256_of(folder / target))
    facts = network.entry.model_dump(exclude={"files", "goldens"})
    entry = entry_template(kind, files, **facts)
    for precision in set(files) & _FOR_TENSORRT:
        _check_for_tensorrt(task, precision, folder / files[precision].path)
    engine = OnnxRuntimeEngine(reference, entry, Precision.FP32)
    goldens = folder / entry.goldens.path
    np.savez_compressed(goldens, **network.make_goldens(engine, entry))  # type: ignore[arg-type]
    engine.close()
    tolerances = {precision: _measure_tolerance(folder, entry, precision, network) for precision in files}
    proof = {"path": goldens.name, "sha256": sha256_of(goldens), "tolerance": tolerances}
    return kind.model_validate({**entry.model_dump(), "files": files, "goldens": proof})


def _check_for_tensorrt(task: str, precision: Precision, file: Path) -> None:
    """Refuse a file that TensorRT would refuse: on the device that is found out after minutes, if at all."""
    import onnx

    from export.tensorrt_rules import check_for_tensorrt

    if faults := check_for_tensorrt(onnx.load(file)):
        more = f", and {len(faults) - 1} more" if len(faults) > 1 else ""
        raise ScalpScopeError(
            f"TensorRT would not take the {precision.value} network for '{task}': {faults[0]}{more}.",
            "Mend its export (export.tensorrt_rules says where each rule comes from), or leave this precision out.",
        )


def _carry_network(folder: Path, carried: CarriedNetwork) -> ModelEntry:
    """Copy a network's files and goldens under the names that this writer gives."""
    entry, task = carried.entry, carried.entry.task.value
    files = {}
    for precision, file in entry.files.items():
        files[precision] = BundleFile(path=_file_name(task, precision), sha256=file.sha256)
        shutil.copyfile(carried.folder / file.path, folder / files[precision].path)
    goldens = entry.goldens.model_copy(update={"path": _goldens_name(task)})
    shutil.copyfile(carried.folder / entry.goldens.path, folder / goldens.path)
    return entry.model_copy(update={"files": files, "goldens": goldens})


def _file_name(task: str, precision: Precision) -> str:
    return f"{task}_{precision.value}.onnx"


def _goldens_name(task: str) -> str:
    return f"{task}_goldens.npz"


def _manifest(name: str, version: str, models: Sequence[ModelEntry]) -> Manifest:
    created = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    content = {"schema_version": SCHEMA_VERSION, "name": name, "version": version, "created": created}
    try:
        return Manifest.model_validate({**content, "models": [model.model_dump() for model in models]})
    except ValidationError as error:
        if any(fault["loc"][:1] in (("name",), ("version",)) for fault in error.errors()):
            raise ScalpScopeError(
                f"'{name}' and '{version}' are no name and version for a bundle.",
                "Use letters, digits, '.', '_' and '-'.",
            ) from error
        raise ScalpScopeError(
            f"These networks make no bundle: {error.errors()[0]['msg']}.", "Export those that belong together."
        ) from error


def _measure_tolerance(
    folder: Path, entry: ModelEntry, precision: Precision, network: NetworkFiles
) -> dict[str, float]:
    engine = OnnxRuntimeEngine(folder / entry.files[precision].path, entry, precision)
    found = compare_with_goldens(engine, folder, entry)
    engine.close()
    dice = 1.0 if found.mask_dice is None else found.mask_dice
    if dice < network.least_dice:
        raise ScalpScopeError(
            f"The {precision.value} network is too far from FP32: mask Dice {dice:.3f} on the golden "
            f"pictures, at least {network.least_dice} is wanted.",
            "Calibrate on more and other frames, or train the network further.",
        )
    if isinstance(entry, SamEncoderEntry):
        if not found.mean_abs_diff <= network.most_relative_diff:
            raise ScalpScopeError(
                f"The {precision.value} network is too far from FP32: its features differ by {found.mean_abs_diff:.3f} "
                f"of their size on the golden pictures, at most {network.most_relative_diff} is wanted.",
                "Calibrate on more and other frames, or leave more of it in float.",
            )
        return {"max_relative_diff": round(1.5 * found.mean_abs_diff + 0.002, 5)}
    if isinstance(entry, ClassifierEntry):
        assert found.probability_diff is not None and found.distance_diff is not None
        if not found.probability_diff <= network.most_probability_diff:
            raise ScalpScopeError(
                f"The {precision.value} network is too far from FP32: a probability differs by "
                f"{found.probability_diff:.3f} on the golden pictures, at most {network.most_probability_diff} is "
                "wanted.",
                "Calibrate on more and other frames, or leave more of it in float.",
            )
        # A handful of values a picture, not the mean of a map: one rounding more on another processor moves them more.
        return {
            "max_probability_diff": min(1.0, round(1.5 * found.probability_diff + 0.02, 5)),
            "max_mean_map_diff": min(1.0, round(1.5 * found.mean_abs_diff + 0.005, 5)),
            "max_relative_distance_diff": round(1.5 * found.distance_diff + 0.02, 5),
        }
    tolerance = {
        "max_mean_abs_diff": min(1.0, round(1.5 * found.mean_abs_diff + 0.002, 5)),
        "min_mask_dice": max(0.0, round(dice - 0.5 * (1 - dice) - 0.01, 5)),
    }
    if found.iou_diff is not None:
        tolerance["max_iou_diff"] = round(1.5 * found.iou_diff + 0.005, 5)
    return tolerance
