"""One resumable training loop for every stage.

The state is written atomically after every epoch. All random choices of an epoch are derived from
(seed, epoch). So a killed and resumed run equals an uninterrupted one; on a CPU bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sbs.config.settings import RuntimeSettings, TrainSettings
from sbs.errors import SBSError
from sbs.runtime import processes
from sbs.runtime.device import autocast, synchronize
from sbs.runtime.progress import Reporter
from sbs.runtime.seeding import derive_seed, seed_everything
from sbs.training.batch import Batch
from sbs.training.recipe import Schedule, learning_rate_factor
from sbs.training.spread import portions, spread
from sbs.training.state import Progression, read_state, training_lock, write_state


class Batches(Protocol):
    """Training batches, epoch by epoch."""

    def __len__(self) -> int: ...

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Yield the batches of epoch number ``epoch``, on the device."""
        ...


class Task(Protocol):
    """The part of the training that a stage defines.

    All that learns is in ``model``. A step with several parts of a batch calls ``before_forward``
    and ``loss`` for each of them.
    """

    model: nn.Module
    optimizers: Sequence[Optimizer]

    def loss(self, batch: Batch) -> Tensor:
        """Mean loss of one batch, a scalar."""
        ...

    def before_forward(self, iteration: int) -> None:
        """Runs before each forward pass; ``iteration`` counts from 0 over the whole stage."""
        ...

    def epoch_summary(self) -> dict[str, float]:
        """Numbers for the history; runs after every epoch."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """State besides model and optimizers: tensors, numbers, strings, lists and dicts."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
        ...


def fit(
    task: Task,
    batches: Batches,
    train: TrainSettings,
    runtime: RuntimeSettings,
    *,
    device: torch.device,
    seed: int,
    resume: Path,
    identity: dict[str, Any],
    reporter: Reporter,
    schedule: Schedule = learning_rate_factor,
) -> Progression:
    """Train ``task`` to the end of its schedule; resume from the state in ``resume``, if any.

    Args:
        task: model, optimizers and loss.
        batches: training batches.
        train: training settings with the schedule.
        runtime: precision.
        device: device of the model and the batches.
        seed: seed of all random choices.
        resume: folder of the state.
        identity: everything that decides the result (settings, digests of data and inputs). A state
            with another identity is not used.
        reporter: writes the progress.
        schedule: how the learning rate falls.

    Raises:
        SBSError: the loss is not finite, or another process trains in ``resume``.
    """
    with training_lock(resume):
        progression = _resume(task, resume, identity, reporter)
        loss_of = spread(_Loss(task), runtime, device)
        for epoch in range(progression.epoch, train.epochs):
            started = time.perf_counter()
            seed_everything(derive_seed(seed, "epoch", epoch))
            run = _Epoch(task, loss_of, train, runtime, device, seed, epoch, schedule)
            losses = run.train(batches, reporter)
            processes.equalize(list(task.model.buffers()))
            synchronize(device)
            seconds = time.perf_counter() - started
            loss = _finite_mean(losses, task.model, reporter.title, epoch)
            summary = {"epoch": epoch + 1, "loss": loss, "seconds": round(seconds, 3)}
            summary |= task.epoch_summary()
            progression.history.append(summary)
            progression.seconds += seconds
            progression.epoch = epoch + 1
            _save(task, resume, identity, progression)
            reporter.epoch(summary, train.epochs, task.model)
    return progression


class _Loss(nn.Module):
    """The loss of a task as a module: of all its parameters, those of the cost term too."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.model, self._task = task.model, task

    def forward(self, batch: Batch) -> Tensor:
        return self._task.loss(batch)


@dataclass(frozen=True)
class _Epoch:
    """One epoch of training; arguments as for :func:`fit`."""

    task: Task
    loss_of: nn.Module
    settings: TrainSettings
    runtime: RuntimeSettings
    device: torch.device
    seed: int
    epoch: int
    schedule: Schedule

    def train(self, batches: Batches, reporter: Reporter) -> Tensor:
        """Train on all batches; return the loss of each, (steps)."""
        steps = len(batches)
        losses = torch.empty(steps, device=self.device)
        self.task.model.train()
        shown = reporter.steps(batches.epoch(self.epoch), steps, self.epoch, self.settings.epochs)
        for step, batch in enumerate(shown):
            factor = self.schedule(self.settings, self.epoch + step / steps)
            for optimizer in self.task.optimizers:
                for group in optimizer.param_groups:
                    if "initial_lr" in group:  # other groups keep their rate
                        group["lr"] = group["initial_lr"] * factor
                optimizer.zero_grad(set_to_none=True)
            losses[step] = self._add_gradients(batch, self.epoch * steps + step)
            for optimizer in self.task.optimizers:
                optimizer.step()
        return processes.total(losses) / processes.count()

    def _add_gradients(self, batch: Batch, iteration: int) -> Tensor:
        """Gradients of the mean loss of a batch; return this process's part of it."""
        losses: list[Tensor] = []
        for part, weight in portions(batch, self.loss_of, self.runtime, self.device):
            self.task.before_forward(iteration)
            with (
                autocast(self.runtime, self.device),
                processes.own_noise(self.device, self.seed, iteration, len(losses)),
            ):
                loss = self.loss_of(part) * weight
            loss.backward()
            losses.append(loss.detach())
        return torch.stack(losses).sum()


def _finite_mean(losses: Tensor, model: nn.Module, title: str, epoch: int) -> float:
    """Mean loss of the epoch; checked once per epoch, so that no step waits for the device."""
    bad = (~torch.isfinite(losses)).nonzero()
    if not len(bad):
        return float(losses.mean())
    names = [name for name, value in model.named_parameters() if not torch.isfinite(value).all()]
    where = f"; the first parameter that is not finite is {names[0]}" if names else ""
    raise SBSError(
        f"{title}: the loss is {float(losses[bad[0, 0]])} at epoch {epoch + 1}, "
        f"step {int(bad[0, 0]) + 1} of {len(losses)}{where}. Lower this stage's learning rate"
    )


def _save(task: Task, resume: Path, identity: dict[str, Any], progression: Progression) -> None:
    content = {
        "model": task.model.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in task.optimizers],
        "task": task.state_dict(),
    }
    write_state(content, resume, identity, progression)


def _resume(task: Task, resume: Path, identity: dict[str, Any], reporter: Reporter) -> Progression:
    content, progression = read_state(resume, identity, reporter)
    if content is not None:
        task.model.load_state_dict(content["model"])
        for optimizer, saved in zip(task.optimizers, content["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        task.load_state_dict(content["task"])
    return progression
