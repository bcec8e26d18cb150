"""A faster engine is built while the picture is on the screen, and taken: as a user sees it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.device_app.screens.conftest import RunPlan
from tests.support.building_backend import NAME, install_bench_backend, python_path

SMALLEST = [480, 320]


def test_a_fast_engine_is_built_and_taken_while_the_picture_goes_on(
    run_plan: RunPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = install_bench_backend(tmp_path / "bench")
    bench.says("mode", "half")  # one engine is built, for another there is no room, which is told at length
    monkeypatch.setenv("PYTHONPATH", python_path(bench))
    run_plan(
        [
            {"expect": {"picture": True, "notices": ["engine_building"], "rates_has": "CPU", "no_notice": "fallback"}},
            {"press": "freeze"},
            {"expect": {"frozen": True, "overlay": True}},
            {"press": "freeze"},
            {"expect": {"frozen": False, "notices": ["engine_building"]}},
            {"wait": 0.5},
            # What the builder waits for is a file, whatever is in it.
            {"measure_controls": str(bench.state / "go")},
            {"expect": {"no_notice": "engine_building", "rates_has": NAME, "density_not": "–", "banner": ""}},
            {"expect": {"no_notice": "engine_checking", "notices": ["engine_build_partly"]}},
            {"wait": 0.5},
            {"measure_controls": str(tmp_path / "after.rows")},
        ],
        window=SMALLEST,
        scale=6.0,
    )
    for file, began, ended in (
        (bench.state / "go", "Building the fast engine: 10 %, hair: looking", "meanwhile."),
        (tmp_path / "after.rows", "Not all fast engines could be built: sam_encoder: no room. Make", "…"),
    ):
        rows = json.loads(file.read_text(encoding="utf-8"))
        chips = [row for row in rows if (row["text"] or "").startswith(began)]
        assert len(chips) == 1 and chips[0]["text"].endswith(ended), rows
        left, bottom, right, top = chips[0]["box"]
        assert 0 <= left and right <= SMALLEST[0] and 0 <= bottom and top <= SMALLEST[1]
        assert chips[0]["texture"][0] <= right - left + 1 and chips[0]["texture"][1] <= top - bottom + 1
        assert (right - left) * (top - bottom) < SMALLEST[0] * SMALLEST[1] / 5  # the picture is still to be seen
