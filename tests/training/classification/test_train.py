"""A classifier's run as a real process: killed and resumed, stopped and resumed, refused; of every task."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from calibration.errors import ScalpScopeError
from tests.support.tiny_classifier import CLASSES_RECIPE, RECIPE, write_class_folders, write_conditions_table
from training.checkpoint import load_state
from training.classification.checkpoint import load_classifier
from training.classification.recipe import load_recipe, recipe_from_dict
from training.classification.train import train
from training.cli import call

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_conditions_table(tmp_path_factory.mktemp("data") / "set")


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """As the process below has, so that sums are added up in the same order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def whole_run(recipe_file: Path, data: Path, one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    result = train(load_recipe(recipe_file), [data], run, cpu=True)
    assert (result.step, result.finished) == (6, True)
    return run


def _assert_same_run(run: Path, other: Path) -> None:
    one, two = load_state(run / "checkpoint.pt"), load_state(other / "checkpoint.pt")
    assert one.step == two.step and one.best_dice == two.best_dice
    assert all(torch.equal(one.model[name], two.model[name]) for name in two.model)
    ours, theirs = load_classifier(run / "weights.pt").state_dict(), load_classifier(other / "weights.pt").state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_killed_run_resumes_to_the_very_same_weights(
    recipe_file: Path, data: Path, whole_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "killed"
    command = [sys.executable, "-m", "training.cli", "classification", "train", "--cpu", "--no-calibrate",
               "--data", str(data), "--run", str(run)]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [*command, "-c", str(recipe_file)], env=environment, cwd=ROOT,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    curves, deadline = run / "curves.csv", time.monotonic() + 200
    while not (curves.exists() and len(curves.read_text().splitlines()) >= 4):  # past the checkpoint of step 2
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert 2 <= load_state(run / "checkpoint.pt").step < 6
    resumed = subprocess.run([*command, "--resume"], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert resumed.returncode == 0, resumed.stderr
    assert "6 steps done, finished" in resumed.stdout
    _assert_same_run(run, whole_run)


def test_a_run_stopped_by_its_time_budget_resumes_to_the_very_same_weights(
    recipe_file: Path, data: Path, whole_run: Path, tmp_path: Path
) -> None:
    run, recipe = tmp_path / "stopped", load_recipe(recipe_file)
    stopped = train(recipe, [data], run, minutes=0, cpu=True)
    assert (stopped.step, stopped.finished) == (1, False)
    assert train(recipe, [data], run, resume=True, cpu=True).finished
    _assert_same_run(run, whole_run)


def test_what_a_run_leaves(whole_run: Path) -> None:
    names = {path.name for path in whole_run.iterdir()}
    assert names == {"weights.pt", "best.pt", "checkpoint.pt", "recipe.json", "curves.csv", "curves.png"}
    answer = load_classifier(whole_run / "best.pt")(torch.zeros(1, 3, 32, 64))
    assert answer.presence.shape == (1, 3) and torch.isfinite(answer.features).all()


def test_conditions_are_learned_from_drawn_pictures_alone(recipe_file: Path, tmp_path: Path) -> None:
    assert train(load_recipe(recipe_file), [], tmp_path / "run", minutes=0, cpu=True).step == 1


def test_classes_are_learned_from_folders(tmp_path: Path) -> None:
    (tmp_path / "classes.toml").write_text(CLASSES_RECIPE, encoding="utf-8")
    data = write_class_folders(tmp_path / "set")
    run = tmp_path / "run"
    assert call([
        "classification", "train", "--cpu", "--no-calibrate", "-c", str(tmp_path / "classes.toml"), "--data", str(data),
        "--run", str(run), "--augmentation", "augmix",
    ]) == 0  # fmt: skip
    network = load_classifier(run / "best.pt")
    assert set(network.config.labels) >= {"alopecia", "healthy"}
    assert network(torch.zeros(1, 6, 32, 64)).classes.shape == (1, len(network.config.labels))
    assert load_state(run / "checkpoint.pt").recipe["data"]["augmentation"] == "augmix"


def test_the_hair_mask_of_real_pictures_comes_from_the_bundle_that_ships(
    recipe_file: Path, data: Path, tmp_path: Path
) -> None:
    values = load_recipe(recipe_file).model_dump()
    recipe = recipe_from_dict({**values, "classifier": {**values["classifier"], "mask": True}}, "masked")
    assert train(recipe, [data], tmp_path / "run", minutes=0, cpu=True).step == 1
    assert len(list((tmp_path / "run" / "hair_masks").glob("*.png"))) == 18  # training and validation, not test
    assert load_classifier(tmp_path / "run" / "weights.pt").config.planes == 4


def test_a_run_on_other_pictures_is_not_resumed(recipe_file: Path, whole_run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(whole_run, copy)
    other = write_conditions_table(tmp_path / "other", seed=5)
    with pytest.raises(ScalpScopeError, match="not those it was started with"):
        train(load_recipe(recipe_file), [other], copy, resume=True, cpu=True)


def test_bad_calls_are_refused_in_one_line(
    recipe_file: Path, data: Path, whole_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "classes.toml").write_text(CLASSES_RECIPE, encoding="utf-8")
    single = write_class_folders(tmp_path / "single", ("healthy",))
    new, tiny = ["--run", str(tmp_path / "new")], ["-c", str(recipe_file)]
    classes = ["-c", str(tmp_path / "classes.toml")]
    calls = {
        "already holds a run": [*tiny, "--data", str(data), "--run", str(whole_run)],
        "own recipe": ["--resume", "--augmentation", "none", "--run", str(whole_run)],
        "no recipe named": ["-c", "student", *new],
        "is no folder": [*tiny, "--data", str(tmp_path / "nowhere"), *new],
        "No pictures were given for scalp_condition": [*classes, *new],
        "all healthy: there is nothing": [*classes, "--data", str(single), *new],
        "no backbone named": [*tiny, "--data", str(data), "--backbone", "resnet9000", *new],
        "no pretrained weights": [*tiny, "--data", str(data), "--pretrained", "none.pth", *new],
        "augmentation": [*tiny, "--data", str(data), "--augmentation", "mixup", *new],
    }
    for said, arguments in calls.items():
        assert call(["classification", "train", "--cpu", *arguments]) == 2, said
        errors = capsys.readouterr().err.splitlines()
        assert said in errors[-1], errors
        shutil.rmtree(tmp_path / "new", ignore_errors=True)


def test_a_run_that_is_over_is_calibrated(recipe_file: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert call(["classification", "train", "--cpu", "-c", str(recipe_file), "--steps", "2", "--run", str(run)]) == 0
    assert (run / "calibrated.pt").is_file()
