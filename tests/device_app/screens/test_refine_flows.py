"""Ways through the real app with refined pictures, as data, with a tiny real SAM in a real refine process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from device_app.camera.phantom import render_phantom
from device_app.images import write_png_atomically
from tests.device_app.screens.conftest import RunPlan, check_controls

Steps = list[dict[str, Any]]


def test_a_frozen_picture_is_refined_looked_at_corrected_and_saved(
    run_plan: RunPlan, sam_bundle: Path, tmp_path: Path
) -> None:
    refine: Steps = [
        {"expect": {"density_not": "–", "label": "Hair density", "tools": False}},
        {"press": "freeze"},
        {"pause_refiner": True},
        {"expect": {"refining": True, "notices": ["refining"], "refined": False, "overlay": True, "tools": True}},
        {"pause_refiner": False},
        {"expect": {"refined": True, "refining": False, "no_notice": "refining", "notices": ["refined"]}},
        {"expect": {"layer": "hair", "hair_lines": True, "label": "Hair density, refined", "rates_has": "refined"}},
        {"remember_mask": "refined"},
    ]
    flip: Steps = [
        {"press": "tool_coarse"},
        {"expect": {"layer": "coarse", "hair_lines": False, "notices": ["other_mask"], "overlay": True}},
        {"tap_hair": None},
        {"expect": {"card": False, "label": "Hair density, refined"}},
        {"press": "tool_sam"},
        {"expect": {"layer": "sam", "hair_lines": False, "notices": ["other_mask"], "marks": False}},
        {"press": "tool_points"},
        {"expect": {"points": True, "marks": True}},
        {"press": "tool_points"},
        {"expect": {"points": False, "marks": False}},
        {"press": "tool_hair"},
        {"expect": {"layer": "hair", "hair_lines": True, "no_notice": "other_mask", "mask_of": "refined"}},
    ]
    correct: Steps = [
        {"press": "tool_correct"},
        {"expect": {"correcting": True, "notices": ["correcting"]}},
        {"pause_refiner": True},
        {"hold_hair": None},
        {"expect": {"corrections": 1, "corrected": 0, "marks": True, "mask_of": "refined", "refining": True}},
        {"lift": None},
        {"expect": {"corrections": 1, "held": False}},
        {"pause_refiner": False},
        {"expect": {"corrected": 1, "mask_not_of": "refined", "label": "Hair density, corrected"}},
        {"expect": {"notices": ["refined_corrected"]}},
        {"remember_mask": "corrected"},
        {"tap_bare": None},
        {"expect": {"corrections": 2, "corrected": 2}},
        {"press": "tool_undo"},
        {"expect": {"corrections": 1, "corrected": 1, "mask_of": "corrected"}},
        {"press": "tool_undo"},
        {"expect": {"corrections": 0, "corrected": 0, "marks": False, "mask_of": "refined"}},
        {"expect": {"label": "Hair density, refined"}},
        {"pause_refiner": True},
        {"hold_hair": None},
        {"expect": {"corrections": 1}},
        {"lift": None},
        {"press": "save"},
        {"expect": {"notices": ["save_waits"], "file_count": 0}},
        {"pause_refiner": False},
        {"expect": {"notices": ["saved"], "file_count": 6}},
        {"press": "tool_correct"},
        {"expect": {"correcting": False, "marks": True}},
        {"hold": [0.5, 0.5]},
        {"expect": {"held": True, "overlay": False, "marks": False, "corrections": 1}},
        {"lift": None},
        {"tap_hair": None},
        {"expect": {"card": True, "overlay": True, "corrections": 1}},
        {"press": "freeze"},
        {"expect": {"frozen": False, "refined": False, "marks": False, "tools": False, "label": "Hair density"}},
    ]
    run_plan(refine + flip + correct, bundle=str(sam_bundle), scale=6.0)
    (path,) = (tmp_path / "records").glob("*.json")
    record = json.loads(path.read_text(encoding="utf-8"))
    (correction,) = record["refinement"]["corrections"]
    assert correction["hair"] is False
    assert 0 <= correction["x"] <= 319 and 0 <= correction["y"] <= 239
    mask, refined, coarse = (
        cv2.imread(str(path.with_name(name)), cv2.IMREAD_UNCHANGED)
        for name in (
            f"{path.stem}_mask.png",
            record["refinement"]["refined_mask_file"],
            record["refinement"]["coarse_mask_file"],
        )
    )
    place = round(correction["y"]), round(correction["x"])
    assert (mask[place], refined[place], coarse[place]) == (0, 0, 255)


def test_refining_can_be_stopped_and_begun_again(run_plan: RunPlan, sam_bundle: Path) -> None:
    run_plan(
        [
            {"expect": {"density_not": "–"}},
            {"press": "refine"},
            {"pause_refiner": True},
            {"expect": {"frozen": True, "refining": True, "refined": False, "overlay": True}},
            {"press": "refine"},
            {"expect": {"frozen": True, "refining": False, "refined": False, "no_notice": "refining"}},
            {"press": "save"},
            {"expect": {"notices": ["saved"], "file_count": 4, "no_notice": "refine_failed"}},
            {"press": "refine"},
            {"expect": {"refining": True, "notices": ["refining"]}},
            {"pause_refiner": False},
            {"expect": {"refined": True, "refining": False, "can_refine": False}},
            {"press": "tool_correct"},
            {"pause_refiner": True},
            {"tap_bare": None},
            {"expect": {"corrections": 1, "refining": True}},
            {"press": "refine"},
            {"expect": {"corrections": 0, "refining": False, "refined": True, "marks": False}},
            {"tap_bare": None},
            {"press": "save"},
            {"expect": {"notices": ["save_waits"], "file_count": 4}},
            {"press": "freeze"},
            {"expect": {"frozen": False, "notices": ["saved"], "file_count": 10}},
            {"pause_refiner": False},
            {"press": "refine"},
            {"expect": {"frozen": True, "refined": True, "corrections": 0, "correcting": False}},
            {"press": "calibrate"},
            {"press": "back"},
            {"expect": {"screen": "live", "frozen": False, "refined": False, "can_refine": True}},
        ],
        bundle=str(sam_bundle),
        scale=6.0,
    )


def test_a_bundle_without_sam_says_so_and_works(run_plan: RunPlan) -> None:
    run_plan(
        [
            {"expect": {"density_not": "–", "can_refine": False}},
            {"touch": "refine"},
            {"expect": {"notices": ["refine_missing"], "frozen": False}},
            {"press": "freeze"},
            {"expect": {"frozen": True, "measuring": False, "overlay": True, "tools": False}},
            {"expect": {"refining": False, "can_refine": False, "no_notice": "refine_failed"}},
            {"press": "save"},
            {"expect": {"notices": ["saved"], "file_count": 4}},
        ],
        scale=6.0,
    )


def test_a_still_moment_is_offered_and_the_live_picture_stays_live(
    run_plan: RunPlan, sam_bundle: Path, tmp_path: Path
) -> None:
    picture = tmp_path / "still.png"
    write_png_atomically(picture, render_phantom(3, 320, 240, 6.0, 10).image)
    run_plan(
        [
            {"expect": {"notices": ["refine_ready"], "refined": False, "frozen": False, "label": "Hair density"}},
            {"expect_motion": 5},
            {"source": "demo"},
            {"expect": {"no_notice": "refine_ready", "refined": False}},
            {"source": str(picture)},
            {"expect": {"notices": ["refine_ready"]}},
            {"press": "freeze"},
            {"expect": {"frozen": True, "refined": True, "refining": False, "label": "Hair density, refined"}},
            {"press": "tool_correct"},
            {"source": "demo"},
            {"tap_bare": None},
            {"expect": {"corrected": 1, "refined": True}},
        ],
        bundle=str(sam_bundle),
        source=str(picture),
        scale=6.0,
        refine_still=True,
    )


@pytest.mark.parametrize(("window", "least_px"), [((800, 480), 48), ((1280, 800), 53), ((1920, 1080), 51)])
def test_everything_on_a_refined_screen_can_be_read_and_hit(
    run_plan: RunPlan, sam_bundle: Path, tmp_path: Path, window: tuple[int, int], least_px: int
) -> None:
    """9 mm are 48 px on 7 inches of 800 x 480, 53 px on 10.1 inches of 1280 x 800, 51 px on 15.6 of 1920 x 1080."""
    visits = {
        "refined": [{"press": "freeze"}, {"expect": {"refined": True, "notices": ["refined"]}}],
        "coarse": [{"press": "tool_coarse"}, {"press": "tool_points"}, {"expect": {"notices": ["other_mask"]}}],
        "corrected": [{"press": "tool_correct"}, {"tap_bare": None}, {"expect": {"notices": ["refined_corrected"]}}],
        "card": [{"press": "tool_correct"}, {"tap_hair": None}, {"expect": {"card": True}}],
    }
    steps: Steps = [{"expect": {"density_not": "–"}}]
    for name, visit in visits.items():
        steps += [*visit, {"wait": 0.5}, {"measure_controls": str(tmp_path / f"{name}.rows")}]
        steps.append({"picture": str(tmp_path / f"{name}.png")})
    run_plan(steps, window=list(window), scale=6.0, bundle=str(sam_bundle))
    for name in visits:
        rows = json.loads((tmp_path / f"{name}.rows").read_text(encoding="utf-8"))
        check_controls(name, rows, window, least_px)
        assert {"tool_coarse", "tool_sam", "tool_hair", "tool_points", "tool_correct", "tool_undo"} <= {
            row["key"] for row in rows
        }
    plain, points = (cv2.imread(str(tmp_path / f"{name}.png")).astype(int) for name in ("refined", "coarse"))
    assert np.abs(plain - points).max() > 100  # the marks are really drawn
