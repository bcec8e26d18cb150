"""The tensors of a TensorRT engine, beside those of the manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from calibration.errors import ScalpScopeError
from device_app.engines.tensorrt_memory import Shape
from device_app.manifest_parts import POINTS, TensorSpec

AGAIN = "Build the engine again with 'scalpscope-export engines BUNDLE --rebuild', or use another back end."


def check_tensors(trt: Any, engine: Any, specs: tuple[Sequence[TensorSpec], Sequence[TensorSpec]], title: str) -> None:
    """See that an engine takes and gives what the manifest says: float32, row by row, in the GPU's memory.

    Args:
        trt: the module ``tensorrt``.
        engine: an ``ICudaEngine``.
        specs: the manifest's inputs and outputs.
        title: the network, for the message.

    Raises:
        ScalpScopeError: it does not; says all that differs.
    """
    found: dict[Any, dict[str, Shape]] = {trt.TensorIOMode.INPUT: {}, trt.TensorIOMode.OUTPUT: {}}
    odd = []
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        found[engine.get_tensor_mode(name)][name] = tuple(engine.get_tensor_shape(name))
        if engine.get_tensor_dtype(name) != trt.DataType.FLOAT:
            odd.append(f"{name} is no float32")
        elif engine.get_tensor_location(name) != trt.TensorLocation.DEVICE:
            odd.append(f"{name} is taken from the processor's memory")
        elif engine.get_tensor_format(name) != trt.TensorFormat.LINEAR:
            odd.append(f"{name} is not laid out row by row")
    for mode, wanted in zip(found, specs, strict=True):
        fits = found[mode].keys() == {spec.name for spec in wanted} and all(
            _is_tensor(spec, found[mode][spec.name], free=wanted is specs[1]) for spec in wanted
        )
        if not fits:
            odd.append(f"it has the {mode.name.lower()}s {found[mode]}")
    if odd:
        told = ", ".join(f"{spec.name} {spec.shape} {spec.dtype}" for wanted in specs for spec in wanted)
        raise ScalpScopeError(
            f"The engine of the {title} does not fit: {'; '.join(odd)}; the manifest says {told}.", AGAIN
        )


def point_range(engine: Any, inputs: Sequence[TensorSpec]) -> tuple[int, int] | None:
    """The least and the most points that an engine was built for; None where no axis is free."""
    ranges = []
    for spec in inputs:
        if POINTS in spec.shape:
            axis = spec.shape.index(POINTS)
            least, _, most = engine.get_tensor_profile_shape(spec.name, 0)
            ranges.append((int(tuple(least)[axis]), int(tuple(most)[axis])))
    return (max(low for low, _ in ranges), min(high for _, high in ranges)) if ranges else None


def check_inputs(
    inputs: Mapping[str, np.ndarray], specs: Sequence[TensorSpec], allowed: tuple[int, int] | None, title: str
) -> int | None:
    """See that a frame's inputs are what the manifest says.

    Args:
        inputs: by name.
        specs: the manifest's.
        allowed: see `point_range`.
        title: the network, for the message.

    Returns:
        How many points they hold; None where no axis is free.

    Raises:
        ScalpScopeError: one is missing or does not fit, or there are too many points or none; says which.
    """
    counts = set()
    for spec in specs:
        given = inputs.get(spec.name)
        if given is None or given.dtype != np.float32 or not spec.fits(given.shape):
            told = "is missing" if given is None else f"is {given.shape} {given.dtype}"
            raise ScalpScopeError(
                f"The {title} failed: '{spec.name}' {told}, and the manifest says {spec.shape} float32.",
                "Check the picture's size against the bundle.",
            )
        counts |= {side for own, side in zip(spec.shape, given.shape, strict=True) if isinstance(own, str)}
    if len(inputs) != len(specs):
        unknown = ", ".join(sorted(set(inputs) - {spec.name for spec in specs}))
        raise ScalpScopeError(f"The {title} failed: it has no input '{unknown}'.", "Leave it out.")
    if allowed is None:
        return None
    least, most = allowed
    if len(counts) != 1 or not least <= (points := next(iter(counts))) <= most:
        told = " and ".join(map(str, sorted(counts)))
        raise ScalpScopeError(
            f"The {title} failed: {told} points, and the engine was built for {least} to {most}.",
            "Give fewer points, or build the engine again.",
        )
    return points


def sides_of(spec: TensorSpec, points: int | None) -> Shape:
    """A tensor's shape with so many points."""
    return tuple((points or 0) if isinstance(side, str) else side for side in spec.shape)


def _is_tensor(spec: TensorSpec, shape: Shape, free: bool) -> bool:
    """Whether an engine's tensor, -1 where a side is open, is the manifest's. An output (`free`) may leave any open."""
    return len(shape) == len(spec.shape) and all(
        side == (-1 if isinstance(own, str) else own) or (free and side == -1)
        for own, side in zip(spec.shape, shape, strict=True)
    )
