"""Whole ways through the real app, as data: on this screen press that, expect this screen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from calibration.optics.profile import Profile, ScaleMethod
from device_app.camera.phantom import render_phantom
from device_app.images import write_png_atomically
from tests.device_app.screens.conftest import RunPlan, check_controls
from tests.device_app.screens.test_calibrating import paper_picture, ruler_picture

Steps = list[dict[str, Any]]
ESCAPE = 27


@pytest.fixture
def pictures(tmp_path: Path) -> dict[str, str]:
    """What may lie under the microscope, as files."""
    sharp = render_phantom(3, 320, 240, 6.0, 10).image
    made = {
        "dark": (sharp * 0.08).astype(np.uint8),
        "bright": np.full_like(sharp, 255),
        "blurred": cv2.GaussianBlur(sharp, (0, 0), 8.0),
        "larger": cv2.resize(sharp, (640, 480)),
        "ruler": ruler_picture(20.0),
        "paper": paper_picture(),
    }
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, image in made.items():
        write_png_atomically(folder / f"{name}.png", image)
    return {name: str(folder / f"{name}.png") for name in made}


def _profile(path: Path) -> str:
    Profile(
        name="scope C 100x",
        width_px=320,
        height_px=240,
        scale_um_per_px=6.0,
        scale_uncertainty_um_per_px=0.05,
        method=ScaleMethod.TYPED,
    ).save(path)
    return str(path)


def test_a_day_with_the_instrument(run_plan: RunPlan, pictures: dict[str, str], tmp_path: Path) -> None:
    look: Steps = [
        {"expect": {"screen": "live", "picture": True, "density_not": "–", "diameter_not": "–", "demonstration": True}},
        {"key": ESCAPE},
        {"press": "freeze"},
        {"expect": {"frozen": True, "measuring": False, "overlay": True, "inset": False, "notices": ["frozen"]}},
        {"hold": [0.5, 0.5]},
        {"expect": {"held": True, "overlay": False}},
        {"lift": None},
        {"expect": {"held": False, "overlay": True}},
        {"pinch": 4},
        {"expect": {"zoomed": True}},
        {"double_tap": [0.5, 0.5]},
        {"expect": {"zoomed": False}},
        {"tap_hair": None},
        {"expect": {"card": True, "frozen": True}},
        {"press": "close_card"},
        {"expect": {"card": False}},
        {"press": "tab"},
        {"expect": {"tab": "histogram"}},
        {"press": "tab"},
        {"expect": {"tab": "figures"}},
    ]
    save: Steps = [
        {"press": "save"},
        {"expect": {"notices": ["saved"], "file_count": 4}},
        {"press": "freeze"},
        {"expect": {"frozen": False, "no_notice": "frozen"}},
    ]
    trouble: Steps = [
        {"kill_worker": None},
        {"expect": {"notices": ["worker_restarting"], "density": "–", "picture": True}},
        {"expect": {"no_notice": "worker_restarting", "density_not": "–"}},
        {"cut": True},
        {"expect": {"notices": ["source_lost"], "density": "–", "overlay": False, "inset": False}},
        {"cut": False},
        {"expect": {"no_notice": "source_lost", "density_not": "–"}},
        {"source": pictures["dark"]},
        {"expect": {"notices": ["too_dark"], "density": "–", "density_beside": "too dark"}},
        {"source": pictures["bright"]},
        {"expect": {"notices": ["too_bright"], "density_beside": "too bright"}},
        {"source": pictures["blurred"]},
        {"expect": {"notices": ["out_of_focus"], "density_beside": "out of focus"}},
        {"source": pictures["larger"]},
        {"expect": {"notices": ["wrong_profile"], "scale": None, "density_beside": "no scale"}},
        {"source": "demo"},
        {"expect": {"notices": ["wrong_profile"], "density_beside": "no scale"}},
    ]
    run_plan(look + save + trouble, profile=_profile(tmp_path / "c.json"))
    (record,) = (tmp_path / "records").glob("*.json")
    saved = json.loads(record.read_text(encoding="utf-8"))
    assert (saved["profile"], saved["scale_um_per_px"]) == ("scope C 100x", 6.0)
    assert saved["hair_count"] > 0
    assert saved["demonstration_only"] is True
    mask = cv2.imread(str(record.with_name(f"{record.stem}_mask.png")), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (240, 320)


def test_a_microscope_is_calibrated_in_every_way(run_plan: RunPlan, pictures: dict[str, str], tmp_path: Path) -> None:
    enter = [{"press": f"key_{digit}"} for digit in "500"]
    run_plan(
        [
            {"expect": {"notices": ["no_scale"], "density": "–"}},
            {"press": "calibrate"},
            {"expect": {"screen": "calibrate", "way": "method_ruler"}},
            {"press": "tick_50"},
            {"press": "find"},
            {"expect": {"keeping": True, "found_has": "2.50"}},
            {"press": "scope_more"},
            {"press": "keep"},
            {"expect": {"screen": "live", "profile": "scope B 50x", "no_notice": "no_scale"}},
            {"press": "calibrate"},
            {"press": "method_points"},
            {"tap_picture": [0.1, 0.5]},
            {"tap_picture": [0.9, 0.5]},
            *enter,
            {"press": "enter"},
            {"expect": {"keeping": True, "found_has": "0.9"}},
            {"press": "again"},
            {"expect": {"keeping": False}},
            {"press": "method_typed"},
            {"press": "key_3"},
            {"press": "key_point"},
            {"press": "key_5"},
            {"press": "erase"},
            {"press": "key_2"},
            {"press": "enter"},
            {"expect": {"keeping": True, "found_has": "3.20"}},
            {"press": "keep"},
            {"expect": {"asks": True, "screen": "calibrate"}},
            {"press": "keep"},
            {"expect": {"screen": "live", "profile": "scope B 50x", "scale": 3.2}},
            {"source": pictures["paper"]},
            {"press": "calibrate"},
            {"press": "method_white"},
            {"press": "find"},
            {"expect": {"keeping": True, "found_has": "%"}},
            {"press": "keep"},
            {"expect": {"screen": "live", "light": True, "scale": 3.2}},
            {"press": "calibrate"},
            {"press": "method_ruler"},
            {"press": "find"},
            {"expect": {"problem_has": "ruler"}},
            {"press": "method_profiles"},
            {"press": "profile_none"},
            {"expect": {"screen": "live", "profile": None, "scale": None, "light": False, "notices": ["no_scale"]}},
            {"press": "calibrate"},
            {"press": "method_profiles"},
            {"press": "scope B 50x"},
            {"expect": {"screen": "live", "profile": "scope B 50x", "light": True}},
            {"press": "calibrate"},
            {"press": "back"},
            {"expect": {"screen": "live"}},
        ],
        source=pictures["ruler"],
        window=[1280, 800],
    )
    kept = Profile.load(tmp_path / "config" / "scalpscope" / "profiles" / "scope B 50x.json")
    assert kept.scale_um_per_px == 3.2
    assert kept.flat_field is not None


def test_a_slow_network_never_puts_its_mask_on_a_newer_picture(run_plan: RunPlan) -> None:
    run_plan(
        [
            {"expect": {"picture": True, "inset": True, "overlay": False, "notices": ["behind"], "density_not": "–"}},
            {"press": "freeze"},
            {"expect": {"frozen": True, "overlay": False, "inset": False, "density_beside": "measuring"}},
            {"press": "save"},
            {"expect": {"notices": ["save_waits"], "file_count": 0}},
            {"expect": {"measuring": False, "overlay": True, "density_not": "–"}},
            {"expect": {"notices": ["saved"], "file_count": 4}},
            {"press": "freeze"},
            {"expect": {"frozen": False, "inset": True}},
        ],
        network_at_least_ms=1500,
        scale=6.0,
    )


def test_without_a_camera_or_a_bundle_the_app_says_so_and_lives(run_plan: RunPlan, tmp_path: Path) -> None:
    run_plan(
        [
            {"expect": {"picture": False, "notices": ["no_camera"], "banner_not": "", "density_beside": "no picture"}},
            {"press": "calibrate"},
            {"press": "find"},
            {"expect": {"problem_not": ""}},
            {"press": "back"},
            {"source": "demo"},
            {"expect": {"picture": True, "notices": ["worker_refused"], "overlay": False, "density": "–"}},
            {"expect_motion": 20},
        ],
        source="camera:97",
        bundle=str(tmp_path / "no-bundle"),
    )


@pytest.mark.parametrize(("window", "least_px"), [((800, 480), 48), ((1920, 1080), 51)])
def test_everything_on_every_screen_can_be_read_and_hit(
    run_plan: RunPlan, tmp_path: Path, window: tuple[int, int], least_px: int
) -> None:
    """9 mm are 48 px on 7 inches of 800 x 480, and 51 px on 15.6 inches of 1920 x 1080."""
    visits = {
        "live": [{"expect": {"density_not": "–"}}],
        "card": [{"press": "freeze"}, {"expect": {"overlay": True}}, {"tap_hair": None}, {"expect": {"card": True}}],
        "ruler": [{"press": "close_card"}, {"press": "calibrate"}, {"expect": {"screen": "calibrate"}}],
        "points": [{"press": "method_points"}, {"tap_picture": [0.1, 0.5]}, {"tap_picture": [0.9, 0.5]}],
        "keep": [{"press": "key_9"}, {"press": "enter"}, {"expect": {"keeping": True}}],
        "typed": [{"press": "method_typed"}],
        "white": [{"press": "method_white"}, {"expect": {"problem_not": ""}}],
        "profiles": [{"press": "method_profiles"}],
    }
    steps: Steps = []
    for name, visit in visits.items():
        steps += [*visit, {"wait": 0.5}, {"measure_controls": str(tmp_path / f"{name}.rows")}]
    run_plan(steps, window=list(window), scale=6.0)
    for name in visits:
        rows = json.loads((tmp_path / f"{name}.rows").read_text(encoding="utf-8"))
        check_controls(name, rows, window, least_px)
