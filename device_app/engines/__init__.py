"""What runs a network: one file per back end behind the small protocol of `engine`, the goldens each must reproduce,
and the choice between them (`select.open_engine`). Only the protocol is handed out here, because the bundle is written
in its terms; a back end is imported where it is opened.
"""

from device_app.engines.engine import Engine, Precision

__all__ = ["Engine", "Precision"]
