"""Scores of a network on validation batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

import torch
from torch import Tensor, nn

from sbs.compression.loader import placed
from sbs.errors import SBSError
from sbs.training.batch import Batch, mapped, size_of

Metric: TypeAlias = Callable[[nn.Module, Batch], float | Tensor]
"""(network, batch) -> mean score of the batch."""


@torch.no_grad()
def mean_score(
    model: nn.Module, loader: Iterable[Batch] | None, device: torch.device, *, metric: Metric
) -> float | None:
    """Mean of a metric over all items.

    Args:
        model: the network, on ``device``; in evaluation mode afterwards.
        loader: batches; None: there is nothing to score.
        device: device to compute on.
        metric: (network, batch) -> mean score of the batch.

    Raises:
        SBSError: there are no batches.
    """
    if loader is None:
        return None
    model.eval()
    total, items = 0.0, 0
    for given in loader:
        batch = mapped(given, lambda tensor: placed(tensor, device))
        total += float(metric(model, batch)) * size_of(batch)
        items += size_of(batch)
    if not items:
        raise SBSError("val_loader: gives no batch")
    return total / items


def accuracy(model: nn.Module, batch: Batch) -> Tensor:
    """Share of a batch of inputs and labels that is classified right, in percent."""
    inputs, labels = batch
    hits: Tensor = model(inputs).argmax(1) == labels
    return 100 * hits.float().mean()
