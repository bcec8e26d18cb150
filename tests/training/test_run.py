"""What all training runs share, on a network of one weight; whole runs are tested with the networks they train."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts
from torch.utils.data import Dataset

from calibration.errors import ScalpScopeError
from training.checkpoint import RunState, load_state, save_atomically
from training.recipes import Section, TrainingSection
from training.run import StepBatches, learning_rate_factor, open_run, running_mean, train_steps


class _Recipe(Section):
    training: TrainingSection


class _Numbers(Dataset[int]):
    def __getitem__(self, index: int) -> int:
        return index


def _recipe(**training: object) -> _Recipe:
    return _Recipe(training=TrainingSection(steps=6, batch_size=2, workers=0, log_every=1, **training))


def _train(
    folder: Path, recipe: _Recipe, worst: int = 10**6, scores: tuple[float, ...] = (0.5,), **how: object
) -> float:
    """Train one weight by hand-made losses, from sample ``worst`` on no number; returns the best score."""
    run = open_run(
        folder, recipe, lambda values, _: _Recipe.model_validate(values), how.get("resume") is True, cpu=True
    )
    torch.manual_seed(0)
    left = list(scores)

    def loss_of(model: nn.Module, batch: Tensor) -> Tensor:
        loss = nn.functional.dropout(model(torch.ones(1, 1)).square()).mean()  # by lot
        return loss * float("nan") if int(batch.max()) >= worst else loss

    def save(kept: nn.Module, path: Path, values: dict[str, object], step: int) -> None:
        save_atomically({"step": step, "recipe": values}, path)

    _, _, best = train_steps(
        run, "digest", _Numbers(), torch.tensor, nn.Linear(1, 1), loss_of,
        validate=lambda kept, sheet: {"score": left.pop(0)}, save=save, scores=("score",), best_by="score",
        minutes=None,
    )  # fmt: skip
    return best


def test_a_loss_that_is_no_number_stops_the_run_and_spares_its_last_checkpoint(tmp_path: Path) -> None:
    recipe = _recipe(checkpoint_every=2)
    with pytest.raises(ScalpScopeError, match="no longer a number at step 4"):
        _train(tmp_path, recipe, worst=6)  # the first of the two samples of step 4
    state = load_state(tmp_path / "checkpoint.pt")
    assert state.step == 2
    assert all(torch.isfinite(value).all() for value in state.model.values())
    assert _train(tmp_path, recipe, resume=True) == 0.5
    assert load_state(tmp_path / "checkpoint.pt").step == 6
    with (tmp_path / "curves.csv").open(newline="") as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["1", "2", "3", "4", "5", "6"]


def test_the_best_weights_are_those_of_the_highest_score(tmp_path: Path) -> None:
    assert _train(tmp_path, _recipe(validate_every=2), scores=(0.2, 0.7, 0.6)) == 0.7
    assert torch.load(tmp_path / "best.pt")["step"] == 4
    assert torch.load(tmp_path / "weights.pt")["step"] == 6


@settings(deadline=None)
@given(first=st.integers(0, 50), batch=st.integers(1, 9), world=st.integers(1, 4), steps=st.integers(1, 12))
def test_processes_share_the_indices_of_a_step_and_resuming_continues_them(
    first: int, batch: int, world: int, steps: int
) -> None:
    ranks = [list(StepBatches(0, first + steps, batch, rank, world)) for rank in range(world)]
    flat = [index for step in zip(*ranks, strict=True) for part in step for index in part]
    assert flat == list(range((first + steps) * world * batch))
    for rank in range(world):
        assert list(StepBatches(first, first + steps, batch, rank, world)) == ranks[rank][first:]


def test_learning_rate_warms_up_and_falls_along_a_cosine() -> None:
    section = TrainingSection(steps=110, batch_size=1, schedule="cosine", warmup_steps=10)
    factors = [learning_rate_factor(step, section) for step in range(111)]
    assert factors[0] == pytest.approx(0.1)
    assert max(factors) == factors[10] == 1.0
    assert factors[60] == pytest.approx(0.505)
    assert factors[110] == pytest.approx(0.01)
    assert factors[10:] == sorted(factors[10:], reverse=True)
    constant = TrainingSection(steps=110, batch_size=1)
    assert {learning_rate_factor(step, constant) for step in range(111)} == {1.0}


@pytest.mark.parametrize("factor", [1, 2])
def test_restarts_are_those_of_torchs_own_scheduler_stepped_once_a_step(factor: int) -> None:
    section = TrainingSection(
        steps=100, batch_size=1, schedule="cosine_restarts", restart_steps=7, restart_factor=factor, warmup_steps=3
    )
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = CosineAnnealingWarmRestarts(optimizer, T_0=7, T_mult=factor, eta_min=0.01)
    assert [learning_rate_factor(step, section) for step in range(3)] == pytest.approx([1 / 3, 2 / 3, 1])
    for step in range(97):
        assert learning_rate_factor(3 + step, section) == pytest.approx(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()


def _run_out_of_patience(folder: Path, resume_after: int | None) -> RunState:
    """Scores fall from step 2 on; with a patience of 2 the run ends at step 4, be it in one go or in two."""
    recipe = _recipe(validate_every=1, patience=2, checkpoint_every=1)
    scores = (0.1, 0.7, 0.6, 0.7, 0.9, 0.9)
    if resume_after is not None:
        with pytest.raises(IndexError):  # the process dies where no more scores are known
            _train(folder, recipe, scores=scores[:resume_after])
    assert _train(folder, recipe, scores=scores[resume_after or 0 :], resume=resume_after is not None) == 0.7
    return load_state(folder / "checkpoint.pt")


def test_a_run_without_a_better_score_stops_early_also_when_it_was_resumed(tmp_path: Path) -> None:
    whole = _run_out_of_patience(tmp_path / "whole", None)
    assert (whole.step, whole.stale) == (4, 2)
    resumed = _run_out_of_patience(tmp_path / "resumed", 3)  # it had waited for one of the two
    assert (resumed.step, resumed.stale, resumed.best_dice) == (4, 2, 0.7)
    assert all(torch.equal(resumed.model[name], value) for name, value in whole.model.items())
    assert torch.load(tmp_path / "whole" / "best.pt")["step"] == 2
    again = _train(
        tmp_path / "whole", _recipe(validate_every=1, patience=2, checkpoint_every=1), scores=(), resume=True
    )
    assert again == 0.7  # and not a step more
    assert load_state(tmp_path / "whole" / "checkpoint.pt").step == 4


def test_groups_of_parameters_have_rates_of_their_own(tmp_path: Path) -> None:
    run = open_run(tmp_path, _recipe(), lambda values, _: _Recipe.model_validate(values), False, cpu=True)
    network = nn.Linear(1, 1)
    before = [float(network.weight.detach()), float(network.bias.detach())]
    train_steps(
        run, "digest", _Numbers(), torch.tensor, network, lambda model, _: model(torch.ones(1, 1)).sum(),
        validate=lambda kept, sheet: {"score": 0.0}, save=lambda *_: None, scores=("score",), best_by="score",
        minutes=None,
        groups=lambda net: [{"params": [net.weight], "lr": 1e-2}, {"params": [net.bias], "lr": 1e-4}],
    )  # fmt: skip
    moved = [before[0] - float(network.weight.detach()), before[1] - float(network.bias.detach())]
    assert moved == pytest.approx([6e-2, 6e-4], rel=0.01)  # Adam's steps are as long as the rate


def test_running_mean_follows_the_weights_and_copies_counters() -> None:
    model = torch.nn.BatchNorm1d(1)
    mean = running_mean(model, decay=0.9)
    for step in range(200):
        with torch.no_grad():
            model.weight.fill_(1.0 if step < 100 else 3.0)
            model.num_batches_tracked.fill_(step)
        mean.update_parameters(model)
        if step == 99:
            assert mean.module.weight.item() == pytest.approx(1.0)
        if step == 100:
            assert mean.module.weight.item() == pytest.approx(1.2)
    assert mean.module.weight.item() == pytest.approx(3.0, abs=1e-3)
    assert int(mean.module.num_batches_tracked) == 199
