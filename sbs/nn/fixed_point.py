"""Quantizer of DQ as a module: step size and range are parameters (Uhlich et al. 2020, U3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sbs.kernels import fused as kernels
from sbs.quantization.grid import WeightGrid
from sbs.quantization.peers import dq_bits

STEP_RANGE = (2.0**-8, 1.0)
WEIGHT_RANGE = (2.0**-8, 127.0)
ACTIVATION_RANGE = (2.0**-8, 255.0)
MARGIN = 1e-5
ACTIVATION_STEP = 2.0**-3


class FixedPoint(nn.Module):
    """Step size d and range q_max of one tensor."""

    def __init__(
        self, step: float, bits: int, *, signed: bool, weights: bool, device: torch.device
    ) -> None:
        """Start at the given bitwidth.

        Args:
            step: initial d.
            bits: initial bitwidth; q_max is d times the largest level.
            signed: whether values can be negative: weights, and activations not after a ReLU.
            weights: whether the tensor holds weights or biases.
            device: device of the parameters.
        """
        super().__init__()
        self.signed, self.weights = signed, weights
        largest = step * (2 ** (bits - int(signed)) - 1)
        self.step = nn.Parameter(torch.tensor(step, device=device))
        self.largest = nn.Parameter(torch.tensor(largest, device=device))
        self.elements = 0
        # The gradients are sums over a tensor; clipping keeps the parameters from oscillating.
        for parameter in (self.step, self.largest):
            parameter.register_hook(self._clip)  # type: ignore[no-untyped-call]

    def forward(self, x: Tensor) -> Tensor:
        """Quantize a tensor of any shape; record its number of elements."""
        self.elements = x.numel()
        return kernels.fixed_point(x, self.step, self.largest, signed=self.signed)

    def bits(self) -> Tensor:
        """Bitwidth, differentiable in both parameters."""
        return dq_bits(self.step, self.largest, signed=self.signed)

    def grid(self, shape: tuple[int, ...]) -> WeightGrid:
        """Grid of the integer codes of quantized weights."""
        step = float(torch.exp2(torch.log2(self.step.detach()).round()))
        steps = int(float(self.largest.detach()) / step + 0.5)
        return WeightGrid(int(self.bits()), shape, step, -steps * step)

    @torch.no_grad()
    def project(self) -> None:
        """Clamp both parameters to their ranges, with d below q_max."""
        low, high = WEIGHT_RANGE if self.weights else ACTIVATION_RANGE
        self.step.copy_(torch.minimum(self.step, self.largest - MARGIN))
        self.step.clamp_(STEP_RANGE[0] + MARGIN, STEP_RANGE[1] - MARGIN)
        self.largest.clamp_(low + MARGIN, high - MARGIN)

    def _clip(self, gradient: Tensor) -> Tensor:
        limit = self.step.detach()
        return gradient.clamp(-limit, limit)


def activation_quantizer(bits: int, *, signed: bool, device: torch.device) -> FixedPoint:
    """Quantizer of activations at its start."""
    return FixedPoint(ACTIVATION_STEP, bits, signed=signed, weights=False, device=device)


class DQReLU(nn.Module):
    """Activation quantizer that replaces a ReLU."""

    def __init__(self, bits: int, device: torch.device) -> None:
        super().__init__()
        self.quantizer = activation_quantizer(bits, signed=False, device=device)

    def forward(self, x: Tensor) -> Tensor:
        """Clip at zero and quantize."""
        result: Tensor = self.quantizer(x)
        return result
