"""Training with the loss only: pretraining, and fine-tuning at a policy's bitwidths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from sbs.config.settings import TrainSettings
from sbs.training.batch import Batch
from sbs.training.recipe import Recipe


class Classification:
    """Training without a cost term as a task of :func:`sbs.training.loop.fit`."""

    def __init__(
        self, model: nn.Module, settings: TrainSettings, recipe: Recipe | None = None
    ) -> None:
        self.model, self._recipe = model, recipe or Recipe()
        groups = [{"params": list(model.parameters())}]
        self.optimizers: Sequence[Optimizer] = [self._recipe.optimizer(groups, settings)]

    def before_forward(self, iteration: int) -> None:
        """Do nothing."""

    def loss(self, batch: Batch) -> Tensor:
        """The recipe's objective, cross-entropy by default."""
        return self._recipe.objective(self.model, batch)

    def epoch_summary(self) -> dict[str, float]:
        """Nothing to add to the loss."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Empty: there is no state besides model and optimizer."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Do nothing."""
