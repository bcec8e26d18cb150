"""A profile: the calibration of one microscope at one magnification and one resolution, kept as a JSON file."""

from __future__ import annotations

import json
import math
import os
import re
from datetime import datetime, timezone
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from calibration.errors import ScalpScopeError
from calibration.files import make_folder, write_text_atomically
from calibration.optics.illumination import MAX_GAIN, FlatField

SCHEMA_VERSION: Literal[1] = 1

_CALIBRATE_AGAIN = "Calibrate again with scalpscope-calibrate, or with CALIBRATE on the screen."

Gain = Annotated[float, Field(ge=1.0, le=MAX_GAIN)]
_STRICT = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class ScaleMethod(str, Enum):
    """How the scale was found."""

    RULER = "ruler"
    POINTS = "points"
    TYPED = "typed"


class FlatFieldData(BaseModel):
    """A flat field as the profile keeps it.

    Attributes:
        gains: rows x columns x 3 (red, green, blue); what to multiply the picture by at nodes evenly spaced over the
            picture, the outermost ones on its border pixels. 1 where the paper was brightest, more elsewhere.
    """

    model_config = _STRICT

    gains: list[list[Annotated[list[Gain], Field(min_length=3, max_length=3)]]]

    @model_validator(mode="after")
    def _is_a_grid(self) -> FlatFieldData:
        if len(self.gains) < 2 or len(self.gains[0]) < 2 or len({len(row) for row in self.gains}) != 1:
            raise ValueError("gains must be a grid of at least 2 x 2 nodes with rows of one length")
        return self


