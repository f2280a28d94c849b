"""The one training of all tools: the project's own loop and recipe, counted by the meter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import Adam, Optimizer

from benchmarks.peers.meter import Meter
from benchmarks.peers.start import SEED, Start
from benchmarks.peers.tool import Found, Job
from benchmarks.steps import CPU
from sbs.compression.settings import runtime_settings
from sbs.config.settings import TrainSettings
from sbs.runtime.progress import Reporter
from sbs.training.classification import Classification
from sbs.training.loop import Task, fit
from sbs.training.recipe import Recipe

RUNTIME = runtime_settings("cpu", "fp32")

FOLDED_RATE = 1e-4
"""Learning rate of :func:`adam`.

The examples of PLiNIO (search) and MCT (training) have 1e-3, for networks that begin anew. It
destroys a trained network within a hundred steps: their training losses are then as of chance. Of
1e-3, 1e-4 and 1e-5 this is the largest that does not.
"""


def adam(groups: list[dict[str, Any]], settings: TrainSettings) -> Optimizer:
    """Adam for networks whose batch norms are folded, which the recipe's SGD can blow up."""
    made = Adam(groups, lr=FOLDED_RATE, weight_decay=settings.weight_decay)
    for group in made.param_groups:
        group["initial_lr"] = group["lr"]
    return made


FOLDED = Recipe(optimizer=adam)
"""The recipe for such networks; all else is the same."""


class CountingReporter(Reporter):
    """Reports epochs, and has the meter count them."""

    def __init__(self, title: str, stage: str, meter: Meter, steps: int) -> None:
        """Create it.

        Args:
            title: name of the run.
            stage: name of the stage.
            meter: what counts.
            steps: steps of an epoch.
        """
        super().__init__(f"{title} {stage}")
        self._stage, self._meter, self._steps = stage, meter, steps

    def epoch(self, summary: Mapping[str, Any], epochs: int, model: object) -> None:
        """Report and count the end of an epoch."""
        super().epoch(summary, epochs, model)
        self._meter.add(self._stage, f"epoch {summary['epoch']}", self._steps)


def train(
    job: Job,
    tool: str,
    model: nn.Module,
    stage: str,
    epochs: int,
    *,
    task: Task | None = None,
    recipe: Recipe | None = None,
    channels_last: bool = True,
) -> None:
    """Train a network in place; a killed job goes on from its last epoch.

    Args:
        job: what is asked for.
        tool: name of the tool.
        model: the network.
        stage: ``search`` or ``training``.
        epochs: length.
        task: what to train; default: the network, by cross-entropy.
        recipe: of the default task, if not the common one.
        channels_last: memory format.
    """
    settings = job.start.recipe(epochs)
    batches = job.start.batches(channels_last=channels_last)
    job.meter.restart()
    fit(
        task or Classification(model, settings, recipe),
        batches,
        settings,
        RUNTIME,
        device=CPU,
        seed=SEED,
        resume=job.folder / stage,
        identity={
            "tool": tool,
            "level": job.level,
            "stage": stage,
            "settings": settings.model_dump(mode="json"),
            "optimizer": str((recipe or Recipe()).optimizer.__name__),
            "folded_rate": FOLDED_RATE,
            "dataset": job.start.dataset.digest,
        },
        reporter=CountingReporter(f"{tool} {job.level}-bit", stage, job.meter, len(batches)),
    )


def train_fixed(
    job: Job,
    name: str,
    model: nn.Module,
    bits: Callable[[nn.Module, Start], Mapping[str, tuple[int, int]]],
    export: Callable[[nn.Module, tuple[int, ...], Path], None],
) -> Found:
    """Train a network whose bits the user has fixed, for the whole budget.

    Args:
        job: what is asked for.
        name: name of the tool.
        model: the quantized network.
        bits: (network, start) -> bits of weights and inputs, by layer.
        export: (network, shape of an image, folder): writes the tool's own file.
    """
    train(job, name, model, "training", 2 * job.start.epochs)
    model.eval()
    return Found(
        model,
        job.start.policy(bits(model, job.start)),
        {"onnx": partial(export, model, tuple(job.start.dataset.image))},
    )
