"""`classification calibrate` and `evaluate` as they are typed, on runs of tiny networks, and what is said if wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from device_app.manifest_parts import STAGES, Task
from tests.support.command import ROOT, environment
from tests.support.labelled_sets import write_yolo
from tests.support.mobile_classifier import (
    BACKBONE,
    HEIGHT,
    WIDTH,
    make_classifier,
    mobile_config,
    save_calibrated_run,
)
from tests.support.tiny_classifier import write_class_folders
from training.classification.checkpoint import load_calibrated, save_classifier
from training.classification.predictions import load_predictions
from training.classification.recipe import recipe_from_dict
from training.cli import EXIT_USER, call


def make_run(folder: Path, task: Task = Task.CONDITIONS, drawn: float = 0.5) -> Path:
    """A run's folder as training leaves it: the weights that validation found best, and the recipe."""
    folder.mkdir()
    network = make_classifier(mobile_config(task))
    section = {"task": task.value, "backbone": BACKBONE, "width": WIDTH, "height": HEIGHT, "pooling": "lse"}
    values = {
        "classifier": section,
        "data": {"synthetic_share": drawn, "shares": (0.4, 0.3, 0.3)},
        "training": {"steps": 1, "batch_size": 2},
    }
    recipe = recipe_from_dict(values, "test").model_dump(mode="json")
    save_classifier(network, folder / "best.pt", recipe, 1)
    (folder / "recipe.json").write_text(json.dumps(recipe), encoding="utf-8")
    return folder


