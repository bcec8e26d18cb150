"""Ways through the overview screen of the real app, as data."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from device_app.images import write_png_atomically
from tests.device_app.screens.conftest import RunPlan, check_controls

Steps = list[dict[str, Any]]


@pytest.fixture
def heads(tmp_path: Path) -> Path:
    """Photographs as files: light above and dark below, so that one can tell which way up they are shown."""
    folder = tmp_path / "heads"
    folder.mkdir()
    for age, (name, brightness) in enumerate({"young": 60, "old": 180, "night": 6}.items()):
        image = np.full((240, 320, 3), brightness, np.uint8)
        image[:60] = min(255, brightness * 5 // 4)
        write_png_atomically(folder / f"{name}.png", image)
        os.utime(folder / f"{name}.png", (1_000_000 + age,) * 2)
    (folder / "broken.jpg").write_bytes(b"no picture")
    return folder


def test_a_photograph_is_chosen_staged_and_forgotten(run_plan: RunPlan, grading_bundle: Path, heads: Path) -> None:
    run_plan(
        [
            {"expect": {"stageable": True}},
            {"press": "overview"},
            {"expect": {"screen": "overview", "photographs": 3, "overview_hint_has": "newest first"}},
            {"press": "photograph_old.png"},
            {"expect": {"photograph_chosen": True, "stage": "Stage 3 of 4", "stage_word": "advanced", "stage_bars": 3}},
            {"expect": {"stage_certainty_has": "% sure", "stage_demonstration": True, "stage_map": False}},
            {"press": "overview_map"},
            {"expect": {"stage_map": True}},
            {"press": "overview_map"},
            {"expect": {"stage_map": False}},
            {"press": "overview_again"},
            {"expect": {"photograph_chosen": False, "photographs": 3, "stage": ""}},
            {"press": "photograph_night.png"},
            {"expect": {"stage": "Cannot tell the stage", "stage_word": "too dark", "stage_bars": None}},
            {"press": "back"},
            {"expect": {"screen": "live", "photographs": 0, "photograph_chosen": False}},
            {"press": "overview"},
            {"expect": {"photographs": 3, "photograph_chosen": False}},
        ],
        bundle=str(grading_bundle),
        overview_folder=str(heads),
    )


def test_an_empty_folder_says_what_to_do(run_plan: RunPlan, grading_bundle: Path, tmp_path: Path) -> None:
    run_plan(
        [
            {"expect": {"stageable": True}},
            {"press": "overview"},
            {"expect": {"overview_hint_has": "There are no photographs", "photographs": 0}},
            {"press": "overview_again"},
            {"expect": {"overview_hint_has": "There are no photographs"}},
            {"press": "back"},
            {"expect": {"screen": "live"}},
        ],
        bundle=str(grading_bundle),
        overview_folder=str(tmp_path / "nowhere"),
    )


@pytest.mark.parametrize(("window", "least_px"), [((800, 480), 48), ((1920, 1080), 51)])
def test_everything_on_the_overview_screen_can_be_read_and_hit(
    run_plan: RunPlan, grading_bundle: Path, heads: Path, tmp_path: Path, window: tuple[int, int], least_px: int
) -> None:
    """9 mm are 48 px on 7 inches of 800 x 480, and 51 px on 15.6 inches of 1920 x 1080."""
    visits: dict[str, Steps] = {
        "list": [{"press": "overview"}, {"expect": {"photographs": 3}}, {"wait": 1.0}],
        "judged": [{"press": "photograph_young.png"}, {"expect": {"photograph_chosen": True, "stage_bars": 1}}],
        "map": [{"press": "overview_map"}, {"expect": {"stage_map": True}}],
    }
    steps: Steps = [{"expect": {"stageable": True}}]
    for name, visit in visits.items():
        steps += [*visit, {"wait": 0.5}, {"measure_controls": str(tmp_path / f"{name}.rows")}]
        steps.append({"picture": str(tmp_path / f"{name}.png")})
    run_plan(steps, window=list(window), bundle=str(grading_bundle), overview_folder=str(heads))
    for name in visits:
        rows = json.loads((tmp_path / f"{name}.rows").read_text(encoding="utf-8"))
        check_controls(name, rows, window, least_px)
    rows = json.loads((tmp_path / "list.rows").read_text(encoding="utf-8"))
    (old,) = (row["box"] for row in rows if row["key"] == "photograph_old.png")
    screen = cv2.imread(str(tmp_path / "list.png")).astype(int)
    x, height = round((old[0] + old[2]) / 2), old[3] - old[1]
    upper, lower = (screen[round(window[1] - old[3] + share * height), x].mean() for share in (0.1, 0.6))
    assert upper > lower + 20  # it stands on its feet
