"""A small network, scikit-learn's digits, and a short compression."""

from __future__ import annotations

from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import sbs
from sbs.compression.result import Compressed

IMAGES, LABELS = (
    torch.tensor(load_digits().images, dtype=torch.float32)[:, None] / 16,
    torch.tensor(load_digits().target),
)
TRAINING = 1280


class Net(nn.Module):
    """A small network without residual blocks; one layer is never used."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.second = nn.Conv2d(12, 16, 3, padding=1)
        self.third, self.third_norm = nn.Conv2d(16, 16, 3), nn.BatchNorm2d(16)
        self.unused = nn.Linear(3, 3)
        self.hidden, self.fc = nn.Linear(16 * 4, 24), nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 1, 8, 8) to logits (N, 10)."""
        x = F.max_pool2d(F.relu(self.second(F.relu(self.norm(self.first(x))))), 2)
        x = F.relu(self.third_norm(self.third(x)))
        result: Tensor = self.fc(F.relu(self.hidden(x.flatten(1))))
        return result


def loader(size: int = 64) -> DataLoader[Any]:
    return DataLoader(TensorDataset(IMAGES[:TRAINING], LABELS[:TRAINING]), size, shuffle=True)


VALIDATION = [(IMAGES[TRAINING:], LABELS[TRAINING:])]


def compressed(model: nn.Module, target: str | float = 0.01, **options: Any) -> Compressed:
    defaults = {"search_epochs": 6, "epochs": 2, "verbose": False}
    return sbs.compress(model, loader(), target, **(defaults | options))
