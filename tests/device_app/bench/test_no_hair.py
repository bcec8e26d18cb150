"""The benchmark of pictures without hair, by its command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from device_app.bench.bare_pictures import KINDS
from device_app.cli import call
from device_app.images import write_png_atomically
from tests.support.tiny_bundle import make_tiny_bundle


def test_a_network_that_sees_hair_nowhere_meets_the_goal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    # Darker than black: this network calls no pixel hair.
    blind = make_tiny_bundle(tmp_path / "blind", 64, 48, dark_below=-2.0)
    report = tmp_path / "report.json"
    words = ["bench", "no-hair", "--count", "2", "--bundle", str(blind), "--report", str(report)]
    assert call(words) == 0
    found = json.loads(report.read_text())
    assert found["fraction_with_hair"] == 0
    assert [kind["name"] for kind in found["kinds"]] == list(KINDS)
    assert all(kind["pictures"] == 2 for kind in found["kinds"])
    assert "goal met" in capfd.readouterr().out


def test_hair_that_is_found_is_counted_named_and_kept(
    tmp_path: Path, tiny_bundle: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "real"
    folder.mkdir()
    stroke = np.full((240, 320, 3), 220, np.uint8)
    stroke[100:106, 20:300] = 20
    write_png_atomically(folder / "stroke.png", stroke)
    write_png_atomically(folder / "plain.png", np.full((240, 320, 3), 220, np.uint8))
    report, keep = tmp_path / "report.json", tmp_path / "keep"
    words = ["bench", "no-hair", "--count", "1", "--folder", str(folder), "--bundle", str(tiny_bundle)]
    assert call([*words, "--report", str(report), "--keep", str(keep)]) == 1
    real = json.loads(report.read_text())["kinds"][-1]
    assert (real["name"], real["pictures"], real["with_hair"]) == ("real (real)", 2, 1)
    assert [name for name, _ in real["offenders"]] == ["stroke.png"]
    assert {path.name for path in keep.glob("real*")} == {
        f"real_(real)_stroke{ending}" for ending in (".png", ".json", "_mask.png", "_overlay.png")
    }
    assert "goal missed" in capfd.readouterr().out


def test_its_help_comes_through_the_command(capfd: pytest.CaptureFixture[str]) -> None:
    assert call(["bench", "no-hair", "--help"]) == 0
    assert "scalpscope bench no-hair" in capfd.readouterr().out
