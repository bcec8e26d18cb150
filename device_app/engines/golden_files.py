"""What stands in the files of goldens, one kind for each task; the codec that packs a decoder's inputs.

A decoder's inputs are features of some hundred thousand values. They are kept as integer codes with one step per
tensor, and the FP32 outputs beside them were made from exactly those values: what is lost in packing is lost to both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from device_app.manifest import HairEntry, SamDecoderEntry, SamEncoderEntry, damaged
from device_app.manifest_classifiers import ClassifierEntry
from device_app.manifest_parts import ModelEntry

SAMPLES = 16384
"""How many values of an encoder's output are kept of each golden picture, about."""

_WIDE = ("point_coords",)  # int8 would put the points on a grid of five pixels
_MAP_LEVELS = 15  # codes of features and mask prompts run from -15 to 15: a third of the file, and FP32 answers those
_PROBABILITY_STEP = 15  # of 255


@dataclass(frozen=True)
class HairGoldens:
    """images: (N, H, W, 3) uint8 RGB.  outputs: (N, 1, h, w) float32 probabilities by FP32."""

    images: np.ndarray
    outputs: np.ndarray


@dataclass(frozen=True)
class EncoderGoldens:
    """What an encoder answered.

    Attributes:
        images: (N, H, W, 3) uint8 RGB.
        samples: by output, (N, K) float32: every `steps[output]`-th value of the flattened output.
        steps: by output.
    """

    images: np.ndarray
    samples: dict[str, np.ndarray]
    steps: dict[str, int]


@dataclass(frozen=True)
class DecoderGolden:
    """One question to a decoder and its answer.

    Attributes:
        inputs: by name, float32.
        probabilities: (4, h, w) float32, the sigmoid of `masks`.
        iou_predictions: (4,) float32.
    """

    inputs: dict[str, np.ndarray]
    probabilities: np.ndarray
    iou_predictions: np.ndarray


@dataclass(frozen=True)
class ClassifierGoldens:
    """What a classifier answered.

    Attributes:
        images: (N, H, W, 3) uint8 RGB.
        hair_masks: (N, H, W) uint8, not 0 where there is hair; None when the classifier takes none.
        outputs: by name, (N, ...) float32.
    """

    images: np.ndarray
    hair_masks: np.ndarray | None
    outputs: dict[str, np.ndarray]


def sample_step(size: int) -> int:
    """Every how many-th of `size` values is kept: the least step that keeps at most `SAMPLES` and meets every column.

    A step that shares a divisor with the row's length would look at some columns and never at the others.
    """
    step = max(1, math.ceil(size / SAMPLES))
    while math.gcd(step, size) > 1:
        step += 1
    return step


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """float32 logits to float32 probabilities, without overflow."""
    return (0.5 * (1 + np.tanh(0.5 * np.asarray(logits, np.float32)))).astype(np.float32)


def encode_codes(
    values: np.ndarray, dtype: type[np.signedinteger] = np.int8, levels: int | None = None
) -> tuple[np.ndarray, np.float32]:
    """Pack a tensor.

    Args:
        values: float32, finite, any shape.
        dtype: of the codes.
        levels: the largest code; None: the largest that `dtype` holds.

    Returns:
        The codes and the step: ``codes * step`` differs from `values` by half a step at most.
    """
    largest = float(np.max(np.abs(values), initial=0.0))
    step = np.float32(1) if largest == 0 else np.float32(largest / (levels or np.iinfo(dtype).max))
    if not (np.isfinite(step) and step > 0):
        raise ValueError(f"values up to {largest} cannot be packed")
    return np.round(np.asarray(values, np.float64) / step).astype(dtype), step


def decode_codes(codes: np.ndarray, step: np.ndarray | np.float32 | float) -> np.ndarray:
    """The float32 values that `encode_codes` packed."""
    return codes.astype(np.float32) * np.float32(step)


