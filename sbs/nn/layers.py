"""Quantized convolutions and linear layers: at fixed bitwidths, or with gates for the search.

All of them keep the parameter names of the plain layer (``weight``, ``bias``), so plain
checkpoints load, and add ``weight_interval`` and ``activation_interval`` (v_w and v_x).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sbs.kernels import fused as kernels
from sbs.nn.batch_norm import Pending, Values, tensor
from sbs.nn.filter_gate import FilterGate
from sbs.policy import FULL_PRECISION, Bitwidths, Quantizer
from sbs.quantization import gates
from sbs.quantization.peers import dorefa_weight, linear_fake_quantize

METRIC_MOMENTUM = 0.1
"""Weight of the newest batch in the running mean of the activation metrics, as in batch norm."""


@dataclass(frozen=True)
class LayerOptions:
    """How one layer is quantized.

    Attributes:
        weight_bits: 32 leaves the weights alone.
        activation_bits: 32 leaves the input alone.
        signed_input: the input can be negative.
        quantize_input: false for the first layer, whose input is the 8-bit image already.
        standardize_weights: weight normalisation; not for linear layers, which no batch norm
            follows to undo the scale.
        quantizer: whose rules to follow at fixed bitwidths.
    """

    weight_bits: int
    activation_bits: int
    signed_input: bool
    quantize_input: bool = True
    standardize_weights: bool = True
    quantizer: Quantizer = "interval"


class BitGate(nn.Module):
    """Quantization gates of one tensor: K-1 thresholds, and what the gates last were."""

    frozen: Tensor | None
    mean_metrics: Tensor
    momentum: Tensor

    def __init__(self, bitwidths: Bitwidths, *, track_running_metrics: bool) -> None:
        """Start with every gate open.

        Args:
            bitwidths: K nesting bitwidths.
            track_running_metrics: for activations. Outside training the gates follow the running
                mean of the metrics, not the batch, as batch norm does.
        """
        super().__init__()
        self.bitwidths = bitwidths
        self.track_running_metrics = track_running_metrics
        self.thresholds = nn.Parameter(torch.zeros(len(bitwidths) - 1))
        self.register_buffer("frozen", None)
        self.register_buffer("mean_metrics", torch.zeros(len(bitwidths) - 1))
        # Weight of the newest batch: the first one counts in full.
        self.register_buffer("momentum", torch.ones(()))
        self.gates: Tensor = torch.ones(len(bitwidths) - 1)
        self._guess = bitwidths.highest

    def fake_quantize(self, x: Values, interval: Tensor, *, signed: bool) -> Tensor:
        """Quantize ``x``, of any shape, with the bitwidth of the moment; note gates and metrics."""
        if self.frozen is not None or (self.track_running_metrics and not self.training):
            self.gates = self.settled()
            return quantized(x, interval, self.settled_bits(), signed=signed)
        spec = kernels.QuantizerSpec(self.thresholds, self.bitwidths, signed, self._guess)
        if isinstance(x, Pending):
            result = x.quantized(interval, spec)
        else:
            result = kernels.gated_fake_quantize(x, interval, spec)
        self.gates = result.gates
        self._guess = result.bits or self._guess
        if self.training:
            self._note(result.metrics)
        return result.values

    def settled(self) -> Tensor:
        """Gates by the running mean of the metrics: what the extracted policy goes by."""
        if self.frozen is not None:
            return self.frozen
        return (self.mean_metrics >= self.thresholds).to(self.thresholds.dtype).detach()

    def settled_bits(self) -> int:
        """Bitwidth of the settled gates: the end of their leading run of ones."""
        return self.bitwidths[int(gates.nested_gates(self.settled()).sum())]

    def bits(self) -> Tensor:
        """Bitwidth of the last forward pass."""
        return gates.expected_bits(self.gates.detach(), self.bitwidths)

    def _note(self, metrics: Tensor) -> None:
        self.mean_metrics.lerp_(metrics.to(self.mean_metrics.dtype), self.momentum)
        if self.track_running_metrics:
            self.momentum.fill_(METRIC_MOMENTUM)


def quantized(x: Values, interval: Tensor, bits: int, *, signed: bool) -> Tensor:
    """Quantize ``x``, of any shape, at a fixed bitwidth."""
    if isinstance(x, Pending):
        return x.quantized(interval, kernels.fixed(interval, bits, signed=signed)).values
    return kernels.fake_quantize(x, interval, bits, signed=signed)


def clipped(x: Values, clip: Tensor, bits: int) -> Tensor:
    """Quantize activations of any shape by PACT."""
    if isinstance(x, Pending):
        spec = kernels.fixed(clip, bits, signed=False, clip_only=True)
        return x.quantized(clip, spec).values
    return kernels.pact(x, clip, bits)


class _Quantized(nn.Module):
    """What the two layer types share; mixed into ``nn.Conv2d`` and ``nn.Linear``."""

    weight: Tensor
    options: LayerOptions

    def setup(self, options: LayerOptions, bitwidths: Bitwidths | None) -> None:
        """Add intervals, and gates if ``bitwidths`` are to be searched."""
        self.options = options
        self.weight_interval = nn.Parameter(torch.ones(()))
        self.activation_interval = nn.Parameter(torch.ones(()))
        self.weight_gate = BitGate(bitwidths, track_running_metrics=False) if bitwidths else None
        self.activation_gate = BitGate(bitwidths, track_running_metrics=True) if bitwidths else None
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
        if self.options.weight_bits == FULL_PRECISION:
            return self.weight
        bits = self.options.weight_bits
        if self.options.quantizer == "dorefa_pact":
            return dorefa_weight(self.weight, bits)
        if self.options.quantizer == "linear":
            return linear_fake_quantize(self.weight, interval, bits)
        return quantized(self.normalized_weight(), interval, bits, signed=True)

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
        bits = self.options.activation_bits
        if self.options.quantizer != "interval" and not signed:
            return clipped(x, interval, bits)
        if self.options.quantizer == "linear":
            return linear_fake_quantize(tensor(x), interval, bits)
        return quantized(x, interval, bits, signed=signed)

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
