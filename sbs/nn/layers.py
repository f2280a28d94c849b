"""Quantized convolutions and linear layers: at fixed bitwidths, or with gates for the search.

They keep the parameter names of the plain layer (``weight``, ``bias``), so plain checkpoints load.
They add the parameters ``weight_interval`` and ``activation_interval`` (v_w and v_x).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

from torch import Tensor, nn
from torch.nn import functional as F

from sbs.kernels import fused as kernels
from sbs.nn.bit_gate import BitGate
from sbs.nn.convolution import FastConv2d
from sbs.nn.filter_gate import FilterGate
from sbs.nn.quantizers.base import LayerQuantizer
from sbs.nn.quantizers.interval import INTERVAL
from sbs.nn.shared_gates import SharedGates
from sbs.policy import FULL_PRECISION, Bitwidths
from sbs.quantization.grid import WeightGrid


@dataclass(frozen=True)
class LayerOptions:
    """How one layer is quantized.

    Attributes:
        weight_bits: bitwidth of the weights; 32 does not quantize them.
        activation_bits: bitwidth of the input; 32 does not quantize it.
        signed_input: whether the input can be negative.
        quantize_input: false for the first layer, whose input is already an 8-bit image.
        standardize_weights: weight normalisation; for a layer whose scale is undone by a following
            batch norm.
        fit_weight_interval: see :func:`initial_weight_interval`.
        quantizer: quantizer at fixed bitwidths. With gates, Eqs. 1-4 always apply.
    """

    weight_bits: int
    activation_bits: int
    signed_input: bool
    quantize_input: bool = True
    standardize_weights: bool = True
    fit_weight_interval: bool = False
    quantizer: LayerQuantizer = INTERVAL


def initial_weight_interval(weight: Tensor, options: LayerOptions) -> Tensor:
    """Initial v_w: 1, or ``max|w|``.

    The paper starts at 1, which is one standard deviation of standardised weights. Raw weights
    need an interval of their own scale. The choice is their largest magnitude: nothing after these
    layers compensates for clipping, and with the interval 1 most levels of a small grid would lie
    outside the weights. The last layer also has raw weights, but starts at 1: every policy gives it
    8 bits, which is enough for weights inside [-1, 1].

    Args:
        weight: weights of the plain layer.
        options: ``fit_weight_interval`` decides.
    """
    if options.fit_weight_interval:
        return weight.detach().abs().amax()
    return weight.new_ones(())


class _Quantized(nn.Module):
    """Common part of all layers; mixed into those of PyTorch."""

    weight: Tensor
    options: LayerOptions

    def setup(self, options: LayerOptions, bitwidths: Bitwidths | None) -> None:
        """Add intervals; also add gates if ``bitwidths`` are given."""
        self.options = options
        self.weight_interval = nn.Parameter(initial_weight_interval(self.weight, options))
        self.activation_interval = nn.Parameter(self.weight.new_ones(()))
        self.weight_gate: BitGate | None = None
        self.activation_gate: BitGate | None = None
        if bitwidths is not None:
            gate = partial(BitGate, bitwidths, device=self.weight.device, dtype=self.weight.dtype)
            self.weight_gate = gate(of_batch=False)
            self.activation_gate = gate(of_batch=True)
        self.filter_gate: FilterGate | None = None
        # In a list the gates are not registered as submodules; they belong to their convolution.
        self._gates_of_outputs: list[FilterGate] = []
        self._gates_of_inputs = SharedGates()

    def share_outputs(self, gate: FilterGate) -> None:
        """Register ``gate``: its pruning also removes filters of this layer."""
        self._gates_of_outputs.append(gate)

    def share_inputs(self, gate: FilterGate, start: int = 0, repeat: int = 1) -> None:
        """Register ``gate``: its filters are input channels of this layer.

        Args:
            gate: the gate.
            start: place of the first of them.
            repeat: input features that each of them is.
        """
        self._gates_of_inputs.add(gate, start, repeat)

    def normalized_weight(self) -> Tensor:
        """Weights before quantization."""
        if not self.options.standardize_weights:
            return self.weight
        return kernels.standardize(self.weight, self._kept_mask())

    def quantized_weight(self) -> Tensor:
        """Weights after quantization; pruned filters are still included."""
        interval = self.weight_interval
        if self.weight_gate is not None:
            return self.weight_gate.fake_quantize(self.normalized_weight(), interval, signed=True)
        bits, quantizer = self.options.weight_bits, self.options.quantizer
        if bits == FULL_PRECISION:
            return self.weight
        return quantizer.fake_quantize_weight(self.normalized_weight(), interval, bits)

    def weight_grid(self) -> WeightGrid | None:
        """Grid of the integer codes of the weights; None at full precision."""
        bits, quantizer = self.options.weight_bits, self.options.quantizer
        if bits == FULL_PRECISION:
            return None
        scale, offset = quantizer.scale_and_offset(self.weight_interval, bits)
        return WeightGrid(bits, tuple(self.weight.shape), scale, offset)

    def hold_quantized(self) -> None:
        """Use the weights unchanged from now on: they are already quantized."""
        self.options = replace(self.options, weight_bits=FULL_PRECISION)

    def quantized_input(self, x: Tensor) -> Tensor:
        """Input after quantization."""
        if not self._quantizes_input:
            return x
        interval, signed = self.activation_interval, self.options.signed_input
        if self.activation_gate is not None:
            return self.activation_gate.fake_quantize(x, interval, signed=signed)
        bits, quantizer = self.options.activation_bits, self.options.quantizer
        return quantizer.fake_quantize_input(x, interval, bits, signed=signed)

    def joined_spec(self) -> kernels.QuantizerSpec | None:
        """The input's quantizer for a kernel that joins it with others; None if none can."""
        if not self._quantizes_input:
            return None
        interval, signed = self.activation_interval, self.options.signed_input
        if self.activation_gate is not None:
            return self.activation_gate.joined_spec(interval, signed=signed)
        bits, quantizer = self.options.activation_bits, self.options.quantizer
        return quantizer.joined_spec(interval, bits, signed=signed)

    def record_input(self, result: kernels.Quantized) -> Tensor:
        """Record the gates of an input that was quantized elsewhere; return its values."""
        gate = self.activation_gate
        return result.values if gate is None else gate.record(result)

    @property
    def _quantizes_input(self) -> bool:
        fixed = self.activation_gate is None and self.options.activation_bits == FULL_PRECISION
        return self.options.quantize_input and not fixed

    def _kept_mask(self) -> Tensor | None:
        """0/1 for every kernel; 1 if neither its filter nor its input channel is pruned."""
        kernel = [1] * (self.weight.dim() - 2)
        mask: Tensor | None = None
        for gate in self._gates_of_outputs:
            mask = gate.mask.view(-1, 1, *kernel)
        if self._gates_of_inputs:
            inputs = self._gates_of_inputs.vector(self.weight.shape[1], lambda gate: gate.mask)
            read = inputs.view(1, -1, *kernel)
            mask = read if mask is None else mask * read
        return mask

    def _of_kept_inputs(self, weight: Tensor) -> Tensor:
        """Weights with 0 where the input channel is pruned."""
        if not self._gates_of_inputs:
            return weight
        # Needed for every placement: a signed quantizer has no zero level, so pruned channels would
        # contribute.
        kept = self._gates_of_inputs.vector(weight.shape[1], _at_reader)
        return weight * kept.view(1, -1, *[1] * (weight.dim() - 2))


