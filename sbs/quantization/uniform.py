"""Uniform quantization with trainable intervals (section 2, Eqs. 1-4).

These functions are the reference: short, and differentiable by autograd. The fused versions in
:mod:`sbs.kernels.fused` are tested against them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sbs.quantization.rounding import round_straight_through

SMALLEST_INTERVAL = 1e-3
"""Lower bound of an interval: Eqs. 1 and 2 divide by it."""


def effective_interval(interval: Tensor) -> Tensor:
    """The interval that a parameter defines: ``|v|``, at least :data:`SMALLEST_INTERVAL`."""
    return interval.abs().clamp_min(SMALLEST_INTERVAL)


def num_steps(bits: int) -> int:
    """Number of steps of a ``bits``-bit grid on [0, 1]: ``1 / s`` of Eq. 4."""
    return (1 << bits) - 1


def normalize_activation(x: Tensor, interval: Tensor) -> Tensor:
    """``T_x``, Eq. 1: map [0, v] to [0, 1] and clip.

    Args:
        x: activations of any shape.
        interval: the positive scalar v_x.
    """
    return torch.clamp(x / interval, 0, 1)


def normalize_weight(w: Tensor, interval: Tensor) -> Tensor:
    """``T_w``, Eq. 2: map [-v, v] to [0, 1] and clip. Also for signed activations."""
    return (torch.clamp(w / interval, -1, 1) + 1) / 2


def discretize(z: Tensor, bits: int) -> Tensor:
    """``D(z, s)`` of Eq. 3 with step ``s = 1 / (2**bits - 1)`` of Eq. 4; straight-through."""
    steps = num_steps(bits)
    return round_straight_through(z * steps) / steps


def fake_quantize(x: Tensor, interval: Tensor, bits: int, *, signed: bool) -> Tensor:
    """Quantize-dequantize: ``T⁻¹(D(T(x), s))``, below Eq. 4.

    The gradients follow from the straight-through estimator. With respect to ``x``: 1 inside the
    interval, 0 outside. With respect to ``interval``: the quantization error divided by v inside,
    the sign of the clipped value outside.

    Args:
        x: values of any shape.
        interval: the positive scalar v.
        bits: bitwidth.
        signed: ``False`` is Eq. 1 (activations after a ReLU), ``True`` is Eq. 2 (weights).
    """
    if signed:
        return interval * (2 * discretize(normalize_weight(x, interval), bits) - 1)
    return interval * discretize(normalize_activation(x, interval), bits)


def standardize(w: Tensor, mask: Tensor | None = None) -> Tensor:
    """Weight normalisation (section 4.2, from APoT): zero mean and unit variance over the layer.

    Mean and (unbiased) standard deviation are constants for the gradient, as in APoT.

    Args:
        w: weights of any shape.
        mask: 0/1, broadcastable to ``w``; statistics use only elements where it is 1. A layer with
            masked filters then has the same statistics as after their removal.
    """
    values = w.detach()
    if mask is None:
        deviation, mean = torch.std_mean(values)
    else:
        weight = mask.expand_as(values)
        count = weight.sum()
        mean = (values * weight).sum() / count
        deviation = (((values - mean) ** 2 * weight).sum() / (count - 1)).sqrt()
        # The floor matters only for a constant tensor, where any finite scale is fine.
    return (w - mean) / deviation.clamp_min(1e-12)
