"""The hair-loss stage of one overview photograph as files: NAME_stage.json, and NAME_heat_stage.png if it is wanted."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from device_app import __version__
from device_app.analysis_files import encode_png, to_json
from device_app.file_sets import write_file_set
from device_app.grade_files import judgement_record
from device_app.live.analysis import ClassJudgement
from device_app.vision.overlay import draw_heat

SCHEMA_VERSION = 1
HEAT_MAP_ENDING = "_heat_stage.png"


def stage_record(image_name: str, image: np.ndarray, judgement: ClassJudgement) -> dict[str, Any]:
    """The content of NAME_stage.json: plain values, None wherever nothing may be stated.

    Args:
        image_name: of the photograph, without folders.
        image: (H, W, 3) uint8 RGB, the very photograph.
        judgement: of it.
    """
    told = judgement_record(judgement)
    return {
        "schema_version": SCHEMA_VERSION,
        "image": image_name,
        "width_px": image.shape[1],
        "height_px": image.shape[0],
        "hair_loss_stage": told.pop("label"),
        **told,
        "timings_ms": {stage: round(ms, 3) for stage, ms in judgement.timings_ms.items()},
        "software": f"scalpscope {__version__}",
        "analysed": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def save_judgement(
    folder: Path, photograph: Path, image: np.ndarray, judgement: ClassJudgement, with_heat_map: bool = False
) -> dict[str, Any]:
    """Write one photograph's results, all of them or none, and return the record; an earlier run's are replaced.

    Args:
        folder: made if it is not there.
        photograph: whose name the files get.
        image: (H, W, 3) uint8 RGB, what was read of it.
        judgement: of it.
        with_heat_map: draw what in it speaks for the stage; nothing is drawn where none is said.

    Raises:
        CannotWrite: the folder cannot be written or the disk is full; nothing is left behind.
    """
    record = stage_record(photograph.name, image, judgement)
    files = {}
    if with_heat_map and judgement.heat_map is not None:
        files[f"{photograph.stem}{HEAT_MAP_ENDING}"] = encode_png(draw_heat(image, judgement.heat_map))
    files[f"{photograph.stem}_stage.json"] = to_json(record)
    write_file_set(folder, files)
    return record
