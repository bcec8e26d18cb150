"""The one settings file of a device, in TOML: what to look at, with which calibration, and where to keep it.

Everything has a default, an unknown key is an error, and the command line wins over the file. Example::

    source = "camera:0"                  # demo, camera, camera:N, or a video file or folder; paths count from this file
    profile = "scope-a-50x"              # name or file of one made by scalpscope-calibrate
    backend = "onnxruntime-cpu"          # this one and no other; left out: the best for this machine
    classes = "trichoscopy"              # or trichoscan
    records = "/home/clinic/ScalpScope"
    window = "1280x800"
    fullscreen = true
    refine_still = false                 # do not refine by itself what stands still
    advice = "advice.toml"               # what is said about grades; left out: the texts that ship
    overview_folder = "/home/clinic/Pictures"    # where overview photographs of heads are chosen from

    [camera]                             # all of it may be left out
    width = 1280
    height = 1024
    exposure = 120                       # locks it; left out: automatic
    white_balance_k = 5000               # locks it; left out: automatic

A device that is to wait for its camera says ``source = "camera"``: without a source the demo scalp is shown where no
camera is found at the start.
"""

from __future__ import annotations

import math
import os
import re
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from calibration.errors import ScalpScopeError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from device_app.vision.hairs import HairClasses


class ClassesName(str, Enum):
    """The named cuts between vellus, intermediate and terminal hairs that the commands offer."""

    TRICHOSCOPY = "trichoscopy"
    TRICHOSCAN = "trichoscan"

    @property
    def cuts(self) -> HairClasses:
        """The cuts themselves."""
        from device_app.vision.hairs import TRICHOSCAN, TRICHOSCOPY

        return TRICHOSCOPY if self is ClassesName.TRICHOSCOPY else TRICHOSCAN


def parse_window(text: str) -> tuple[int, int]:
    """``1280x800`` -> (1280, 800).

    Raises:
        ValueError: not of that form, or smaller than any screen of the app can be (480 x 320).
    """
    match = re.fullmatch(r"\s*(\d{1,5})\s*[xX×]\s*(\d{1,5})\s*", text)
    if match is None:
        raise ValueError(f"{text!r} is not a window size; write it like 1280x800")
    width, height = int(match[1]), int(match[2])
    if width < 480 or height < 320 or width > 16384 or height > 16384:
        raise ValueError(f"{text!r} is not a usable window size; it is at least 480x320")
    return width, height


def check_scale(um_per_px: float) -> float:
    """A scale typed in by hand, in micrometres per pixel, as it came.

    Raises:
        ValueError: not a number above 0, or outside what any microscope gives (0.01 to 1000).
    """
    if not math.isfinite(um_per_px) or um_per_px <= 0:
        raise ValueError(f"{um_per_px} is not a scale; it is a number of micrometres per pixel above 0, such as 2.5")
    if not 0.01 <= um_per_px <= 1000:
        raise ValueError(f"{um_per_px} µm per pixel is no scale of a scalp microscope; it lies between 0.01 and 1000")
    return um_per_px


