"""TensorRT's Python package: found, of a version that is known to work, and its messages in our log."""

from __future__ import annotations

import logging
from collections import deque
from functools import cache
from typing import Any

from calibration.errors import ScalpScopeError

_log = logging.getLogger(__name__)

OLDEST, FIRST_TOO_NEW = (10, 3), (12, 0)
INSTALL = (
    "On a Jetson TensorRT comes with JetPack and 'make link-tensorrt' shows it to the virtual environment; elsewhere "
    "install the extra tensorrt-cu12 or tensorrt-cu13, as the driver (docs/jetson.md)."
)
_KEPT_ERRORS = 4


def load_tensorrt() -> Any:
    """The module ``tensorrt``.

    Raises:
        ScalpScopeError: it is not installed, cannot be loaded, or is a version this was not made for.
    """
    try:
        import tensorrt
    except ImportError as error:
        if getattr(error, "name", None) == "tensorrt":
            raise ScalpScopeError("TensorRT is not installed.", INSTALL) from error
        raise ScalpScopeError(f"TensorRT cannot be loaded: {_first_line(error)}.", INSTALL) from error
    except (OSError, RuntimeError, AttributeError) as error:  # a broken installation
        raise ScalpScopeError(f"TensorRT cannot be loaded: {_first_line(error)}.", INSTALL) from error
    version = str(getattr(tensorrt, "__version__", ""))
    try:
        major, minor = (int(part) for part in version.split(".")[:2])
    except ValueError:
        raise ScalpScopeError(f"TensorRT '{version}' is of no known version.", INSTALL) from None
    if not OLDEST <= (major, minor) < FIRST_TOO_NEW:
        raise ScalpScopeError(f"TensorRT {version} was not tried; 10.3 to 11.x were.", INSTALL)
    return tensorrt


@cache
def logger_of(trt: Any) -> Any:
    """The ``tensorrt.ILogger`` that writes into our log, with ``take_errors()``: the last errors in one line, each told
    once; empty when there were none.

    One for the process: TensorRT keeps the first that it is given, and warns of every other.

    Args:
        trt: the module ``tensorrt``.
    """
    severity = trt.ILogger.Severity
    levels = {
        severity.INTERNAL_ERROR: logging.ERROR,
        severity.ERROR: logging.ERROR,
        severity.WARNING: logging.WARNING,
        # What TensorRT calls information is a page for each engine.
        severity.INFO: logging.DEBUG,
    }

    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self._errors: deque[str] = deque(maxlen=_KEPT_ERRORS)

        def log(self, severity: Any, msg: str) -> None:
            level = levels.get(severity)
            if level is None:  # verbose: thousands of lines
                return
            _log.log(level, "TensorRT: %s", msg)
            if level == logging.ERROR:
                self._errors.append(" ".join(msg.split()))

        def take_errors(self) -> str:
            told = "; ".join(self._errors)
            self._errors.clear()
            return told

    return Logger()


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
