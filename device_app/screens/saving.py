"""Save, off the screen's thread: one result at a time, whole or not at all, and how full the disk is."""

from __future__ import annotations

import logging
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

import numpy as np

from calibration.errors import ScalpScopeError
from device_app.analysis_files import Provenance, SavedAnalysis, refined_names, result_names, save_analysis
from device_app.live.analysis import Analysis, Conditions
from device_app.live.refinement import Refinement

log = logging.getLogger(__name__)


class Saver:
    """Writes analysed pictures into the records folder on a thread of its own. Used by one thread; nothing blocks it.

    Args:
        folder: made when the first result is saved.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="save")
        self._disk_pool = ThreadPoolExecutor(1, thread_name_prefix="disk")
        self._saving: list[Future[SavedAnalysis]] = []
        self._asking: Future[int | None] | None = None
        self._free_bytes: int | None = None

    def save(
        self,
        image: np.ndarray,
        analysis: Analysis,
        provenance: Provenance,
        refinement: Refinement | None = None,
        conditions: Conditions | None = None,
    ) -> None:
        """Write picture, mask, overlay and JSON, named by the time; `finished` tells how it went.

        Args:
            refinement: what `analysis` is of, if the picture was refined.
            conditions: of this very picture, if it was graded.
        """
        task = (self.folder, image, analysis, provenance, refinement, conditions, datetime.now())
        self._saving.append(self._pool.submit(_save, *task))

    @property
    def busy(self) -> bool:
        """Whether a result is being written or its outcome was not fetched yet."""
        return bool(self._saving)

    def finished(self) -> list[SavedAnalysis | ScalpScopeError]:
        """The outcomes that came in since the last call."""
        outcomes: list[SavedAnalysis | ScalpScopeError] = []
        for future in [future for future in self._saving if future.done()]:
            self._saving.remove(future)
            error = future.exception()
            if error is None:
                outcomes.append(future.result())
            elif isinstance(error, ScalpScopeError):
                outcomes.append(error)
            else:  # a fault of ours: told on the screen, and the screen lives
                log.error("saving failed", exc_info=error)
                outcomes.append(ScalpScopeError(f"Saving failed: {error}.", "Try again."))
        return outcomes

    def free_bytes(self) -> int | None:
        """Room on the records' disk as last seen; None before that. Every call starts a new look."""
        if self._asking is not None and self._asking.done():
            self._free_bytes = self._asking.result()
            self._asking = None
        if self._asking is None:
            self._asking = self._disk_pool.submit(_free_bytes, self.folder)
        return self._free_bytes

    def close(self) -> None:
        """Finish what is being written. Waits for it."""
        self._pool.shutdown()
        self._disk_pool.shutdown(wait=False)


def _save(
    folder: Path,
    image: np.ndarray,
    analysis: Analysis,
    provenance: Provenance,
    refinement: Refinement | None,
    conditions: Conditions | None,
    now: datetime,
) -> SavedAnalysis:
    stem = first = now.strftime("scalp_%Y-%m-%d_%H-%M-%S")
    count = 1
    while any((folder / name).exists() for name in (*result_names(stem), *refined_names(stem), f"{stem}.png")):
        count += 1
        stem = f"{first}_{count}"
    return save_analysis(
        folder, stem, image, analysis, provenance, with_picture=True, refinement=refinement, conditions=conditions
    )


def _free_bytes(folder: Path) -> int | None:
    """Room where `folder` is or will be; None when that cannot be told."""
    for place in (folder, *folder.absolute().parents):
        try:
            return shutil.disk_usage(place).free
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return None
