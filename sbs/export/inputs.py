"""Quantizers of layer inputs in PyTorch's own operators, in two steps: codes, then values.

An input is ``code * scale + offset``, as the weights are. Codes have exactly the roundings of the
functions that define them, in :mod:`sbs.quantization.uniform` and :mod:`sbs.quantization.peers`.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from sbs.errors import SBSError
from sbs.nn.fixed_point import FixedPoint
from sbs.nn.layers import QuantLayer
from sbs.policy import FULL_PRECISION
from sbs.quantization.peers import power_of_two
from sbs.quantization.rounding import round_half_down
from sbs.quantization.uniform import effective_interval, num_steps


class InputQuantizer(nn.Module):
    """Codes of an input, and the values that they stand for.

    Attributes:
        lowest: lowest code.
        highest: highest code.
        scale: distance between neighbouring levels.
        offset: value of code 0; None stands for zero.
    """

    scale: Tensor
    offset: Tensor | None

    def __init__(self, lowest: int, highest: int, scale: float, offset: float | None) -> None:
        super().__init__()
        self.lowest, self.highest = lowest, highest
        self.register_buffer("scale", torch.tensor(scale))
        self.register_buffer("offset", None if offset is None else torch.tensor(offset))

    @abstractmethod
    def codes(self, x: Tensor) -> Tensor:
        """Codes of values of any shape: whole numbers, in single precision."""

    def values(self, codes: Tensor) -> Tensor:
        """What codes of any shape stand for."""
        y = codes * self.scale
        return y if self.offset is None else y + self.offset

    def forward(self, x: Tensor) -> Tensor:
        """Quantize and dequantize values of any shape."""
        return self.values(self.codes(x))


class IntervalInput(InputQuantizer):
    """Eqs. 1 and 3; for signed inputs Eq. 2 instead of Eq. 1. PACT rounds like Eq. 1."""

    interval: Tensor

    def __init__(self, interval: float, bits: int, *, signed: bool) -> None:
        """Create it.

        Args:
            interval: the positive number v_x.
            bits: bitwidth.
            signed: whether values can be negative.
        """
        self.steps, self.signed = num_steps(bits), signed
        if signed:
            super().__init__(0, self.steps, 2 * interval / self.steps, -interval)
        else:
            super().__init__(0, self.steps, interval / self.steps, None)
        self.register_buffer("interval", torch.tensor(interval))

    def codes(self, x: Tensor) -> Tensor:
        """⌈steps T(x) - 0.5⌉."""
        u = x / self.interval
        z = (u.clamp(-1, 1) + 1) / 2 if self.signed else u.clamp(0, 1)
        return round_half_down(z * self.steps)


class SymmetricInput(InputQuantizer):
    """Signed inputs of HAQ: multiples of ``t / (2^(b-1) - 1)`` in [-t, t]."""

    limit: Tensor

    def __init__(self, limit: float, bits: int) -> None:
        """Create it for the threshold t and a bitwidth b."""
        steps = num_steps(bits - 1)
        # Single precision, as in linear_fake_quantize.
        super().__init__(-steps, steps, float(torch.tensor(limit) / steps), None)
        self.register_buffer("limit", torch.tensor(limit))

    def codes(self, x: Tensor) -> Tensor:
        """⌈x / step - 0.5⌉ of clipped values."""
        return round_half_down(x.clamp(-self.limit, self.limit) / self.scale)


class FixedPointInput(InputQuantizer):
    """DQ's activations: magnitudes are rounded to multiples of a power of two, ties go up."""

    largest: Tensor

    def __init__(self, step: float, largest: float, *, signed: bool) -> None:
        """Create it.

        Args:
            step: the power of two d.
            largest: q_max.
            signed: whether values can be negative.
        """
        steps, self.signed = int(largest / step + 0.5), signed
        super().__init__(-steps if signed else 0, steps, step, None)
        self.register_buffer("largest", torch.tensor(largest))

    def codes(self, x: Tensor) -> Tensor:
        """sign(x) ⌊min(abs(x), q_max) / d + 0.5⌋."""
        magnitude = torch.minimum(x.abs() if self.signed else x.relu(), self.largest)
        rounded = torch.floor(magnitude / self.scale + 0.5)
        return rounded * x.sign() if self.signed else rounded


def input_of(name: str, layer: QuantLayer) -> InputQuantizer | None:
    """The input's quantizer of a layer at fixed bitwidths; None if its input stays as it is.

    Raises:
        SBSError: a quantizer of another package, whose operators are not known here.
    """
    options = layer.options
    if not options.quantize_input or options.activation_bits == FULL_PRECISION:
        return None
    interval, bits = layer.activation_interval.detach(), options.activation_bits
    kind = options.quantizer.name
    if kind not in ("interval", "dorefa_pact", "linear"):
        raise SBSError(f"{name}: the quantizer {kind!r} has no form in plain operators")
    if kind == "linear" and options.signed_input:
        return SymmetricInput(float(interval), bits)
    v = float(effective_interval(interval))
    return IntervalInput(v, bits, signed=options.signed_input)


def fixed_point_input(quantizer: FixedPoint) -> FixedPointInput:
    """A quantizer of DQ."""
    step = float(power_of_two(quantizer.step.detach()))
    return FixedPointInput(step, float(quantizer.largest.detach()), signed=quantizer.signed)