def write_conditions(root: Path) -> Path:
    """24 pictures with outlines to learn from and 8 held out, half of them with dandruff and half with oiliness."""
    for number in range(32):
        lines = ["0 0.1 0.1 0.4 0.1 0.4 0.4\n"] * (number % 2) + ["2 0.5 0.5 0.9 0.5 0.9 0.9\n"] * (number // 2 % 2)
        write_yolo(root, "train" if number < 24 else "valid", f"p{number}", "".join(lines), number)
    return root


def test_a_run_on_drawings_is_calibrated_and_evaluated(tmp_path: Path) -> None:
    run, out = make_run(tmp_path / "run"), tmp_path / "report"
    # As a user would, in a process of its own.
    words = ["classification", "calibrate", "--run", str(run), "--drawn", "6", "--cpu"]
    done = subprocess.run(
        [sys.executable, "-m", "training.cli", *words], cwd=ROOT, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "claimed" in done.stdout and "calibrated.pt" in done.stdout
    network, judgement, recipe = load_calibrated(run)
    assert judgement.claimed == (True, True, True) and "drawn scalps" in judgement.trained_on
    assert "0 of 6 drawn" in judgement.limits.rule and recipe["data"]["synthetic_share"] == 0.5
    assert network.config.width == WIDTH and set(judgement.quality) >= {
        "validation_drawn_refused",
        "validation_ungradable_refused",
    }

    answers = tmp_path / "answers.npz"
    words = ["--run", str(run), "--drawn", "5", "--each", "1", "--out", str(out), "--cpu", "--paper"]
    assert call(["classification", "evaluate", *words, "--predictions", str(answers)]) == 0
    assert sorted(one.name for one in out.iterdir()) == ["report.html", "report.json", "table_3.md"]
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["parts"][0]["every"]["pictures"] == 5 and f"--run {run}" in report["command"]
    table = (out / "table_3.md").read_text(encoding="utf-8")
    assert "DenseNet169 (paper)" in table and "Drawn scalps with known grades" in table
    assert load_predictions(answers).names[:5] == tuple(f"drawn, seed {seed}" for seed in range(5))


def test_real_pictures_are_split_as_in_training_and_what_is_rare_is_not_claimed(tmp_path: Path) -> None:
    run, data, out = make_run(tmp_path / "run"), write_conditions(tmp_path / "set"), tmp_path / "report"
    words = ["classification", "calibrate", "--run", str(run), "--data", str(data), "--cpu", "--drawn", "4"]
    assert call([*words, "--fewest", "5"]) == 0
    _, judgement, _ = load_calibrated(run)
    assert judgement.claimed is not None and judgement.claimed[2] is False
    assert "real" in judgement.limits.rule and "pictures of" in judgement.trained_on
    assert call([*words, "--fewest", "30"]) == 0
    assert load_calibrated(run)[1].claimed == (False, False, False)

    words = ["classification", "evaluate", "--checkpoint", str(run / "calibrated.pt"), "--data", str(data), "--cpu"]
    assert call([*words, "--each", "1", "--out", str(out)]) == 0
    part = json.loads((out / "report.json").read_text(encoding="utf-8"))["parts"][0]
    assert part["title"] == "set, test" and part["every"]["pictures"] == 8
    assert part["every"]["presence"]["dandruff"]["counts"] == [4, 4]
    # Nobody graded them: areas are no grades, so no severity is measured.
    assert part["every"]["severity"]["dandruff"] is None and part["every"]["table_3"] is None
    assert not (out / "table_3.md").exists()


def test_a_run_of_stages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "run", Task.HAIR_LOSS_STAGE, drawn=0.0)
    data = write_class_folders(tmp_path / "stages", STAGES, each=6)
    words = ["--data", str(data), "--cpu"]
    assert call(["classification", "calibrate", "--run", str(run), *words]) == 0
    _, judgement, _ = load_calibrated(run)
    assert judgement.calibration is None and judgement.claimed is None
    assert judgement.temperature is not None and judgement.temperature > 0
    out = tmp_path / "report"
    assert call(["classification", "evaluate", "--run", str(run), *words, "--each", "1", "--out", str(out)]) == 0
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["task"] == "hair_loss_stage" and report["parts"][0]["every"]["classes"]["kappa"] is not None
    capsys.readouterr()
    words = ["classification", "evaluate", "--run", str(run), "--drawn", "3", "--out", str(out)]
    assert call(words) == EXIT_USER
    assert "Nothing is drawn for hair_loss_stage" in capsys.readouterr().err


def test_every_written_limit_holds_on_the_validation_pictures(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    assert call(["classification", "calibrate", "--run", str(run), "--drawn", "20", "--cpu"]) == 0
    _, judgement, _ = load_calibrated(run)
    assert judgement.quality["validation_drawn_refused"] == 0.0  # 1 % of 20 is none
    assert np.isfinite(judgement.limits.farthest)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Give one of --run, --checkpoint and --bundle"),
        (["--run", "x", "--bundle", "default"], "Give one of --run, --checkpoint and --bundle"),
        (["--run", "x", "--split", "holdout"], "no split 'holdout'"),
        (["--run", "x"], "nothing to evaluate on"),
        (["--run", "x", "--drawn", "2", "--predictions", "a.csv"], "does not end in .npz"),
        (["--run", "x", "--drawn", "2"], "There is no file"),
        (["--bundle", "default", "--task", "hair", "--drawn", "2"], "no task 'hair'"),
    ],
)
def test_what_is_missing_is_said_before_the_long_work(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(["classification", "evaluate", "--out", str(tmp_path / "report"), *words]) == EXIT_USER
    assert said in capsys.readouterr().err


def test_a_run_that_was_not_calibrated_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "run")
    words = ["classification", "evaluate", "--checkpoint", str(run / "best.pt"), "--drawn", "2"]
    assert call([*words, "--out", str(tmp_path / "out")]) == EXIT_USER
    assert "not calibrated" in capsys.readouterr().err


def test_a_folder_that_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["classification", "calibrate", "--run", str(tmp_path)]) == EXIT_USER
    assert "best.pt" in capsys.readouterr().err
    network = make_classifier()
    save_calibrated_run(network, tmp_path / "best.pt")
    assert call(["classification", "calibrate", "--run", str(tmp_path)]) == EXIT_USER
    assert "recipe.json cannot be read" in capsys.readouterr().err
