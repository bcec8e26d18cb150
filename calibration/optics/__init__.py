"""One microscope's optics: its scale with an uncertainty, its light, its focus, and the profile that keeps them.

`find_ruler` and `scale_from_points` give micrometres per pixel; `FlatField` evens out the light; `focus_score` says how
sharp a picture is; `Profile` is the file that holds a microscope's calibration at one magnification and one resolution.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from calibration.optics.focus import SHARP_ENOUGH, focus_score
from calibration.optics.illumination import Exposure, FlatField, exposure_state
from calibration.optics.profile import Profile, list_profiles, profiles_folder

if TYPE_CHECKING:
    from calibration.optics.scale import RulerFit as RulerFit
    from calibration.optics.scale import ScaleEstimate as ScaleEstimate
    from calibration.optics.scale import find_ruler as find_ruler
    from calibration.optics.scale import scale_from_points as scale_from_points
    from calibration.optics.scale import typed_scale as typed_scale

__all__ = [
    "SHARP_ENOUGH",
    "Exposure",
    "FlatField",
    "Profile",
    "RulerFit",
    "ScaleEstimate",
    "exposure_state",
    "find_ruler",
    "focus_score",
    "list_profiles",
    "profiles_folder",
    "scale_from_points",
    "typed_scale",
]


def __getattr__(name: str) -> Any:
    """Import what finds scales when it is first asked for: a live worker comes up half a second sooner without it."""
    if name in __all__:
        from calibration.optics import scale

        return getattr(scale, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
