"""How a network is trained: its loss, its optimizer, and how the learning rate falls."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import SGD, Optimizer

from sbs.config.settings import TrainSettings
from sbs.training.batch import Batch

Objective: TypeAlias = Callable[[nn.Module, Batch], Tensor]
"""(network, batch) -> mean loss of the batch, a scalar."""

MakeOptimizer: TypeAlias = Callable[[list[dict[str, Any]], TrainSettings], Optimizer]
"""(parameter groups, settings) -> optimizer."""

Schedule: TypeAlias = Callable[[TrainSettings, float], float]
"""(settings, finished epochs with fraction) -> learning rate divided by its initial value."""


def cross_entropy(model: nn.Module, batch: Batch) -> Tensor:
    """Cross-entropy of the logits of images (N, ...), with labels (N,)."""
    images, labels = batch
    return F.cross_entropy(model(images).float(), labels)


def sgd(groups: list[dict[str, Any]], settings: TrainSettings) -> Optimizer:
    """SGD as in section 4.2; ``groups`` can override learning rate and weight decay."""
    for group in groups:
        group.setdefault("lr", settings.learning_rate)
        group["initial_lr"] = group["lr"]
    return SGD(
        groups,
        lr=settings.learning_rate,
        momentum=settings.momentum,
        nesterov=settings.nesterov and settings.momentum > 0,
        weight_decay=settings.weight_decay,
        fused=True,
    )


def learning_rate_factor(settings: TrainSettings, progress: float) -> float:
    """Learning rate divided by its initial value.

    Args:
        settings: settings with the schedule.
        progress: finished epochs, with fraction: the cosine schedule changes at every step.
    """
    if settings.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * progress / settings.epochs))
    if settings.schedule == "steps":
        return 0.1 ** sum(progress >= milestone for milestone in settings.milestones)
    return 1.0


@dataclass(frozen=True)
class Recipe:
    """How to train; by default as the paper does.

    Attributes:
        objective: the loss without any cost term.
        optimizer: makes the optimizer of weights and intervals.
        schedule: how its learning rate falls.
    """

    objective: Objective = cross_entropy
    optimizer: MakeOptimizer = sgd
    schedule: Schedule = learning_rate_factor
