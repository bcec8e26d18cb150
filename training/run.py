"""What every training run does, whatever it trains: begin or go on, step, log, validate, keep checkpoints, stop.

One process on a CPU or GPU, or several through ``torchrun``. Whatever happens in step n follows from the recipe and n,
so a run that is killed and resumed ends with the very weights of one that was not (on a CPU; GPU kernels may round
apart). What a run trains, on what and how well, its own module says: it calls `open_run`, gets data and network ready,
and hands both to `train_steps`.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import cv2
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, Dataset

from calibration.errors import ScalpScopeError
from training.checkpoint import BEST, CHECKPOINT, WEIGHTS, RunState, load_state, save_state
from training.recipes import TrainingSection
from training.report import Curves, RunProgress

log = logging.getLogger(__name__)

Network = TypeVar("Network", bound=nn.Module)

_OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


class RunRecipe(Protocol):
    """Any recipe that has a ``[training]``."""

    @property
    def training(self) -> TrainingSection:
        """How the weights are found."""

    def model_dump(self, *, mode: str = ...) -> dict[str, Any]:
        """All sections, as values; with the mode "json" as plain ones."""


@dataclass(frozen=True)
class Run:
    """A run that begins, or goes on.

    folder: where its files are.  recipe: its sections, as plain values.  section: of them, `[training]`.
    state: what it goes on from; None: it begins.  accelerator: what it computes on.
    """

    folder: Path
    recipe: dict[str, Any]
    section: TrainingSection
    state: RunState | None
    accelerator: Accelerator

    def check_data(self, digest: str, what: str, remedy: str) -> None:
        """Raise ScalpScopeError when the run goes on and its data are not those it was started with."""
        if self.state and self.state.backgrounds != digest:
            raise ScalpScopeError(f"The {what} for {self.folder} are not those it was started with.", remedy)


def open_run(
    folder: Path, recipe: RunRecipe, read_recipe: Callable[[dict[str, Any], str], RunRecipe], resume: bool, cpu: bool
) -> Run:
    """Begin a run in ``folder``, or go on with the one there.

    Args:
        read_recipe: makes a recipe of this kind from its sections and a name for errors.
        resume: go on from the checkpoint in the folder.
        cpu: use the CPU also where there is a GPU.

    Raises:
        ScalpScopeError: the folder already holds a run, there is nothing to resume, or the recipe is another.
    """
    path = folder / CHECKPOINT
    state = load_state(path) if resume else None
    if state and read_recipe(state.recipe, str(path)) != recipe:
        raise ScalpScopeError(
            f"{path} was made by another recipe.",
            f"Resume with the one in {path.with_name('recipe.json')}, or start a new run in another folder.",
        )
    if not resume and path.exists():
        raise ScalpScopeError(
            f"{folder} already holds a run.", "Add --resume to go on with it, or give another folder."
        )
    folder.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(1)  # worker processes make the samples; OpenCV's own threads do not survive the fork
    precision = "bf16" if recipe.training.precision == "bf16" else "no"
    accelerator = Accelerator(mixed_precision=precision, cpu=cpu)
    return Run(folder, recipe.model_dump(mode="json"), recipe.training, state, accelerator)


def train_steps(
    run: Run,
    data_digest: str,
    samples: Dataset[Any],
    collate: Callable[[list[Any]], Any],
    network: Network,
    loss_of: Callable[[nn.Module, Any], Tensor],
    validate: Callable[[Network, Path], dict[str, float]],
    save: Callable[[Network, Path, dict[str, Any], int], None],
    scores: Sequence[str],
    best_by: str,
    minutes: float | None,
    groups: Callable[[Network], list[dict[str, Any]]] | None = None,
) -> tuple[int, bool, float]:
    """Train a network to the end of its recipe, and leave checkpoint, weights and curves in the run's folder.

    Args:
        data_digest: what must be the same when the run goes on; see `Run.check_data`.
        samples: every sample the run may come to, by its index; ``collate`` makes a batch of some.
        network: on the run's device. A run that goes on puts its own weights into it.
        loss_of: ``loss_of(model, batch)``, the loss to lessen; ``model`` is the network as the run computes it.
        validate: ``validate(kept, sheet)``, the ``scores`` of the weights that are kept, and ``validation_loss`` where
            there is one; ``sheet`` is where pictures of them may be drawn. It is asked in the main process alone.
        save: ``save(kept, path, recipe, step)`` writes the weights that are kept.
        scores: names of what validation measures, for the curves.
        best_by: the one of them whose highest value makes ``best.pt``.
        minutes: stop with a checkpoint after this long, to be resumed later; the schedule does not change.
        groups: the network's parameters in groups, each with a learning rate of its own; None: all by the recipe's.

    Returns:
        Steps done, whether that is all (also when it stopped early), and the best score so far (-1: none yet).

    Raises:
        ScalpScopeError: the loss is no longer a number.
    """
    section, state, accelerator = run.section, run.state, run.accelerator
    main = accelerator.is_main_process
    first_step = state.step if state else 0
    stale = state.stale if state else 0
    stopped_early = _patience_is_over(section, stale)
    last_step = first_step if stopped_early else section.steps
    loader = DataLoader(
        samples,
        batch_sampler=StepBatches(
            first_step, last_step, section.batch_size, accelerator.process_index, accelerator.num_processes
        ),
        generator=torch.Generator(),  # its own: a loader that begins anew must not draw from the network's
        num_workers=section.workers,
        collate_fn=collate,
        worker_init_fn=_one_thread_each,
        prefetch_factor=4 if section.workers else None,
    )

    optimizer = _OPTIMIZERS[section.optimizer](
        groups(network) if groups else network.parameters(), lr=section.learning_rate, weight_decay=section.weight_decay
    )
    scheduler = LambdaLR(optimizer, lambda step: learning_rate_factor(step, section))
    mean = running_mean(network, section.ema_decay) if section.ema_decay else None
    if state:
        network.load_state_dict(state.model)
        optimizer.load_state_dict(state.optimizer)
        scheduler.load_state_dict(state.scheduler)
        if mean is not None and state.ema is not None:
            mean.load_state_dict(state.ema)
        torch.set_rng_state(state.rng)
        if state.device_rng is not None and accelerator.device.type == "cuda":
            torch.cuda.set_rng_state(state.device_rng)
    best = state.best_dice if state else -1.0
    # The scheduler stays out of `prepare`: accelerate would step it once per process, but a step is one step for all.
    model, optimizer = accelerator.prepare(network, optimizer)
    kept: Network = network if mean is None else mean.module  # type: ignore[assignment]

    curves = Curves(run.folder, first_step, scores) if main else None
    if main and not state:
        (run.folder / "recipe.json").write_text(json.dumps(run.recipe, indent=2) + "\n", encoding="utf-8")
    earlier_s = curves.seconds if curves else 0.0
    started = last_saved = time.monotonic()
    recent: list[Tensor] = []
    step = first_step

    model.train()
    with RunProgress(first_step, section.steps, shown=main) as progress:
        for batch in loader:
            loss = loss_of(model, batch)
            optimizer.zero_grad(set_to_none=True)
            accelerator.backward(loss)
            if section.clip_norm:
                accelerator.clip_grad_norm_(model.parameters(), section.clip_norm)
            optimizer.step()
            scheduler.step()
            if mean is not None:
                mean.update_parameters(network)
            step += 1
            recent.append(loss.detach())

            last = step == section.steps
            validating = step % section.validate_every == 0 or last
            if step % section.log_every == 0 or validating:
                mean_loss = float(torch.stack(recent).mean())
                recent.clear()
                if not math.isfinite(mean_loss):
                    raise ScalpScopeError(
                        f"The loss is no longer a number at step {step}.",
                        "Lower the learning rate or set clip_norm, then resume from the last checkpoint.",
                    )
                row = {"step": step, "seconds": round(earlier_s + time.monotonic() - started, 1), "loss": mean_loss,
                       "learning_rate": scheduler.get_last_lr()[0]}  # fmt: skip
                if validating and main:
                    found = validate(kept, run.folder / "samples" / f"step_{step:07d}.png")
                    row |= found
                    stale += 1
                    if found[best_by] > best:
                        best, stale = found[best_by], 0
                        save(kept, run.folder / BEST, run.recipe, step)
                    model.train()
                    log.info("step %d: %s", step, ", ".join(f"{k} {v:.4f}" for k, v in found.items()))
                if curves:
                    curves.add(**row)
                    progress.update(step, mean_loss)
                    if validating:
                        curves.draw()

            if validating and section.patience:  # all processes stop at the same step, whoever knows it
                if _patience_is_over(section, stale):
                    accelerator.set_trigger()
                stopped_early = accelerator.check_trigger()

            now = time.monotonic()
            if minutes is not None and now - started > 60 * minutes:
                accelerator.set_trigger()
            out_of_time = minutes is not None and accelerator.check_trigger()
            due = step % section.checkpoint_every == 0 or now - last_saved > 60 * section.checkpoint_minutes
            if main and (due or last or out_of_time or stopped_early):
                on_gpu = accelerator.device.type == "cuda"
                save_state(
                    RunState(
                        step, best, run.recipe, network.state_dict(), mean.state_dict() if mean else None,
                        optimizer.state_dict(), scheduler.state_dict(), torch.get_rng_state(), data_digest,
                        stale, torch.cuda.get_rng_state() if on_gpu else None,
                    ),
                    run.folder / CHECKPOINT,
                )  # fmt: skip
                save(kept, run.folder / WEIGHTS, run.recipe, step)
                last_saved = time.monotonic()
            if out_of_time or stopped_early:
                break
    accelerator.wait_for_everyone()
    if stopped_early and main:
        log.info("stopped early: %d validations in a row were no better than %.4f", stale, best)
    return step, stopped_early or step >= section.steps, best


def _patience_is_over(section: TrainingSection, stale: int) -> bool:
    return bool(section.patience) and stale >= section.patience


def learning_rate_factor(step: int, section: TrainingSection) -> float:
    """Share of the recipe's learning rate at ``step``.

    A linear warm-up, then constant, or half a cosine down to 1 %, or one such cosine after the other, each beginning
    anew from the full rate (SGDR, arXiv 1608.03983; a period is counted in steps, as they are taken).
    """
    if step < section.warmup_steps:
        return (step + 1) / section.warmup_steps
    if section.schedule == "constant":
        return 1.0
    at, period = step - section.warmup_steps, max(1, section.steps - section.warmup_steps)
    if section.schedule == "cosine_restarts":
        period = section.restart_steps
        while at >= period:
            at, period = at - period, period * section.restart_factor
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, at / period)))


def running_mean(model: nn.Module, decay: float) -> AveragedModel:
    """An exponential running mean of all weights and statistics, quicker at first to forget the random start."""

    @torch.no_grad()
    def average(means: list[Tensor], values: list[Tensor], count: Tensor) -> None:
        rate = 1 - min(decay, (1 + int(count)) / (10 + int(count)))
        for mean, value in zip(means, values, strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, rate)
            else:
                mean.copy_(value)

    return AveragedModel(model, multi_avg_fn=average, use_buffers=True)


class StepBatches:
    """The sample indices of each step from ``first_step`` on, for process ``rank`` of ``world``."""

    def __init__(self, first_step: int, last_step: int, batch_size: int, rank: int = 0, world: int = 1) -> None:
        self.steps = range(first_step, last_step)
        self.batch_size = batch_size
        self.rank = rank
        self.world = world

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[list[int]]:
        for step in self.steps:
            first = (step * self.world + self.rank) * self.batch_size
            yield list(range(first, first + self.batch_size))


def _one_thread_each(worker: int) -> None:
    """In a worker process: there are as many as the machine has room for."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
