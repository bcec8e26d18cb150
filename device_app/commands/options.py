"""Options that several commands share, with one wording and one check each."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calibration.errors import ScalpScopeError
from device_app.settings import ClassesName, check_scale

if TYPE_CHECKING:
    from calibration.optics.profile import Profile


class PrecisionName(str, Enum):
    """`device_app.engines.Precision` by its values; a copy, so that --help does not load the engines."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8_U8S8 = "int8_u8s8"
    INT8_SYMMETRIC = "int8_symmetric"


def _scale(value: float | None) -> float | None:
    try:
        return value if value is None else check_scale(value)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


UmPerPx = Annotated[
    float | None,
    typer.Option(
        "--um-per-px",
        metavar="X",
        callback=_scale,
        help="The scale, in micrometres per pixel, when there is no profile. Without a scale no physical figure.",
    ),
]
ChosenProfile = Annotated[
    str | None,
    typer.Option(
        "--profile",
        metavar="NAME|FILE",
        help="The microscope's calibration, made by scalpscope-calibrate. Refused for another resolution than its own.",
    ),
]
BundlePath = Annotated[
    Path | None,
    typer.Option("--bundle", metavar="FOLDER", help="The networks to use. [default: the bundle that ships]"),
]
Classes = Annotated[
    ClassesName | None,
    typer.Option(
        "--classes",
        help="Cuts between vellus, intermediate and terminal hairs: trichoscopy cuts at 30 and 60 µm, "
        "trichoscan once at 40 µm. [default: trichoscopy]",
    ),
]
ChosenPrecision = Annotated[
    PrecisionName | None,
    typer.Option("--precision", help="Which of the bundle's files to run. [default: the best for this machine]"),
]


def one_scale(profile: str | None, um_per_px: float | None) -> Profile | None:
    """The profile that was asked for, loaded; None when none was.

    Raises:
        ScalpScopeError: both a profile and a scale were given, or the profile is refused.
    """
    if profile is None:
        return None
    if um_per_px is not None:
        raise ScalpScopeError("--profile and --um-per-px both give a scale.", "Give one of them.")
    from calibration.optics.profile import Profile

    return Profile.load(profile)
