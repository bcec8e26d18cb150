"""One microscope's optics: its scale with an uncertainty, its light, its focus, and the profile that keeps them.

`find_ruler` and `scale_from_points` give micrometres per pixel; `FlatField` evens out the light; `focus_score` says how
sharp a picture is; `Profile` is the file that holds a microscope's calibration at one magnification and one resolution.
"""

from calibration.optics.focus import SHARP_ENOUGH, focus_score
from calibration.optics.illumination import Exposure, FlatField, exposure_state
from calibration.optics.profile import Profile, list_profiles, profiles_folder
from calibration.optics.scale import RulerFit, ScaleEstimate, find_ruler, scale_from_points, typed_scale

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
