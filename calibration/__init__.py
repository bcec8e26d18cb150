"""What stands under everything: how pixels become micrometres, and how networks become integers.

`calibration.optics` knows the microscope (scale, light, focus, profiles); `calibration.quantisation` chooses frames and
ranges for int8; `calibration.pictures` and `calibration.files` read pictures and write files for every floor.
Imports nothing of ours from above, and never torch.
"""

from calibration.errors import ScalpScopeError

__all__ = ["ScalpScopeError"]
