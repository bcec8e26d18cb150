"""`classification check`: counts, refused files, notes, and no leaks, or an error."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import typer
from support.labelled_sets import write_picture, write_yolo
from typer.testing import CliRunner, Result

from calibration.errors import ScalpScopeError
from training.commands.classification_data import check

app = typer.Typer()
app.command()(check)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    for number in range(24):
        write_yolo(root, "train", f"{number:02d}", "0 0.5 0.5 0.1 0.05" if number % 2 else "", number)
    for number in range(4):
        write_yolo(root, "valid", f"v{number}", "", 50 + number)
    for number in range(25):
        (root / "train" / "labels" / f"alone{number:02d}.txt").write_text("")
    return root


def test_it_shows_counts_refused_files_notes_and_no_leaks(folder: Path, tmp_path: Path):
    done = run("--data", str(folder), "--refused", str(tmp_path / "refused.csv"))
    assert done.exit_code == 0, done.output
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "pictures 16 8 4" in lines or "pictures 17 7 4" in lines
    assert "severity of dandruff: severe 0 0 0" in lines
    assert "25 files are refused:" in lines
    assert "train/labels/alone00.txt: label without its picture" in lines
    assert "and 5 more; --refused FILE.csv writes them all." in lines
    assert "Note: No example has a label for the presence of erythema." in lines
    assert lines[-1].startswith("No leaks")
    with (tmp_path / "refused.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 25
    assert rows[0]["reason"] == "label without its picture"


def test_a_leak_is_an_error(folder: Path):
    write_picture(folder / "valid" / "images" / "v0.jpg", 7)
    done = run("--data", str(folder), "--layout", "yolo")
    assert isinstance(done.exception, ScalpScopeError)
    assert "in two splits" in str(done.exception)
    assert "No leaks" not in done.stdout


def test_an_unknown_task_is_an_error(folder: Path):
    done = run("--data", str(folder), "--task", "hair")
    assert isinstance(done.exception, ScalpScopeError)
    assert "conditions, scalp_condition, hair_loss_stage" in str(done.exception)
