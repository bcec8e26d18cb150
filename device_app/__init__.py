"""What runs on the device: camera, engines, vision, the live loop, screens, records, and the `scalpscope` command.

Imports `calibration` and nothing above it; never torch. `analyse_picture` measures one picture from a program::

    from device_app import analyse_picture
    analysis = analyse_picture(image, scale_um_per_px=2.5)   # image: (H, W, 3) uint8 RGB
    print(analysis.measurements.density_per_cm2)
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

# Before anything imports onnxruntime: its Linux wheels report usage by default, and pictures of patients stay silent.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# Before anything imports OpenCV: a USB camera that falls silent is given up after this many seconds instead of ten.
os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "2")

if TYPE_CHECKING:
    from device_app.analyse import analyse_picture as analyse_picture

__version__ = "0.1.0"
__all__ = ["__version__", "analyse_picture"]


def __getattr__(name: str) -> Any:
    """Import `analyse_picture` when it is first asked for, so that ``scalpscope --help`` does not wait for OpenCV."""
    if name == "analyse_picture":
        from device_app.analyse import analyse_picture

        return analyse_picture
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
