"""Uniform quantization with trainable intervals (section 2, Eqs. 1-4).

These functions are the specification: short, differentiable by autograd, and what the fused
versions in :mod:`sbs.kernels.fused` are tested against.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sbs.quantization.rounding import round_straight_through

SMALLEST_INTERVAL = 1e-3
"""Intervals are taken by absolute value and held away from zero, where Eqs. 1-2 divide by them."""


def effective_interval(interval: Tensor) -> Tensor:
    """The interval that a parameter stands for: ``|v|``, at least :data:`SMALLEST_INTERVAL`."""
    return interval.abs().clamp_min(SMALLEST_INTERVAL)


def num_steps(bits: int) -> int:
    """Number of steps of a ``bits``-bit grid on [0, 1], ``1 / s`` of Eq. 4."""
    return (1 << bits) - 1


def normalize_activation(x: Tensor, interval: Tensor) -> Tensor:
    """``T_x``, Eq. 1: map [0, v] to [0, 1] and clip.

    Args:
        x: activations of any shape.
        interval: the positive scalar v_x.
    """
    return torch.clamp(x / interval, 0, 1)


def normalize_weight(w: Tensor, interval: Tensor) -> Tensor:
    """``T_w``, Eq. 2: map [-v, v] to [0, 1] and clip. Also for activations of either sign."""
    return (torch.clamp(w / interval, -1, 1) + 1) / 2


def discretize(z: Tensor, bits: int) -> Tensor:
    """``D(z, s)`` of Eq. 3 with the step ``s = 1 / (2**bits - 1)`` of Eq. 4; straight-through."""
    steps = num_steps(bits)
    return round_straight_through(z * steps) / steps


def fake_quantize(x: Tensor, interval: Tensor, bits: int, *, signed: bool) -> Tensor:
    """Quantize-dequantize: ``T⁻¹(D(T(x), s))`` as below Eq. 4.

    Gradients follow from the straight-through estimator: with respect to ``x`` it is 1 inside the
    interval and 0 outside; with respect to ``interval`` it is the quantization error over v
    inside and the sign of the clip outside.

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
    """Weight normalisation (section 4.2, following APoT): zero mean, unit variance over the layer.

    Mean and (unbiased) deviation are constants for the gradient, as in APoT's formulation.

    Args:
        w: weights of any shape.
        mask: 0/1, broadcastable to ``w``; statistics are taken where it is 1. A layer whose
            pruned filters are masked thus has the statistics it will have once they are gone.
    """
    values = w.detach()
    if mask is None:
        deviation, mean = torch.std_mean(values)
    else:
        weight = mask.expand_as(values)
        count = weight.sum()
        mean = (values * weight).sum() / count
        deviation = (((values - mean) ** 2 * weight).sum() / (count - 1)).sqrt()
    # The floor only matters for a constant tensor, where any finite scale will do.
    return (w - mean) / deviation.clamp_min(1e-12)
