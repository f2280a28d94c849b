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


def _scaled(x: Tensor, interval: Tensor) -> Tensor:
    """``x / v``, at least in single precision: a new tensor."""
    return torch.mul(_wide(x), 1 / interval)


def _wide(x: Tensor) -> Tensor:
    """``x`` in single precision if it is in half: no coarser than the grids, and faster on CPUs."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _clipped(scaled: Tensor, signed: bool) -> Tensor:
    """From ``x / v`` to ``T(x)`` in [0, 1]; overwrites its argument."""
    if signed:
        scaled = scaled.add_(1).mul_(0.5)
    return scaled.clamp_(0, 1)


def _rounded(z: Tensor, steps: Tensor | int) -> Tensor:
    """Level index ``⌈z * steps - 0.5⌉``: a new tensor."""
    return torch.mul(z, steps).sub_(0.5).ceil_()


def _restored(index: Tensor, steps: Tensor | int, interval: Tensor, signed: bool) -> Tensor:
    """``T⁻¹`` of the level ``index / steps``; overwrites ``index``."""
    if signed:
        return index.mul_(2 * interval / steps).sub_(interval)
    return index.mul_(interval / steps)


def _inner(a: Tensor, b: Tensor) -> Tensor:
    """Inner product over all elements; without a copy if both have the same memory format."""
    if a.dim() == 4 and all(t.is_contiguous(memory_format=torch.channels_last) for t in (a, b)):
        a, b = a.permute(0, 2, 3, 1), b.permute(0, 2, 3, 1)
    return torch.dot(a.reshape(-1), b.reshape(-1))


def _like(grad: Tensor, x: Tensor) -> Tensor:
    """``grad`` in single precision and in the memory format of ``x``."""
    channels_last = x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return _wide(grad).contiguous(memory_format=layout)


def _clip_gradient(grad: Tensor, scaled: Tensor, signed: bool) -> Tensor:
    """``grad`` inside the open interval, zero elsewhere, as for ``torch.clamp``."""
    low = -1.0 if signed else 0.0
    result: Tensor = torch.ops.aten.hardtanh_backward(grad, scaled, low, 1.0)
    return result


class _Quantize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, interval: Tensor, bits: int, signed: bool) -> Tensor:
        steps = levels(bits)
        z = _clipped(_scaled(x, interval), signed)
        y = _restored(_rounded(z, steps), steps, interval, signed).to(x.dtype)
        ctx.save_for_backward(x, y, interval)
        ctx.signed = signed
        return y

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, y, interval = ctx.saved_tensors
        grad = _like(grad_outputs[0], x)
        grad_x, grad_interval, _ = _input_gradients(grad, x, y, interval, ctx.signed)
        return grad_x, grad_interval, None, None


def _input_gradients(
    grad: Tensor, x: Tensor, y: Tensor, interval: Tensor, signed: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients with respect to input and interval, and ``x / v`` for further use.

    With the straight-through estimator the interval's is ``<g, y> - <g inside, x>``, over v.
    """
    scaled = _scaled(x, interval)
    grad_x = _clip_gradient(grad, scaled, signed)
    grad_interval = _inner(grad, _wide(y)) / interval - _inner(grad_x, scaled)
    return grad_x.to(x.dtype), grad_interval, scaled


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
        z = _clipped(_scaled(x, interval), signed)
        metrics = torch.stack([_mean_residual(z, levels(bits)) for bits in bitwidths[:-1]])
        gates = (metrics >= thresholds).to(thresholds.dtype)
        grids = thresholds.new_tensor([levels(bits) for bits in bitwidths])
        steps = grids[0] + (open_run(gates) * grids.diff()).sum()
        y = _restored(_rounded(z, steps), steps, interval, signed).to(x.dtype)
        ctx.save_for_backward(x, y, interval, metrics - thresholds, gates)
        ctx.bitwidths, ctx.signed = bitwidths, signed
        ctx.mark_non_differentiable(metrics)
        return y, gates, metrics

    @staticmethod
    def backward(
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None, None, None]:
        x, y, interval, difference, gates = ctx.saved_tensors
        grad = _like(grad_outputs[0], x)
        grad_x, grad_interval, scaled = _input_gradients(grad, x, y, interval, ctx.signed)
        grad_thresholds = None
        if ctx.needs_input_grad[2]:
            z = _clipped(scaled, ctx.signed)
            scale = 2 * interval if ctx.signed else interval
            products = scale * torch.stack(
                [_inner(grad, _rounded(z, levels(b))) / levels(b) for b in ctx.bitwidths]
            )
            through_value = _gate_gradients(products, gates)
            grad_thresholds = -(grad_outputs[1] + through_value) * sigmoid_slope(difference)
        return grad_x, grad_interval, grad_thresholds, None, None


def _mean_residual(z: Tensor, steps: int) -> Tensor:
    """Mean of ``|z - D(z)|``."""
    index = _rounded(z, steps)
    return torch.add(z, index, alpha=-1 / steps, out=index).abs_().sum() / z.numel()


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
