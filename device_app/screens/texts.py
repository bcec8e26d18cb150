"""Every word on the screens, by language and key. A language is complete or it is not offered."""

from __future__ import annotations

TEXTS: dict[str, dict[str, str]] = {
    "en": {
        "app": "ScalpScope",
        # controls
        "freeze": "Freeze",
        "live": "Live",
        "save": "Save",
        "calibrate": "Calibrate",
        "histogram": "Histogram",
        "figures": "Figures",
        "back": "Back",
        "close": "Close",
        # figures
        "density": "Hair density",
        "mean_diameter": "Mean diameter",
        "thin_share": "Thin (< {cut} µm)",
        "unit_per_cm2": "/cm²",
        "unit_um": "µm",
        "unit_percent": "%",
        "histogram_title": "Hairs by diameter",
        "histogram_none": "No diameters without a scale",
        "histogram_empty": "No hair measured",
        "class_vellus": "Vellus",
        "class_intermediate": "Intermediate",
        "class_terminal": "Terminal",
        # why a figure is a dash, in four words at most
        "doubt_no_picture": "no picture",
        "doubt_no_analysis": "waiting for the analysis",
        "doubt_measuring": "measuring",
        "doubt_failed": "analysis failed",
        "doubt_too_dark": "too dark",
        "doubt_too_bright": "too bright",
        "doubt_out_of_focus": "out of focus",
        "reason_no_scale": "no scale",
        "reason_no_hairs": "no hairs seen",
        "reason_no_diameters": "hairs not measurable",
        "reason_too_few": "too few hairs",
        "reason_unknown": "not measurable",
        # on the picture
        "demonstration": "Demonstration model – not for diagnosis",
        "sharp": "Sharp",
        "blurred": "Not sharp",
        "bar_um": "{length} µm",
        "bar_mm": "{length} mm",
        "inset_age": "Measured {age} s ago",
        "raw": "Picture without overlay",
        "hair_card": "Hair {id}",
        "hair_diameter_um": "{value} µm ± {spread}",
        "hair_diameter_px": "{value} px ± {spread}",
        "hair_unmeasured": "not measurable",
        "hair_along_um": "Diameter along the hair, µm",
        "hair_along_px": "Diameter along the hair, px",
        # status bar
        "status_fps": "{fps} fps",
        "status_latency": "{ms} ms",
        "status_no_latency": "– ms",
        "status_no_backend": "no analysis",
        "status_no_profile": "no profile",
        "status_typed_scale": "{scale} µm/px",
        "precision_fp32": "fp32",
        "precision_fp16": "fp16",
        "precision_int8_u8s8": "int8",
        "precision_int8_symmetric": "int8",
        "backend_onnxruntime-cpu": "CPU",
        # states
        "source_opening": "Opening {source}",
        "source_opening_detail": "The first picture comes in a moment.",
        "no_camera": "No camera",
        "source_lost": "Camera lost",
        "trying_since": "Trying for {since}.",
        "source_ended": "End of the recording",
        "worker_starting": "Analysis is starting",
        "worker_hung": "Analysis hangs and is being restarted",
        "worker_restarting": "Analysis is restarting",
        "worker_refused": "Analysis cannot run",
        "analysis_failed": "A picture could not be analysed",
        "stopped": "Stopped",
        "no_scale": "No scale – calibrate for µm",
        "wrong_profile": "No scale – profile does not fit",
        "out_of_focus": "Out of focus",
        "too_dark": "Too dark",
        "too_bright": "Too bright",
        "fallback": "Slower back end",
        "disk_nearly_full": "Disk nearly full: {free} left",
        "behind": "Analysis is slow – overlay in the inset",
        "frozen": "Frozen",
        "frozen_measuring": "Frozen – measuring",
        "saving": "Saving …",
        "save_waits": "Saved as soon as it is measured",
        "saved": "Saved {name}",
        "save_nothing": "Nothing to save yet",
        "save_failed": "Not saved",
        "seconds": "{n} s",
        "minutes": "{n} min",
        # calibration
        "calibrate_title": "Calibrate",
        "method_ruler": "Ruler",
        "method_points": "Points",
        "method_typed": "Number",
        "method_white": "White",
        "method_profiles": "Saved",
        "ruler_help": "Lay a ruler or stage micrometer under the microscope. Choose its tick spacing.",
        "tick_spacing": "Tick spacing, µm",
        "find_ruler": "Find ruler",
        "finding": "Looking …",
        "ruler_found": "{count} ticks",
        "scale_found": "{scale} ± {spread} µm/px",
        "points_help": "Tap two points whose distance you know.",
        "points_one": "Now tap the second point.",
        "points_two": "Enter their distance.",
        "distance_um": "Distance, µm",
        "typed_help": "Enter the scale that your microscope's maker states.",
        "scale_um_per_px": "Scale, µm per pixel",
        "white_help": "Fill the picture with plain white paper, slightly out of focus.",
        "take_white": "Measure white",
        "white_found": "Light falls to {fall} % in the darkest part.",
        "white_needs_profile": "Calibrate the scale first: the light belongs to the same profile.",
        "profiles_help": "Calibrations kept on this device.",
        "no_profile_choice": "No scale",
        "profile_line": "{scale} µm/px   {width} × {height}",
        "name_scope": "Microscope",
        "name_magnification": "Magnification",
        "profile_name": "scope {letter} {magnification}x",
        "use_scale": "Use and keep",
        "replace": "Replace {name}?",
        "replace_yes": "Replace",
        "again": "Again",
        "using": "Measuring with {name}",
        "no_picture_yet": "There is no picture to calibrate with.",
        "enter_number": "Enter a number.",
        "enter": "Enter",
        "erase": "Erase",
        "microscope": "Microscope {letter}",
        "no_scale_now": "Measuring without a scale",
    },
}

_language = "en"


def choose_language(language: str) -> None:
    """Speak this language from now on. Raises `KeyError` for one that is not offered."""
    global _language
    if language not in TEXTS:
        raise KeyError(language)
    _language = language


def text_or(key: str, otherwise: str) -> str:
    """The words for a key that may be in no table, such as the name of a back end that came later."""
    return TEXTS[_language].get(key, otherwise)


def text(key: str, **values: object) -> str:
    """The words for a key, its ``{names}`` filled in. Raises `KeyError` for a key that is in no table."""
    return TEXTS[_language][key].format(**values)
