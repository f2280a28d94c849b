"""Pruning gates of a convolution (Eq. 11)."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from sbs.quantization import gates

Placement: TypeAlias = Literal["norm", "weight"]
"""Where a pruning gate gets its loss gradient, see :class:`FilterGate`."""


class FilterGate(nn.Module):
    """Pruning gates of one convolution: one threshold per layer, one gate per group (Eq. 11).

    Batch norm cancels any scaling of its input. So a gate that multiplies the weights before it
    (``placement="weight"``, Eq. 11 after the inverse map) gets a zero loss gradient. A gate on the
    scale and shift of the following batch norm (``"norm"``) gets the first-order effect of removing
    the channel. The output of a pruned filter is zero in both cases.

    The group with the largest metric always stays open, so a layer never loses its last filters.

    Attributes:
        metrics: metrics of the groups at the last update. They and the mask are part of the state
            dict, because the policy of a search is extracted from both, also after its last step.
        mask: 0/1 for every filter, without gradient.
        per_filter: the mask of this iteration, differentiable in the threshold.
        frozen: gates of the groups that replace the computed ones, or None.
    """

    metrics: Tensor
    mask: Tensor
    frozen: Tensor | None

    def __init__(
        self,
        filters: int,
        group_size: int,
        *,
        standardized: bool,
        placement: Placement,
        device: torch.device | None = None,
    ) -> None:
        super().__init__()
        self.filters = filters
        self.group_size = group_size
        self.standardized = standardized
        self.placement = placement
        self.threshold = nn.Parameter(torch.zeros((), device=device))
        self.register_buffer("frozen", None)
        self.register_buffer("metrics", torch.zeros(-(-filters // group_size), device=device))
        self.register_buffer("mask", torch.ones(filters, device=device))
        self.per_filter = self.mask

    def update(self, weight: Tensor) -> None:
        """Compute the gates of this iteration from the convolution's weights."""
        if self.frozen is not None:
            self.hold(self.frozen)
            return
        metrics = gates.group_metrics(weight, self.group_size, standardized=self.standardized)
        raw = gates.binary_gate(metrics, self.threshold)
        last = torch.zeros_like(raw).scatter(0, metrics.argmax(keepdim=True), 1.0)
        # Add the missing 1 only if the strongest group is closed; its gradient stays.
        self.hold(raw + last * (1 - raw.detach()))
        self.metrics = metrics

    def hold(self, group_gates: Tensor) -> None:
        """Use these gates, one per group, until the next update."""
        repeated = group_gates[:, None].expand(-1, self.group_size).reshape(-1)
        self.per_filter = repeated[: self.filters]
        self.mask = self.per_filter.detach()
