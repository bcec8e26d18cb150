"""A student's run as a real process: killed and resumed, stopped and resumed, refused; and that it learns."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from calibration.errors import ScalpScopeError
from tests.support.tiny_bundle import make_tiny_bundle
from tests.support.tiny_student import RECIPE, make_prompts, make_student
from training.checkpoint import load_state
from training.cli import call
from training.prompting.losses import LossWeights, student_loss
from training.prompting.recipe import load_recipe, recipe_from_dict
from training.prompting.student import load_student
from training.prompting.train import train
from training.recipes import recipe_names

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("examples")


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """As the process below has, so that sums are added up in the same order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def whole_run(
    recipe_file: Path, bundle: Path, examples: Path, one_thread: None, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run that nothing interrupted."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    result = train(load_recipe(str(recipe_file)), None, bundle, run, examples, cpu=True)
    assert (result.step, result.finished) == (6, True)
    return run


def _assert_same_run(run: Path, other: Path) -> None:
    one, two = load_state(run / "checkpoint.pt"), load_state(other / "checkpoint.pt")
    assert one.step == two.step and one.best_dice == two.best_dice
    assert all(torch.equal(one.model[name], two.model[name]) for name in two.model)
    ours, theirs = load_student(run / "weights.pt").state_dict(), load_student(other / "weights.pt").state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_killed_run_resumes_to_the_very_same_weights(
    recipe_file: Path, bundle: Path, examples: Path, whole_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "killed"
    command = [sys.executable, "-m", "training.cli", "prompting", "train", "--cpu", "--coarse", str(bundle),
               "--examples", str(examples), "--run", str(run)]  # fmt: skip
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
    recipe_file: Path, bundle: Path, examples: Path, whole_run: Path, tmp_path: Path
) -> None:
    run, recipe = tmp_path / "stopped", load_recipe(str(recipe_file))
    stopped = train(recipe, None, bundle, run, examples, minutes=0, cpu=True)
    assert (stopped.step, stopped.finished) == (1, False)
    assert train(recipe, None, bundle, run, examples, resume=True, cpu=True).finished
    _assert_same_run(run, whole_run)


def test_examples_hold_what_the_hair_network_finds(examples: Path, whole_run: Path, bundle: Path) -> None:
    from training.prompting.examples import CoarseNetwork

    layers = np.load(examples / "train" / "000000.npy")
    assert layers.shape == (64, 96, 5)
    assert np.array_equal(CoarseNetwork(bundle)(np.ascontiguousarray(layers[..., :3])), layers[..., 4])


def test_what_a_run_leaves(whole_run: Path) -> None:
    names = {path.name for path in whole_run.iterdir()}
    assert names == {"weights.pt", "best.pt", "checkpoint.pt", "recipe.json", "curves.csv", "curves.png", "samples"}


def test_a_run_may_start_from_the_weights_of_another(
    recipe_file: Path, bundle: Path, examples: Path, whole_run: Path, tmp_path: Path
) -> None:
    recipe = load_recipe(str(recipe_file))
    started = train(recipe, None, bundle, tmp_path / "on", examples, whole_run / "weights.pt", minutes=0, cpu=True)
    assert started.step == 1
    before = load_student(whole_run / "weights.pt").state_dict()
    after = load_state(tmp_path / "on" / "checkpoint.pt").model
    name = "mask_decoder.iou_token.weight"
    assert torch.allclose(after[name], before[name], atol=2e-3)  # one small step away, and not a new beginning
    other = recipe_from_dict({**recipe.model_dump(), "student": {**recipe.student.model_dump(), "mlp_dim": 64}}, "x")
    with pytest.raises(ScalpScopeError, match="another student"):
        train(other, None, bundle, tmp_path / "other", examples, whole_run / "weights.pt", cpu=True)


def test_bad_calls_are_refused_in_one_line(
    recipe_file: Path, bundle: Path, examples: Path, whole_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = {
        "already holds a run": ["-c", str(recipe_file), "--run", str(whole_run), "--coarse", str(bundle)],
        "own recipe": ["--resume", "--steps", "9", "--run", str(whole_run)],
        "No recipe": ["--run", str(tmp_path / "new")],
        "no recipe named": ["-c", "default", "--run", str(tmp_path / "new")],  # the hair network's
        "no bundle": ["-c", str(recipe_file), "--run", str(tmp_path / "new"), "--coarse", str(tmp_path / "none")],
    }
    for said, arguments in calls.items():
        assert call(["prompting", "train", "--cpu", *arguments]) == 2
        assert said in capsys.readouterr().err


def test_examples_made_otherwise_are_not_taken(
    recipe_file: Path, bundle: Path, examples: Path, whole_run: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "examples"
    shutil.copytree(examples, copy)
    recipe = load_recipe(str(recipe_file))
    wider = recipe_from_dict({**recipe.model_dump(), "student": {**recipe.student.model_dump(), "width": 112}}, "x")
    with pytest.raises(ScalpScopeError, match="another recipe, network or set of backgrounds"):
        train(wider, None, bundle, tmp_path / "run", copy, cpu=True)
    (copy / "train" / "000001.npy").write_bytes(b"nothing")
    training = {**recipe.training.model_dump(), "workers": 0}
    alone = recipe_from_dict({**recipe.model_dump(), "training": training}, "x")
    with pytest.raises(ScalpScopeError, match="cannot be read"):
        train(alone, None, bundle, tmp_path / "run2", copy, cpu=True)


@pytest.mark.parametrize("name", recipe_names("student"))
def test_every_packaged_recipe_is_whole(name: str) -> None:
    assert load_recipe(name).training.steps > 0


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(ScalpScopeError, match=r"examples\.crops"):
        recipe_from_dict({"examples": {"crops": 3}, "training": {"steps": 1, "batch_size": 1}}, "x")


def test_the_student_learns_what_its_points_say() -> None:
    """Two strips; hair is the one with the points: no student could tell without them."""
    torch.manual_seed(0)
    student = make_student().train()
    image = torch.ones(2, 3, 64, 96)
    image[:, :, :, 16:32] = image[:, :, :, 64:80] = -1
    target = torch.zeros(2, 1, 64, 96)
    target[0, :, :, 16:32] = target[1, :, :, 64:80] = 1
    prompts = make_prompts(4, count=2)
    y = torch.tensor([8.0, 24, 40, 56])
    coords = torch.stack([torch.stack([torch.full((4,), x), y], 1) for x in (24.0, 72.0)])
    prompts = prompts._replace(coords=coords, labels=torch.ones(2, 4), has_mask=torch.zeros(2))
    optimizer = torch.optim.AdamW(student.parameters(), lr=2e-3)
    weights = LossWeights()
    for _ in range(120):
        loss = student_loss(student(image, prompts), target, torch.ones_like(target), weights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        masks = student(image, prompts)
    assert masks.full is not None
    found = masks.full[:, 0] > 0
    for number, strip in enumerate((slice(20, 28), slice(68, 76))):
        other = slice(68, 76) if number == 0 else slice(20, 28)
        assert found[number, :, strip].float().mean() > 0.9
        assert found[number, :, other].float().mean() < 0.1