def pack_encoder_golden(images: np.ndarray, outputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of an encoder's npz.

    Args:
        images: (N, H, W, 3) uint8 RGB.
        outputs: by name, (N, ...) float32: what FP32 answered.

    Returns:
        `images`, and per output its samples (N, K) float16 and, as ``NAME_step``, their step.
    """
    arrays = {"images": images}
    for name, values in outputs.items():
        flat = values.reshape(len(values), -1)
        step = sample_step(flat.shape[1])
        arrays[name] = flat[:, ::step].astype(np.float16)
        arrays[f"{name}_step"] = np.array(step, np.int64)
    return arrays


def pack_decoder_inputs(inputs: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The arrays of one golden's inputs, and the very values that these stand for: run FP32 on those.

    Args:
        inputs: by the decoder's input names, float32.
    """
    arrays: dict[str, np.ndarray] = {}
    for name, values in inputs.items():
        levels = _MAP_LEVELS if values.ndim == 4 else None
        codes, step = encode_codes(values, np.int16 if name in _WIDE else np.int8, levels)
        arrays |= {name: codes, f"{name}_step": np.array(step)}
    return arrays, {name: decode_codes(arrays[name], arrays[f"{name}_step"]) for name in inputs}


def pack_decoder_goldens(
    goldens: Sequence[tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]],
) -> dict[str, np.ndarray]:
    """The arrays of a decoder's npz: those of golden i under ``i.NAME``.

    Args:
        goldens: of each, the packed inputs (first result of `pack_decoder_inputs`) and what FP32 answered to the values
            that they stand for.
    """
    arrays: dict[str, np.ndarray] = {}
    for number, (packed, answer) in enumerate(goldens):
        told = {
            **packed,
            "probabilities": _coarsely(sigmoid(answer["masks"][0])),
            "iou_predictions": answer["iou_predictions"][0].astype(np.float32),
        }
        arrays |= {f"{number}.{name}": array for name, array in told.items()}
    return arrays