def _at_reader(gate: FilterGate) -> Tensor:
    """The gates by filter, differentiable if they get their gradient where the filter is read."""
    return gate.factor if gate.placement == "reader" else gate.mask


class _QuantizedConvolution(_Quantized):
    """Common part of the convolutions."""

    bias: Tensor | None
    _conv_forward: Callable[[Tensor, Tensor, Tensor | None], Tensor]

    def forward(self, x: Tensor, *, quantized: bool = False) -> Tensor:
        """Quantize, then convolve: (N, C, ...) to (N, filters, ...).

        Args:
            x: the input.
            quantized: whether it is quantized already.
        """
        gate = self.filter_gate
        if gate is not None:
            gate.update(self.weight)
        weight = self.quantized_weight()
        if gate is not None and gate.placement == "weight":
            weight = weight * gate.factor.view(-1, *[1] * (weight.dim() - 1))
        weight = self._of_kept_inputs(weight)
        x = x if quantized else self.quantized_input(x)
        return self._conv_forward(x, weight, self.bias)


class QuantConv1d(_QuantizedConvolution, nn.Conv1d):
    """Convolution of (N, C, L) with quantized input and weights, and prunable filters."""


class QuantConv2d(_QuantizedConvolution, FastConv2d):
    """Convolution of (N, C, H, W) with quantized input and weights, and prunable filters."""


class QuantLinear(_Quantized, nn.Linear):
    """Linear layer with quantized input and weights."""

    def forward(self, x: Tensor, *, quantized: bool = False) -> Tensor:
        """Quantize, then multiply: (N, features) to (N, outputs); arguments as above."""
        x = x if quantized else self.quantized_input(x)
        return F.linear(x, self._of_kept_inputs(self.quantized_weight()), self.bias)


QuantLayer: TypeAlias = QuantConv1d | QuantConv2d | QuantLinear
