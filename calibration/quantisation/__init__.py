"""Choosing how a network is made small: which frames stand for the world (`frames`), which range of values each tensor
keeps (`ranges`), and which layers are better left in float (`sensitivity`). Pure NumPy and OpenCV; running the network
is the caller's.
"""

from calibration.quantisation.frames import choose_frames, frame_features
from calibration.quantisation.ranges import RANGE_RULES, RangeRule, TensorHistogram
from calibration.quantisation.sensitivity import Loss, Scored, Sensitivity, find_float_layers

__all__ = [
    "RANGE_RULES",
    "Loss",
    "RangeRule",
    "Scored",
    "Sensitivity",
    "TensorHistogram",
    "choose_frames",
    "find_float_layers",
    "frame_features",
]
