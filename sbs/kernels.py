"""Quantizers with hand-written gradients: the functions of :mod:`sbs.quantizer` and
:mod:`sbs.gates` in fewer passes over memory.

In the forward pass gates are exactly 0 or 1, so by Theorem 1 the gated value is plain
quantization at the selected bitwidth; offsets enter only the gradients of the gates, as inner
products ``<dL/dy, z_b>`` that the backward pass recomputes. Besides its output, a quantizer keeps
nothing but its input, which the layer before keeps as well. Nothing here waits for the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sbs.gates import open_run, sigmoid_slope
from sbs.quantizer import levels


def quantize(x: Tensor, interval: Tensor, bits: int, *, signed: bool) -> Tensor:
    """:func:`sbs.quantizer.quantize`, fused."""
    result: Tensor = _Quantize.apply(x, interval, bits, signed)
    return result


def gated_quantize(
    x: Tensor, interval: Tensor, thresholds: Tensor, bitwidths: Sequence[int], *, signed: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`sbs.gates.gated_quantize`, fused. ``bitwidths`` are taken to nest."""
    result: tuple[Tensor, Tensor, Tensor] = _GatedQuantize.apply(
        x, interval, thresholds, tuple(bitwidths), signed
    )
    return result


def _normalized(x: Tensor, interval: Tensor, signed: bool) -> Tensor:
    """``T(x)`` in [0, 1]."""
    if signed:
        half = torch.full_like(interval, 0.5)
        return torch.addcmul(half, x, 0.5 / interval).clamp_(0, 1)
    return torch.mul(x, 1 / interval).clamp_(0, 1)


def _rounded(z: Tensor, steps: Tensor | int) -> Tensor:
    """Level index ``⌈z * steps - 0.5⌉``."""
    return torch.mul(z, steps).sub_(0.5).ceil_()


def _restored(index: Tensor, steps: Tensor | int, interval: Tensor, signed: bool) -> Tensor:
    """``T⁻¹`` of the level ``index / steps``; overwrites ``index``."""
    if signed:
        return index.mul_(2 * interval / steps).sub_(interval)
    return index.mul_(interval / steps)


def _inner(a: Tensor, b: Tensor) -> Tensor:
    """Inner product over all elements, whatever their memory format."""
    return (a * b).sum(dtype=_accumulator(a))


def _accumulator(x: Tensor) -> torch.dtype:
    """Sums over half-precision values are taken in single precision."""
    return torch.promote_types(x.dtype, torch.float32)


def _input_gradient(grad: Tensor, x: Tensor, interval: Tensor, signed: bool) -> Tensor:
    """``dL/dx``: ``grad`` inside the open interval, zero elsewhere, as for ``torch.clamp``."""
    inside = (x < interval).logical_and_(x > (-interval if signed else 0.0))
    return grad * inside


class _Quantize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, interval: Tensor, bits: int, signed: bool) -> Tensor:
        steps = levels(bits)
        y = _restored(_rounded(_normalized(x, interval, signed), steps), steps, interval, signed)
        ctx.save_for_backward(x, y, interval)
        ctx.signed = signed
        return y

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, y, interval = ctx.saved_tensors
        (grad,) = grad_outputs
        grad_x = _input_gradient(grad, x, interval, ctx.signed)
        grad_interval = (_inner(grad, y) - _inner(grad_x, x)) / interval
        return grad_x, grad_interval, None, None


class _GatedQuantize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        interval: Tensor,
        thresholds: Tensor,
        bitwidths: tuple[int, ...],
        signed: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        z = _normalized(x, interval, signed)
        metrics = torch.stack(
            [_mean_residual(z, levels(bits)) for bits in bitwidths[:-1]]
        )
        gates = (metrics >= thresholds).to(thresholds.dtype)
        grids = thresholds.new_tensor([levels(bits) for bits in bitwidths])
        steps = grids[0] + (open_run(gates) * grids.diff()).sum()
        y = _restored(_rounded(z, steps), steps, interval, signed)
        ctx.save_for_backward(x, y, interval, metrics - thresholds, gates)
        ctx.bitwidths, ctx.signed = bitwidths, signed
        ctx.mark_non_differentiable(metrics)
        return y, gates, metrics

    @staticmethod
    def backward(
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None, None, None]:
        x, y, interval, difference, gates = ctx.saved_tensors
        grad, grad_gates, _ = grad_outputs
        grad_x = _input_gradient(grad, x, interval, ctx.signed)
        grad_interval = (_inner(grad, y) - _inner(grad_x, x)) / interval
        grad_thresholds = None
        if ctx.needs_input_grad[2]:
            z = _normalized(x, interval, ctx.signed)
            scale = 2 * interval if ctx.signed else interval
            products = scale * torch.stack(
                [_inner(grad, _rounded(z, levels(b))) / levels(b) for b in ctx.bitwidths]
            )
            through_value = _gate_gradients(products, gates)
            grad_thresholds = -(grad_gates + through_value) * sigmoid_slope(difference)
        return grad_x, grad_interval, grad_thresholds, None, None


def _mean_residual(z: Tensor, steps: int) -> Tensor:
    """Mean of ``|z - D(z)|``."""
    residual = torch.add(z, _rounded(z, steps), alpha=-1 / steps)
    return torch.linalg.vector_norm(residual, ord=1, dtype=_accumulator(z)) / z.numel()


def _gate_gradients(products: Tensor, gates: Tensor) -> Tensor:
    """Gradient of ``z_b1 + g_2 (r_2 + g_3 (...))`` with respect to each gate.

    Args:
        products: ``<dL/dy, dy/dz z_b>`` for the K bitwidths.
        gates: K-1 raw gates.
    """
    offsets = products.diff().unbind()
    opened = gates.unbind()
    tails = []
    tail = torch.zeros_like(products[0])
    for offset, gate in zip(reversed(offsets), reversed(opened), strict=True):
        inner = offset + tail
        tails.append(inner)
        tail = gate * inner
    before = torch.cat([torch.ones_like(gates[:1]), open_run(gates)[:-1]])
    return before * torch.stack(tails[::-1])
