"""Quantizers of the methods that SBS is compared with, each as in its own paper.

All use the rounding of :mod:`sbs.quantization.rounding` with a straight-through gradient. The
papers' own rounding differs only on ties.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sbs.quantization.rounding import round_straight_through
from sbs.quantization.uniform import num_steps


def dorefa_weight(w: Tensor, bits: int) -> Tensor:
    """Weights of DoReFa-Net: ``2 round_k(tanh(w) / (2 max|tanh w|) + 1/2) - 1``.

    Args:
        w: weights of any shape.
        bits: bitwidth k.

    Returns:
        weights in [-1, 1] on 2^k levels. The maximum is a constant for the gradient.
    """
    squashed = torch.tanh(w)
    z = squashed / (2 * squashed.detach().abs().max().clamp_min(1e-12)) + 0.5
    steps = num_steps(bits)
    return 2 * round_straight_through(z * steps) / steps - 1


def pact_activation(x: Tensor, clip: Tensor, bits: int) -> Tensor:
    """Activations of PACT: clipped to [0, c], then ``c / (2^k - 1) round(y (2^k - 1) / c)``.

    The clipping level gets its gradient only from clipped values: 1 where ``x >= c``. This is
    PACT's rule; Eq. 1 has another one.

    Args:
        x: activations of any shape.
        clip: the positive scalar c.
        bits: bitwidth k.
    """
    clipped = torch.where(x >= clip, clip, x.clamp_min(0))
    scale = num_steps(bits) / clip.detach()
    return round_straight_through(clipped * scale) / scale


def dq_fake_quantize(x: Tensor, step: Tensor, largest: Tensor, *, signed: bool) -> Tensor:
    """Fixed-point quantizer of DQ, case U3: step size and range are learned.

    ``sign(x) d floor(min(|x|, q_max) / d + 1/2)``; unsigned, negative values become 0. The step
    size used is the nearest power of two, with a straight-through gradient.

    Values outside the range become the nearest level, as in the authors' code. The paper's formula
    returns q_max itself, which need not be a level; then no fixed-point number of the inferred
    bitwidth could hold it. Gradients as in the paper: inside the range 1 for x and ``(Q(x) - x) /
    d`` for the step; outside, ``sign(x)`` for the range.

    Args:
        x: values of any shape.
        step: positive scalar d.
        largest: positive scalar q_max.
        signed: true for weights, false for activations after a ReLU.
    """
    result: Tensor = _FixedPoint.apply(x, step, largest, signed)
    return result


def power_of_two(step: Tensor) -> Tensor:
    """Nearest power of two in the logarithm, with a straight-through gradient."""
    return step + (torch.exp2(torch.log2(step).round()) - step).detach()


def dq_bits(step: Tensor, largest: Tensor, *, signed: bool) -> Tensor:
    """Bitwidths inferred from steps and ranges of any shape, differentiable in both.

    Signed: ``ceil(log2(q / d + 1) + 1)``, at least 2. Unsigned: ``ceil(log2(q / d + 1))``, at
    least 1. q is the range, rounded to a multiple of d. Ceiling and rounding are straight-through.
    """
    used = power_of_two(step)
    ratio = largest / used
    ratio = ratio + (torch.floor(ratio + 0.5) - ratio).detach()
    bits = torch.log2(ratio + 1) + int(signed)
    fewest = torch.full_like(bits, 1 + int(signed))
    # A ratio such as 7 is exact, but its logarithm is not.
    slack = 1e-5
    whole = bits + (torch.ceil(bits - slack) - bits).detach()
    return torch.where(bits < fewest - slack, fewest, whole)


class _FixedPoint(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, step: Tensor, largest: Tensor, signed: bool) -> Tensor:
        used = torch.exp2(torch.log2(step).round())
        magnitude = torch.minimum(x.abs() if signed else x.clamp_min(0), largest)
        y = magnitude.div_(used).add_(0.5).floor_().mul_(used)
        if signed:
            y = torch.copysign(y, x)
        ctx.save_for_backward(x, y, used, largest)
        ctx.signed = signed
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, y, used, largest = ctx.saved_tensors
        above = x > largest
        inside = ~above & (x >= -largest if ctx.signed else x > 0)
        through = grads[0] * inside
        grad_step = (through * (y - x)).sum() / used
        outside = grads[0] * above
        if ctx.signed:
            outside = outside - grads[0] * (x < -largest)
        return through, grad_step, outside.sum(), None


def linear_fake_quantize(x: Tensor, threshold: Tensor, bits: int) -> Tensor:
    """Symmetric linear quantizer of HAQ: ``[-t, t]`` in steps of ``t / (2^(b-1) - 1)``.

    The gradient of x is 1 inside and 0 outside. The threshold gets none: calibration sets it.

    Args:
        x: values of any shape, positive and negative.
        threshold: positive scalar t.
        bits: bitwidth b, at least 2.
    """
    limit = threshold.detach()
    step = limit / ((1 << (bits - 1)) - 1)
    clipped = torch.minimum(torch.maximum(x, -limit), limit)
    return round_straight_through(clipped / step) * step