class Profile(BaseModel):
    """What must be known of a microscope to turn its pixels into micrometres.

    Attributes:
        schema_version: of this file's layout.
        name: what the user calls it; also its file name. Letters, digits, space, ``- _ . +``.
        microscope: maker and model, free text, may be empty.
        magnification: as set on the microscope when it was calibrated, such as ``50x``; may be empty.
        width_px, height_px: of the pictures that it holds for.
        scale_um_per_px: micrometres on the scalp per pixel.
        scale_uncertainty_um_per_px: one standard deviation of that scale.
        method: how the scale was found.
        created: when, with its time zone.
        flat_field: evens out the light, or None where no white paper was shown.
        white_balance: gains of red, green and blue that make the paper white, or None.
    """

    model_config = _STRICT

    schema_version: Literal[1] = SCHEMA_VERSION
    name: Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[\w+][\w .+-]*$")]
    microscope: Annotated[str, Field(max_length=200)] = ""
    magnification: Annotated[str, Field(max_length=40)] = ""
    width_px: Annotated[int, Field(ge=1, le=100_000)]
    height_px: Annotated[int, Field(ge=1, le=100_000)]
    scale_um_per_px: Annotated[float, Field(ge=0.01, le=1000.0)]
    scale_uncertainty_um_per_px: Annotated[float, Field(ge=0.0, le=1000.0)]
    method: ScaleMethod
    created: AwareDatetime = Field(default_factory=lambda: datetime.now(timezone.utc).replace(microsecond=0))
    flat_field: FlatFieldData | None = None
    white_balance: tuple[Gain, Gain, Gain] | None = None

    @classmethod
    def make(cls, **facts: Any) -> Profile:
        """A profile from what a user typed and a scale that was found; the arguments are the attributes.

        Raises:
            ScalpScopeError: one of them is out of its range; says which.
        """
        try:
            return cls(**facts)
        except ValidationError as error:
            field, reason = _first_fault(error)
            if field == "name":
                raise ScalpScopeError(
                    f"'{facts.get('name')}' cannot be the name of a profile.",
                    "Use 1 to 80 letters, digits, spaces and - _ . + and begin with a letter or digit.",
                ) from error
            raise ScalpScopeError(f"This profile is not possible: {field}: {reason}.", "Check the values.") from error

    @property
    def relative_uncertainty(self) -> float:
        """Uncertainty of the scale as a fraction of it (one standard deviation); the density's is twice that."""
        return self.scale_uncertainty_um_per_px / self.scale_um_per_px

    def illumination(self) -> FlatField | None:
        """The correction of light and colour that this profile holds, or None."""
        if self.flat_field is None and self.white_balance is None:
            return None
        return FlatField.from_gains(self.flat_field.gains if self.flat_field else None, self.white_balance)

    def with_illumination(self, field: FlatField) -> Profile:
        """The same profile with the light correction ``field`` in place of its own."""
        gains = FlatFieldData(gains=[[[round(float(g), 4) for g in node] for node in row] for row in field.gains])
        return self.model_copy(update={"flat_field": gains, "white_balance": field.white_balance})

    def check_resolution(self, width: int, height: int) -> None:
        """Refuse pictures of another size than the one this profile was made with.

        Also where the shape is the same: a camera that bins, crops or scales changes the micrometres of a pixel, and
        which of them it does cannot be told from the picture.

        Raises:
            ScalpScopeError: says which resolution the profile is for, and what to do.
        """
        if (width, height) != (self.width_px, self.height_px):
            raise ScalpScopeError(
                f"The profile '{self.name}' was made for {self.width_px} x {self.height_px} pixels, but this picture "
                f"has {width} x {height}; its scale would be wrong.",
                f"Set the camera to {self.width_px} x {self.height_px}, or calibrate a profile for {width} x {height}.",
            )

    def save(self, path: Path) -> None:
        """Write the profile as JSON, whole or not at all; the folder is made if it is missing.

        Raises:
            ScalpScopeError: it cannot be written.
        """
        path = Path(path)
        make_folder(path.parent)
        write_text_atomically(path, self.model_dump_json() + "\n")

    @classmethod
    def load(cls, name_or_path: str | Path) -> Profile:
        """Read a profile.

        Args:
            name_or_path: a file, or the name of a profile in `profiles_folder` (with or without ``.json``).

        Raises:
            ScalpScopeError: it is missing, not readable, not a profile, or of a newer schema.
        """
        path = find_profile(name_or_path)
        try:
            text = path.read_text(encoding="utf-8")
        except PermissionError as error:
            raise ScalpScopeError(f"The profile '{path}' may not be read by you.", "Ask its owner for it.") from error
        except UnicodeDecodeError as error:
            raise ScalpScopeError(f"'{path}' is not a profile: it is not text.", _CALIBRATE_AGAIN) from error
        except OSError as error:
            raise ScalpScopeError(
                f"The profile '{path}' could not be read: {error.strerror}.", "Check the disk, then try again."
            ) from error
        return cls._parse(path, text)

    @classmethod
    def _parse(cls, path: Path, text: str) -> Profile:
        try:
            content: Any = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ScalpScopeError(f"'{path}' is not a profile: it is not whole JSON.", _CALIBRATE_AGAIN) from error
        version = content.get("schema_version") if isinstance(content, dict) else None
        if isinstance(version, int) and not isinstance(version, bool) and version > SCHEMA_VERSION:
            raise ScalpScopeError(
                f"The profile '{path}' was written by a newer ScalpScope (schema {version}; this one reads up to "
                f"{SCHEMA_VERSION}).",
                "Update ScalpScope, or calibrate again with this one.",
            )
        if version is None:
            raise ScalpScopeError(f"'{path}' is not a profile: it has no schema_version.", _CALIBRATE_AGAIN)
        try:
            # From the text, not from ``content``: strict JSON rules let a time be a string and a tuple a list.
            return cls.model_validate_json(text)
        except ValidationError as error:
            place, reason = _first_fault(error)
            raise ScalpScopeError(f"The profile '{path}' is not valid: {place}: {reason}.", _CALIBRATE_AGAIN) from error

    @model_validator(mode="after")
    def _uncertainty_is_below_the_scale(self) -> Profile:
        if not math.isfinite(self.scale_um_per_px) or self.scale_uncertainty_um_per_px >= self.scale_um_per_px:
            raise ValueError("scale_uncertainty_um_per_px must be smaller than scale_um_per_px")
        return self


def _first_fault(error: ValidationError) -> tuple[str, str]:
    """Which field is wrong, and why."""
    first = error.errors()[0]
    return ".".join(map(str, first["loc"])) or "the whole", first["msg"]


def profiles_folder() -> Path:
    """Where profiles are kept: ``$XDG_CONFIG_HOME/scalpscope/profiles``, else in ``~/.config``. May not exist."""
    configured = os.environ.get("XDG_CONFIG_HOME", "")
    base = Path(configured) if Path(configured).is_absolute() else Path.home() / ".config"
    return base / "scalpscope" / "profiles"


def profile_path(name: str) -> Path:
    """The file in which the profile called ``name`` is kept."""
    return profiles_folder() / f"{name}.json"


def list_profiles() -> list[Path]:
    """The profile files in `profiles_folder`, by name; none if there is no such folder."""
    return sorted(profiles_folder().glob("*.json"))


def find_profile(name_or_path: str | Path) -> Path:
    """The file that a name or a path stands for.

    Raises:
        ScalpScopeError: there is none; says which names there are.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    if re.fullmatch(r"[\w+][\w .+-]*", str(name_or_path)):
        for candidate in (profiles_folder() / str(name_or_path), profile_path(str(name_or_path))):
            if candidate.is_file():
                return candidate
    known = [file.stem for file in list_profiles()]
    raise ScalpScopeError(
        f"There is no profile '{name_or_path}'.",
        f"Known profiles: {', '.join(known)}." if known else "Make one with scalpscope-calibrate ruler PICTURE.",
    )
