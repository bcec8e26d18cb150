"""`draw`: what lies in the folder afterwards."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from calibration.errors import ScalpScopeError
from calibration.pictures import read_image
from device_app.manifest_parts import Task
from training.commands.classification_draw import draw
from training.data.examples import read_examples
from training.data.graded_scalp import render_graded


@pytest.fixture()
def run():
    app = typer.Typer()
    app.command()(draw)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_pictures_and_their_grades_are_written_and_the_csv_reader_reads_them(run, tmp_path: Path):
    out = tmp_path / "drawn"
    result = run(
        "--out", out, "--count", 5, "--seed", 40, "--size", "96x72", "--sheet", tmp_path / "sheets" / "all.png"
    )
    assert result.exit_code == 0, result.output
    with (out / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == [f"images/graded_{seed:07d}.png" for seed in range(40, 45)]
    for seed, row in enumerate(rows, 40):
        drawn = render_graded(seed, (96, 72))
        assert np.array_equal(read_image(out / row["image"]), drawn.image)
        assert [int(row[name]) for name in ("dandruff", "sebum", "erythema")] == drawn.severity.tolist()
    assert read_image(tmp_path / "sheets" / "all.png").shape == (6 * 72, 4 * 96, 3)
    examples = read_examples(out, Task.CONDITIONS)
    assert len(examples.examples) == 5
    assert not examples.refused
    by_name = {example.path.name: example.severity for example in examples.examples}
    assert by_name["graded_0000041.png"] == tuple(render_graded(41, (96, 72)).severity)


@pytest.mark.parametrize("size", ("448", "448x", "axb", "8x8", "448x336x3"))
def test_an_impossible_size_is_said_with_a_remedy(run, tmp_path: Path, size):
    result = run("--out", tmp_path / "drawn", "--size", size)
    assert isinstance(result.exception, ScalpScopeError)
    assert "448x336" in str(result.exception) + str(getattr(result.exception, "remedy", ""))
    assert not (tmp_path / "drawn").exists()
