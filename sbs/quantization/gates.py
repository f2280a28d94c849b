"""Binary gates with learnable thresholds (Eqs. 10-12, normalisation of section 3.2.3)."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sbs.policy import Bitwidths
from sbs.quantization.bit_sharing import decompose, recompose
from sbs.quantization.uniform import discretize, normalize_activation, normalize_weight, standardize

RANKS = 10.0
"""Ranks of a layer go from 0 to this number. The slope of a gate in Eq. 12 has a width of 2 or 3.
So it covers about a quarter of a layer's groups."""


class _StepWithSigmoidGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, metric: Tensor, threshold: Tensor) -> Tensor:
        difference = metric - threshold
        ctx.save_for_backward(difference)
        return (difference >= 0).to(difference.dtype)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[None, Tensor]:
        (difference,) = ctx.saved_tensors
        return None, -grad_outputs[0] * sigmoid_slope(difference)


def sigmoid_slope(difference: Tensor) -> Tensor:
    """``S(u)(1 - S(u))``, the surrogate for the derivative of the step function in Eq. 12."""
    value = torch.sigmoid(difference)
    return value * (1 - value)


def binary_gate(metric: Tensor, threshold: Tensor) -> Tensor:
    """``H(metric - threshold)``: 1 where it is >= 0, else 0.

    The gradient with respect to the threshold is Eq. 12. The metric gets no gradient: the paper
    defines the surrogate only for the threshold, and through the metric the cost term would
    change the weights.
    """
    gate: Tensor = _StepWithSigmoidGradient.apply(metric, threshold)
    return gate


def quantization_metrics(z: Tensor, bitwidths: Bitwidths) -> Tensor:
    """Mean absolute residual ``|z - z_b|`` for every bitwidth except the highest (3.2.3).

    Returns:
        K-1 non-negative numbers; entry j controls the gate from b_j to b_(j+1).
    """
    return torch.stack([(z - discretize(z, low)).abs().mean() for low in bitwidths[:-1]])


def group_metrics(w: Tensor, group_size: int, *, standardized: bool) -> Tensor:
    """Mean absolute weight of each group of ``group_size`` consecutive filters (Eq. 11, 3.2.3).

    Args:
        w: weights, output filters first. The last group is smaller if the number of filters is
            not a multiple of ``group_size``.
        group_size: B, filters per group.
        standardized: use standardised weights, so that thresholds mean the same in every layer;
            otherwise raw weights.
    """
    values = w.detach()
    if standardized:
        values = standardize(values)
    per_filter = values.abs().flatten(1).mean(dim=1)
    filters = len(per_filter)
    groups = -(-filters // group_size)
    sums = F.pad(per_filter, (0, groups * group_size - filters)).view(groups, group_size).sum(1)
    sizes = torch.full_like(sums, group_size)
    sizes[-1] = filters - (groups - 1) * group_size
    return sums / sizes


def ranks(metrics: Tensor) -> Tensor:
    """Ranks of the metrics (G,), ascending, from 0 to :data:`RANKS`, in the middle of their step.

    A threshold on ranks is the share of the groups to close, in tenths, however many groups the
    layer has. The metrics of a layer's groups lie close together. A threshold on the metrics
    themselves meets no group for long, and then many at once.
    """
    order = metrics.argsort(stable=True)
    steps = torch.arange(len(metrics), device=metrics.device, dtype=metrics.dtype)
    return torch.empty_like(metrics).scatter_(0, order, (steps + 0.5) * (RANKS / len(metrics)))


def nested_gates(gates: Tensor) -> Tensor:
    """Each gate times all before it in its row (..., K-1): a closed one closes those behind it."""
    return torch.cumprod(gates, dim=-1)


def nested_levels(gates: Tensor) -> list[int]:
    """Number of leading open gates in each row (L, K-1): the index of the bitwidth."""
    return [int(level) for level in nested_gates(gates).sum(-1)]


def expected_bits(gates: Tensor, bitwidths: Bitwidths) -> Tensor:
    """Bitwidth that the gates select, differentiable in every gate (the form of Eq. 14).

    ``b_1 + g_2 (b_2 - b_1 + g_3 (b_3 - b_2))``.
    """
    steps = gates.new_tensor([high - low for low, high in pairwise(bitwidths)])
    return bitwidths.lowest + (nested_gates(gates) * steps).sum()


def gated_fake_quantize(
    x: Tensor, interval: Tensor, thresholds: Tensor, bitwidths: Bitwidths, *, signed: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Fake quantization at the bitwidth that the gates select (Eq. 10); the readable reference.

    Args:
        x: values of any shape.
        interval: positive scalar v.
        thresholds: K-1 thresholds α.
        bitwidths: K nesting bitwidths.
        signed: use the map of Eq. 2; otherwise that of Eq. 1.

    Returns:
        quantized values shaped like ``x``; the K-1 gates before nesting, differentiable in the
        thresholds; the K-1 metrics, without gradient.
    """
    metrics = metrics_of(x, interval, bitwidths, signed=signed)
    values, gates = gated_values(x, interval, thresholds, metrics, bitwidths, signed=signed)
    return values, gates, metrics


def metrics_of(x: Tensor, interval: Tensor, bitwidths: Bitwidths, *, signed: bool) -> Tensor:
    """The K-1 metrics of a tensor, without gradient; arguments of :func:`gated_fake_quantize`."""
    return quantization_metrics(_normalized(x, interval, signed), bitwidths).detach()


def gated_values(
    x: Tensor,
    interval: Tensor,
    thresholds: Tensor,
    metrics: Tensor,
    bitwidths: Bitwidths,
    *,
    signed: bool,
) -> tuple[Tensor, Tensor]:
    """Values and gates of :func:`gated_fake_quantize`, with the K-1 metrics given."""
    gates = binary_gate(metrics, thresholds)
    shared = recompose(*decompose(_normalized(x, interval, signed), bitwidths), gates)
    return interval * (2 * shared - 1) if signed else interval * shared, gates


def _normalized(x: Tensor, interval: Tensor, signed: bool) -> Tensor:
    return normalize_weight(x, interval) if signed else normalize_activation(x, interval)
