"""R(α) of a cost that is known layer by layer only: a simulator's, or a table's.

Each layer has a table of its costs: for all candidate bitwidths of its weights and of its input,
and for kept shares of its filters and of its input channels. The cost of the gates is interpolated
in it, linearly in each of the four. At decided gates it is the table's value at those bits; its
gradient in a bit gate is the difference that the gate makes. Kept shares lie between the entries,
and a device's cost is a staircase in them, which the interpolation smooths. So a search compares
the exact cost of a policy with its target (:func:`sbs.cost.exact.policy_cost`), and this one only
steers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product

import torch
from torch import Tensor

from sbs.cost.kept_shares import KeptShares, column
from sbs.cost.layers import LayerShape, with_channels
from sbs.nn.bit_gate import BitGate
from sbs.quantization.gates import nested_gates
from sbs.registry.costs import cost_model
from sbs.surgery.search import GateState, SearchSpace

INTERVALS = 8
"""Intervals between 0 and all of a layer's channels."""

LayerCost = Callable[[LayerShape, int, int], float]


class InterpolatedCost:
    """R(α) of a search network, from tables of its layers' costs."""

    def __init__(
        self,
        space: SearchSpace,
        shapes: Sequence[LayerShape],
        resource: str,
        *,
        propagate: bool,
        device: torch.device,
    ) -> None:
        """Ask the cost model for all entries of the tables.

        Args:
            space: the search network.
            shapes: shapes of its unpruned layers.
            resource: name of a cost model.
            propagate: also count what layers save when their input channels are pruned.
            device: device of the gates.

        Raises:
            SBSError: the cost model does not know one of the layers.
        """
        layers = [space.layers[shape.name] for shape in shapes]
        self._weights = Levels(
            [layer.weight_gate for layer in layers],
            [layer.options.weight_bits for layer in layers],
            device,
        )
        self._activations = Levels(
            [layer.activation_gate for layer in layers],
            [layer.options.activation_bits for layer in layers],
            device,
        )
        self._shares = KeptShares(space, shapes, propagate=propagate, device=device)
        cost: LayerCost = cost_model(resource).layer
        candidates = zip(self._weights.bits, self._activations.bits, strict=True)
        tables = [
            _table(cost, shape, bits, gated)
            for shape, bits, gated in zip(shapes, candidates, self._shares.gated, strict=True)
        ]
        size = (INTERVALS + 1, INTERVALS + 1, self._weights.count, self._activations.count)
        self._tables = torch.stack([table.expand(size) for table in tables]).to(device)
        self._layers = torch.arange(len(shapes), device=device)

    def __call__(self, state: GateState) -> Tensor:
        """R(α) of the gates: a scalar, differentiable in them.

        Args:
            state: :meth:`sbs.surgery.search.SearchSpace.state`, or the gates of another policy.
        """
        weights = self._weights(state.weight_bits)
        activations = self._activations(state.activation_bits)
        written, read = (_between(shares) for shares in self._shares(state.groups))
        total = weights.new_zeros(())
        for (of_filters, a), (of_inputs, b) in product(written, read):
            entries = self._tables[self._layers, of_filters, of_inputs]
            costs = torch.einsum("lwa,lw,la->l", entries, weights, activations)
            total = total + (a * b * costs).sum()
        return total


class Levels:
    """The candidate bitwidths of all layers, for weights or for activations, and which is chosen.

    Attributes:
        bits: candidate bitwidths of every layer; a fixed one is the only candidate.
        count: largest number of candidates.
    """

    def __init__(
        self, gates: Sequence[BitGate | None], fixed: Sequence[int], device: torch.device
    ) -> None:
        """Collect the candidates.

        Args:
            gates: the gates of each layer, or None where the bitwidth is fixed.
            fixed: that bitwidth.
            device: device of the gates.
        """
        self.bits = [
            list(gate.bitwidths) if gate is not None else [width]
            for gate, width in zip(gates, fixed, strict=True)
        ]
        rows = [row for row, gate in enumerate(gates) if gate is not None]
        self._rows = torch.tensor(rows, dtype=torch.long, device=device)
        self.count = max(map(len, self.bits))
        first = [1.0] + [0.0] * (self.count - 1)
        self._fixed = column(first, device).repeat(len(gates), 1)

    def __call__(self, gates: Tensor) -> Tensor:
        """How much of each candidate is chosen: (layers, candidates), rows add up to 1.

        Args:
            gates: the searched gates, one row per layer with gates.
        """
        if not len(self._rows):
            return self._fixed
        opened = nested_gates(gates.to(self._fixed.dtype))
        ends = opened.new_ones(len(opened), 1), opened.new_zeros(len(opened), 1)
        chosen = torch.cat([ends[0], opened], 1) - torch.cat([opened, ends[1]], 1)
        return self._fixed.index_copy(0, self._rows, chosen)


def _between(shares: Tensor) -> list[tuple[Tensor, Tensor]]:
    """The entries below and above each share, with their weights."""
    place = shares * INTERVALS
    below = place.detach().floor().clamp(0, INTERVALS - 1)
    above_share = place - below
    index = below.long()
    return [(index, 1 - above_share), (index + 1, above_share)]


def _table(
    cost: LayerCost,
    shape: LayerShape,
    bits: tuple[Sequence[int], Sequence[int]],
    gated: tuple[bool, bool],
) -> Tensor:
    """Costs of a layer: (kept filters, kept input channels, weight bits, activation bits).

    Args:
        cost: cost of a layer.
        shape: the unpruned layer.
        bits: candidate bitwidths of its weights and of its input.
        gated: whether some gate removes its filters, and its input channels. A dimension without
            gates has one entry.
    """
    filters = _counts(shape.out_channels, gated[0])
    inputs = _counts(shape.in_channels, gated[1] and not shape.depthwise)
    entries = [
        sum(
            share * cost(with_channels(shape, written, read), weights, activations)
            for written, read, share in _around(of_filters, of_inputs)
        )
        for of_filters, of_inputs, weights, activations in product(filters, inputs, *bits)
    ]
    return column(entries, torch.device("cpu")).view(len(filters), len(inputs), *map(len, bits))


def _counts(channels: int, gated: bool) -> list[float]:
    """Kept channels at each entry; all of them, if no gate removes some."""
    if not gated:
        return [channels]
    return [channels * place / INTERVALS for place in range(INTERVALS + 1)]


def _around(filters: float, inputs: float) -> list[tuple[int, int, float]]:
    """Whole numbers of filters and inputs around the given ones, with weights.

    Without filters or inputs a layer costs nothing, so pairs with a zero are left out.
    """
    return [
        (written, read, a * b)
        for (written, a), (read, b) in product(_whole(filters), _whole(inputs))
        if written and read and a * b
    ]


def _whole(count: float) -> list[tuple[int, float]]:
    low = math.floor(count)
    return [(low, 1 - (count - low)), (low + 1, count - low)]
