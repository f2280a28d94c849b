"""Pruning gates of a convolution (Eq. 11)."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from sbs.quantization import gates

Placement: TypeAlias = Literal["reader", "norm", "weight"]
"""Where a pruning gate gets its loss gradient, see :class:`FilterGate`."""

Metric: TypeAlias = Literal["rank", "standardized", "raw"]
"""What is compared with a pruning threshold, see :class:`FilterGate`."""


class FilterGate(nn.Module):
    """Pruning gates of one convolution: one threshold per layer, one gate per group (Eq. 11).

    The output of a pruned filter contributes nothing, wherever the gate is. But its gradient
    depends on the place:

    - ``"weight"``, on the filter's own weights (Eq. 11 after the inverse map): zero, because batch
      norm cancels any scaling of its input.
    - ``"norm"``, on scale and shift of the following batch norm: the first-order effect of removing
      the channel while the gate is open; zero once it is closed, because ReLU has no slope at 0. A
      pruned group never comes back by the loss.
    - ``"reader"``, on the kernels of the layer that reads the channel, behind its quantizers: the
      inner product of what the channel would add with the gradient there, open or closed. So the
      loss can reopen a group.

    A threshold is compared with the mean absolute weight of each group, of raw or standardised
    weights, or with the rank of that mean in the layer (:func:`sbs.quantization.gates.ranks`).

    The group with the largest metric always stays open, so a layer never loses its last filters.

    Attributes:
        groups: gates of the groups in the last forward pass (G), differentiable in the threshold.
        per_filter: the same, one per filter.
        mask: the same without gradient.
        loss_aware: if false, the threshold gets no gradient from the loss, only from the cost.
        frozen: gates of the groups that replace the computed ones, or None; see :meth:`freeze`.
    """

    frozen: Tensor | None

    def __init__(
        self,
        filters: int,
        group_size: int,
        *,
        metric: Metric,
        placement: Placement,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.filters = filters
        self.group_size = group_size
        self.metric = metric
        self.placement = placement
        self.threshold = nn.Parameter(torch.zeros((), device=device, dtype=dtype))
        self.register_buffer("frozen", None, persistent=False)
        self.loss_aware = True
        self.hold(torch.ones(-(-filters // group_size), device=device, dtype=dtype))

    def update(self, weight: Tensor) -> None:
        """Compute the gates of this iteration from the convolution's weights."""
        if self.frozen is not None:
            self.hold(self.frozen)
            return
        metrics = self._metrics(weight)
        raw = gates.binary_gate(metrics, self.threshold)
        last = torch.zeros_like(raw).scatter(0, metrics.argmax(keepdim=True), 1.0)
        # Add the missing 1 only if the strongest group is closed; its gradient stays.
        self.hold(raw + last * (1 - raw.detach()))

    def freeze(self, kept: tuple[int, ...] | None) -> None:
        """Keep these filters, or all if None; the threshold then has no effect."""
        starts = range(0, self.filters, self.group_size)
        held = [float(kept is None or start in kept) for start in starts]
        self.frozen = self.threshold.new_tensor(held)
        self.hold(self.frozen)

    def hold(self, group_gates: Tensor) -> None:
        """Use these gates, one per group, until the next update."""
        self.groups = group_gates
        repeated = group_gates[:, None].expand(-1, self.group_size).reshape(-1)
        self.per_filter = repeated[: self.filters]
        self.mask = self.per_filter.detach()

    def kept(self, group_gates: Tensor) -> tuple[int, ...] | None:
        """Filters of the open groups; None if all are open."""
        open_groups = group_gates.tolist()
        if all(open_groups):
            return None
        return tuple(f for f in range(self.filters) if open_groups[f // self.group_size])

    @property
    def factor(self) -> Tensor:
        """The gates by filter, where the loss is computed."""
        return self.per_filter if self.loss_aware else self.mask

    def _metrics(self, weight: Tensor) -> Tensor:
        standardized = self.metric == "standardized"
        metrics = gates.group_metrics(weight, self.group_size, standardized=standardized)
        return gates.ranks(metrics) if self.metric == "rank" else metrics
