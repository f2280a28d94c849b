"""Training with cross-entropy only: pretraining, and fine-tuning at a policy's bitwidths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from sbs.config.settings import TrainSettings
from sbs.training.loop import sgd


class Classification:
    """Cross-entropy training as a task of :func:`sbs.training.loop.fit`."""

    def __init__(self, model: nn.Module, settings: TrainSettings) -> None:
        self.model = model
        self.optimizers: Sequence[Optimizer] = [
            sgd([{"params": list(model.parameters())}], settings)
        ]

    def before_forward(self, iteration: int) -> None:
        """Do nothing."""

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of one batch."""
        return F.cross_entropy(self.model(images).float(), labels)

    def epoch_summary(self) -> dict[str, float]:
        """Nothing to add to the loss."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Empty: there is no state besides model and optimizer."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Do nothing."""
