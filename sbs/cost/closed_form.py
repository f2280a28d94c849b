"""The differentiable cost R(α) of a network with gates (Eqs. 13 and 14).

Eq. 14 covers only weight quantization. With weights and activations quantized, a layer costs
``MACs · b_w(g) · b_x(g) · kept share``, with b(g) as in
:func:`sbs.quantization.gates.expected_bits`. This equals the exact cost of the policy that the
gates define, and it has a gradient in every gate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sbs.cost.kept_shares import KeptShares, column
from sbs.cost.layers import LayerShape
from sbs.nn.bit_gate import BitGate
from sbs.quantization.gates import nested_gates
from sbs.registry.costs import cost_model
from sbs.surgery.search import GateState, SearchSpace


@dataclass(frozen=True)
class _KeptSizes:
    """Sizes of the kept part of all layers; one entry per layer."""

    macs: Tensor
    weight_elements: Tensor
    input_elements: Tensor


class ClosedFormCost:
    """R(α) of a search network, by a formula in the sizes and bits of its layers.

    All layers are computed together, in a few small operations per step.
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
        """Collect the coefficients.

        Args:
            space: the search network.
            shapes: shapes of its unpruned layers.
            resource: name of a cost model with a closed form.
            propagate: also count what layers save when their input channels are pruned. Eq. 14
                counts only the pruned filters themselves.
            device: device of the gates.
        """
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
        self._shares = KeptShares(space, shapes, propagate=propagate, device=device)
        # The filters of a depthwise layer are its input channels, so count their share once.
        self._depthwise = torch.tensor([shape.depthwise for shape in shapes], device=device)
        self._macs = column([shape.macs for shape in shapes], device)
        self._weights = column([shape.weight_elements for shape in shapes], device)
        self._activations = column([shape.input_elements for shape in shapes], device)

    def __call__(self, state: GateState) -> Tensor:
        """R(α) of the gates: a scalar, differentiable in them.

        Args:
            state: :meth:`sbs.surgery.search.SearchSpace.state`, or the gates of another policy.
        """
        weight_bits = self._weight_bits(state.weight_bits)
        activation_bits = self._activation_bits(state.activation_bits)
        written, read = self._shares(state.groups)
        activations_kept = torch.where(self._depthwise, written, read)
        kernels_kept = torch.where(self._depthwise, written, written * read)
        sizes = _KeptSizes(
            macs=self._macs * kernels_kept,
            weight_elements=self._weights * kernels_kept,
            input_elements=self._activations * activations_kept,
        )
        costs: Tensor = self._layer_cost(sizes, weight_bits, activation_bits)
        return costs.sum()


class _Bits:
    """Bitwidths of all layers, for weights or for activations; searched or fixed."""

    def __init__(
        self, gates: Sequence[BitGate | None], fixed: Sequence[int], device: torch.device
    ) -> None:
        self.base = column(fixed, device)
        rows = [row for row, gate in enumerate(gates) if gate is not None]
        self.rows = torch.tensor(rows, dtype=torch.long, device=device)
        found = next((gate for gate in gates if gate is not None), None)
        if found is not None:
            widths = column(found.bitwidths, device)
            self.lowest, self.steps = widths[0], widths.diff()

    def __call__(self, gates: Tensor) -> Tensor:
        if not len(self.rows):
            return self.base
        chosen = self.lowest + nested_gates(gates.to(self.base.dtype)) @ self.steps
        return self.base.index_copy(0, self.rows, chosen)
