"""Save: whole or not at all, never the same name twice, and told when it fails."""

from __future__ import annotations

import json
import resource
import time
from pathlib import Path

import cv2
import numpy as np

from calibration.errors import ScalpScopeError
from device_app.analysis_files import Provenance, SavedAnalysis
from device_app.live.refinement import Correction
from device_app.screens.saving import Saver
from tests.support.analyses import make_analysis, make_frame, make_refinement


def _outcomes(saver: Saver, count: int) -> list[SavedAnalysis | ScalpScopeError]:
    outcomes: list[SavedAnalysis | ScalpScopeError] = []
    until = time.monotonic() + 60
    while len(outcomes) < count and time.monotonic() < until:
        outcomes += saver.finished()
        time.sleep(0.01)
    return outcomes


def test_saves_in_the_same_second_all_stay(tmp_path: Path) -> None:
    saver, frame = Saver(tmp_path / "records"), make_frame()
    for _ in range(3):
        saver.save(frame.image, make_analysis(frame), Provenance(profile="scope A 50x"))
    saved = _outcomes(saver, 3)
    saver.close()
    assert not saver.busy
    stems = {outcome.json.stem for outcome in saved if isinstance(outcome, SavedAnalysis)}
    assert len(stems) == 3
    for stem in stems:
        record = json.loads((tmp_path / "records" / f"{stem}.json").read_text(encoding="utf-8"))
        assert record["profile"] == "scope A 50x"
        assert record["image"] == f"{stem}.png"
        picture = cv2.imread(str(tmp_path / "records" / f"{stem}.png"))
        assert np.array_equal(picture, frame.image)
    assert len(list((tmp_path / "records").iterdir())) == 12


def test_a_disk_without_room_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    saver, frame = Saver(tmp_path / "records"), make_frame()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, hard))
    try:
        saver.save(frame.image, make_analysis(frame), Provenance())
        (outcome,) = _outcomes(saver, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    saver.close()
    assert isinstance(outcome, ScalpScopeError)
    assert str(tmp_path) in str(outcome)
    assert list((tmp_path / "records").iterdir()) == []


def test_a_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "records").write_text("in the way")
    saver, frame = Saver(tmp_path / "records"), make_frame()
    saver.save(frame.image, make_analysis(frame), Provenance())
    (outcome,) = _outcomes(saver, 1)
    saver.close()
    assert isinstance(outcome, ScalpScopeError)


def test_room_is_that_of_the_disk_where_the_folder_will_be(tmp_path: Path) -> None:
    saver = Saver(tmp_path / "not" / "there" / "yet")
    until = time.monotonic() + 60
    while (free := saver.free_bytes()) is None and time.monotonic() < until:
        time.sleep(0.01)
    saver.close()
    assert free is not None
    assert free > 0


def test_a_refined_picture_is_saved_with_its_masks_and_corrections(tmp_path: Path) -> None:
    saver, frame = Saver(tmp_path), make_frame()
    refinement = make_refinement(frame, (Correction(20.0, 30.5, hair=True), Correction(1.0, 2.0, hair=False)))
    saver.save(frame.image, refinement.analysis, Provenance(), refinement)
    (saved,) = _outcomes(saver, 1)
    saver.close()
    assert isinstance(saved, SavedAnalysis)
    record = json.loads(saved.json.read_text(encoding="utf-8"))["refinement"]
    assert record["corrections"] == [{"x": 20.0, "y": 30.5, "hair": True}, {"x": 1.0, "y": 2.0, "hair": False}]
    files = {
        record["coarse_mask_file"]: refinement.coarse_mask,
        record["refined_mask_file"]: refinement.refined_mask,
        saved.mask.name: refinement.mask,
    }
    assert len(files) == 3
    for name, mask in files.items():
        assert np.array_equal(cv2.imread(str(tmp_path / name), cv2.IMREAD_UNCHANGED), mask)
