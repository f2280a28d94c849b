"""Scores of a network on validation batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import TypeAlias

import torch
from torch import Tensor, nn

from sbs.compression.loader import check_repeatable, placed
from sbs.errors import SBSError
from sbs.training.batch import Batch, mapped, size_of

Metric: TypeAlias = Callable[[nn.Module, Batch], float | Tensor]
"""(network, batch) -> mean score of the batch. The network has no other attributes than layers."""


class Validation:
    """What networks are scored by: batches and a metric."""

    def __init__(
        self, loader: Iterable[Batch] | None, device: torch.device, metric: Metric
    ) -> None:
        """Check the loader.

        Args:
            loader: batches, whenever it is iterated; None: there is nothing to score.
            device: device to compute on.
            metric: (network, batch) -> mean score of the batch.

        Raises:
            SBSError: the loader can be iterated only once.
        """
        check_repeatable(loader, "val_loader")
        self._loader, self._device, self._metric = loader, device, metric

    def check(self, model: nn.Module) -> None:
        """Try the metric on the first batch; argument and errors of :meth:`score`."""
        if self._loader is not None:
            self._mean(model, islice(self._loader, 1))

    def score(self, model: nn.Module) -> float | None:
        """Mean of the metric over all items.

        Args:
            model: the network, on the device; in evaluation mode afterwards.

        Raises:
            SBSError: there are no batches, or the metric gives no number.
        """
        return None if self._loader is None else self._mean(model, self._loader)

    @torch.no_grad()
    def _mean(self, model: nn.Module, batches: Iterable[Batch]) -> float:
        model.eval()
        total, items = 0.0, 0
        for given in batches:
            batch = mapped(given, lambda tensor: placed(tensor, self._device))
            total += _number(self._metric(model, batch)) * size_of(batch)
            items += size_of(batch)
        if not items:
            raise SBSError("val_loader: gives no batch")
        return total / items


def _number(value: float | Tensor) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise SBSError(
            f"metric: gives a {type(value).__name__} that is no number ({error}); give the mean "
            "score of the batch"
        ) from error


def accuracy(model: nn.Module, batch: Batch) -> Tensor:
    """Share of a batch of inputs and labels that is classified right, in percent."""
    inputs, labels = batch
    hits: Tensor = model(inputs).argmax(1) == labels
    return 100 * hits.float().mean()