def pack_logit_goldens(
    images: np.ndarray, outputs: Mapping[str, np.ndarray], masks: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """The arrays of a classifier's npz.

    Args:
        images: (N, H, W, 3) uint8 RGB.
        outputs: by name, (N, ...) float32: what FP32 answered, every output.
        masks: (N, H, W) uint8, not 0 where there is hair; for a classifier that takes a hair mask.
    """
    arrays = {"images": images, **{name: values.astype(np.float32) for name, values in outputs.items()}}
    return arrays if masks is None else {**arrays, "hair_masks": masks}


def _coarsely(probabilities: np.ndarray) -> np.ndarray:
    """Probabilities as uint8 of 255, in steps that compress; what is at 0.5 or above stays so."""
    steps = np.floor(probabilities * (255 / _PROBABILITY_STEP) + 0.5)
    return steps.astype(np.uint8) * np.uint8(_PROBABILITY_STEP)


def read_goldens(
    folder: Path, model: ModelEntry
) -> HairGoldens | EncoderGoldens | tuple[DecoderGolden, ...] | ClassifierGoldens:
    """The goldens of any network of a bundle, at least one.

    Raises:
        ScalpScopeError: the file is not such an npz.
    """
    if isinstance(model, HairEntry):
        return read_hair_goldens(folder, model)
    if isinstance(model, SamEncoderEntry):
        return read_encoder_goldens(folder, model)
    if isinstance(model, SamDecoderEntry):
        return read_decoder_goldens(folder, model)
    if isinstance(model, ClassifierEntry):
        return read_logit_goldens(folder, model)
    raise TypeError(f"no goldens are known for {type(model).__name__}")


def read_hair_goldens(folder: Path, model: HairEntry) -> HairGoldens:
    """See `read_goldens`."""
    arrays = _read(folder, model, ("images", "outputs"))
    images, outputs = arrays["images"], arrays["outputs"]
    right = (
        _are_images(images)
        and (outputs.shape[1:] == model.output_shape[1:] and outputs.dtype == np.float16)
        and len(images) == len(outputs)
    )
    if not right:
        raise damaged(
            folder,
            f"its goldens have the wrong shapes (images {images.shape} {images.dtype}, outputs {outputs.shape} "
            f"{outputs.dtype}, for a network output of {model.output_shape})",
        )
    return HairGoldens(images, outputs.astype(np.float32))


def read_encoder_goldens(folder: Path, model: SamEncoderEntry) -> EncoderGoldens:
    """See `read_goldens`."""
    wanted = ("images", *(name for spec in model.features for name in (spec.name, f"{spec.name}_step")))
    arrays = _read(folder, model, wanted)
    images = arrays["images"]
    if not _are_images(images):
        raise damaged(folder, f"its goldens have the wrong shapes (images {images.shape} {images.dtype})")
    samples, steps = {}, {}
    for spec in model.features:
        step, kept = arrays[f"{spec.name}_step"], arrays[spec.name]
        size = math.prod(int(side) for side in spec.shape)
        right = step.shape == () and step.dtype.kind == "i" and 1 <= int(step) <= size
        if not right or kept.shape != (len(images), math.ceil(size / int(step))) or kept.dtype != np.float16:
            raise damaged(
                folder,
                f"its goldens have the wrong shapes ({spec.name} {kept.shape} {kept.dtype} for {len(images)} pictures "
                f"and an output of {spec.shape})",
            )
        _check_finite(folder, spec.name, kept)
        samples[spec.name], steps[spec.name] = kept.astype(np.float32), int(step)
    return EncoderGoldens(images, samples, steps)


def read_decoder_goldens(folder: Path, model: SamDecoderEntry) -> tuple[DecoderGolden, ...]:
    """See `read_goldens`."""
    arrays = _read(folder, model, ())
    count = len({name.partition(".")[0] for name in arrays})
    goldens = []
    for number in range(count):
        wanted = [f"{number}.{name}" for name in ("probabilities", "iou_predictions")]
        wanted += [f"{number}.{spec.name}{ending}" for spec in model.inputs for ending in ("", "_step")]
        if missing := [name for name in wanted if name not in arrays]:
            raise damaged(folder, f"its goldens {model.goldens.path} lack {missing[0]}")
        inputs = {}
        for spec in model.inputs:
            codes, step = arrays[f"{number}.{spec.name}"], arrays[f"{number}.{spec.name}_step"]
            right = spec.fits(codes.shape) and codes.dtype.kind == "i" and step.shape == () and step.dtype.kind == "f"
            if not right:
                raise damaged(
                    folder,
                    f"its goldens have the wrong shapes ({spec.name} {codes.shape} for an input of {spec.shape})",
                )
            _check_finite(folder, spec.name, step)
            inputs[spec.name] = decode_codes(codes, step)
        masks, ious = (arrays[name] for name in wanted[:2])
        same_count = inputs["point_coords"].shape[1] == inputs["point_labels"].shape[1] > 0
        if masks.shape != model.masks_shape[1:] or masks.dtype != np.uint8 or ious.shape != (4,) or not same_count:
            raise damaged(
                folder,
                f"its goldens have the wrong shapes (masks {masks.shape} {masks.dtype} for {model.masks_shape}, IoUs "
                f"{ious.shape}, points {inputs['point_coords'].shape})",
            )
        _check_finite(folder, "iou_predictions", ious)
        goldens.append(DecoderGolden(inputs, masks.astype(np.float32) / 255, ious.astype(np.float32)))
    if not goldens:
        raise damaged(folder, f"its goldens {model.goldens.path} are empty")
    return tuple(goldens)


def read_logit_goldens(folder: Path, model: ClassifierEntry) -> ClassifierGoldens:
    """See `read_goldens`."""
    wanted = ("images", *(spec.name for spec in model.outputs), *(("hair_masks",) if model.mask else ()))
    arrays = _read(folder, model, wanted)
    images, masks = arrays.pop("images"), arrays.pop("hair_masks", None)
    if not _are_images(images):
        raise damaged(folder, f"its goldens have the wrong shapes (images {images.shape} {images.dtype})")
    if masks is not None and (masks.shape != images.shape[:3] or masks.dtype != np.uint8):
        raise damaged(
            folder,
            f"its goldens have the wrong shapes (hair masks {masks.shape} {masks.dtype} for images {images.shape})",
        )
    for spec in model.outputs:
        values = arrays[spec.name]
        if values.shape != (len(images), *spec.shape[1:]) or values.dtype != np.float32:
            raise damaged(
                folder,
                f"its goldens have the wrong shapes ({spec.name} {values.shape} {values.dtype} for {len(images)} "
                f"pictures and an output of {spec.shape})",
            )
        _check_finite(folder, spec.name, values)
    return ClassifierGoldens(images, masks, arrays)


def _read(folder: Path, model: ModelEntry, wanted: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The arrays of an npz, all of them if none is named."""
    try:
        with np.load(folder / model.goldens.path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in wanted or arrays.files}
    except Exception as error:  # np.load raises a dozen kinds for a file that is not an npz
        raise damaged(folder, f"its goldens {model.goldens.path} cannot be read ({error})") from error


def _are_images(images: np.ndarray) -> bool:
    return images.ndim == 4 and images.shape[3] == 3 and images.dtype == np.uint8 and min(images.shape) > 0


def _check_finite(folder: Path, name: str, values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        raise damaged(folder, f"its goldens hold values of {name} that are not numbers")
