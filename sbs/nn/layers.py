"""Quantized convolutions and linear layers: at fixed bitwidths, or with gates for the search.

All of them keep the parameter names of the plain layer (``weight``, ``bias``), so plain
checkpoints load, and add ``weight_interval`` and ``activation_interval`` (v_w and v_x).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor, nn
from torch.nn import functional as F

from sbs.kernels import fused as kernels
from sbs.nn.batch_norm import Values, tensor
from sbs.nn.bit_gate import BitGate
from sbs.nn.filter_gate import FilterGate
from sbs.nn.quantizers.base import LayerQuantizer
from sbs.nn.quantizers.interval import INTERVAL
from sbs.policy import FULL_PRECISION, Bitwidths
from sbs.quantization.grid import WeightGrid


@dataclass(frozen=True)
class LayerOptions:
    """How one layer is quantized.

    Attributes:
        weight_bits: 32 leaves the weights alone.
        activation_bits: 32 leaves the input alone.
        signed_input: the input can be negative.
        quantize_input: false for the first layer, whose input is the 8-bit image already.
        standardize_weights: weight normalisation, for a layer with a batch norm behind it that
            undoes the scale.
        fit_weight_interval: see :func:`initial_weight_interval`.
        quantizer: what quantizes at fixed bitwidths. Gates go by Eqs. 1-4 whatever it is.
    """

    weight_bits: int
    activation_bits: int
    signed_input: bool
    quantize_input: bool = True
    standardize_weights: bool = True
    fit_weight_interval: bool = False
    quantizer: LayerQuantizer = INTERVAL


def initial_weight_interval(weight: Tensor, options: LayerOptions) -> Tensor:
    """Where v_w starts: at 1, or at ``max|w|``.

    The paper's 1 is one standard deviation where weights are standardised. Raw weights need an
    interval of their own scale. Chosen: the largest magnitude, as nothing behind these layers
    makes up for what clipping takes away, and as at 1 the few bits of a grid would be spent on
    values that no weight has. The last layer alone starts at 1 though its weights are raw, as it
    always did: it has 8 bits in every policy, which find its weights inside [-1, 1] too.

    Args:
        weight: weights of the plain layer.
        options: ``fit_weight_interval`` decides.
    """
    if options.fit_weight_interval:
        return weight.detach().abs().amax()
    return weight.new_ones(())


class _Quantized(nn.Module):
    """What the two layer types share; mixed into ``nn.Conv2d`` and ``nn.Linear``."""

    weight: Tensor
    options: LayerOptions

    def setup(self, options: LayerOptions, bitwidths: Bitwidths | None) -> None:
        """Add intervals, and gates if ``bitwidths`` are to be searched."""
        self.options = options
        self.weight_interval = nn.Parameter(initial_weight_interval(self.weight, options))
        self.activation_interval = nn.Parameter(self.weight.new_ones(()))
        self.weight_gate: BitGate | None = None
        self.activation_gate: BitGate | None = None
        if bitwidths is not None:
            device = self.weight.device
            self.weight_gate = BitGate(bitwidths, track_running_metrics=False, device=device)
            self.activation_gate = BitGate(bitwidths, track_running_metrics=True, device=device)
        self.filter_gate: FilterGate | None = None
        # Lists hide gates from module registration: they belong to their convolution.
        self._gates_of_outputs: list[FilterGate] = []
        self._gates_of_inputs: list[FilterGate] = []

    def share_outputs(self, gate: FilterGate) -> None:
        """Tell the layer that its filters are kept and pruned with those of ``gate``."""
        self._gates_of_outputs.append(gate)

    def share_inputs(self, gate: FilterGate) -> None:
        """Tell the layer that its input channels are the filters of ``gate``."""
        self._gates_of_inputs.append(gate)

    def normalized_weight(self) -> Tensor:
        """Weights as the quantizer gets them."""
        if not self.options.standardize_weights:
            return self.weight
        return kernels.standardize(self.weight, self._kept_mask())

    def quantized_weight(self) -> Tensor:
        """Weights as the arithmetic gets them, pruned filters not yet removed."""
        interval = self.weight_interval
        if self.weight_gate is not None:
            return self.weight_gate.fake_quantize(self.normalized_weight(), interval, signed=True)
        bits, quantizer = self.options.weight_bits, self.options.quantizer
        if bits == FULL_PRECISION:
            return self.weight
        return quantizer.fake_quantize_weight(self.normalized_weight(), interval, bits)

    def weight_grid(self) -> WeightGrid | None:
        """What integer codes of the weights stand for; None at full precision."""
        bits, quantizer = self.options.weight_bits, self.options.quantizer
        if bits == FULL_PRECISION:
            return None
        scale, offset = quantizer.scale_and_offset(self.weight_interval, bits)
        return WeightGrid(bits, tuple(self.weight.shape), scale, offset)

    def hold_quantized(self) -> None:
        """Take the weights as they are from now on: they are quantized already."""
        self.options = replace(self.options, weight_bits=FULL_PRECISION)

    def quantized_input(self, x: Values) -> Tensor:
        """Input as the arithmetic gets it."""
        if not self.options.quantize_input:
            return tensor(x)
        interval = self.activation_interval
        signed = self.options.signed_input
        if self.activation_gate is not None:
            return self.activation_gate.fake_quantize(x, interval, signed=signed)
        if self.options.activation_bits == FULL_PRECISION:
            return tensor(x)
        bits, quantizer = self.options.activation_bits, self.options.quantizer
        return quantizer.fake_quantize_input(x, interval, bits, signed=signed)

    def _kept_mask(self) -> Tensor | None:
        """0/1 for every kernel, 1 where neither its filter nor its input channel is pruned."""
        mask: Tensor | None = None
        for gate in self._gates_of_outputs:
            mask = gate.mask.view(-1, 1, 1, 1)
        for gate in self._gates_of_inputs:
            read = gate.mask.view(1, -1, 1, 1)
            mask = read if mask is None else mask * read
        return mask


class QuantConv2d(_Quantized, nn.Conv2d):
    """Convolution with quantized input and weights, and prunable filters in a search."""

    def forward(self, x: Values) -> Tensor:
        """Quantize, then convolve: (N, C, H, W) to (N, filters, H', W')."""
        gate = self.filter_gate
        if gate is not None:
            gate.update(self.weight)
        weight = self.quantized_weight()
        if gate is not None and gate.placement == "weight":
            weight = weight * gate.per_filter.view(-1, 1, 1, 1)
        for read in self._gates_of_inputs:
            # A signed quantizer has no zero level: the zeros of a pruned channel would count.
            weight = weight * read.mask.view(1, -1, 1, 1)
        y: Tensor = self._conv_forward(self.quantized_input(x), weight, self.bias)
        return y


class QuantLinear(_Quantized, nn.Linear):
    """Linear layer with quantized input and weights."""

    def forward(self, x: Values) -> Tensor:
        """Quantize, then multiply: (N, features) to (N, outputs)."""
        return F.linear(self.quantized_input(x), self.quantized_weight(), self.bias)
