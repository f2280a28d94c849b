"""Settings of a compression in one call: those of the project's scales, for any number of steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from torch import nn
from torch.optim import Optimizer

from sbs.config.settings import FinetuneSettings, RuntimeSettings, SearchSettings, TrainSettings
from sbs.errors import SBSError
from sbs.policy import Bitwidths
from sbs.training.recipe import MakeOptimizer, Objective, Recipe, learning_rate_factor, sgd

UserOptimizer: TypeAlias = Callable[[Iterable[nn.Parameter]], Optimizer]
"""Parameters -> optimizer, such as ``lambda p: torch.optim.AdamW(p, lr=1e-3)``."""

UserSchedule: TypeAlias = str | Callable[[float], float]
"""``"cosine"``, ``"constant"``, or: share of a stage that is over -> factor of the rate."""

THRESHOLD_TRAVEL, RANK_TRAVEL = 3.0, 60.0
"""How far thresholds of bitwidths, and of pruning, can move in a search (docs/search.md)."""

SLOWEST_THRESHOLD, SLOWEST_RANK = 0.001, 0.02
"""Their learning rates at the paper's protocol, which long searches keep."""


def search_settings(
    *,
    epochs: int,
    steps: int,
    items: int,
    learning_rate: float,
    bitwidths: Bitwidths,
    group_size: int,
    resource: str,
    target: str,
) -> SearchSettings:
    """Settings of the search.

    Args:
        epochs: its epochs.
        steps: batches per epoch.
        items: items of a batch.
        learning_rate: of weights and intervals.
        bitwidths: candidates.
        group_size: filters per pruning group.
        resource: name of the cost model.
        target: the target cost.
    """
    whole = epochs * steps
    return SearchSettings.model_validate(
        {
            **_training(epochs, items, learning_rate),
            "bitwidths": bitwidths,
            "group_size": group_size,
            "bit_sharing": True,
            "start": "pretrained",
            "stages": "one",
            "alternating": True,
            "resource": resource,
            "target": target,
            "penalty": 0.0,
            "ramp": 0.2,
            "share_window": 0.05,
            "settle": 0.7,
            "interval_bits": bitwidths.lowest,
            "threshold_learning_rate": max(SLOWEST_THRESHOLD, THRESHOLD_TRAVEL / whole),
            "pruning_threshold_learning_rate": max(SLOWEST_RANK, RANK_TRAVEL / whole),
            "threshold_optimizer": "adam",
            "threshold_momentum": 0.0,
            "pruning_metric": "rank",
            "pruning_gate": "reader",
            "propagate": True,
        }
    )


def finetune_settings(epochs: int, items: int, learning_rate: float) -> FinetuneSettings:
    """Settings of the fine-tuning, from the searched weights with fitted intervals."""
    more = {"start": "searched", "epochs_without_search": epochs, "fit_intervals": True}
    return FinetuneSettings.model_validate(_training(epochs, items, learning_rate) | more)


def runtime_settings(device: str, precision: str) -> RuntimeSettings:
    """How to compute."""
    return RuntimeSettings.model_validate(
        {
            "device": device,
            "precision": precision,
            "channels_last": True,
            "accumulation": 1,
            "sync_batch_norm": True,
        }
    )


def recipe_of(
    objective: Objective, optimizer: UserOptimizer | None, schedule: UserSchedule
) -> Recipe:
    """Loss, optimizer and schedule as the caller wants them.

    Raises:
        SBSError: the schedule is not known.
    """
    make = sgd if optimizer is None else _made_by(optimizer)
    if callable(schedule):
        function = schedule
        return Recipe(objective, make, lambda train, done: function(done / train.epochs))
    if schedule == "constant":
        return Recipe(objective, make, lambda train, done: 1.0)
    if schedule != "cosine":
        raise SBSError(f"schedule: {schedule!r}; take 'cosine', 'constant' or a function")
    return Recipe(objective, make, learning_rate_factor)


def _made_by(optimizer: UserOptimizer) -> MakeOptimizer:
    def make(groups: list[dict[str, Any]], settings: TrainSettings) -> Optimizer:
        made = optimizer([one for group in groups for one in group["params"]])
        for group in made.param_groups:
            group["initial_lr"] = group["lr"]
        return made

    return make


def _training(epochs: int, items: int, learning_rate: float) -> dict[str, Any]:
    return {
        "epochs": epochs,
        "batch_size": max(2, items),
        "learning_rate": learning_rate,
        "schedule": "cosine",
        "milestones": (),
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 1e-4,
    }
