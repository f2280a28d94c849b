"""Kept shares of filters and of input channels, from the gates of a search network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sbs.cost.layers import LayerShape
from sbs.surgery.search import SearchSpace


class KeptShares:
    """Kept shares of the filters and of the input channels of all layers.

    Attributes:
        gated: for every layer, whether some gate removes its filters, and its input channels.
    """

    def __init__(
        self,
        space: SearchSpace,
        shapes: Sequence[LayerShape],
        *,
        propagate: bool,
        device: torch.device,
    ) -> None:
        """Find the gates of each layer.

        Args:
            space: the search network.
            shapes: shapes of its unpruned layers.
            propagate: also take the input channels from the layers that read pruned filters.
            device: device of the gates.
        """
        written = _gates_of_filters(space, shapes, propagate)
        read = _shares_to_inputs(space, shapes, propagate)
        self._written = torch.tensor(written, device=device)
        self._read = torch.tensor(read, dtype=torch.float64, device=device)
        self._of_groups, self._one = _groups_to_shares(space, device), column([1], device)
        whole = len(space.filter_gates)
        self.gated = [(w != whole, any(r[:-1])) for w, r in zip(written, read, strict=True)]

    def __call__(self, groups: Tensor) -> tuple[Tensor, Tensor]:
        """Kept shares of filters and of input channels, one entry per layer.

        Args:
            groups: the gates of all groups.
        """
        kept = self._of_groups @ groups.to(self._one.dtype)
        shares = torch.cat([kept, self._one])  # the last is for layers without a gate
        return shares[self._written], self._read @ shares


def _groups_to_shares(space: SearchSpace, device: torch.device) -> Tensor:
    """Matrix (filter gates, groups) from open groups to kept shares; the last can be smaller."""
    gates = list(space.filter_gates.values())
    matrix = column([0], device).new_zeros(len(gates), sum(len(gate.groups) for gate in gates))
    start = 0
    for row, gate in enumerate(gates):
        for group in range(len(gate.groups)):
            size = min(gate.group_size, gate.filters - group * gate.group_size)
            matrix[row, start + group] = size / gate.filters
        start += len(gate.groups)
    return matrix


def _gates_of_filters(
    space: SearchSpace, shapes: Sequence[LayerShape], propagate: bool
) -> list[int]:
    """For every layer, the index of the gate that removes its filters; one more for none."""
    outputs = dict.fromkeys((shape.name for shape in shapes), len(space.filter_gates))
    for index, prunable in enumerate(space.prunables):
        outputs[prunable.layer] = index
        if propagate:
            outputs |= dict.fromkeys(prunable.producers, index)
    return list(outputs.values())


def _shares_to_inputs(
    space: SearchSpace, shapes: Sequence[LayerShape], propagate: bool
) -> list[list[float]]:
    """Matrix (layers, filter gates and one more) from kept shares to those of input channels.

    The last column is for input channels without a gate.
    """
    parts = {shape.name: [0.0] * len(space.prunables) for shape in shapes}
    inputs = {shape.name: shape.in_channels for shape in shapes}
    for index, prunable in enumerate(space.prunables if propagate else ()):
        filters = space.filter_gates[prunable.layer].filters
        for span in prunable.consumers:
            parts[span.name][index] += filters * span.repeat / inputs[span.name]
    return [[*row, 1 - sum(row)] for row in parts.values()]


def column(values: Sequence[float], device: torch.device) -> Tensor:
    """Numbers as a vector."""
    # Double precision: sums of 10^12 bit operations must be exact to the last digit.
    return torch.tensor(list(values), dtype=torch.float64, device=device)