class CameraTable(BaseModel):
    """The ``[camera]`` table: `device_app.camera.uvc.CameraSettings`, key by key. None leaves it to ScalpScope.

    Attributes:
        width, height: of the picture; None = the profile's, or 640 x 480 without one.
        fps: pictures a second.
        pixel_format: MJPG or YUYV.
        exposure: locks it, in the camera's units.
        white_balance_k: locks it, in kelvin.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    width: int | None = Field(default=None, ge=160, le=16384)
    height: int | None = Field(default=None, ge=120, le=16384)
    fps: float = Field(default=30.0, gt=0, le=1000)
    pixel_format: Literal["MJPG", "YUYV"] | None = None
    exposure: float | None = None
    white_balance_k: float | None = Field(default=None, ge=1000, le=20000)

    @model_validator(mode="after")
    def _both_sides(self) -> CameraTable:
        if (self.width is None) != (self.height is None):
            raise ValueError("width and height belong together; give both or none")
        return self


class DeviceSettings(BaseModel):
    """What a device is set to. Paths are absolute once loaded.

    Attributes:
        source: None = the first camera, or the demo scalp where there is none.
        profile: name or file of the microscope's calibration; None = no scale unless `um_per_px` is set.
        um_per_px: a scale without a profile; never together with one.
        bundle: None = the bundle that ships.
        precision: which of the bundle's files to run; None = the best for this machine.
        backend: which back end runs the networks, by its name; None = the best for this machine.
        classes: named cuts between hair classes.
        records: folder that Save writes to.
        window: (width, height) in pixels.
        fullscreen: kiosk without a window frame.
        refine_still: refine the live picture by itself when it stands still.
        advice: a table of one's own of what is said about grades (`device_app.advice`); None = the one that ships.
        overview_folder: where overview photographs for the hair-loss stage are chosen from.
        camera: how a USB camera is set.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str | None = Field(default=None, min_length=1)
    profile: str | None = Field(default=None, min_length=1)
    um_per_px: float | None = Field(default=None, strict=True)
    bundle: Path | None = None
    precision: str | None = None
    backend: str | None = Field(default=None, min_length=1)
    classes: ClassesName = ClassesName.TRICHOSCOPY
    records: Path = Field(default_factory=lambda: Path.home() / "ScalpScope")
    window: tuple[int, int] = (1280, 800)
    fullscreen: bool = Field(default=False, strict=True)
    refine_still: bool = Field(default=True, strict=True)
    advice: Path | None = None
    overview_folder: Path = Field(default_factory=lambda: Path.home() / "Pictures")
    camera: CameraTable = CameraTable()

    @field_validator("window", mode="before")
    @classmethod
    def _window(cls, value: Any) -> Any:
        return parse_window(value) if isinstance(value, str) else value

    @field_validator("um_per_px")
    @classmethod
    def _scale(cls, value: float | None) -> float | None:
        return value if value is None else check_scale(value)

    @field_validator("precision")
    @classmethod
    def _precision(cls, value: str | None) -> str | None:
        from device_app.engines.engine import Precision

        known = [precision.value for precision in Precision]
        if value is not None and value not in known:
            raise ValueError(f"{value!r} is not a precision; it is one of {', '.join(known)}")
        return value

    @model_validator(mode="after")
    def _one_scale(self) -> DeviceSettings:
        if self.profile is not None and self.um_per_px is not None:
            raise ValueError("profile and um_per_px both give a scale; keep one of them")
        return self

    def overridden(self, **chosen: Any) -> DeviceSettings:
        """These settings with those of `chosen` that are not None in their place (the command line's).

        Raises:
            ScalpScopeError: a value is refused.
        """
        chosen = {key: value for key, value in chosen.items() if value is not None}
        values = self.model_dump()
        if "profile" in chosen and "um_per_px" not in chosen:  # one way to a scale replaces the other
            values["um_per_px"] = None
        if "um_per_px" in chosen and "profile" not in chosen:
            values["profile"] = None
        try:
            return DeviceSettings.model_validate({**values, **chosen})
        except ValidationError as error:
            raise ScalpScopeError(f"{_first(error)}.", "See scalpscope run --help.") from error


def default_settings_path() -> Path:
    """Where the settings file is looked for when none is named: ``~/.config/scalpscope/settings.toml``."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "scalpscope" / "settings.toml"


def load_settings(path: Path | None = None) -> DeviceSettings:
    """Read a settings file; with no `path`, the default one, and where that does not exist all defaults.

    Raises:
        ScalpScopeError: the file is missing, unreadable, no TOML, has an unknown key or a refused value.
    """
    if path is None:
        path = default_settings_path()
        if not path.exists():
            return DeviceSettings()
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ScalpScopeError(f"The settings file {path} cannot be read: {reason}.", "Check --settings.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ScalpScopeError(f"The settings file {path} is not valid TOML: {error}.", "Correct that line.") from error
    try:
        settings = DeviceSettings.model_validate(values)
    except ValidationError as error:
        known = ", ".join(DeviceSettings.model_fields)
        remedy = f"Correct it; the known keys are {known}."
        raise ScalpScopeError(f"The settings file {path} is refused: {_first(error)}.", remedy) from error
    return _with_absolute_paths(settings, path.resolve().parent)


def _with_absolute_paths(settings: DeviceSettings, folder: Path) -> DeviceSettings:
    paths: dict[str, Path | str] = {
        "records": folder / settings.records.expanduser(),
        "overview_folder": folder / settings.overview_folder.expanduser(),
    }
    if settings.bundle is not None:
        paths["bundle"] = folder / settings.bundle.expanduser()
    if settings.advice is not None:
        paths["advice"] = folder / settings.advice.expanduser()
    if settings.source is not None and settings.source != "demo" and not settings.source.startswith("camera"):
        paths["source"] = str(folder / Path(settings.source).expanduser())
    if settings.profile is not None and (folder / Path(settings.profile).expanduser()).is_file():
        paths["profile"] = str(folder / Path(settings.profile).expanduser())  # otherwise the name of a known profile
    return settings.model_copy(update=paths)


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"{key!r} is not a setting"
    message = str(first["msg"]).removeprefix("Value error, ")
    return f"{key}: {message}" if key else message
