"""Training runs as real processes: killed and resumed, stopped and resumed, refused."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from calibration.errors import ScalpScopeError
from device_app.images import write_png_atomically
from training.checkpoint import load_state
from training.cli import call
from training.recipes import TrainingSection
from training.segmentation.checkpoint import load_network
from training.segmentation.losses import deep_supervision_loss
from training.segmentation.recipe import Recipe, load_recipe
from training.segmentation.train import train
from training.segmentation.u2net import U2Net, U2NetConfig

ROOT = Path(__file__).resolve().parents[3]

TINY = """
[network]
variant = "slim"
fold = 2
[data]
crop = 32
validation_images = 2
thin_hair_weight = 1.0
[pseudo_images]
width = 48
height = 40
[training]
steps = 8
batch_size = 2
optimizer = "adamw"
schedule = "cosine"
warmup_steps = 2
clip_norm = 1.0
dice_share = 0.5
ema_decay = 0.9
log_every = 1
validate_every = 4
checkpoint_every = 2
workers = 1
"""


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "training.cli", "segmentation", "train", "--cpu", *arguments]


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}


def _rows(run: Path) -> list[dict[str, str]]:
    """The curves, without the one column that depends on the clock."""
    with (run / "curves.csv").open(newline="") as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(TINY, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """As the processes below have, so that sums are added up in the same order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def whole_run(recipe_file: Path, one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    result = train(load_recipe(recipe_file), None, run, cpu=True)
    assert (result.step, result.finished) == (8, True)
    return run


def _assert_same_run(run: Path, other: Path) -> None:
    one, two = load_state(run / "checkpoint.pt"), load_state(other / "checkpoint.pt")
    assert one.step == two.step
    assert one.best_dice == two.best_dice
    for part in ("model", "ema"):
        ours, theirs = getattr(one, part), getattr(two, part)
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    for name in ("weights.pt", "best.pt"):
        ours, theirs = load_network(run / name).state_dict(), load_network(other / name).state_dict()
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert _rows(run) == _rows(other)


def test_a_killed_run_resumes_to_the_very_same_weights(recipe_file: Path, whole_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "killed"
    process = subprocess.Popen(
        _command("-c", str(recipe_file), "--run", str(run)), env=_environment(), cwd=ROOT,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    curves, deadline = run / "curves.csv", time.monotonic() + 120
    # Past the checkpoint of step 4 and before the one of step 6: something must be done again.
    while not (curves.exists() and len(curves.read_text().splitlines()) >= 6):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)  # its image-drawing worker with it
    process.wait()
    assert 2 <= load_state(run / "checkpoint.pt").step < 8

    resumed = subprocess.run(
        _command("--run", str(run), "--resume"),
        env=_environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert resumed.returncode == 0, resumed.stderr
    assert "8 steps done, finished" in resumed.stdout
    _assert_same_run(run, whole_run)


def test_a_run_stopped_by_its_time_budget_resumes_to_the_very_same_weights(
    recipe_file: Path, whole_run: Path, tmp_path: Path
) -> None:
    run, recipe = tmp_path / "stopped", load_recipe(recipe_file)
    stopped = train(recipe, None, run, minutes=0, cpu=True)
    assert (stopped.step, stopped.finished) == (1, False)
    assert train(recipe, None, run, resume=True, cpu=True).finished
    _assert_same_run(run, whole_run)


def test_what_a_run_leaves(whole_run: Path) -> None:
    names = {path.name for path in whole_run.iterdir()}
    assert names == {
        "weights.pt", "best.pt", "checkpoint.pt", "recipe.json", "curves.csv", "curves.png", "samples",
    }  # fmt: skip
    rows = _rows(whole_run)
    assert [int(row["step"]) for row in rows] == list(range(1, 9))
    assert [bool(row["dice"]) for row in rows] == [step % 4 == 0 for step in range(1, 9)]
    sheet = cv2.imread(str(whole_run / "samples" / "step_0000008.png"))
    assert sheet.shape == (2 * 32, 3 * 32, 3)
    assert cv2.imread(str(whole_run / "curves.png")) is not None


def test_a_folder_that_holds_a_run_is_not_overwritten(
    recipe_file: Path, whole_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (whole_run / "checkpoint.pt").read_bytes()
    assert call(["segmentation", "train", "-c", str(recipe_file), "--run", str(whole_run), "--cpu"]) == 2
    said = capsys.readouterr().err
    assert "already holds a run" in said
    assert "--resume" in said
    assert (whole_run / "checkpoint.pt").read_bytes() == before


def test_resuming_takes_the_runs_own_recipe(whole_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["segmentation", "train", "--run", str(whole_run), "--resume", "--steps", "9", "--cpu"]) == 2
    assert "own recipe" in capsys.readouterr().err


def test_a_run_on_other_pictures_is_not_resumed(recipe_file: Path, whole_run: Path, tmp_path: Path) -> None:
    skin = np.random.default_rng(0).normal((200, 170, 150), 2, (200, 200, 3)).clip(0, 255).astype(np.uint8)
    (tmp_path / "pictures").mkdir()
    write_png_atomically(tmp_path / "pictures" / "bare.png", skin)
    copy = tmp_path / "copy"
    shutil.copytree(whole_run, copy)
    with pytest.raises(ScalpScopeError, match="not those it was started with"):
        train(load_recipe(recipe_file), tmp_path / "pictures", copy, resume=True, cpu=True)


def test_resuming_by_another_recipe_or_from_nothing_is_refused(whole_run: Path, tmp_path: Path) -> None:
    other = Recipe(training=TrainingSection(steps=9, batch_size=2))
    with pytest.raises(ScalpScopeError, match="another recipe"):
        train(other, None, whole_run, resume=True, cpu=True)
    with pytest.raises(ScalpScopeError, match="no file"):
        train(other, None, tmp_path / "nothing", resume=True, cpu=True)


def test_the_network_learns() -> None:
    torch.manual_seed(0)
    network = U2Net(U2NetConfig.named("slim", fold=2))
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    target = torch.zeros(2, 1, 32, 32)
    target[0, :, :, 10:16] = 1
    target[1, :, 20:26] = 1
    picture = 1 - 2 * target + 0.1 * torch.randn(2, 3, 32, 32)
    losses = []
    for _ in range(25):
        loss = deep_supervision_loss(network(picture), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
