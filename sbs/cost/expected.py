"""The differentiable cost R(α) of a network with gates (Eqs. 13 and 14).

Eq. 14 is written for weight quantization alone. With both sides quantized a layer costs
``MACs · b_w(g) · b_x(g) · kept share``, with b(g) as in
:func:`sbs.quantization.gates.expected_bits`; it equals the exact cost of the policy that the gates
stand for, and has a gradient in every gate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sbs.cost.layers import LayerShape
from sbs.nn.bit_gate import BitGate
from sbs.quantization.gates import nested_gates
from sbs.registry.costs import cost_model
from sbs.surgery.search import SearchSpace


@dataclass(frozen=True)
class _KeptSizes:
    """Sizes of all layers, an entry each, as far as they are kept."""

    macs: Tensor
    weight_elements: Tensor
    input_elements: Tensor


class ExpectedCost:
    """R(α) of a search network, from the gates of its last forward pass.

    All layers are evaluated at once: a handful of small operations a step.
    """

    def __init__(
        self,
        space: SearchSpace,
        shapes: Sequence[LayerShape],
        resource: str,
        *,
        propagate: bool,
        device: torch.device,
    ) -> None:
        """Collect coefficients.

        Args:
            space: the search network.
            shapes: its layers unpruned.
            resource: name of a cost model.
            propagate: count what pruning takes from the layers that read the pruned filters,
                besides the filters themselves, which are all that Eq. 14 counts.
            device: where the gates are.
        """
        self.space = space
        self._layer_cost = cost_model(resource).layer
        options = [space.layers[shape.name].options for shape in shapes]
        self._weight_bits = _Bits(
            [space.layers[shape.name].weight_gate for shape in shapes],
            [option.weight_bits for option in options],
            device,
        )
        self._activation_bits = _Bits(
            [space.layers[shape.name].activation_gate for shape in shapes],
            [option.activation_bits for option in options],
            device,
        )
        self._outputs, self._inputs = _share_indices(space, shapes, propagate, device)
        # In a depthwise layer filters and input channels are the same: both shrink once.
        depthwise = torch.tensor([s.groups == s.in_channels > 1 for s in shapes], device=device)
        self._depthwise = depthwise
        self._macs = _column([shape.macs for shape in shapes], device)
        self._weights = _column([shape.weight_elements for shape in shapes], device)
        self._activations = _column([shape.input_elements for shape in shapes], device)

    def __call__(self) -> Tensor:
        """R(α): a scalar, differentiable in the thresholds behind the gates."""
        shares = self._shares()
        written, read = shares[self._outputs], shares[self._inputs]
        activations_kept = torch.where(self._depthwise, written, read)
        kernels_kept = torch.where(self._depthwise, written, written * read)
        sizes = _KeptSizes(
            macs=self._macs * kernels_kept,
            weight_elements=self._weights * kernels_kept,
            input_elements=self._activations * activations_kept,
        )
        costs: Tensor = self._layer_cost(sizes, self._weight_bits(), self._activation_bits())
        return costs.sum()

    def _shares(self) -> Tensor:
        """Kept share of every filter gate, and a 1 for layers without one."""
        gates = list(self.space.filter_gates.values())
        one = torch.ones(1, device=self._macs.device, dtype=self._macs.dtype)
        if not gates:
            return one
        kept = torch.stack([gate.per_filter.mean() for gate in gates])
        return torch.cat([kept.to(one.dtype), one])


class _Bits:
    """Bitwidth of every layer on one side, searched or fixed."""

    def __init__(
        self, gates: Sequence[BitGate | None], fixed: Sequence[int], device: torch.device
    ) -> None:
        self.gates = [gate for gate in gates if gate is not None]
        self.base = _column(fixed, device)
        rows = [row for row, gate in enumerate(gates) if gate is not None]
        self.rows = torch.tensor(rows, dtype=torch.long, device=device)
        if self.gates:
            widths = _column(self.gates[0].bitwidths, device)
            self.lowest, self.steps = widths[0], widths.diff()

    def __call__(self) -> Tensor:
        if not self.gates:
            return self.base
        raw = torch.stack([gate.gates for gate in self.gates]).to(self.base.dtype)
        chosen = self.lowest + nested_gates(raw.T).T @ self.steps
        return self.base.index_copy(0, self.rows, chosen)


def _share_indices(
    space: SearchSpace, shapes: Sequence[LayerShape], propagate: bool, device: torch.device
) -> tuple[Tensor, Tensor]:
    """For every layer, which share its filters and its input channels follow."""
    unpruned = len(space.filter_gates)
    position = {name: index for index, name in enumerate(space.filter_gates)}
    outputs = dict.fromkeys((shape.name for shape in shapes), unpruned)
    inputs = dict(outputs)
    for prunable in space.prunables:
        outputs[prunable.layer] = position[prunable.layer]
        if propagate:
            outputs |= dict.fromkeys(prunable.producers, position[prunable.layer])
            inputs |= dict.fromkeys(prunable.consumers, position[prunable.layer])
    return (
        torch.tensor(list(outputs.values()), device=device),
        torch.tensor(list(inputs.values()), device=device),
    )


def _column(values: Sequence[float], device: torch.device) -> Tensor:
    # Double precision: sums of 10^12 bit operations must keep their last digit.
    return torch.tensor(list(values), dtype=torch.float64, device=device)
