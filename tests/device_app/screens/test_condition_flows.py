"""Ways through the real app with a bundle that grades, as data, with real worker processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from device_app.images import read_image, write_png_atomically
from device_app.vision.overlay import draw_heat
from tests.device_app.screens.conftest import RunPlan, check_controls
from tests.support.colour_classifier import BLUE, GREY, graded_picture

Steps = list[dict[str, Any]]


@pytest.fixture
def pictures(tmp_path: Path) -> dict[str, str]:
    """What may lie under the microscope, as files: three hairs over skin with blocks of what is graded."""
    made = {
        "flaky": graded_picture((2, 1, 0), 320, 240),
        "severe": graded_picture((3, 2, 0), 320, 240),
        "good": graded_picture((0, 0, 0), 320, 240),
        "blurred": np.full((240, 320, 3), GREY, np.uint8),
        "elsewhere": np.full((240, 320, 3), BLUE, np.uint8),
    }
    rng = np.random.default_rng(0)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, image in made.items():
        noisy = np.clip(image + rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8)
        for left in (150, 200, 270):
            cv2.line(noisy, (left, 20), (left + 20, 220), (30, 25, 20), 7, cv2.LINE_AA)
        made[name] = noisy
        write_png_atomically(folder / f"{name}.png", noisy)
    made["dark"] = (made["flaky"] * 0.08).astype(np.uint8)
    write_png_atomically(folder / "dark.png", made["dark"])
    return {name: str(folder / f"{name}.png") for name in made}


def test_conditions_are_graded_looked_into_and_saved(
    run_plan: RunPlan, grading_bundle: Path, pictures: dict[str, str], tmp_path: Path
) -> None:
    graded = {"bars": [2, 1, None], "erythema": ["cannot grade", "too little training data"]}
    live: Steps = [
        {"expect": {"gradable": True, "demonstration": True, "tab": "figures"}},
        {"press": "tab"},
        {"expect": {"tab": "histogram"}},
        {"press": "tab"},
        {"expect": {"tab": "conditions", **graded, "frozen": False, "looked": None, "legend": ""}},
    ]
    heat: Steps = [
        {"press": "condition_dandruff"},
        {"expect": {"frozen": True, "looked": "condition_dandruff", "overlay": True, "hair_lines": False, **graded}},
        {"expect": {"legend_has": "Dandruff"}},
        {"hold": [0.5, 0.5]},
        {"expect": {"held": True, "looked": None, "legend": ""}},
        {"lift": None},
        {"expect": {"held": False, "looked": "condition_dandruff"}},
        {"tap_hair": None},
        {"expect": {"card": False}},
        {"press": "condition_excess_sebum"},
        {"expect": {"looked": "condition_excess_sebum"}},
        {"touch": "condition_erythema"},
        {"wait": 0.5},
        {"expect": {"looked": "condition_excess_sebum"}},
        {"press": "condition_excess_sebum"},
        {"expect": {"looked": None, "hair_lines": True, "frozen": True}},
    ]
    tools: Steps = [
        {"expect": {"refined": True}},
        {"press": "tool_correct"},
        {"expect": {"correcting": True}},
        {"press": "condition_dandruff"},
        {"expect": {"looked": "condition_dandruff", "correcting": False, "marks": False}},
        {"press": "tool_coarse"},
        {"expect": {"looked": None, "layer": "coarse"}},
    ]
    advice: Steps = [
        {"press": "advice"},
        {"expect": {"advice": True, "advice_words_has": "Dandruff – moderate"}},
        {"expect": {"advice_words_has": "Source: American Academy of Dermatology"}},
        {"expect": {"advice_words_has": "Redness – cannot grade, too little training data"}},
        {"tap_picture": [0.3, 0.6]},
        {"expect": {"advice": True, "card": False}},
        {"press": "close_advice"},
        {"expect": {"advice": False}},
        {"press": "save"},
        {"expect": {"notices": ["saved"]}},
        {"press": "advice"},
        {"press": "freeze"},
        {"expect": {"frozen": False, "advice": False, "looked": None, "bars": [2, 1, None]}},
    ]
    run_plan(live + heat + tools + advice, bundle=str(grading_bundle), source=pictures["flaky"], scale=6.0)
    (path,) = (tmp_path / "records").glob("*.json")
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["conditions"]["dandruff"]["severity"] == "moderate"
    assert record["conditions"]["excess_sebum"]["severity"] == "mild"
    assert record["conditions"]["erythema"] == {
        "present_probability": None,
        "severity": None,
        "severity_probabilities": None,
        "certainty": None,
        "refused": "not_claimed",
    }
    assert record["conditions_missing"] is None


def test_what_must_not_be_graded_says_why_and_nothing_old_stays(
    run_plan: RunPlan, grading_bundle: Path, pictures: dict[str, str]
) -> None:
    both = ("dandruff", "excess_sebum")
    run_plan(
        [
            {"expect": {"bars": [2, 1, None]}},
            {"source": pictures["severe"]},
            {"expect": {"bars": [3, 2, None]}},
            {"source": pictures["blurred"]},
            {"expect": {name: ["cannot grade", "out of focus"] for name in both}},
            {"source": pictures["elsewhere"]},
            {"expect": {name: ["cannot grade", "no scalp seen"] for name in both}},
            {"source": pictures["dark"]},
            {"expect": {name: ["cannot grade", "too dark"] for name in both}},
            {"source": pictures["good"]},
            {"expect": {"bars": [0, 0, None], "dandruff_has": "good"}},
            {"cut": True},
            {"expect": {"notices": ["source_lost"], "bars": [None] * 3, "dandruff": ["–", "no picture"]}},
            {"cut": False},
            {"expect": {"no_notice": "source_lost", "bars": [0, 0, None]}},
            {"stop_worker": None},
            {"expect": {"bars": [None] * 3, "dandruff": ["–", "waiting for the analysis"]}},
            {"press": "freeze"},
            {"expect": {"frozen": True, "dandruff": ["–", "grading"], "looked": None}},
            {"press": "save"},
            {"expect": {"notices": ["save_waits"], "file_count": 0}},
            {"expect": {"bars": [0, 0, None], "frozen": True, "notices": ["saved"]}},
            {"press": "condition_dandruff"},
            {"expect": {"looked": "condition_dandruff"}},
            {"press": "calibrate"},
            {"press": "back"},
            {"expect": {"screen": "live", "frozen": False, "looked": None}},
        ],
        bundle=str(grading_bundle),
        source=pictures["flaky"],
        scale=6.0,
        window=[1280, 800],
    )


def test_a_bundle_that_cannot_grade_has_no_panel_for_it(run_plan: RunPlan, tmp_path: Path) -> None:
    run_plan(
        [
            {"expect": {"density_not": "–", "gradable": False, "stageable": False}},
            {"press": "tab"},
            {"press": "tab"},
            {"expect": {"tab": "figures"}},
            {"press": "freeze"},
            {"expect": {"frozen": True, "measuring": False}},
            {"press": "save"},
            {"expect": {"notices": ["saved"], "file_count": 4}},
        ],
        scale=6.0,
    )
    (path,) = (tmp_path / "records").glob("*.json")
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["conditions"] is None
    assert "no network that grades" in record["conditions_missing"]


def test_advice_of_ones_own_is_shown(
    run_plan: RunPlan, grading_bundle: Path, pictures: dict[str, str], tmp_path: Path
) -> None:
    rows = "".join(
        f'[{name}.{severity}]\ntext = "Our word on {severity}."\nsources = ["book"]\n'
        for name in ("dandruff", "excess_sebum", "erythema")
        for severity in ("good", "mild", "moderate", "severe")
    )
    own = tmp_path / "advice.toml"
    own.write_text(f'language = "en"\n[sources]\nbook = "A Society: A leaflet"\n{rows}', encoding="utf-8")
    run_plan(
        [
            {"expect": {"bars": [2, 1, None]}},
            {"press": "advice"},
            {"expect": {"frozen": True, "advice_words_has": "Our word on moderate. Source: A Society: A leaflet"}},
            {"press": "advice"},
            {"expect": {"advice": False, "frozen": True}},
        ],
        bundle=str(grading_bundle),
        source=pictures["flaky"],
        advice=str(own),
        window=[1280, 800],
    )


@pytest.mark.parametrize(("window", "least_px"), [((800, 480), 48), ((1280, 800), 53), ((1920, 1080), 51)])
def test_conditions_can_be_read_and_hit_and_the_heat_map_lies_where_it_should(
    run_plan: RunPlan,
    grading_bundle: Path,
    pictures: dict[str, str],
    tmp_path: Path,
    window: tuple[int, int],
    least_px: int,
) -> None:
    """9 mm are 48 px on 7 inches of 800 x 480, 53 px on 10.1 inches of 1280 x 800, 51 px on 15.6 of 1920 x 1080."""
    visits: dict[str, Steps] = {
        "conditions": [{"press": "freeze"}, {"expect": {"refined": True, "bars": [3, 2, None]}}],
        "heat": [{"press": "condition_dandruff"}, {"expect": {"looked": "condition_dandruff"}}],
        "advice": [{"press": "advice"}, {"expect": {"advice": True}}],
    }
    steps: Steps = [{"expect": {"density_not": "–", "gradable": True, "stageable": True}}]
    if window[0] < 1000:
        steps += [{"press": "tab"}, {"press": "tab"}, {"expect": {"tab": "conditions"}}]
    for name, visit in visits.items():
        steps += [*visit, {"wait": 0.5}, {"measure_controls": str(tmp_path / f"{name}.rows")}]
        steps.append({"picture": str(tmp_path / f"{name}.png")})
    steps += [{"press": "close_advice"}, {"place": str(tmp_path / "place.json")}]
    run_plan(steps, window=list(window), scale=6.0, bundle=str(grading_bundle), source=pictures["severe"])
    for name in visits:
        rows = json.loads((tmp_path / f"{name}.rows").read_text(encoding="utf-8"))
        check_controls(name, rows, window, least_px)
        assert {"condition_dandruff", "condition_excess_sebum", "condition_erythema", "advice"} <= {
            row["key"] for row in rows
        }
    _check_heat(tmp_path, read_image(Path(pictures["severe"])))


def _check_heat(folder: Path, frame: np.ndarray) -> None:
    """The screen's heat map is that of `draw_heat` on the picture, as far as nothing lies over it."""
    place = json.loads((folder / "place.json").read_text(encoding="utf-8"))
    screen = cv2.imread(str(folder / "heat.png"))[..., ::-1]
    left, top, scale = place["left"], screen.shape[0] - place["top"], place["scale"]
    height, width = (round(side * scale) for side in frame.shape[:2])
    expected = draw_heat(frame, np.array(place["heat"], np.float32))
    expected = cv2.resize(expected, (width, height), interpolation=cv2.INTER_LINEAR).astype(int)
    seen = screen[round(top) : round(top) + height, round(left) : round(left) + width].astype(int)
    # At half height, between chips and scale bar: flakes reach so far down at the left edge, the right has none.
    rows = slice(round(0.5 * height), round(0.58 * height))
    sides = (slice(10, round(0.06 * width)), slice(round(0.94 * width), width - 5))
    lit, dim = ((seen[rows, side].mean(axis=(0, 1)), expected[rows, side].mean(axis=(0, 1))) for side in sides)
    for found, wanted in (lit, dim):
        assert np.abs(found - wanted).max() < 12
    assert lit[0].mean() > dim[0].mean() + 40
